//! Batches: exactly once, and folding that changes nothing.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rollcall_core::{
    Actor, ConnectionId, Epoch, Fact, InviteId, LeaveReason, ParticipantId, Record, Role, SessionEndReason,
    SessionFact, SessionId, Status, TenantId, Timestamp, WarningCause,
};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value, verify};
use crate::store::epochs::EpochState;
use crate::store::ledger::fold::is_passive;
use crate::store::ledger::{BatchOutcome, FlushConnection, apply_batch};
use crate::store::{Store, StoreError};

#[tokio::test]
async fn the_server_role_may_flush() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    for choice in 0..200 {
        history.step(choice * 7_919);
    }
    sqlx::query("set role rollcall_server").execute(&mut conn).await.expect("may become the server");
    let (head, tail) = history.records.split_at(history.records.len() / 2);
    apply_batch(&mut conn, history.epoch, 1, head, LEASE).await.expect("applies");
    // The way of batches that wait in line.
    let mut connection = FlushConnection::open(&store).await.expect("connection");
    let become_server = sqlx::query("set role rollcall_server");
    become_server.execute(connection.idle().await.expect("there")).await.expect("may become the server");
    let (first_seq, tail) = (head.len() as i64 + 1, Arc::new(tail.to_vec()));
    let (outcome, refused) =
        connection.apply(history.epoch, first_seq, &tail, Some(tail.clone()), LEASE).await.expect("applies");
    assert!(matches!(outcome, BatchOutcome::Applied { .. }) && refused == 0, "{outcome:?}");
    // Had the server not been allowed to, another connection would have come in its place.
    let user = sqlx::query_scalar("select current_user::text");
    let user: String = user.fetch_one(connection.idle().await.expect("there")).await.expect("answers");
    assert_eq!(user, "rollcall_server");
    // What went ahead holds the table until its turn, which does not come.
    drop(connection);
    verify(&store).await.expect("sound");
}

async fn start(store: &Store) -> (PgConnection, History) {
    let tenant = make_tenant(store).await;
    let session = make_session(store, tenant, fresh_id(), now()).await;
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let history = History::new(tenant, vec![session], epoch, now());
    (store.dedicated().await.expect("connection"), history)
}

#[tokio::test]
async fn a_batch_is_applied_exactly_once() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    history.join(0, 0);
    history.mark(0);
    history.close(0, LeaveReason::Closed);
    let records = history.records.clone();
    let epoch = history.epoch;
    assert_eq!(records.len(), 5);

    let gap = apply_batch(&mut conn, epoch, 2, &records[1..], LEASE).await.expect("answers");
    assert_eq!(gap, BatchOutcome::Regressed { applied_seq: 0 });
    let first = apply_batch(&mut conn, epoch, 1, &records[..3], LEASE).await.expect("applies");
    assert_eq!(first, BatchOutcome::Applied { audit_rows: 3 });
    let again = apply_batch(&mut conn, epoch, 1, &records[..3], LEASE).await.expect("answers");
    assert_eq!(again, BatchOutcome::AlreadyApplied { applied_seq: 3 });
    let overlap = apply_batch(&mut conn, epoch, 2, &records[1..], LEASE).await.expect("applies the rest");
    assert_eq!(overlap, BatchOutcome::Applied { audit_rows: 1 });
    assert_eq!(store.applied_seq(epoch).await.expect("answers"), Some(5));
    assert_eq!(value(&store, "select count(*) from rollcall.session_audit_log where epoch > 0").await, "4");
    assert_eq!(value(&store, "select count(*) from rollcall.evidence_marks").await, "1");
    verify(&store).await.expect("dense");

    assert!(store.close_epoch(epoch, EpochState::Fenced, 0).await.expect("closes"));
    assert!(!store.close_epoch(epoch, EpochState::Drained, 0).await.expect("closed already"));
    let late = apply_batch(&mut conn, epoch, 6, &records[..1], LEASE).await.expect("answers");
    assert_eq!(late, BatchOutcome::Fenced { state: Some(EpochState::Fenced) });
    let known = apply_batch(&mut conn, epoch, 1, &records[..3], LEASE).await.expect("answers");
    assert_eq!(known, BatchOutcome::AlreadyApplied { applied_seq: 5 });
}

