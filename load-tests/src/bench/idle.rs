//! Memory of an idle participant, everything included: socket, task, presence, its share of session and invite, journal
//! and flush buffers. The process is measured before the first session exists and again when everybody is in, pings
//! every 30 s, and memory stands still.

use std::time::Duration;

use super::Options;
use super::stage;
use crate::measure;
use crate::report::{Budget, Figure, Progress};
use crate::server::Server;
use crate::swarm::{Pace, Swarm};

const BUDGET_KIB: f64 = 4.0;

/// What clients are told: `ping_interval_ms`.
const PING_INTERVAL_S: f64 = 30.0;

/// More than one ping interval, so that everybody has pinged once.
const SOAK: Duration = Duration::from_secs(40);

const NAME: &str = "idle";

pub async fn run(options: &Options, progress: &Progress) -> anyhow::Result<Vec<Figure>> {
    let count = options.connections;
    let (floor, listen) = crate::floor::start(crate::floor::Kind::Library).await?;
    let floor_empty = stage::settled_memory(floor.pid()).await?;
    let slab_empty = measure::kernel_slab_bytes()?;
    let swarm = stage::crowd_floor(listen, count, progress).await?;
    let floor_each = soak(swarm, floor.pid(), floor_empty, count, progress).await?;
    let slab_each = (measure::kernel_slab_bytes()? as f64 - slab_empty as f64) / count as f64;
    floor_each.1.stop().await?;
    floor.stop().await?;

    progress.step("starting the server");
    let server = Server::start(&options.server, &[]).await?;
    let empty = stage::settled_memory(server.pid()).await?;
    let swarm = stage::crowd_server(&server, count, progress).await?;
    let (each, mut swarm) = soak(swarm, server.pid(), empty, count, progress).await?;
    let status = swarm.status().await?;
    let lost = (status.lost > 0).then(|| format!("{} connections were lost: {:?}", status.lost, status.errors));
    swarm.stop().await?;
    server.stop().await?;

    let kib = |bytes: f64| bytes / 1024.0;
    let note = format!(
        "{count} people in rooms of {}; process from empty: {:.1} MiB",
        stage::ROOM_SIZE,
        kib(empty as f64) / 1024.0
    );
    Ok(vec![
        Figure::info(NAME, "memory per participant", kib(each), "KiB")
            .against(Budget::AtMost(BUDGET_KIB))
            .note(note)
            .void_if(lost),
        Figure::info(NAME, "memory per connection of the floor", kib(floor_each.0), "KiB"),
        Figure::info(NAME, "kernel slab per connection", kib(slab_each), "KiB").note("both ends, floor"),
    ])
}

/// Lets everybody ping for a while and returns the growth of the process per connection.
async fn soak(
    mut swarm: Swarm,
    pid: u32,
    empty: u64,
    count: usize,
    progress: &Progress,
) -> anyhow::Result<(f64, Swarm)> {
    progress.step(format!("idle with pings every {PING_INTERVAL_S} s"));
    swarm.pace(Pace::Pings { per_s: count as f64 / PING_INTERVAL_S }).await?;
    tokio::time::sleep(SOAK).await;
    let full = stage::settled_memory(pid).await?;
    Ok(((full as f64 - empty as f64) / count as f64, swarm))
}
