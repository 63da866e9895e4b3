//! One room that fills in a moment: the hardest case for presence, because everybody must hear of everybody. Without
//! coalescing a room of N that fills costs N²/2 frames.

use std::time::Duration;

use crate::report::{Distribution, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;
use crate::scenario::subject::Crowd;

parameters! {
    /// One room that fills in a moment: from a join until the others see it, frames per member, and whether every member
    /// has the exact list in the end.
    pub struct Room {
        /// People in the room.
        participants: usize = 1_000, in 2..=100_000;
        /// Seconds in which all of them join.
        within_s: f64 = 2.0, in 0..=3_600;
        /// Seconds that member lists may take to agree after the last join.
        settle_s: f64 = 10.0, in 0..=600;
    }
}

const FRAMES: FigureKey = FigureKey::lower("presence_frames", "", "presence frames, the member with the most");
const FRAMES_MEAN: FigureKey = FigureKey::lower("presence_frames_mean", "", "presence frames of a member, mean");
const BYTES: FigureKey = FigureKey::lower("presence_kib", "KiB", "bytes of presence frames of a member, mean");
const WRONG: FigureKey = FigureKey::lower("lists_wrong", "", "members whose list was not exact in the end");
const ERRORS: FigureKey = FigureKey::lower("errors", "", "people who did not get in");
const SEEN_P50: FigureKey = FigureKey::lower("seen_p50_ms", "ms", "from a join until another member sees it p50");
const SEEN_P99: FigureKey = FigureKey::lower("seen_p99_ms", "ms", "from a join until another member sees it p99");
const SETTLED: FigureKey = FigureKey::lower("settled_s", "s", "from the last join until every list was exact");
const JOIN_P99: FigureKey = FigureKey::lower("join_p99_ms", "ms", "joined p99");
const GAPS: FigureKey = FigureKey::info("gaps", "", "holes in the numbers of presence frames");

impl Workload for Room {
    const FIGURES: &'static [FigureKey] =
        &[FRAMES, WRONG, ERRORS, FRAMES_MEAN, BYTES, SEEN_P50, SEEN_P99, SETTLED, JOIN_P99, GAPS];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let subject = stage.subject(&[]).await?;
        let crowd = Crowd {
            participants: self.participants,
            room_size: self.participants,
            // A room that fills at one instant has no rate; this is as good as that.
            joins_per_s: self.participants as f64 / self.within_s.max(0.001),
            options: Default::default(),
            track_members: true,
        };
        let (mut swarm, connected) = subject.admit(crowd).await?;
        stage.progress.step("lists are compared");
        let rooms = swarm.rooms(Duration::from_secs_f64(self.settle_s)).await?;
        swarm.stop().await?;
        subject.stop().await?;
        let received = &rooms.received;
        let void = connected.void();
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = vec![
            FRAMES.is(received.presence_frames.max as f64),
            WRONG.is((self.participants - rooms.exact.min(self.participants)) as f64),
            ERRORS.is(connected.failed as f64).note(connected.errors.join("; ")),
            FRAMES_MEAN.is(received.presence_frames.mean(received.members)),
            BYTES.is(received.presence_bytes.mean(received.members) / 1024.0),
            SEEN_P50.is(ms(rooms.seen.p50_us)),
            SEEN_P99.is(ms(rooms.seen.p99_us)).void_if(void.clone()),
            SETTLED.is(rooms.settled_s),
            JOIN_P99.is(ms(connected.join.p99_us)).void_if(void),
            GAPS.is(received.gaps as f64),
        ];
        let distributions =
            vec![Distribution::of("seen by the others", &rooms.seen), Distribution::of("joined", &connected.join)];
        Ok(Findings { figures, distributions })
    }
}
