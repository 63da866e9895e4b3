//! What has to be done again and again beside the main job.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::control::Control;
use crate::store::Store;

/// Sessions ended in one call of the clean-up.
const CLEANUP_SESSIONS_MAX: i32 = 1_000;

/// A wall clock this far from where it was at the start is worth a line in the log.
const CLOCK_DRIFT_WORTH_SAYING: Duration = Duration::from_millis(500);

/// The backstop of the exact timers, and the housekeeping of the database.
pub(super) async fn keep_store(
    store: Store,
    control: Control,
    clock: Clock,
    keep_months: u32,
    every: Duration,
    stop: CancellationToken,
) {
    // Not right at the start: people who were inside must have the chance to come back first.
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let drift = clock.drift();
        if drift > CLOCK_DRIFT_WORTH_SAYING {
            warn!(drift_ms = drift.as_millis() as u64, "the wall clock was moved; the ledger goes on by its own");
        }
        match store.cleanup_inactive_sessions(CLEANUP_SESSIONS_MAX).await {
            Ok(0) => {}
            Ok(ended) => info!(ended, "clean-up ended sessions that no node had in memory"),
            Err(error) => warn!(error = &error as &dyn std::error::Error, "clean-up failed; it comes again"),
        }
        if let Err(error) = store.ensure_audit_partitions().await {
            warn!(error = &error as &dyn std::error::Error, "partitions of the audit log were not made ahead");
        }
        if keep_months > 0 {
            match store.detach_audit_partitions(keep_months, false).await {
                Ok(detached) => {
                    for partition in detached {
                        let (name, records) = (partition.name, partition.records);
                        info!(partition = name, records, "an old month left the audit log; its table stays");
                    }
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "old months of the audit log were not detached")
                }
            }
        }
        if let Err(error) = control.forget_answers().await {
            warn!(error = &error as &dyn std::error::Error, "old answers were not deleted");
        }
    }
}
