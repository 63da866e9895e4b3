//! Joins at a fixed rate, whatever the answers are. A join is measured from its scheduled instant to the `joined` frame,
//! which the server sends when the record is on its disk.

use super::Options;
use super::stage;
use crate::adapter::Target;
use crate::control::SessionOptions;
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;
use crate::swarm::{Connect, Swarm};

const P99_BUDGET_MS: f64 = 25.0;
const JOINS_PER_S: f64 = 500.0;
const JOINS: usize = 10_000;

const NAME: &str = "join";

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    progress.step("starting the server");
    let server = Server::start(&options.server, &[]).await?;
    let tokens = stage::rooms(&server.api()?, JOINS / stage::ROOM_SIZE, SessionOptions::default(), progress).await?;
    progress.step(format!("{JOINS} joins, {JOINS_PER_S} a second"));
    let mut swarm = Swarm::start(JOINS)?;
    let connect = Connect {
        target: Target::rollcall(server.listen()),
        count: JOINS,
        per_s: JOINS_PER_S,
        tokens,
        room_size: stage::ROOM_SIZE,
        track_members: false,
    };
    let connected = swarm.connect(connect).await?;
    swarm.stop().await?;
    server.stop().await?;
    let (join, upgrade) = (&connected.join, &connected.upgrade);
    let ms = |micros: u64| micros as f64 / 1000.0;
    Ok(vec![
        Figure::info(NAME, "acknowledged p99", ms(join.p99_us), "ms")
            .against(Budget::AtMost(P99_BUDGET_MS))
            .note(format!("{JOINS} joins at {JOINS_PER_S}/s"))
            .void_if(connected.void()),
        Figure::info(NAME, "errors", connected.failed as f64, "")
            .against(Budget::AtMost(0.0))
            .note(connected.errors.join("; ")),
        Figure::info(NAME, "acknowledged p50", ms(join.p50_us), "ms"),
        Figure::info(NAME, "acknowledged p99.9", ms(join.p999_us), "ms"),
        Figure::info(NAME, "acknowledged max", ms(join.max_us), "ms"),
        Figure::info(NAME, "connect and upgrade p99", ms(upgrade.p99_us), "ms"),
    ])
}
