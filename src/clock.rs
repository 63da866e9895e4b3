//! The only reader of time and randomness. Everything else takes them as arguments.

#![allow(clippy::disallowed_methods)] // This is the one place that may.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rollcall_core::Timestamp;
use uuid::Uuid;

/// Wall time anchored once, advanced by the monotonic clock: inside one run it never goes backwards and never jumps, so
/// durations are exact however the wall clock is set meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor_wall: Timestamp,
    anchor: Instant,
}

impl Clock {
    /// The wall is read between two readings of the monotonic clock, and of a few such readings the closest counts: a
    /// start on a busy machine must not shift a whole run against the others by the time that it had to wait in between.
    pub fn system() -> Self {
        let read = || {
            let anchor = Instant::now();
            let anchor_wall = wall_now();
            (anchor.elapsed(), Self { anchor_wall, anchor })
        };
        let (mut width, mut clock) = read();
        for _ in 1..ANCHOR_TRIES {
            let (next_width, next) = read();
            if next_width < width {
                (width, clock) = (next_width, next);
            }
        }
        clock
    }

    pub fn now(&self) -> Timestamp {
        self.anchor_wall + self.anchor.elapsed()
    }

    /// How far the wall clock has moved against this clock since the anchor: NTP steps, or suspend.
    pub fn drift(&self) -> Duration {
        let (wall, own) = (wall_now(), self.now());
        wall.since(own).max(own.since(wall))
    }

    /// Waits until `at`; returns at once when it has passed. Never early.
    pub async fn sleep_until(&self, at: Timestamp) {
        loop {
            let now = self.now();
            if at <= now {
                return;
            }
            tokio::time::sleep(at.since(now).min(SLEEP_MAX)).await;
        }
    }

    /// A time-ordered id.
    pub fn uuid_v7(&self) -> Uuid {
        Uuid::now_v7()
    }

    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }

    /// A duration between zero and `max`, to spread what would otherwise come at once.
    pub fn jitter(&self, max: Duration) -> Duration {
        let fraction = f64::from(u32::from_le_bytes(self.random_bytes())) / f64::from(u32::MAX);
        max.mul_f64(fraction)
    }
}

/// Readings of which the best anchors the clock; each takes less than a microsecond.
const ANCHOR_TRIES: usize = 100;

/// Longest single sleep; tokio cannot represent instants much further away.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

fn wall_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::ZERO + since_epoch
}
