//! The only reader of time in the harness.

#![allow(clippy::disallowed_methods)] // This is the one place that may.

use std::sync::OnceLock;
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

/// Readings of which the best anchors the steady clock.
const ANCHOR_TRIES: usize = 1_000;

/// Microseconds of wall time that never jump: anchored once, advanced by the monotonic clock, as the server does it. The
/// wall is read between two readings of the monotonic clock, and the closest pair of many counts, so that the anchor is
/// off by less than it takes to read a clock.
pub fn steady_us() -> i64 {
    static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (anchor, wall) = ANCHOR.get_or_init(|| {
        let readings = (0..ANCHOR_TRIES).map(|_| {
            let before = Instant::now();
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            let width = before.elapsed();
            (width, before + width / 2, wall)
        });
        readings.min_by_key(|(width, ..)| *width).map_or((Instant::now(), Duration::ZERO), |(_, at, wall)| (at, wall))
    });
    i64::try_from((*wall + anchor.elapsed()).as_micros()).unwrap_or(i64::MAX)
}
