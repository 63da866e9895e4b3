//! The only reader of time in the harness.

#![allow(clippy::disallowed_methods)] // This is the one place that may.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub fn now() -> Instant {
    Instant::now()
}

/// Wall time in microseconds since the Unix epoch, to compare with instants that the server states. Both processes read
/// the clock of the same machine.
pub fn wall_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds from `earlier` to `later`, zero when they are the other way round.
pub fn micros_between(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_micros()).unwrap_or(u64::MAX)
}
