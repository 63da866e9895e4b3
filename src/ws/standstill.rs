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
const STANDSTILL_MIN: Duration = Duration::from_secs(1);

/// So long after a standstill a socket that seems empty may still have something in it that the system has not announced.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);

/// Standstills that follow each other so soon are one: what came during the first may still be unread.
const APART_MIN: Duration = Duration::from_secs(10);

/// The latest standstill of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standstill {
    /// How many there were; zero says that the rest means nothing.
    pub(super) count: u32,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The latest beat.
    beat_at: Timestamp,
}

impl Standstill {
    const NONE: Self = Self { count: 0, from: Timestamp::ZERO, until: Timestamp::ZERO, beat_at: Timestamp::NEVER };

    /// What is known at `now`. A standstill is found out by whoever looks first, the beat or a socket, and lasts until the
    /// beat has come.
    fn at(self, now: Timestamp) -> Self {
        if now < self.beat_at + STANDSTILL_MIN {
            return self;
        }
        if self.until > self.beat_at {
            return Self { until: now, ..self };
        }
        let is_new = self.count == 0 || self.beat_at > self.until + APART_MIN;
        let from = if is_new { self.beat_at } else { self.from };
        Self { count: self.count.wrapping_add(1).max(1), from, until: now, beat_at: self.beat_at }
    }

    /// Whether a socket that seems empty at `now` is.
    pub(super) fn is_announced(&self, now: Timestamp) -> bool {
        now >= self.until + ANNOUNCED_AFTER
    }
}

thread_local! {
    static LATEST: Cell<Standstill> = const { Cell::new(Standstill::NONE) };
}

/// How many standstills this thread knows of.
pub(super) fn count() -> u32 {
    LATEST.get().count
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
        assert_eq!(latest.at(at(100)).count, 0, "a thread that has not begun to beat knows nothing");
        latest = Standstill { beat_at: at(100), ..latest };
        assert_eq!(latest.at(at(100) + Duration::from_millis(999)).count, 0);
        // A socket finds it first, the beat then knows it already.
        let found = latest.at(at(130));
        assert_eq!((found.count, found.from, found.until), (1, at(100), at(130)));
        let again = found.at(at(131));
        assert_eq!((again.count, again.from, again.until), (1, at(100), at(131)), "one, until the beat has come");
        assert!(!found.is_announced(at(130)) && found.is_announced(at(131)));
        let beaten = Standstill { beat_at: at(130), ..found.at(at(130)) };
        assert_eq!(beaten.count, 1);
    }

    #[test]
    fn standstills_in_a_row_are_one() {
        let first = beaten(Standstill { beat_at: at(100), ..Standstill::NONE }, 110);
        let second = beaten(beaten(first, 111), 120);
        assert_eq!((second.count, second.from, second.until), (3, at(100), at(120)));
        let later = Standstill { beat_at: at(200), ..second }.at(at(210));
        assert_eq!((later.from, later.until), (at(200), at(210)));
    }
}
