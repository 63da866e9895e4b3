//! The only reader of time and randomness. Everything else takes them as arguments.
//!
//! The simulation (tests/simulation) runs the server on a clock of its own, [`simulated`].

#![allow(clippy::disallowed_methods)] // This is the one place that may.

pub mod simulated;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rollcall_core::Timestamp;
use uuid::Uuid;

/// Wall time anchored once, advanced by the monotonic clock: inside one run it never goes backwards and never jumps, so
/// durations are exact however the wall clock is set meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    System {
        anchor_wall: Timestamp,
        anchor: Instant,
    },
    /// The clock of this thread's simulation, with the error that this node's wall clock had at its start.
    Simulated {
        error_us: i64,
    },
}

/// A timer that can be set again, for whoever keeps one for long. It is only looked at by the task that polls it.
#[derive(Debug)]
pub struct Timer {
    sleep: Sleep,
}

#[derive(Debug)]
enum Sleep {
    System(Pin<Box<tokio::time::Sleep>>),
    Simulated(Box<simulated::Alarm>),
}

/// The time limit was over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time limit is over")]
pub struct Elapsed;

impl Clock {
    /// The wall is read between two readings of the monotonic clock, and of a few such readings the closest counts: a
    /// start on a busy machine must not shift a whole run against the others by the time that it had to wait in between.
    pub fn system() -> Self {
        let read = || {
            let anchor = Instant::now();
            let anchor_wall = wall_now();
            (anchor.elapsed(), Self { source: Source::System { anchor_wall, anchor } })
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

    /// A clock of this thread's simulation that differs from its true time by `error_us`.
    pub fn simulated(error_us: i64) -> Self {
        Self { source: Source::Simulated { error_us } }
    }

    pub fn now(&self) -> Timestamp {
        match self.source {
            Source::System { anchor_wall, anchor } => anchor_wall + anchor.elapsed(),
            Source::Simulated { error_us } => Timestamp(simulated::now().0 + error_us),
        }
    }

    /// How far the wall clock has moved against this clock since the anchor: NTP steps, or suspend.
    pub fn drift(&self) -> Duration {
        let (wall, own) = (wall_now(), self.now());
        wall.since(own).max(own.since(wall))
    }

    pub async fn sleep(&self, duration: Duration) {
        let mut timer = self.timer(duration);
        std::future::poll_fn(|context| timer.poll(context)).await;
    }

    /// A timer that fires after this time.
    pub fn timer(&self, duration: Duration) -> Timer {
        let sleep = match self.source {
            Source::System { .. } => Sleep::System(Box::pin(tokio::time::sleep(duration))),
            Source::Simulated { .. } => Sleep::Simulated(Box::new(simulated::Alarm::after(duration))),
        };
        Timer { sleep }
    }

    /// Waits for `work` for a limited time.
    ///
    /// # Errors
    /// [`Elapsed`]; `work` is dropped then.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut work = std::pin::pin!(work);
        let mut timer = self.timer(limit);
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => timer.poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }

    /// Waits until `at`; returns at once when it has passed. Never early.
    pub async fn sleep_until(&self, at: Timestamp) {
        loop {
            let now = self.now();
            if at <= now {
                return;
            }
            self.sleep(at.since(now).min(SLEEP_MAX)).await;
        }
    }

    /// A time-ordered id.
    pub fn uuid_v7(&self) -> Uuid {
        match self.source {
            Source::System { .. } => Uuid::now_v7(),
            Source::Simulated { .. } => {
                let millis = u64::try_from(self.now().0 / 1_000).unwrap_or(0);
                uuid::Builder::from_unix_timestamp_millis(millis, &self.random_bytes()).into_uuid()
            }
        }
    }

    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self.source {
            Source::System { .. } => rand::rng().fill_bytes(&mut bytes),
            Source::Simulated { .. } => simulated::fill_random(&mut bytes),
        }
        bytes
    }

    /// A duration between zero and `max`, to spread what would otherwise come at once.
    pub fn jitter(&self, max: Duration) -> Duration {
        let fraction = f64::from(u32::from_le_bytes(self.random_bytes())) / f64::from(u32::MAX);
        max.mul_f64(fraction)
    }
}

impl Timer {
    /// Fires after this time instead.
    pub fn reset(&mut self, duration: Duration) {
        match &mut self.sleep {
            Sleep::System(sleep) => sleep.as_mut().reset(tokio::time::Instant::now() + duration),
            Sleep::Simulated(alarm) => alarm.reset(duration),
        }
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Sleep::System(sleep) => sleep.as_mut().poll(context),
            Sleep::Simulated(alarm) => alarm.poll(context),
        }
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
