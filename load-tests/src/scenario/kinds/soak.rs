//! Hours of ordinary life: people ping, come and go. Memory and latency at the end must be what they were at the start.

use std::time::Duration;

use crate::clock;
use crate::measure::{self, Latency};
use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::{Crowd, Subject, ping_all};
use crate::swarm::{How, Reconnect, Schedule, Swarm};

parameters! {
    /// Minutes to hours of pings and churn: whether memory or latency drift.
    pub struct Soak {
        /// People who are there.
        participants: usize = 5_000, in 1..=1_000_000;
        /// People in a room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// Seconds between two pings of one participant.
        ping_interval_s: f64 = 30.0, in 1..=600;
        /// Minutes, without the time to come in.
        minutes: f64 = 10.0, in 0..=100_000;
        /// Percent of the people who close and come back in a minute.
        churn_percent: f64 = 5.0, in 0..=100;
    }
}

const MEMORY: FigureKey =
    FigureKey::lower("memory_drift_percent", "%", "growth of memory from the first fifth to the last");
const DRIFT: FigureKey = FigureKey::lower("p99_drift_ms", "ms", "rise of ping p99 from the first fifth to the last");
const P99: FigureKey = FigureKey::lower("canary_p99_ms", "ms", "ping p99, all the time");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait for a pong");
const FAILED: FigureKey = FigureKey::lower("failed", "", "people who did not come back, or were lost");
const BACKLOG: FigureKey = FigureKey::lower("backlog", "records", "records not yet in Postgres at the end");
const GAPS: FigureKey = FigureKey::lower("gaps", "", "holes in the numbers of presence frames");
const FRAMES: FigureKey = FigureKey::info("presence_frames_per_s", "/s", "presence frames to all members");
const RETURNS: FigureKey = FigureKey::info("returns", "", "people who came back");

/// The first part is the measure of the last.
const PARTS: usize = 5;

/// Rounds of churn in a minute.
const ROUNDS_PER_MINUTE: f64 = 6.0;

/// What one fifth of the time was like.
struct Part {
    memory: Option<f64>,
    latency: Latency,
}

impl Workload for Soak {
    const FIGURES: &'static [FigureKey] = &[MEMORY, DRIFT, P99, STALL, FAILED, BACKLOG, GAPS, FRAMES, RETURNS];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let crowd = Crowd {
            participants: self.participants,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: false,
        };
        let mut swarm = subject.crowd(crowd).await?;
        ping_all(&mut swarm, self.participants, self.ping_interval_s).await?;
        let canary = subject.canary().await?;
        swarm.mark().await?;
        let (mut parts, mut failed, mut returns) = (Vec::new(), 0, 0);
        for part in 1..=PARTS {
            stage.progress.step(format!("part {part} of {PARTS}"));
            let (back, missing) = self.churn(&mut swarm).await?;
            returns += back;
            failed += missing;
            parts.push(Part { memory: self.memory(&subject)?, latency: canary.pulse().take() });
        }
        let backlog = subject.gauge("rollcall_journal_backlog_records").await?;
        let received = swarm.since_mark().await?;
        let lost = swarm.status().await?.lost;
        let canary = canary.stop().await;
        swarm.stop().await?;
        subject.stop().await?;

        let latency = Latency::merged(parts.iter().map(|part| &part.latency));
        let ms = |micros: u64| micros as f64 / 1000.0;
        let mut figures = Vec::new();
        let mut distributions = vec![Distribution::of("ping of bystanders", &latency)];
        if let [first, .., last] = parts.as_slice() {
            if let Some((before, after)) = first.memory.zip(last.memory) {
                figures.push(MEMORY.is((after - before) / before * 100.0));
            }
            figures.push(DRIFT.is(ms(last.latency.p99_us) - ms(first.latency.p99_us)));
            distributions.push(Distribution::of("first fifth", &first.latency));
            distributions.push(Distribution::of("last fifth", &last.latency));
        }
        figures.extend([
            P99.is(ms(latency.p99_us)),
            STALL.is(canary.longest_ms),
            FAILED.is((failed + lost + canary.lost) as f64),
            BACKLOG.is(backlog),
            GAPS.is(received.gaps as f64),
            FRAMES.is(received.presence_frames.total as f64 / (self.minutes * 60.0).max(1.0)),
            RETURNS.is(returns as f64),
        ]);
        Ok(Findings { figures, distributions })
    }
}

impl Soak {
    /// One part of the time. Returns how many came back, and how many did not.
    async fn churn(&self, swarm: &mut Swarm) -> anyhow::Result<(usize, usize)> {
        let end_at = clock::now() + Duration::from_secs_f64(self.minutes * 60.0 / PARTS as f64);
        let round = Duration::from_secs_f64(60.0 / ROUNDS_PER_MINUTE);
        let (mut back, mut failed) = (0, 0);
        while clock::now() < end_at {
            let next_at = (clock::now() + round).min(end_at);
            let share = self.churn_percent / 100.0 / ROUNDS_PER_MINUTE;
            let dropped = swarm.drop_connections(How::Close, share).await?.dropped;
            if dropped > 0 {
                let schedule = Schedule::Rate { per_s: dropped as f64 / round.as_secs_f64() * 2.0 };
                let returned = swarm.reconnect(Reconnect { target: None, schedule, give_up_s: 30.0 }).await?;
                back += returned.connected;
                failed += returned.failed;
            }
            tokio::time::sleep_until(next_at).await;
        }
        Ok((back, failed))
    }

    fn memory(&self, subject: &Subject<'_>) -> anyhow::Result<Option<f64>> {
        subject.pid().map(|pid| Ok(measure::rss_anon_bytes(pid)? as f64)).transpose()
    }
}
