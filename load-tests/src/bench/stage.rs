//! What several benchmarks set up: the floor, rooms full of people, a wait until memory has settled.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::adapter::Target;
use crate::control::{Api, SessionOptions};
use crate::measure;
use crate::report::Progress;
use crate::server::Server;
use crate::swarm::{Connect, Swarm};

/// People in a room.
pub const ROOM_SIZE: usize = 10;

/// Connections opened a second while a crowd is built up, below what makes a queue.
pub const RAMP_PER_S: f64 = 500.0;

/// Memory has settled when it moves by less than this from one look to the next.
const SETTLED_BYTES: u64 = 256 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const LOOKS_MAX: usize = 20;

/// Connects a swarm to the floor.
///
/// # Errors
/// Any connection failed.
pub async fn crowd_floor(listen: SocketAddr, count: usize, progress: &Progress) -> anyhow::Result<Swarm> {
    progress.step(format!("{count} connections to the floor"));
    let connect = Connect {
        target: Target::echo(listen),
        count,
        per_s: RAMP_PER_S * 4.0,
        tokens: Vec::new(),
        room_size: ROOM_SIZE,
        track_members: false,
    };
    crowd(connect).await
}

/// Creates rooms and fills them.
///
/// # Errors
/// Any session, invite or join failed.
pub async fn crowd_server(server: &Server, count: usize, progress: &Progress) -> anyhow::Result<Swarm> {
    let tokens = rooms(&server.api()?, count.div_ceil(ROOM_SIZE), SessionOptions::default(), progress).await?;
    progress.step(format!("{count} people join"));
    let connect = Connect {
        target: Target::rollcall(server.listen()),
        count,
        per_s: RAMP_PER_S,
        tokens,
        room_size: ROOM_SIZE,
        track_members: false,
    };
    crowd(connect).await
}

/// # Errors
/// A session or invite could not be created.
pub async fn rooms(
    api: &Api,
    count: usize,
    options: SessionOptions,
    progress: &Progress,
) -> anyhow::Result<Vec<String>> {
    progress.step(format!("{count} rooms"));
    api.create_rooms(count, options, |done| progress.count("rooms", done, count)).await.context("create rooms")
}

/// Waits until the private memory of a process stands still, and returns it.
///
/// # Errors
/// The process is gone.
pub async fn settled_memory(pid: u32) -> anyhow::Result<u64> {
    let mut last = measure::rss_anon_bytes(pid)?;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = measure::rss_anon_bytes(pid)?;
        if now.abs_diff(last) < SETTLED_BYTES {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

async fn crowd(connect: Connect) -> anyhow::Result<Swarm> {
    let count = connect.count;
    let mut swarm = Swarm::start(count)?;
    let connected = swarm.connect(connect).await?;
    if connected.connected != count {
        bail!("{} of {count} connections failed: {}", connected.failed, connected.errors.join("; "));
    }
    Ok(swarm)
}
