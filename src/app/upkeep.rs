//! What has to be done again and again beside the main job.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::control::Control;
use crate::store::Store;

/// Sessions ended in one transaction of the clean-up, so that none is locked for long.
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
        clean_up(&store, &stop).await;
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

/// Ends what is overdue, all of it: a node that is gone for good may leave tens of thousands of sessions.
async fn clean_up(store: &Store, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match store.cleanup_inactive_sessions(CLEANUP_SESSIONS_MAX).await {
            Ok(0) => return,
            Ok(ended) => {
                info!(ended, "clean-up ended sessions that no node had in memory");
                if ended < i64::from(CLEANUP_SESSIONS_MAX) {
                    return;
                }
            }
            Err(error) => {
                return warn!(error = &error as &dyn std::error::Error, "clean-up failed; it comes again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{database, make_tenant, run, value};

    #[tokio::test]
    async fn one_clean_up_ends_all_that_is_overdue() {
        let store = database().await;
        let tenant = make_tenant(&store).await;
        let overdue = CLEANUP_SESSIONS_MAX * 2 + 1;
        let sessions = format!(
            "insert into rollcall.sessions
                 (session_id, tenant_id, idle_timeout_s, created_at, last_activity_at, last_seen_at, hold_until)
             select gen_random_uuid(), '{tenant}', 60, t.at, t.at, t.at, t.at
             from generate_series(1, {overdue}), (select now() - interval '2 hours' as at) t"
        );
        run(&store, sessions).await.expect("prepares");
        clean_up(&store, &CancellationToken::new()).await;
        let ended = "select count(*) from rollcall.sessions where status = 'ended'";
        assert_eq!(value(&store, ended).await, overdue.to_string());
    }
}
