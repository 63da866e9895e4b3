//! `cleanup_inactive_sessions`: what it ends, what it must not touch, and whom it waits for.

use std::time::Duration;

use rollcall_core::{SessionId, Timestamp};
use sqlx::Connection;

use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value, verify};
use crate::store::Store;
use crate::store::mapping::to_utc;

const HOUR: Duration = Duration::from_secs(3600);
const ENDED: &str = "select count(*) from rollcall.cleanup_inactive_sessions('1 hour')";

/// A session last active two hours ago, with one open connection last heard 30 s after that.
async fn stale_session(store: &Store, epoch_attested: Timestamp) -> (SessionId, i64) {
    let tenant = make_tenant(store).await;
    let begin = now() - HOUR * 2;
    let session = make_session(store, tenant, fresh_id(), begin).await;
    let epoch = store.open_epoch("node-a", epoch_attested, LEASE).await.expect("epoch");
    let participant = fresh_id();
    run(
        store,
        format!(
            "update rollcall.sessions set started_at = created_at where session_id = '{session}';
             insert into rollcall.participants (session_id, participant_id, tenant_id, identity, identity_verified, role,
                 status, first_joined_at, joined_at, last_seen_at)
             select session_id, '{participant}', tenant_id, 'ann', true, 'guest', 'active', created_at, created_at,
                    created_at from rollcall.sessions where session_id = '{session}';
             insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, last_evidence_at)
             select {epoch}, 1, session_id, tenant_id, '{participant}', 'guest', created_at,
                    created_at + interval '30 seconds' from rollcall.sessions where session_id = '{session}'"
        ),
    )
    .await
    .expect("prepares");
    (session, epoch.0)
}

#[tokio::test]
async fn a_stale_session_ends_at_its_deadline_and_only_once() {
    let store = database().await;
    let (session, _) = stale_session(&store, now()).await;
    let dry = "select count(*) from rollcall.cleanup_inactive_sessions('1 hour', 10, true)";
    assert_eq!(value(&store, dry).await, "1");
    assert_eq!(value(&store, "select status from rollcall.sessions").await, "active", "a dry run changes nothing");
    let row = "select (c.session_id, c.end_reason, c.ended_at - c.last_activity_at, c.spans_closed)
               from rollcall.cleanup_inactive_sessions() c";
    assert_eq!(value(&store, row).await, format!("({session},idle,00:01:00,1)"));
    assert_eq!(value(&store, ENDED).await, "0");

    let end = "select (s.status, s.end_reason, s.ended_at = s.created_at + interval '60 s') from rollcall.sessions s";
    assert_eq!(value(&store, end).await, "(ended,idle,t)");
    // The span ends at its evidence; the half minute to the end of the session is uncertain, not billed.
    let span = "select (p.disconnected_at = p.last_evidence_at, p.end_reason, p.uncertainty_us)
                from rollcall.participation_spans p";
    assert_eq!(value(&store, span).await, "(t,session_ended,30000000)");
    let left = "select (p.status, p.leave_reason) from rollcall.participants p";
    assert_eq!(value(&store, left).await, "(left,session_ended)");
    let event = "select (a.event_type, a.metadata ->> 'source', a.metadata ->> 'reason', a.seq)
                 from rollcall.session_audit_log a";
    assert_eq!(value(&store, event).await, "(session_ended,cleanup,idle,1)");
    verify(&store).await.expect("sound");
}

#[tokio::test]
async fn reasons_follow_what_came_first() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let begin = now() - HOUR * 2;
    let never_joined = make_session(&store, tenant, fresh_id(), begin).await;
    let expired = make_session(&store, tenant, fresh_id(), begin).await;
    let held = make_session(&store, tenant, fresh_id(), begin).await;
    run(
        &store,
        format!(
            "update rollcall.sessions set started_at = created_at where session_id <> '{never_joined}';
             update rollcall.sessions set expires_at = created_at + interval '59 s' where session_id = '{expired}';
             update rollcall.sessions set hold_until = now() + interval '1 h' where session_id = '{held}'"
        ),
    )
    .await
    .expect("prepares");
    assert_eq!(value(&store, ENDED).await, "2", "the extended session is held");
    for (session, reason) in [(never_joined, "abandoned"), (expired, "max_duration"), (held, "null")] {
        let found = format!("select end_reason from rollcall.sessions where session_id = '{session}'");
        assert_eq!(value(&store, found).await, reason);
    }
}

