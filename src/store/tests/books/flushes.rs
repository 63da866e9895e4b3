//! Counting under way: whole histories, several nodes at once, a client that never stays.

use rollcall_core::Timestamp;
use uuid::Uuid;

use super::super::history::History;
use super::super::{LEASE, now, run, value};
use super::random::instant;
use super::{ALL_TIME, Ledger, MARCH, at, database, differences, fresh_id, make_session, make_tenant};
use crate::store::Store;
use crate::store::ledger::apply_batch;

const ANN: u128 = 1;
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

#[tokio::test]
async fn nothing_differs_after_random_histories() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let mut conn = store.dedicated().await.expect("connection");
    let mut choice = 12_345_u32;
    let mut awaited = 0;
    for round in 0..12 {
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(make_session(&store, tenant, fresh_id(), now()).await);
        }
        let epoch = store.open_epoch(&format!("node-{round}"), now(), LEASE).await.expect("epoch");
        let mut history = History::new(tenant, sessions, epoch, Timestamp(MARCH * SECOND + round * 7 * DAY / 2));
        for _ in 0..150 {
            choice = choice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            history.now = history.now + std::time::Duration::from_secs(u64::from(choice >> 24) * 3);
            history.step(choice >> 8);
        }
        let size = [1, 7, 64, 1_000][usize::try_from(round % 4).expect("small")];
        for (index, batch) in history.records.chunks(size).enumerate() {
            let first = (index * size) as i64 + 1;
            apply_batch(&mut conn, epoch, first, batch, LEASE).await.expect("applies");
            // Again, as after a lost answer.
            apply_batch(&mut conn, epoch, first, batch, LEASE).await.expect("answers");
            awaited += sessions_that_await_closes(&store).await;
        }
        assert_eq!(differences(&store).await, "", "round {round}");
    }
    assert!(awaited > 0, "some ended with people inside");
    assert_ne!(value(&store, "select sum(covered_us) from rollcall.usage_day").await, "0");
}

/// How many there are, all of them by their marks: those that have ended and have open connections.
async fn sessions_that_await_closes(store: &Store) -> i64 {
    let sql = "select count(*) filter (where e.awaits_closes),
                      count(*) filter (where e.awaits_closes <> (e.status = 'ended' and exists (
                          select from rollcall.participation_spans s
                          where s.session_id = e.session_id and s.disconnected_at is null)))
               from rollcall.sessions e";
    let (marked, wrong): (i64, i64) = sqlx::query_as(sql).fetch_one(&store.pool).await.expect("counts");
    assert_eq!(wrong, 0, "sessions with a wrong mark");
    marked
}

/// The trap of sums by upsert: two that count the same participant at the same time must not both count the overlap.
#[tokio::test]
async fn nodes_that_flush_the_same_participant_at_once_count_it_once() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(make_session(&store, tenant, fresh_id(), Timestamp(MARCH * SECOND)).await);
    }
    let mut nodes = tokio::task::JoinSet::new();
    for node in 0..4_i64 {
        let epoch = store.open_epoch(&format!("node-{node}"), now(), LEASE).await.expect("epoch");
        let (store, sessions) = (store.clone(), sessions.clone());
        nodes.spawn(async move {
            for round in 0..25_i64 {
                // Ten minutes each, every node a little later than the one before; sessions in any order.
                let from = (MARCH + round * 600 + node * 60) * SECOND;
                let rows: Vec<String> = (0..3_usize)
                    .map(|place| {
                        let session = sessions[(place + usize::try_from(node).expect("small")) % 3];
                        format!(
                            "({epoch}, {}, '{session}', '{tenant}', '{}', 'guest', {}, {to}, {to}, 'left')",
                            round * 3 + place as i64,
                            Uuid::from_u128(1),
                            instant(from),
                            to = instant(from + 600 * SECOND),
                        )
                    })
                    .collect();
                let sql = format!(
                    "begin; select set_config('rollcall.usage_shard', '{epoch}', true);
                     insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id,
                         role, connected_at, disconnected_at, last_evidence_at, end_reason)
                     values {}; commit",
                    rows.join(", ")
                );
                run(&store, sql).await.expect("nobody deadlocks");
            }
        });
    }
    nodes.join_all().await;
    // Fifteen thousand seconds and the three minutes by which the last node is late, in three sessions.
    let total = "select sum(covered_us) / 1000000 from rollcall.usage_day";
    assert_eq!(value(&store, total).await.parse::<f64>().expect("a number"), 3.0 * 15_180.0);
    assert_eq!(value(&store, "select count(distinct shard) from rollcall.usage_15m").await, "4");
    assert_eq!(differences(&store).await, "");
}

#[tokio::test]
async fn a_client_that_comes_and_goes_ten_thousand_times_is_bounded() {
    let mut ledger = Ledger::new().await;
    for round in 0..10 {
        let sql = format!(
            "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, disconnected_at, last_evidence_at, end_reason)
             select {}, n, '{}', '{}', '{}', 'guest', s.at, s.at + interval '2 s', s.at + interval '2 s', 'closed'
             from generate_series({round} * 1000 + 1, {round} * 1000 + 1000) n,
                  lateral (select {} + n * interval '5 s' as at) s",
            ledger.epoch,
            ledger.session,
            ledger.tenant,
            Uuid::from_u128(ANN),
            at(0.0)
        );
        run(&ledger.store, sql).await.expect("inserts");
    }
    let pieces = "select covered is null from rollcall.participant_coverage";
    assert_eq!(value(&ledger.store, pieces).await, "true", "above 1,000 pieces the union is not kept");
    assert_eq!(ledger.bill("billable_seconds", "").await, "20000");
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "20000");
    ledger.next_connection = 20_000;
    // One more span must not read the ten thousand before it.
    let sql = format!(
        "explain (analyze, costs off, timing off, summary off, format json)
         select s.epoch from rollcall.participation_spans s
         where s.session_id = '{}' and s.participant_id = '{}' and s.disconnected_at > {} and s.connected_at < {}",
        ledger.session,
        Uuid::from_u128(ANN),
        at(60_000.0),
        at(60_010.0)
    );
    run(&ledger.store, "analyze rollcall.participation_spans").await.expect("analyzes");
    let plan: String = sqlx::query_scalar::<_, serde_json::Value>(sqlx::AssertSqlSafe(sql))
        .fetch_one(&ledger.store.pool)
        .await
        .expect("plans")
        .to_string();
    assert!(plan.contains("participation_spans_session_idx") && plan.contains("disconnected_at >"), "{plan}");
    ledger.span(ANN, 60_000.0, 60_010.0).await;
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "20010");
    // A late one lies across many.
    ledger.span(ANN, 100.0, 200.0).await;
    assert_eq!(ledger.usage("billable_seconds", ALL_TIME).await, "20070");
    assert_eq!(ledger.bill("billable_seconds", "").await, "20070");
    assert_eq!(ledger.differences().await, "");
}
