//! One turn of one system: started, filled, idle, pinged, saturated, one room joined, stopped.

use std::time::Duration;

use anyhow::ensure;
use rollcall_protocol::ErrorCode;
use serde::Serialize;

use super::system::{System, Up};
use crate::clock;
use crate::measure;
use crate::swarm::{Connect, Connected, Figures, Pace, Swarm};

/// People in each room of the crowd.
const ROOM_SIZE: usize = 10;

/// Connections opened a second while the crowd is built up, below what makes a queue.
const RAMP_PER_S: f64 = 500.0;

/// Everybody pings once in this time before memory is read: what a first ping costs is part of a connection.
const WARM_S: f64 = 4.0;

/// A room fills within this.
const ROOM_FILLS_IN_S: f64 = 2.0;

/// How long lists may take to be right after the last join.
const SETTLE: Duration = Duration::from_secs(20);

/// Memory has settled when it moves by less than this from one look to the next.
const SETTLED_BYTES: u64 = 256 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOKS_MAX: usize = 10;

/// How much of what is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Load {
    pub connections: usize,
    pub pings_per_s: f64,
    /// For how long they are sent, and again for as many as are answered.
    pub seconds: f64,
    /// Members of the one room.
    pub room: usize,
}

/// What a turn found. Nothing where it cannot be known: no process id, no rooms.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Turn {
    /// Growth of `RssAnon` for each connection.
    pub memory_bytes: Option<f64>,
    /// Growth of the kernel's slab for each connection, both ends.
    pub kernel_bytes: f64,
    /// Processor time of the server for each ping at the paced rate.
    pub ping_cpu_us: Option<f64>,
    pub ping_p50_us: f64,
    pub ping_p99_us: f64,
    /// Answered pings a second in a closed loop over all connections, and how busy the server was.
    /// Nothing where the server's limit for each connection was reached first.
    pub saturated_per_s: Option<f64>,
    pub saturated_cpu_us: Option<f64>,
    pub saturated_cores: Option<f64>,
    /// The same of the clients: where both together are all that the machine has, the clients may be the limit.
    pub saturated_client_cores: f64,
    pub room: Option<RoomTurn>,
    /// Why this says nothing, if so.
    pub void: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct RoomTurn {
    pub seen_p50_us: f64,
    pub seen_p99_us: f64,
    /// Presence frames and bytes that a member received, mean.
    pub frames: f64,
    pub bytes: f64,
    pub frames_max: u64,
    pub members: usize,
    /// Members whose list was exactly right in the end.
    pub exact: usize,
}

impl System {
    /// # Errors
    /// It cannot be started, or connections fail.
    pub async fn turn(&self, load: Load, number: usize, step: &dyn Fn(&str)) -> anyhow::Result<Turn> {
        step("starts");
        let up = self.start().await?;
        let outcome = measure_turn(&up, load, number, self.has_rooms(), step).await;
        // The first error says more than that it had to be stopped.
        let stopped = up.stop().await;
        let turn = outcome?;
        stopped?;
        Ok(turn)
    }
}

async fn measure_turn(
    up: &Up,
    load: Load,
    number: usize,
    has_rooms: bool,
    step: &dyn Fn(&str),
) -> anyhow::Result<Turn> {
    let rooms = if has_rooms {
        step("rooms");
        up.rooms(load.connections.div_ceil(ROOM_SIZE), &format!("{number}-crowd")).await?
    } else {
        Vec::new()
    };
    let empty = settled_memory(up.pid, load).await?;
    let slab = measure::kernel_slab_bytes()? as f64;
    step("connections");
    let mut swarm = Swarm::start(load.connections)?;
    let connected = swarm
        .connect(Connect {
            target: up.target.clone(),
            count: load.connections,
            per_s: RAMP_PER_S,
            tokens: rooms,
            room_size: ROOM_SIZE,
            track_members: false,
        })
        .await?;
    all_in(&connected, load.connections)?;
    let warm_s = WARM_S.min(load.seconds);
    swarm.phase(Pace::Pings { per_s: load.connections as f64 / warm_s }, warm_s).await?;
    step("idle");
    let full = settled_memory(up.pid, load).await?;
    let each = |bytes: f64| bytes / load.connections as f64;
    let mut turn = Turn {
        memory_bytes: full.zip(empty).map(|(full, empty)| each(full as f64 - empty as f64)),
        kernel_bytes: each(measure::kernel_slab_bytes()? as f64 - slab),
        ..Turn::default()
    };
    step("pings");
    let pings = timed(&mut swarm, up.pid, Pace::Pings { per_s: load.pings_per_s }, load.seconds).await?;
    turn.ping_cpu_us = pings.cpu_us;
    turn.ping_p50_us = pings.figures.latency.p50_us as f64;
    turn.ping_p99_us = pings.figures.latency.p99_us as f64;
    turn.void = pings.figures.void();
    step("as many pings as it answers");
    let saturated = timed(&mut swarm, up.pid, Pace::Saturate { connections: load.connections }, load.seconds).await?;
    turn.saturated_cpu_us = saturated.cpu_us;
    turn.saturated_cores = saturated.cores;
    turn.saturated_client_cores = saturated.client_cores;
    let status = swarm.status().await?;
    let is_limited = status.errors.iter().any(|error| error.contains(ErrorCode::RateLimited.as_str()));
    turn.saturated_per_s = (!is_limited).then(|| saturated.figures.answered as f64 / load.seconds);
    if status.lost > 0 {
        turn.void = Some(format!("{} connections were lost: {}", status.lost, status.errors.join("; ")));
    }
    swarm.stop().await?;
    if has_rooms {
        step("one room");
        let (room, void) = fill_room(up, load.room, number).await?;
        turn.room = Some(room);
        turn.void = turn.void.or(void);
    }
    Ok(turn)
}

