//! Whether this thread has just stood still: the process was stopped, the machine gave its time to others, or one turn took
//! very long.
//!
//! What is read after a standstill may have come at any time during it, and its sender may have gone since. So it proves
//! what was true when the standstill began, and nothing about the time after. A beat on each thread of sockets finds out.

use std::cell::Cell;
use std::time::Duration;

use rollcall_core::Timestamp;

use crate::clock::Clock;

/// How often the beat comes.
const BEAT_INTERVAL: Duration = Duration::from_millis(250);

/// A beat that is later than this is a standstill. Shorter ones count as the way of a frame: up to this much may be billed
/// of a client that went away while they lasted.
pub(super) const STANDSTILL_MIN: Duration = Duration::from_secs(1);

/// Standstills that follow each other so soon are one: what came during the first may still be unread.
const APART_MIN: Duration = Duration::from_secs(10);

/// The latest standstill of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standstill {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The latest beat.
    beat_at: Timestamp,
}

impl Standstill {
    const NONE: Self = Self { from: Timestamp::ZERO, until: Timestamp::ZERO, beat_at: Timestamp::NEVER };

    /// What is known at `now`. A standstill is found out by whoever looks first, the beat or a socket, and lasts until the
    /// beat has come.
    fn at(self, now: Timestamp) -> Self {
        if now < self.beat_at + STANDSTILL_MIN {
            return self;
        }
        if self.until > self.beat_at {
            return Self { until: now, ..self };
        }
        let is_apart = self.beat_at > self.until + APART_MIN;
        let from = if is_apart { self.beat_at } else { self.from };
        Self { from, until: now, beat_at: self.beat_at }
    }
}

thread_local! {
    static LATEST: Cell<Standstill> = const { Cell::new(Standstill::NONE) };
}

/// When the latest standstill that is known of ended; the beginning of time when there was none.
pub(super) fn woke_at() -> Timestamp {
    LATEST.get().until
}

/// The latest standstill of this thread.
pub(super) fn look(now: Timestamp) -> Standstill {
    let latest = LATEST.get().at(now);
    LATEST.set(latest);
    latest
}

/// Beats for as long as the thread is there for sockets.
pub(super) async fn beat(clock: Clock) {
    loop {
        let now = clock.now();
        LATEST.set(Standstill { beat_at: now, ..look(now) });
        tokio::time::sleep(BEAT_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn beaten(latest: Standstill, seconds: i64) -> Standstill {
        Standstill { beat_at: at(seconds), ..latest.at(at(seconds)) }
    }

    #[test]
    fn a_late_beat_is_a_standstill_from_the_last_one_on() {
        let mut latest = Standstill::NONE;
        assert_eq!(latest.at(at(100)), Standstill::NONE, "a thread that has not begun to beat knows nothing");
        latest = Standstill { beat_at: at(100), ..latest };
        assert_eq!(latest.at(at(100) + Duration::from_millis(999)), latest);
        // A socket finds it first, and it lasts until the beat has come.
        let found = latest.at(at(130));
        assert_eq!((found.from, found.until), (at(100), at(130)));
        let again = found.at(at(131));
        assert_eq!((again.from, again.until), (at(100), at(131)));
        let beaten = beaten(again, 131);
        assert_eq!(beaten.at(at(131) + Duration::from_millis(999)), beaten);
    }

    #[test]
    fn standstills_in_a_row_are_one() {
        let first = beaten(Standstill { beat_at: at(100), ..Standstill::NONE }, 110);
        let second = beaten(beaten(first, 111), 120);
        assert_eq!((second.from, second.until), (at(100), at(120)));
        let later = Standstill { beat_at: at(200), ..second }.at(at(210));
        assert_eq!((later.from, later.until), (at(200), at(210)));
    }
}