#[tokio::test]
async fn an_epoch_forgotten_by_a_restore_can_be_fed_again() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    history.join(0, 0);
    let lost = Epoch(41);
    let unknown = apply_batch(&mut conn, lost, 1, &history.records, LEASE).await.expect("answers");
    assert_eq!(unknown, BatchOutcome::Fenced { state: None });
    store.reinstate_epoch(lost, "node-a", now()).await.expect("reinstates");
    store.reinstate_epoch(lost, "node-a", now()).await.expect("twice is as good as once");
    let fed = apply_batch(&mut conn, lost, 1, &history.records, LEASE).await.expect("applies");
    assert_eq!(fed, BatchOutcome::Applied { audit_rows: 3 });
    let next = store.open_epoch("node-b", now(), LEASE).await.expect("epoch");
    assert!(next > lost, "{next:?} must not be a number in use");
}

/// A start that was cut off may get through to Postgres late; nobody would close its epoch.
#[tokio::test]
async fn of_two_starts_of_a_node_the_second_is_refused() {
    let store = database().await;
    let first = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let second = store.open_epoch("node-a", now(), LEASE).await;
    assert!(matches!(&second, Err(StoreError::EpochActive { node_name }) if node_name == "node-a"), "{second:?}");
    store.open_epoch("node-b", now(), LEASE).await.expect("another node");
    assert!(store.close_epoch(first, EpochState::Recovered, 0).await.expect("closes"));
    store.open_epoch("node-a", now(), LEASE).await.expect("recovered");
    // At the same time, too: the one that waits for the other's commit sees it.
    assert!(store.unfinished_epochs("node-c").await.expect("answers").is_empty());
    let starts = (0..4).map(|_| store.open_epoch("node-c", now(), LEASE));
    let opened = futures_util::future::join_all(starts).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(opened, 1);
}

#[tokio::test]
async fn an_end_that_meets_an_ended_session_is_superseded() {
    let store = database().await;
    let (mut conn, history) = start(&store).await;
    let session = history.sessions[0];
    run(
        &store,
        format!(
            "update rollcall.sessions set status = 'ended', ended_at = now(), end_reason = 'completed'
             where session_id = '{session}'"
        ),
    )
    .await
    .expect("ends");
    let fact = SessionFact::SessionEnded { reason: SessionEndReason::Idle, by: Actor::Server };
    let record = Record { at: now(), fact: Fact::Session { tenant: history.tenant, session, fact } };
    apply_batch(&mut conn, history.epoch, 1, &[record], LEASE).await.expect("applies");
    let reason = value(&store, format!("select end_reason from rollcall.sessions where session_id = '{session}'"));
    assert_eq!(reason.await, "completed");
    let event = value(&store, "select event_type from rollcall.session_audit_log where epoch > 0").await;
    assert_eq!(event, "session_end_superseded");
}

#[tokio::test]
async fn names_and_identities_stay_out_of_the_trail() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    history.join(0, 0);
    apply_batch(&mut conn, history.epoch, 1, &history.records, LEASE).await.expect("applies");
    assert_eq!(value(&store, "select name from rollcall.participant_pii").await, "Name 0");
    let leaks = "select count(*) from rollcall.session_audit_log a where a::text ~ 'Name|person-'";
    assert_eq!(value(&store, leaks).await, "0");
}

#[test]
fn folding_equals_one_by_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let (folding, single, ahead) = runtime.block_on(async { (database().await, database().await, database().await) });
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let steps = proptest::collection::vec(any::<u32>(), 1..60);
    let outcome = runner.run(&(steps, any::<u128>()), |(steps, seed)| {
        let (left, right, in_turns) = runtime.block_on(async {
            let begin = now();
            let records = prepare(&folding, seed, begin, &steps).await;
            let again = prepare(&single, seed, begin, &steps).await;
            let third = prepare(&ahead, seed, begin, &steps).await;
            assert_eq!((&records.1, &records.1), (&again.1, &third.1), "all databases hand out the same epochs");
            apply(&folding, records.0, &records.1, records.1.len().max(1)).await;
            apply(&single, again.0, &again.1, 1).await;
            apply_in_turns(&ahead, third.0, &third.1, 1 + seed as usize % 9).await;
            (dump(&folding, records.0).await, dump(&single, again.0).await, dump(&ahead, third.0).await)
        });
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(left, in_turns);
        Ok(())
    });
    outcome.expect("a batch leaves the same rows as its records one by one, and as smaller ones that go ahead");
    runtime.block_on(async {
        verify(&ahead).await.expect("sound");
        assert_ne!(value(&single, "select count(*) from rollcall.participation_spans").await, "0");
    });
}

