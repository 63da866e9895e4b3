//! Many small rooms in which people come and go all the time: the ordinary day of a server.

use std::time::Duration;

use crate::clock;
use crate::measure::{self, Latency};
use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::{Crowd, ping_all};
use crate::swarm::{How, Reconnect, Schedule};

parameters! {
    /// Many small rooms with people who come and go: how soon the others see it, and what it costs.
    pub struct Rooms {
        /// Rooms.
        rooms: usize = 500, in 1..=100_000;
        /// People in a room.
        room_size: usize = 10, in 2..=1_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// Seconds between two pings of one participant.
        ping_interval_s: f64 = 30.0, in 1..=600;
        /// Percent of the people who close and come back in every round.
        churn_percent: f64 = 2.0, in 0..=100;
        /// Seconds of a round.
        round_s: f64 = 2.0, in 1..=3_600;
        /// Rounds.
        rounds: usize = 15, in 1..=100_000;
        /// Seconds that member lists may take to agree after the last round.
        settle_s: f64 = 10.0, in 0..=600;
    }
}

const WRONG: FigureKey = FigureKey::lower("lists_wrong", "", "members whose list was not exact in the end");
const FAILED: FigureKey = FigureKey::lower("failed", "", "people who did not come back");
const LEAVES: FigureKey = FigureKey::lower("visible_leaves", "", "leaves seen of people who were back in time");
const RETURN_P99: FigureKey = FigureKey::lower("return_p99_ms", "ms", "return of a client p99");
const P99: FigureKey = FigureKey::lower("canary_p99_ms", "ms", "ping p99 of bystanders");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait of bystanders");
const SEEN_P99: FigureKey = FigureKey::lower("seen_p99_ms", "ms", "from a first join until another member sees it p99");
const FRAMES: FigureKey = FigureKey::info("presence_frames_per_s", "/s", "presence frames to all members");
const CPU: FigureKey = FigureKey::lower("cpu_percent", "%", "processor time of the server, of a core");

impl Workload for Rooms {
    const FIGURES: &'static [FigureKey] = &[WRONG, FAILED, LEAVES, RETURN_P99, P99, STALL, SEEN_P99, FRAMES, CPU];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let participants = self.rooms * self.room_size;
        let crowd = Crowd {
            participants,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: true,
        };
        let mut swarm = subject.crowd(crowd).await?;
        let seen = swarm.rooms(Duration::from_secs_f64(self.settle_s)).await?.seen;
        swarm.mark().await?;
        ping_all(&mut swarm, participants, self.ping_interval_s).await?;
        let canary = subject.canary().await?;
        let (began_at, cpu_before) = (clock::now(), subject.pid().map(measure::cpu_us).transpose()?);
        stage.progress.step_of(format!("rounds of {} s", self.round_s), self.rounds);
        let (mut failed, mut returns) = (0, Vec::new());
        for round in 0..self.rounds {
            let round_at = clock::now();
            let dropped = swarm.drop_connections(How::Close, self.churn_percent / 100.0).await?;
            let per_s = dropped.dropped.max(1) as f64 / self.round_s;
            let schedule = Schedule::Rate { per_s };
            let back = swarm.reconnect(Reconnect { target: None, schedule, give_up_s: 30.0 }).await?;
            failed += back.failed;
            returns.push(back.latency);
            stage.progress.count(round + 1);
            tokio::time::sleep_until(round_at + Duration::from_secs_f64(self.round_s)).await;
        }
        let cpu_after = subject.pid().map(measure::cpu_us).transpose()?;
        let took_s = (clock::now() - began_at).as_secs_f64();
        let canary = canary.stop().await;
        stage.progress.step("lists are compared");
        let rooms = swarm.rooms(Duration::from_secs_f64(self.settle_s)).await?;
        swarm.stop().await?;
        subject.stop().await?;
        let returns = Latency::merged(&returns);
        let ms = |micros: u64| micros as f64 / 1000.0;
        let mut figures = vec![
            WRONG.is((participants - rooms.exact.min(participants)) as f64),
            FAILED.is((failed + canary.lost) as f64),
            LEAVES.is(rooms.received.leaves_seen as f64),
            RETURN_P99.is(ms(returns.p99_us)).note(format!("{} returns", returns.count)),
            P99.is(ms(canary.latency.p99_us)),
            STALL.is(canary.longest_ms),
            SEEN_P99.is(ms(seen.p99_us)),
            FRAMES.is(rooms.received.presence_frames.total as f64 / took_s),
        ];
        if let Some((before, after)) = cpu_before.zip(cpu_after) {
            figures.push(CPU.is(after.saturating_sub(before) as f64 / took_s / 10_000.0));
        }
        let distributions = vec![
            Distribution::of("return of a client", &returns),
            Distribution::of("first join, seen by the others", &seen),
            Distribution::of("ping of bystanders", &canary.latency),
        ];
        Ok(Findings { figures, distributions })
    }
}
