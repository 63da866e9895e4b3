//! What the server is told, and what its promises are measured by.

use super::reasons::Rules;

/// The server's settings: everything that ends connections does so soon, or a run would take hours.
const PING_INTERVAL_MS: u64 = 1_000;
const PROBE_AFTER_MS: u64 = 2_000;
const DEAD_AFTER_MS: u64 = 3_000;
const MARK_INTERVAL_MS: u64 = 1_000;
const GRACE_S: u64 = 2;
const LEASE_S: u64 = 3;

/// How far two clocks of one machine may seem apart: each is the wall, read once with an error of a microsecond or two,
/// and the monotonic clock, rounded to whole microseconds. Only the comparison of the clocks themselves is granted this;
/// money is compared without any tolerance, because a frame takes longer from one process to the other.
const CLOCK_TOLERANCE_US: i64 = 5;

/// An evidence mark is due every second and is durable when the disk has it. Less than a tenth of a second late is the
/// worst that was seen, with seven programs waiting for each processor.
const MARK_LATE_US: i64 = 500_000;

/// A thread notices as soon as it runs again, and a join may come by another one before that.
const NOTICED_WITHIN_US: i64 = 1_000_000;

/// A close is durable with the next commit of the journal.
const CLOSE_DURABLE_US: i64 = 2_000_000;

pub const RULES: Rules = Rules {
    clock_tolerance_us: CLOCK_TOLERANCE_US,
    mark_late_us: MARK_LATE_US,
    marked_after_us: MARK_INTERVAL_MS as i64 * 1_000 + MARK_LATE_US,
    noticed_within_us: NOTICED_WITHIN_US,
    dead_after_us: DEAD_AFTER_MS as i64 * 1_000,
    close_durable_us: CLOSE_DURABLE_US,
};

pub fn environment() -> Vec<(&'static str, String)> {
    vec![
        ("ROLLCALL_WS__PING_INTERVAL_MS", PING_INTERVAL_MS.to_string()),
        ("ROLLCALL_WS__PROBE_AFTER_MS", PROBE_AFTER_MS.to_string()),
        ("ROLLCALL_WS__DEAD_AFTER_MS", DEAD_AFTER_MS.to_string()),
        ("ROLLCALL_LEDGER__MARK_INTERVAL_MS", MARK_INTERVAL_MS.to_string()),
        ("ROLLCALL_LEDGER__LEASE_S", LEASE_S.to_string()),
        ("ROLLCALL_PRESENCE__GRACE_S", GRACE_S.to_string()),
        ("ROLLCALL_PRESENCE__GRACE_HIDDEN_S", (GRACE_S * 2).to_string()),
        ("ROLLCALL_LOG__FILTER", "info".to_owned()),
    ]
}