async fn prepare(store: &Store, seed: u128, begin: rollcall_core::Timestamp, steps: &[u32]) -> (Epoch, Vec<Record>) {
    let tenant = TenantId(Uuid::from_u128(seed));
    sqlx::query(
        "insert into rollcall.tenants (tenant_id, name, identity_salt) values ($1, $1::text, $2) on conflict do nothing",
    )
    .bind(tenant.0)
    .bind([1_u8; 32].as_slice())
    .execute(&store.pool)
    .await
    .expect("tenant");
    // The same name in every database.
    let node_name = value(store, "select 'node-' || count(*) from rollcall.node_epochs").await;
    let epoch = store.open_epoch(&node_name, begin, LEASE).await.expect("epoch");
    let mut sessions = Vec::new();
    for place in 0..2_u128 {
        let id = Uuid::from_u128(seed ^ ((epoch.0 as u128) << 64) ^ ((place + 1) << 32));
        sessions.push(make_session(store, tenant, id, begin).await);
    }
    let mut history = History::new(tenant, sessions, epoch, begin);
    for step in steps {
        history.step(*step);
    }
    (epoch, history.records)
}

async fn apply(store: &Store, epoch: Epoch, records: &[Record], size: usize) {
    let mut conn = store.dedicated().await.expect("connection");
    for (index, batch) in records.chunks(size).enumerate() {
        let outcome = apply_batch(&mut conn, epoch, (index * size) as i64 + 1, batch, LEASE).await.expect("applies");
        assert!(matches!(outcome, BatchOutcome::Applied { .. }), "{outcome:?}");
    }
}

/// The watermark does not read the connections of a busy node, which makes no bill complete that is not.
#[tokio::test]
async fn of_many_open_connections_the_watermark_knows_what_the_flush_measured() {
    const MANY: usize = 1_100;
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let begin = Timestamp(now().0 / 1_000_000 * 1_000_000 - 100_000_000);
    let session = make_session(&store, tenant, fresh_id(), begin).await;
    let below = store.open_epoch("node-a", begin, LEASE).await.expect("epoch");
    let busy = store.open_epoch("node-b", begin, LEASE).await.expect("epoch");
    let above = store.open_epoch("node-c", begin, LEASE).await.expect("epoch");
    run(&store, format!("update rollcall.node_epochs set attested_until = now() where epoch in ({below}, {above})"))
        .await
        .expect("attests");
    let mut history = History::new(tenant, vec![session], busy, begin);
    let mut conn = store.dedicated().await.expect("connection");
    let mut first_seq = 1;
    for person in 0..MANY {
        history.join(0, person);
    }
    let mut apply = async |history: &mut History| {
        let records = std::mem::take(&mut history.records);
        let outcome = apply_batch(&mut conn, busy, first_seq, &records, LEASE).await.expect("applies");
        assert!(matches!(outcome, BatchOutcome::Applied { .. }), "{outcome:?}");
        first_seq += records.len() as i64;
    };
    // After the beginning, in seconds.
    let complete = format!(
        "select extract(epoch from complete_through)::bigint - {} from rollcall.get_billing_watermark()",
        begin.0 / 1_000_000
    );
    // As if it had been right now, and as if a second had gone since.
    let measured_now = "update rollcall.node_epochs set open_measured_at = 'infinity'";
    let measured_long_ago = "update rollcall.node_epochs set open_measured_at = '-infinity'";
    let heard = |history: &mut History, at: u64, choice: usize| {
        history.now = begin + Duration::from_secs(at);
        history.mark(choice);
    };

    heard(&mut history, 10, 0);
    apply(&mut history).await;
    assert_eq!(value(&store, &*complete).await, "10");
    let measured = format!("select open_connections from rollcall.node_epochs where epoch = {busy}");
    assert_eq!(value(&store, &*measured).await, MANY.to_string());
    // Not measured again: what is known is too little and never too much.
    run(&store, measured_now).await.expect("updates");
    heard(&mut history, 20, 0);
    apply(&mut history).await;
    assert_eq!(value(&store, &*complete).await, "10");
    run(&store, measured_long_ago).await.expect("updates");
    // One in sixteen is not heard of.
    heard(&mut history, 30, 1);
    apply(&mut history).await;
    assert_eq!(value(&store, &*complete).await, "20");
    run(&store, measured_long_ago).await.expect("updates");
    heard(&mut history, 40, 0);
    apply(&mut history).await;
    assert_eq!(value(&store, &*complete).await, "40");

    // The few connections of others are read.
    for (few, evidence) in [(below, 25), (above, 15)] {
        let mut others = History::new(tenant, vec![session], few, begin + Duration::from_secs(evidence));
        others.join(0, MANY);
        let mut conn = store.dedicated().await.expect("connection");
        apply_batch(&mut conn, few, 1, &others.records, LEASE).await.expect("applies");
        assert_eq!(value(&store, &*complete).await, evidence.to_string());
    }
    let faults = |outcome: Result<(), sqlx::Error>| outcome.err().map(|error| error.to_string()).unwrap_or_default();
    let broken = "says that none is before";
    assert!(!faults(verify(&store).await).contains(broken));
    let tamper = "update rollcall.participation_spans set last_evidence_at = connected_at where connection = 7";
    run(&store, tamper).await.expect("tampers");
    assert!(faults(verify(&store).await).contains(broken), "a bill would be called complete that is not");
}

