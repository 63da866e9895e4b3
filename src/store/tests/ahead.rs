//! The trail of a batch that goes ahead: seen by nobody before its turn, and lost without a trace when its turn never comes.

use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{LeaveReason, Record};

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value, verify};
use crate::store::Store;
use crate::store::ledger::{BatchOutcome, FlushConnection};

const ROWS: &str = "select count(*) from rollcall.session_audit_log where epoch > 0";

/// Backends that hold rows of the trail and wait for their turn.
const AHEAD: &str = "select count(*) from pg_stat_activity
                     where datname = current_database() and state = 'idle in transaction' and query like 'insert into%'";

type Batch = Arc<Vec<Record>>;

/// Two batches of one epoch: somebody comes; somebody else comes and the first one goes.
async fn start(store: &Store) -> (FlushConnection, History, Batch, Batch) {
    let tenant = make_tenant(store).await;
    let session = make_session(store, tenant, fresh_id(), now()).await;
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, vec![session], epoch, now());
    history.join(0, 0);
    let first = history.records.clone();
    history.join(0, 1);
    history.close(0, LeaveReason::Closed);
    let second = history.records[first.len()..].to_vec();
    (FlushConnection::open(store).await.expect("connection"), history, Arc::new(first), Arc::new(second))
}

async fn goes_ahead(store: &Store) {
    for _ in 0..500 {
        if value(store, AHEAD).await == "1" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing went ahead");
}

#[tokio::test]
async fn what_went_ahead_is_seen_when_its_turn_comes() {
    let store = database().await;
    let (mut connection, history, first, second) = start(&store).await;
    let from = first.len() as i64 + 1;
    let (outcome, _) = connection.apply(history.epoch, 1, &first, Some(second.clone()), LEASE).await.expect("applies");
    assert!(matches!(outcome, BatchOutcome::Applied { .. }), "{outcome:?}");
    goes_ahead(&store).await;
    assert_eq!(value(&store, ROWS).await, first.len().to_string());

    let (outcome, _) = connection.apply(history.epoch, from, &second, None, LEASE).await.expect("applies");
    assert_eq!(outcome, BatchOutcome::Applied { audit_rows: second.len() as u64 });
    assert_eq!(value(&store, ROWS).await, history.records.len().to_string());
    assert_eq!(value(&store, AHEAD).await, "0");
    verify(&store).await.expect("sound");
}

#[tokio::test]
async fn another_batch_than_the_one_that_went_ahead() {
    let store = database().await;
    let (mut connection, history, first, second) = start(&store).await;
    let from = first.len() as i64 + 1;
    connection.apply(history.epoch, 1, &first, Some(second.clone()), LEASE).await.expect("applies");
    goes_ahead(&store).await;
    // The same records in two parts, and then the whole again, whose place is taken.
    for (index, record) in second.iter().enumerate() {
        let part = Arc::new(vec![record.clone()]);
        let next = Some(second.clone());
        let (outcome, _) =
            connection.apply(history.epoch, from + index as i64, &part, next, LEASE).await.expect("applies");
        assert_eq!(outcome, BatchOutcome::Applied { audit_rows: 1 });
    }
    let (outcome, _) = connection.apply(history.epoch, from, &second, None, LEASE).await.expect("answers");
    assert_eq!(outcome, BatchOutcome::AlreadyApplied { applied_seq: history.records.len() as i64 });
    assert_eq!(value(&store, ROWS).await, history.records.len().to_string());
    verify(&store).await.expect("sound");
}

#[tokio::test]
async fn a_connection_that_is_lost_takes_back_what_went_ahead() {
    let store = database().await;
    let (mut connection, history, first, second) = start(&store).await;
    let from = first.len() as i64 + 1;
    connection.apply(history.epoch, 1, &first, Some(second.clone()), LEASE).await.expect("applies");
    goes_ahead(&store).await;
    run(&store, "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction' and query like 'insert into%'
                 and datname = current_database()").await.expect("ends it");
    connection.apply(history.epoch, from, &second, None, LEASE).await.expect_err("the connection is gone");
    assert_eq!(value(&store, ROWS).await, first.len().to_string());

    let mut connection = FlushConnection::open(&store).await.expect("connection");
    let (outcome, _) = connection.apply(history.epoch, from, &second, None, LEASE).await.expect("applies");
    assert_eq!(outcome, BatchOutcome::Applied { audit_rows: second.len() as u64 });
    verify(&store).await.expect("sound");
}

#[tokio::test]
async fn a_refused_record_is_set_aside_whether_it_went_ahead_or_not() {
    let store = database().await;
    let (mut connection, history, first, second) = start(&store).await;
    let from = first.len() as i64 + 1;
    // The one refuses a row of the trail, the other a row that comes later.
    for (place, table, condition) in [
        (1, "session_audit_log", "event_type <> 'connection_opened'"),
        (from, "participation_spans", "connection <> 2"),
    ] {
        run(&store, format!("alter table rollcall.{table} add constraint picky check ({condition}) not valid"))
            .await
            .expect("alters");
        let (batch, next) = if place == 1 { (&first, Some(second.clone())) } else { (&second, None) };
        let (outcome, refused) = connection.apply(history.epoch, place, batch, next, LEASE).await.expect("applies");
        assert!(matches!(outcome, BatchOutcome::Applied { .. }), "{outcome:?}");
        assert_eq!(refused, 1, "{table}");
        // What went ahead holds a lock until its turn.
        run(
            &store,
            format!("set lock_timeout = '10s'; alter table rollcall.{table} drop constraint picky; reset lock_timeout"),
        )
        .await
        .expect("alters");
    }
    assert_eq!(value(&store, "select count(*) from rollcall.refused_records").await, "2");
    assert_eq!(value(&store, ROWS).await, (history.records.len() - 2).to_string());
    assert_eq!(value(&store, "select string_agg(problem, ', ') from rollcall.verify_audit_chain()").await, "null");
}

#[tokio::test]
async fn whoever_changes_the_table_meanwhile_waits_for_two_batches_at_most() {
    let store = database().await;
    let (mut connection, mut history, first, second) = start(&store).await;
    let second_from = first.len() as i64 + 1;
    let third_from = history.records.len() as i64 + 1;
    history.join(0, 2);
    let third = Arc::new(history.records[third_from as usize - 1..].to_vec());
    connection.apply(history.epoch, 1, &first, Some(second.clone()), LEASE).await.expect("applies");
    goes_ahead(&store).await;
    let change = "begin; lock table rollcall.session_audit_log in access exclusive mode; commit";
    let changer = tokio::spawn({
        let store = store.clone();
        async move { run(&store, change).await }
    });
    let waits = "select count(*) from pg_locks where relation = 'rollcall.session_audit_log'::regclass and not granted";
    while value(&store, waits).await != "1" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The third one has to wait for the change, and the change for the second one.
    connection.apply(history.epoch, second_from, &second, Some(third.clone()), LEASE).await.expect("applies");
    changer.await.expect("ends").expect("locks");
    let (outcome, _) = connection.apply(history.epoch, third_from, &third, None, LEASE).await.expect("applies");
    assert_eq!(outcome, BatchOutcome::Applied { audit_rows: third.len() as u64 });
    verify(&store).await.expect("sound");
}
