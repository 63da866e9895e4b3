//! Joins at a fixed rate, whatever the answers are. A join is measured from its scheduled instant to the `joined` frame,
//! which the server sends when the record is on its disk.

use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::Crowd;

parameters! {
    /// People who come at a fixed rate: how long each join takes, and when the last is in.
    pub struct JoinStorm {
        /// People who come.
        participants: usize = 10_000, in 1..=1_000_000;
        /// People in a room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second.
        joins_per_s: f64 = 500.0, in 1..=100_000;
    }
}

const P50: FigureKey = FigureKey::lower("join_p50_ms", "ms", "joined p50");
const P99: FigureKey = FigureKey::lower("join_p99_ms", "ms", "joined p99");
const MEAN: FigureKey = FigureKey::lower("join_mean_ms", "ms", "joined, mean");
const P999: FigureKey = FigureKey::lower("join_p999_ms", "ms", "joined p99.9");
const MAX: FigureKey = FigureKey::lower("join_max_ms", "ms", "joined, the slowest");
const SECONDS: FigureKey = FigureKey::lower("seconds", "s", "until everybody had joined");
const ERRORS: FigureKey = FigureKey::lower("errors", "", "people who did not get in");
const UPGRADE: FigureKey = FigureKey::lower("upgrade_p99_ms", "ms", "connect and upgrade p99");
const CANARY: FigureKey = FigureKey::lower("canary_p99_ms", "ms", "ping p99 of those who were there before");
const STALL: FigureKey = FigureKey::lower("stall_ms", "ms", "longest wait of those who were there before");

impl Workload for JoinStorm {
    const FIGURES: &'static [FigureKey] = &[P99, SECONDS, ERRORS, MEAN, P50, P999, MAX, UPGRADE, CANARY, STALL];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let canary = subject.canary().await?;
        let crowd = Crowd {
            participants: self.participants,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: false,
        };
        let (swarm, connected) = subject.admit(crowd).await?;
        let canary = canary.stop().await;
        swarm.stop().await?;
        subject.stop().await?;
        let void = connected.void();
        let (join, upgrade) = (&connected.join, &connected.upgrade);
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = vec![
            P99.is(ms(join.p99_us))
                .note(format!("{} joins at {}/s", self.participants, self.joins_per_s))
                .void_if(void),
            SECONDS.is(connected.seconds),
            ERRORS.is(connected.failed as f64).note(connected.errors.join("; ")),
            MEAN.is(join.mean_us() / 1000.0),
            P50.is(ms(join.p50_us)),
            P999.is(ms(join.p999_us)),
            MAX.is(ms(join.max_us)),
            UPGRADE.is(ms(upgrade.p99_us)),
            CANARY.is(ms(canary.latency.p99_us)).note(canary.errors.join("; ")),
            STALL.is(canary.longest_ms),
        ];
        let distributions = vec![Distribution::of("joined", join), Distribution::of("connect and upgrade", upgrade)];
        Ok(Findings { figures, distributions })
    }
}