/// A phase with the processor time that it took.
struct Timed {
    figures: Figures,
    /// Of the server, for each answer.
    cpu_us: Option<f64>,
    cores: Option<f64>,
    client_cores: f64,
}

async fn timed(swarm: &mut Swarm, pid: Option<u32>, pace: Pace, seconds: f64) -> anyhow::Result<Timed> {
    let clients = swarm.pids();
    let clients_cpu_us = || clients.iter().map(|pid| measure::cpu_us(*pid)).sum::<anyhow::Result<u64>>();
    let server_cpu_us = || pid.map(measure::cpu_us).transpose();
    let started_at = clock::now();
    let (before, clients_before) = (server_cpu_us()?, clients_cpu_us()?);
    let figures = swarm.phase(pace, seconds).await?;
    let used = server_cpu_us()?.zip(before).map(|(after, before)| (after - before) as f64);
    let clients_used = (clients_cpu_us()? - clients_before) as f64;
    let took_us = clock::now().duration_since(started_at).as_micros() as f64;
    Ok(Timed {
        cpu_us: used.map(|used| used / figures.answered.max(1) as f64),
        cores: used.map(|used| used / took_us),
        client_cores: clients_used / took_us,
        figures,
    })
}

/// What members of the room saw, and why that says nothing, if so.
async fn fill_room(up: &Up, members: usize, number: usize) -> anyhow::Result<(RoomTurn, Option<String>)> {
    let mut swarm = Swarm::start(members)?;
    let connected = swarm
        .connect(Connect {
            target: up.target.clone(),
            count: members,
            per_s: members as f64 / ROOM_FILLS_IN_S,
            tokens: up.rooms(1, &format!("{number}-one")).await?,
            room_size: members,
            track_members: true,
        })
        .await?;
    let failed = all_in(&connected, members).err().map(|error| format!("one room: {error:#}"));
    let rooms = swarm.rooms(SETTLE).await?;
    swarm.stop().await?;
    let room = RoomTurn {
        seen_p50_us: rooms.seen.p50_us as f64,
        seen_p99_us: rooms.seen.p99_us as f64,
        frames: rooms.received.presence_frames.mean(rooms.received.members),
        bytes: rooms.received.presence_bytes.mean(rooms.received.members),
        frames_max: rooms.received.presence_frames.max,
        members: rooms.members,
        exact: rooms.exact,
    };
    Ok((room, failed.or(connected.void())))
}

fn all_in(connected: &Connected, count: usize) -> anyhow::Result<()> {
    ensure!(
        connected.connected == count,
        "{} of {count} connections failed: {}",
        connected.failed,
        connected.errors.join("; ")
    );
    Ok(())
}

async fn settled_memory(pid: Option<u32>, load: Load) -> anyhow::Result<Option<u64>> {
    let Some(pid) = pid else { return Ok(None) };
    let interval = LOOK_INTERVAL.min(Duration::from_secs_f64(load.seconds));
    let mut last = measure::rss_anon_bytes(pid)?;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(interval).await;
        let now = measure::rss_anon_bytes(pid)?;
        if now.abs_diff(last) < SETTLED_BYTES {
            return Ok(Some(now));
        }
        last = now;
    }
    Ok(Some(last))
}
