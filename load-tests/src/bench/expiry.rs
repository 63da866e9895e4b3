//! How late sessions end while very many timers are armed: the arrival of the `ended` frame minus the end that `joined`
//! announced, both on the clock of this machine.

use std::time::Duration;

use anyhow::bail;

use super::stage;
use super::{Options, expiry_core};
use crate::adapter::Target;
use crate::clock;
use crate::control::SessionOptions;
use crate::measure::Recorder;
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;
use crate::swarm::{Connect, Status, Swarm};

const LATE_BUDGET_MS: f64 = 250.0;

/// Sessions with one member each whose end is watched.
const WATCHED: usize = 2_000;

/// The watched sessions live this long; they must be created and joined within it.
const WATCHED_DURATION_S: u64 = 40;

/// Longer than the run.
const OTHERS_DURATION_S: u64 = 86_400;

const END_TIMEOUT: Duration = Duration::from_secs(WATCHED_DURATION_S + 60);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

const NAME: &str = "expiry";

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    progress.step(format!("{} sessions in the core", options.sessions));
    let core = expiry_core::run(options.sessions);
    progress.step("starting the server");
    let limit = (options.sessions + WATCHED) * 2;
    let environment = [("ROLLCALL_SESSIONS__SESSIONS_LIVE_MAX", limit.to_string())];
    let server = Server::start(&options.server, &environment).await?;
    let api = server.api()?;
    let others = options.sessions - WATCHED;
    progress.step(format!("{others} sessions"));
    let long = SessionOptions { max_duration_s: Some(OTHERS_DURATION_S), ..SessionOptions::default() };
    api.create_sessions(others, long, |done| progress.count("sessions", done, others)).await?;
    let watched = SessionOptions { max_duration_s: Some(WATCHED_DURATION_S), ..SessionOptions::default() };
    let tokens = stage::rooms(&api, WATCHED, watched, progress).await?;
    progress.step(format!("{WATCHED} people join and wait for the end"));
    let mut swarm = Swarm::start(WATCHED)?;
    let connect = Connect {
        target: Target::rollcall(server.listen()),
        count: WATCHED,
        per_s: stage::RAMP_PER_S,
        tokens,
        room_size: 1,
        track_members: false,
    };
    let connected = swarm.connect(connect).await?;
    if connected.failed > 0 {
        bail!("{} joins failed: {}", connected.failed, connected.errors.join("; "));
    }
    let live = api.metrics().await?.get("rollcall_sessions_live").copied().unwrap_or(f64::NAN);
    let status = wait_for_ends(&mut swarm).await?;
    swarm.stop().await?;
    server.stop().await?;
    Ok(figures(&status, live, &core, options))
}

async fn wait_for_ends(swarm: &mut Swarm) -> anyhow::Result<Status> {
    let give_up_at = clock::now() + END_TIMEOUT;
    loop {
        let status = swarm.status().await?;
        if status.ended.len() + status.lost >= WATCHED || clock::now() >= give_up_at {
            return Ok(status);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn figures(status: &Status, live: f64, core: &expiry_core::CoreExpiry, options: &Options) -> Vec<Figure> {
    let late = Recorder::default();
    for ended in &status.ended {
        late.record(0, u64::try_from(ended.late_us).unwrap_or(0));
    }
    let late = late.take();
    let early = status.ended.iter().filter(|ended| ended.late_us < 0).count();
    let missing = WATCHED - status.ended.len();
    let ms = |micros: u64| micros as f64 / 1000.0;
    vec![
        Figure::info(NAME, "late, max", ms(late.max_us), "ms")
            .against(Budget::AtMost(LATE_BUDGET_MS))
            .note(format!("{} ends watched, {live} sessions live", status.ended.len())),
        Figure::info(NAME, "late, p99", ms(late.p99_us), "ms"),
        Figure::info(NAME, "late, p50", ms(late.p50_us), "ms"),
        Figure::info(NAME, "ended early", early as f64, "").against(Budget::AtMost(0.0)),
        Figure::info(NAME, "ends that did not come", missing as f64, "").against(Budget::AtMost(0.0)),
        Figure::info(NAME, "sessions live", live, "").against(Budget::AtLeast(options.sessions as f64)),
        Figure::info(NAME, "core alone, early or inexact", (core.early + core.inexact) as f64, "")
            .against(Budget::AtMost(0.0)),
        Figure::info(NAME, "core alone, time to end a session", core.us_per_session, "µs"),
    ]
}
