//! A sum that somebody changed is found.

use super::super::history::History;
use super::super::{LEASE, now, run};
use super::{database, differences, fresh_id, make_session, make_tenant};
use crate::store::ledger::apply_batch;

#[tokio::test]
async fn recompute_billing_finds_every_changed_sum() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let session = make_session(&store, tenant, fresh_id(), now()).await;
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, vec![session], epoch, now());
    for choice in 0..200 {
        history.step(choice * 7_919);
    }
    let mut conn = store.dedicated().await.expect("connection");
    apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
    assert_eq!(differences(&store).await, "", "right at first");
    for (tampering, found) in [
        ("update rollcall.participant_coverage set covered_us = covered_us + 1", "participant_coverage.covered_us"),
        ("update rollcall.participant_coverage set connections = connections + 1", "participant_coverage.connections"),
        ("delete from rollcall.participant_coverage", "participant_coverage"),
        ("update rollcall.session_usage_day set participants = 0", "session_usage_day.participants"),
        ("update rollcall.session_usage_day set whole_seconds = 0", "session_usage_day.whole_seconds"),
        ("update rollcall.session_usage_day set connections = connections + 1", "session_usage_day.connections"),
        ("update rollcall.usage_15m set covered_us = covered_us - 1", "usage_15m.covered_us"),
        ("update rollcall.usage_15m set begun_participants = begun_participants + 1", "usage_15m.begun_participants"),
        ("update rollcall.usage_15m set begun_session_minutes = 0", "usage_15m.begun_session_minutes"),
        ("update rollcall.usage_15m set participants_new = participants_new + 1", "usage_15m.participants_new"),
        ("update rollcall.usage_15m set sessions_carried = sessions_carried + 1", "usage_15m.sessions_carried"),
        (
            "update rollcall.usage_15m set connections_carried = connections_carried + 1",
            "usage_15m.connections_carried",
        ),
        ("update rollcall.usage_15m set uncertainty_us = uncertainty_us + 1", "usage_15m.uncertainty_us"),
        ("update rollcall.usage_15m set joins = joins + 1", "usage_15m.joins"),
        (
            "insert into rollcall.usage_returns (tenant_id, bucket, since, shard, sessions, participants)
             select tenant_id, bucket, bucket - interval '1 hour', shard, 0, 1 from rollcall.usage_15m limit 1",
            "usage_returns.participants",
        ),
        ("update rollcall.participant_coverage set quarters = '{}'", "participant_coverage.quarters"),
        ("update rollcall.session_usage_day set quarters = null", "session_usage_day.quarters"),
        (
            "update rollcall.total_15m set participants_carried = participants_carried + 1",
            "total_15m.participants_carried",
        ),
        ("update rollcall.total_15m set covered_us = covered_us - 1", "total_15m.covered_us"),
        ("update rollcall.usage_day set session_minutes = 0", "usage_day.session_minutes"),
        ("update rollcall.usage_day set whole_seconds = whole_seconds * 2", "usage_day.whole_seconds"),
        ("update rollcall.session_stats_day set duration_us = duration_us + 1", "session_stats_day.duration_us"),
        ("update rollcall.total_stats_day set timed = timed + 1", "total_stats_day.timed"),
        ("update rollcall.total_stats_15m set duration_us = duration_us - 1", "total_stats_15m.duration_us"),
        (
            "update rollcall.total_stats_15m u set bucket = u.bucket + interval '15 minutes'
             where u.bucket = (select max(o.bucket) from rollcall.total_stats_15m o)",
            "total_stats_15m.quarter",
        ),
        ("delete from rollcall.session_durations_day", "session_durations_day.sessions"),
        ("update rollcall.total_durations_day set sessions = sessions + 1", "total_durations_day.sessions"),
        ("delete from rollcall.session_duration_bands_day", "session_duration_bands_day.sessions"),
        ("update rollcall.total_duration_bands_day set band = band + 1", "total_duration_bands_day"),
        ("update rollcall.total_duration_bands_15m set sessions = sessions * 2", "total_duration_bands_15m.sessions"),
        // Behind the back of the triggers the sums no longer fit; before their eyes the trail does not.
        (
            "set local session_replication_role = replica;
             update rollcall.participation_spans set disconnected_at = disconnected_at + interval '1 us'",
            "participant_coverage.covered_us",
        ),
        ("update rollcall.participation_spans set disconnected_at = disconnected_at + interval '1 us'", "span"),
    ] {
        let mut tx = store.pool.begin().await.expect("begins");
        sqlx::raw_sql(tampering).execute(&mut *tx).await.expect(tampering);
        let kinds: Vec<String> = sqlx::query_scalar(
            "select distinct what from rollcall.recompute_billing(null, '2026-01-01Z', '2027-01-01Z')",
        )
        .fetch_all(&mut *tx)
        .await
        .expect("recomputes");
        assert!(kinds.iter().any(|kind| kind.starts_with(found)), "{tampering}: {kinds:?}");
        tx.rollback().await.expect("rolls back");
    }
    run(&store, "select 1").await.expect("the pool is sound");
    assert_eq!(differences(&store).await, "", "right again");
}
