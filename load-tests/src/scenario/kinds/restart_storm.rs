//! The server goes while everybody is inside, and comes back. Clients return with their resume tokens, each at a random
//! instant, as the SDK does. Nobody may be seen to leave.

use std::time::Duration;

use crate::clock;
use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::{parameters, words};
use crate::scenario::stage::Stage;
use crate::scenario::subject::Crowd;
use crate::swarm::{Reconnect, Schedule};

words! {
    pub enum End {
        /// SIGTERM: it says that it restarts, flushes and ends.
        Terminate = "terminate",
        /// SIGKILL: it says nothing.
        Kill = "kill",
    }
}

parameters! {
    /// A restart of the server with everybody inside: all come back with full jitter, and nobody is seen to leave.
    pub struct RestartStorm {
        /// People inside.
        participants: usize = 10_000, in 1..=1_000_000;
        /// People in a room.
        room_size: usize = 10, in 1..=10_000;
        /// Joins a second while the crowd is built up.
        joins_per_s: f64 = 500.0, in 1..=100_000;
        /// How the server ends: `terminate` (SIGTERM) or `kill` (SIGKILL).
        how: End = End::Terminate;
        /// Each client comes back at a random instant within so many seconds of the server's return.
        jitter_s: f64 = 10.0, in 0..=600;
        /// A client that is not in after so many seconds of trying counts as failed.
        give_up_s: f64 = 60.0, in 1..=3_600;
        /// Seconds that member lists may take to agree when everybody is back.
        settle_s: f64 = 10.0, in 0..=600;
    }
}

const FAILED: FigureKey = FigureKey::lower("failed", "", "people who did not come back");
const LEAVES: FigureKey = FigureKey::lower("visible_leaves", "", "leaves that somebody saw");
const WRONG: FigureKey = FigureKey::lower("lists_wrong", "", "members whose list was not exact in the end");
const BACK: FigureKey = FigureKey::lower("back_s", "s", "from the server's return until everybody was in");
const DOWN: FigureKey = FigureKey::lower("down_s", "s", "from the signal until connections were accepted again");
const P50: FigureKey = FigureKey::lower("return_p50_ms", "ms", "return of a client p50");
const P99: FigureKey = FigureKey::lower("return_p99_ms", "ms", "return of a client p99");
const REFUSED: FigureKey = FigureKey::info("refused", "", "attempts that were refused");

impl Workload for RestartStorm {
    const FIGURES: &'static [FigureKey] = &[FAILED, LEAVES, WRONG, BACK, DOWN, P50, P99, REFUSED];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let mut subject = stage.subject(&[]).await?;
        subject.own()?;
        let crowd = Crowd {
            participants: self.participants,
            room_size: self.room_size,
            joins_per_s: self.joins_per_s,
            options: Default::default(),
            track_members: true,
        };
        let mut swarm = subject.crowd(crowd).await?;
        // Until every list is exact: whatever is missing later is the restart's doing.
        let before = swarm.rooms(Duration::from_secs_f64(self.settle_s)).await?;
        swarm.mark().await?;

        stage.progress.step(match self.how {
            End::Terminate => "SIGTERM, and a new start",
            End::Kill => "SIGKILL, and a new start",
        });
        let ended_at = clock::now();
        match self.how {
            End::Terminate => subject.own()?.terminate().await?,
            End::Kill => subject.own()?.kill9().await?,
        }
        subject.own()?.restart().await?;
        subject.restarted();
        let down = clock::now() - ended_at;

        stage.progress.step(format!("everybody comes back within {} s", self.jitter_s));
        let schedule = Schedule::Jitter { within_s: self.jitter_s };
        let back = swarm.reconnect(Reconnect { target: None, schedule, give_up_s: self.give_up_s }).await?;
        stage.progress.step("lists are compared");
        let rooms = swarm.rooms(Duration::from_secs_f64(self.settle_s)).await?;
        swarm.stop().await?;
        subject.stop().await?;

        let void = (before.exact < before.members)
            .then(|| format!("{} lists were not exact before the restart", before.members - before.exact));
        // Those who were never lost need not come back; after a restart that would mean that it did not happen.
        let void = void.or_else(|| {
            (back.wanted < self.participants).then(|| format!("only {} connections ended with the server", back.wanted))
        });
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = vec![
            FAILED.is(back.failed as f64).note(back.errors.join("; ")),
            LEAVES.is(rooms.received.leaves_seen as f64).void_if(void),
            WRONG.is((self.participants - rooms.exact.min(self.participants)) as f64),
            BACK.is(back.seconds).note(format!("{} people, full jitter over {} s", back.connected, self.jitter_s)),
            DOWN.is(down.as_secs_f64()),
            P50.is(ms(back.latency.p50_us)),
            P99.is(ms(back.latency.p99_us)),
            REFUSED.is(back.refused as f64).note(format!("{} attempts", back.attempts)),
        ];
        let distributions = vec![Distribution::of("return of a client", &back.latency)];
        Ok(Findings { figures, distributions })
    }
}
