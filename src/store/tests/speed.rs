//! How fast batches go in. Not a check but a measurement:
//! `cargo test --lib flush_rate -- --ignored --nocapture`.

use std::time::Duration;

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value};
use crate::store::ledger::apply_batch;

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn flush_rate() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let mut sessions = Vec::new();
    for _ in 0..1_000 {
        sessions.push(make_session(&store, tenant, fresh_id(), now()).await);
    }
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, sessions, epoch, now());
    let mut choice = 12_345_u32;
    while history.records.len() < 100_000 {
        choice = choice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // No ends, and a mark per 2,000 records as it would be at 2,000 records a second.
        let step = (choice >> 8) / 13 * 13 + [0, 1, 4, 5, 7, 8, 9][(choice >> 3) as usize % 7];
        history.step(step);
        if history.records.len().is_multiple_of(2_000) {
            history.mark(0);
        }
    }
    let mut conn = store.dedicated().await.expect("connection");
    for (size, sums) in [(1_000, true), (2_000, true), (2_000, false), (5_000, true)] {
        let switch = if sums { "enable" } else { "disable" };
        for trigger in ["insert", "update"] {
            let sql = format!(
                "alter table rollcall.participation_spans {switch} trigger participation_spans_roll_up_{trigger};
                 alter table rollcall.sessions {switch} trigger sessions_count_{trigger}"
            );
            run(&store, sql).await.expect("switches the counting");
        }
        let first = store.applied_seq(epoch).await.expect("answers").unwrap_or(0);
        let records = &history.records[first as usize..][..24_000];
        let begin = now();
        for (index, batch) in records.chunks(size).enumerate() {
            let seq = first + (index * size) as i64 + 1;
            apply_batch(&mut conn, epoch, seq, batch, LEASE).await.expect("applies");
        }
        let taken: Duration = now().since(begin);
        let rate = records.len() as f64 / taken.as_secs_f64();
        println!("batches of {size}, {} sums: {rate:.0} records/s", if sums { "with" } else { "without" });
    }
    let mix = "select string_agg(event_type || ' ' || n, ', ' order by n desc)
               from (select event_type, count(*) as n from rollcall.session_audit_log group by 1) x";
    println!("{}", value(&store, mix).await);
}