async fn apply_in_turns(store: &Store, epoch: Epoch, records: &[Record], size: usize) {
    let mut connection = FlushConnection::open(store).await.expect("connection");
    let mut batches = records.chunks(size).map(|batch| Arc::new(batch.to_vec())).peekable();
    let mut first_seq = 1;
    while let Some(batch) = batches.next() {
        let next = batches.peek().cloned();
        let (outcome, refused) = connection.apply(epoch, first_seq, &batch, next, LEASE).await.expect("applies");
        assert!(matches!(outcome, BatchOutcome::Applied { .. }) && refused == 0, "{outcome:?}");
        first_seq += batch.len() as i64;
    }
}

/// All rows that came out of an epoch, without what says when and in which steps they were written.
async fn dump(store: &Store, epoch: Epoch) -> Vec<String> {
    let sessions = format!("(select distinct session_id from rollcall.session_audit_log where epoch = {epoch})");
    let mut rows = Vec::new();
    for (table, filter, omitted) in [
        (
            "node_epochs",
            format!("t.epoch = {epoch}"),
            "lease_until,open_connections,open_evidence_from,open_measured_at",
        ),
        ("session_audit_log", format!("t.epoch = {epoch}"), "recorded_at"),
        ("evidence_marks", format!("t.epoch = {epoch}"), ""),
        ("participation_spans", format!("t.epoch = {epoch}"), ""),
        ("sessions", format!("t.session_id in {sessions}"), ""),
        ("participants", format!("t.session_id in {sessions}"), ""),
        ("participant_pii", format!("t.session_id in {sessions}"), ""),
        ("participant_coverage", format!("t.session_id in {sessions}"), ""),
        ("session_usage_day", format!("t.session_id in {sessions}"), ""),
        ("usage_15m", format!("t.shard = {epoch}"), ""),
        ("usage_returns", format!("t.shard = {epoch}"), ""),
        ("usage_day", format!("t.shard = {epoch}"), ""),
        ("session_stats_day", format!("t.shard = {epoch}"), ""),
        ("total_stats_day", format!("t.shard = {epoch}"), ""),
        ("total_stats_15m", format!("t.shard = {epoch}"), ""),
        ("total_duration_bands_15m", format!("t.shard = {epoch}"), ""),
        ("session_durations_day", format!("t.shard = {epoch}"), ""),
        ("session_duration_bands_day", format!("t.shard = {epoch}"), ""),
    ] {
        let sql = format!(
            "select '{table}: ' || (to_jsonb(t) - string_to_array('{omitted}', ','))::text from rollcall.{table} t where {filter} order by 1"
        );
        let found: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&store.pool).await.expect("the dump runs");
        rows.extend(found);
    }
    rows
}

