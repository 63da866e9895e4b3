//! Memory of an idle participant, everything included: socket, task, presence, its share of session and invite, journal
//! and flush buffers. The process is measured before the first session exists and again when everybody is in, pings, and
//! memory stands still.

use std::time::Duration;

use crate::floor;
use crate::measure;
use crate::report::{Figure, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::Crowd;
use crate::swarm::{Pace, Swarm};

parameters! {
    /// What a participant costs who is there and silent but for its pings: private memory of the server, beside that of a
    /// bare echo server (the floor).
    pub struct Idle {
        /// People who are there.
        participants: usize = 16_000, in 1..=1_000_000;
        /// People in a room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// Seconds between two pings of one participant.
        ping_interval_s: f64 = 30.0, in 1..=600;
        /// Seconds of pings before memory is read; more than an interval, so that everybody has pinged.
        soak_s: f64 = 40.0, in 0..=86_400;
    }
}

const MEMORY: FigureKey = FigureKey::lower("memory_kib", "KiB", "memory of a participant");
const RATIO: FigureKey = FigureKey::lower("memory_ratio", "x", "memory of a participant, ratio to the floor");
const LOST: FigureKey = FigureKey::lower("lost", "", "connections lost");
const FLOOR: FigureKey = FigureKey::info("floor_kib", "KiB", "memory of a connection at the floor");
const SLAB: FigureKey = FigureKey::info("slab_kib", "KiB", "kernel memory of a connection, both ends");
const EMPTY: FigureKey = FigureKey::info("empty_mib", "MiB", "memory of the server without anybody");

impl Workload for Idle {
    const FIGURES: &'static [FigureKey] = &[MEMORY, RATIO, LOST, FLOOR, SLAB, EMPTY];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let count = self.participants;
        let (floor_kib, slab_kib) = self.floor(stage).await?;
        let subject = stage.subject(&[]).await?;
        let empty = match subject.pid() {
            Some(pid) => Some(stage.settled_memory(pid).await?),
            None => None,
        };
        let crowd = Crowd {
            participants: count,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: false,
        };
        let mut swarm = subject.crowd(crowd).await?;
        self.soak(stage, &mut swarm).await?;
        let full = match subject.pid() {
            Some(pid) => Some(stage.settled_memory(pid).await?),
            None => None,
        };
        let status = swarm.status().await?;
        swarm.stop().await?;
        subject.stop().await?;
        let mut figures = Vec::new();
        if let (Some(empty), Some(full)) = (empty, full) {
            let each = (full as f64 - empty as f64) / count as f64 / 1024.0;
            let void = (status.lost > 0).then(|| format!("{} connections were lost", status.lost));
            figures.push(MEMORY.is(each).note(format!("{count} people in rooms of {}", self.room_size)).void_if(void));
            figures.push(RATIO.is(each / floor_kib));
            figures.push(EMPTY.is(empty as f64 / 1024.0 / 1024.0));
        }
        figures.push(LOST.is(status.lost as f64).note(status.errors.first().cloned().unwrap_or_default()));
        figures.extend::<[Figure; 2]>([FLOOR.is(floor_kib), SLAB.is(slab_kib)]);
        Ok(Findings { figures, distributions: Vec::new() })
    }
}

impl Idle {
    /// Memory of a connection at the floor and in the kernel, in KiB.
    async fn floor(&self, stage: &Stage) -> anyhow::Result<(f64, f64)> {
        let count = self.participants;
        let (process, listen) = floor::start(floor::Kind::Library).await?;
        let empty = stage.settled_memory(process.pid()).await?;
        let slab_empty = measure::kernel_slab_bytes()?;
        let mut swarm = stage.crowd_floor(listen, count).await?;
        self.soak(stage, &mut swarm).await?;
        let full = stage.settled_memory(process.pid()).await?;
        let slab_full = measure::kernel_slab_bytes()?;
        swarm.stop().await?;
        process.stop().await?;
        let each = |full: u64, empty: u64| (full as f64 - empty as f64) / count as f64 / 1024.0;
        Ok((each(full, empty), each(slab_full, slab_empty)))
    }

    /// Lets everybody ping for a while.
    async fn soak(&self, stage: &Stage, swarm: &mut Swarm) -> anyhow::Result<()> {
        stage.progress.step(format!("everybody pings every {} s", self.ping_interval_s));
        swarm.pace(Pace::Pings { per_s: self.participants as f64 / self.ping_interval_s }).await?;
        tokio::time::sleep(Duration::from_secs_f64(self.soak_s)).await;
        Ok(())
    }
}