#[tokio::test]
async fn a_node_that_may_know_more_protects_its_sessions() {
    let store = database().await;
    // The node has attested only up to before the deadline: a ping may be in its journal.
    let (_, epoch) = stale_session(&store, now() - HOUR * 2).await;
    assert_eq!(value(&store, ENDED).await, "0");

    // Its lease ran out three days ago, but this database has only just come up: leases look old after any outage.
    run(
        &store,
        format!("update rollcall.node_epochs set lease_until = now() - interval '3 days' where epoch = {epoch}"),
    )
    .await
    .expect("prepares");
    assert_eq!(value(&store, ENDED).await, "0");
    let up = "select clock_timestamp() - pg_postmaster_start_time() > interval '10 milliseconds'";
    assert_eq!(value(&store, up).await, "true");
    let patient = "select count(*) from (select set_config('rollcall.epoch_lost_after', '10 milliseconds', true)) x,
                   lateral rollcall.cleanup_inactive_sessions('1 hour') c where x is not null";
    assert_eq!(value(&store, patient).await, "1", "a lost node blocks only so long");
}

#[tokio::test]
async fn a_join_under_way_wins_over_the_clean_up() {
    let store = database().await;
    let (session, _) = stale_session(&store, now()).await;
    let mut join = store.dedicated().await.expect("connection");
    let mut tx = join.begin().await.expect("begins");
    sqlx::query("update rollcall.sessions set last_activity_at = $2 where session_id = $1")
        .bind(session.0)
        .bind(to_utc(now()))
        .execute(&mut *tx)
        .await
        .expect("updates");
    assert_eq!(value(&store, ENDED).await, "0", "a session that is being written is not idle");
    tx.commit().await.expect("commits");
    assert_eq!(value(&store, ENDED).await, "0", "and now it is active");
    assert_eq!(value(&store, "select status from rollcall.sessions").await, "active");
}

#[tokio::test]
async fn many_sessions_end_at_once_and_each_is_told_of() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    run(
        &store,
        format!(
            "insert into rollcall.sessions (session_id, tenant_id, idle_timeout_s, created_at, last_activity_at,
                                            last_seen_at, hold_until, started_at)
             select gen_random_uuid(), '{tenant}', 60, x, x, x, x, x
             from generate_series(1, 400), lateral (select now() - interval '3 hours' as x) b;
             insert into rollcall.participants (session_id, participant_id, tenant_id, identity, identity_verified, role,
                 status, first_joined_at, joined_at, last_seen_at)
             select session_id, session_id, tenant_id, 'ann', true, 'guest', 'active', created_at, created_at, created_at
             from rollcall.sessions;
             insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, last_evidence_at)
             select 1, 2 * row_number() over (order by session_id) + n, session_id, tenant_id, session_id, 'guest',
                    created_at, created_at + n * interval '30 s'
             from rollcall.sessions, generate_series(0, 1) n where session_id::text < '8'"
        ),
    )
    .await
    .expect("prepares");
    let open = value(&store, "select count(*) from rollcall.participation_spans").await;
    let ended = "select (count(*), sum(c.spans_closed), count(distinct c.session_id))
                 from rollcall.cleanup_inactive_sessions('1 hour', 300) c";
    let ended = value(&store, ended).await;
    assert!(ended.starts_with("(300,") && ended.ends_with(",300)"), "as many as asked for: {ended}");
    assert_eq!(value(&store, ENDED).await, "100");
    assert_eq!(value(&store, ENDED).await, "0");
    let told = "select (count(*), min(seq), max(seq), sum((metadata ->> 'spans_closed')::int))
                from rollcall.session_audit_log where event_type = 'session_ended'";
    assert_eq!(value(&store, told).await, format!("(400,1,400,{open})"));
    let counted = "select (sum(covered_us) = sum(participants) * 30000000, sum(connections) = 2 * sum(participants))
                   from rollcall.usage_day";
    assert_eq!(value(&store, counted).await, "(t,t)");
    let stats = "select (sum(idle), sum(timed)) from rollcall.session_stats_day";
    assert_eq!(value(&store, stats).await, "(400,400)");
    assert_eq!(super::books::differences(&store).await, "");
    verify(&store).await.expect("sound");
}

#[tokio::test]
async fn bad_arguments_are_refused_with_a_hint() {
    let store = database().await;
    for call in ["'-1 hour'", "null", "'1 hour', 0", "'1 hour', null"] {
        let error = run(&store, format!("select rollcall.cleanup_inactive_sessions({call})")).await.expect_err(call);
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("22023"), "{call}");
    }
}