#[tokio::test]
async fn a_crashed_span_is_only_ever_raised() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    history.join(0, 0);
    let opened_at = history.now;
    history.close(1, LeaveReason::NodeCrash);
    let participant = history.participant(0, 0);
    let connection = ConnectionId { epoch: history.epoch, counter: 1 };
    let session: SessionId = history.sessions[0];
    let amend = |at| Record {
        at,
        fact: Fact::Session {
            tenant: history.tenant,
            session,
            fact: SessionFact::ConnectionCloseAmended { participant, connection, uncertainty_us: 1 },
        },
    };
    let end = "select uncertainty_us from rollcall.participation_spans";
    let mut records = history.records.clone();
    records.push(amend(rollcall_core::Timestamp(opened_at.0 - 5)));
    apply_batch(&mut conn, history.epoch, 1, &records, LEASE).await.expect("applies");
    assert_eq!(value(&store, end).await, "5000", "an earlier end is not believed");
    let seq = records.len() as i64 + 1;
    apply_batch(&mut conn, history.epoch, seq, &[amend(rollcall_core::Timestamp(opened_at.0 + 9))], LEASE)
        .await
        .expect("applies");
    assert_eq!(value(&store, end).await, "1");
}

/// The flusher raises last_seen_at itself, and the trigger leaves it to that.
#[tokio::test]
async fn nobody_was_seen_before_their_newest_event() {
    let store = database().await;
    let (mut conn, mut history) = start(&store).await;
    for choice in 0..300 {
        history.step(choice * 7_919);
    }
    let mut first_seq = 1;
    for batch in history.records.chunks(7) {
        apply_batch(&mut conn, history.epoch, first_seq, batch, LEASE).await.expect("applies");
        first_seq += batch.len() as i64;
    }
    for (table, who) in [("sessions", "session_id"), ("participants", "participant_id")] {
        let counted = |filter: &str| {
            format!(
                "select count(*) from (select {who}, max(occurred_at) as at from rollcall.session_audit_log
                                       where not rollcall.is_passive_event(event_type) and {who} is not null group by 1) e
                 join rollcall.{table} t using ({who}) where {filter}"
            )
        };
        assert_ne!(value(&store, counted("t.last_seen_at >= e.at")).await, "0", "{table}");
        assert_eq!(value(&store, counted("t.last_seen_at < e.at")).await, "0", "{table}");
    }
}

/// What the flusher takes for seen and what the trigger would must be the same events.
#[tokio::test]
async fn passive_events_are_the_same_in_rust_and_sql() {
    let store = database().await;
    let participant = ParticipantId(fresh_id());
    let connection = ConnectionId { epoch: Epoch(1), counter: 1 };
    let (role, invite, at) = (Role::guest(), InviteId(fresh_id()), now());
    let facts = [
        SessionFact::SessionStarted,
        SessionFact::SessionEnded { reason: SessionEndReason::Idle, by: Actor::Server },
        SessionFact::SessionWarned { cause: WarningCause::Idle, ends_at: at },
        SessionFact::ParticipantJoined {
            participant,
            identity: "ann".into(),
            verified: true,
            name: None,
            role: role.clone(),
            invite: None,
        },
        SessionFact::ConnectionOpened { participant, connection, role, invite: None, resumed: None },
        SessionFact::ConnectionClosed {
            participant,
            connection,
            connected_at: at,
            reason: LeaveReason::Left,
            uncertainty_us: 0,
        },
        SessionFact::ConnectionCloseAmended { participant, connection, uncertainty_us: 0 },
        SessionFact::PresenceChanged { participant, status: Status::Away },
        SessionFact::ParticipantLeft { participant, reason: LeaveReason::Left, by: Actor::Server },
        SessionFact::StateUpdated { participant, state: "{}".into() },
        SessionFact::InviteExpired { invite },
    ];
    for fact in &facts {
        let sql = format!("select rollcall.is_passive_event('{}')", fact.event_type());
        assert_eq!(value(&store, sql).await, is_passive(fact).to_string(), "{}", fact.event_type());
    }
}
