//! Tampering of every kind, by somebody who may do everything in the database, and what the SQL verifier says about it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rollcall_core::Epoch;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value, verify};
use crate::store::Store;
use crate::store::jsonb::jsonb_text;
use crate::store::ledger::apply_batch;

/// An epoch of several batches with events and marks, and a few events of the control plane.
async fn trail() -> (Store, Epoch) {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let session = make_session(&store, tenant, fresh_id(), now()).await;
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, vec![session], epoch, now());
    for choice in 0..120 {
        history.step(choice * 7_919);
    }
    let mut conn = store.dedicated().await.expect("connection");
    for (index, batch) in history.records.chunks(10).enumerate() {
        apply_batch(&mut conn, epoch, index as i64 * 10 + 1, batch, LEASE).await.expect("applies");
    }
    for number in 0..5 {
        let note = format!(r#"select rollcall.log_session_event('{session}', 'note', null, '{{"n": {number}}}')"#);
        run(&store, note).await.expect("logged");
    }
    (store, epoch)
}

/// What a superuser would do to get round the triggers.
async fn tamper(store: &Store, sql: &str) {
    run(store, format!("set session_replication_role = replica; {sql}")).await.expect_err("ENABLE ALWAYS holds");
    let tables = "session_audit_log evidence_marks audit_batches audit_checkpoints audit_checkpoint_heads";
    let disable: String = tables.split(' ').map(|t| format!("alter table rollcall.{t} disable trigger all;")).collect();
    let partitions = "select string_agg(format('alter table %s disable trigger user', inhrelid::regclass), ';')
                      from pg_inherits where inhparent = 'rollcall.session_audit_log'::regclass";
    let partitions = value(store, partitions).await;
    run(store, format!("begin; {disable} {partitions}; {sql}; commit")).await.expect("a superuser may");
    restore_triggers(store).await;
}

async fn restore_triggers(store: &Store) {
    let sql = "do $$ declare r record; begin
        for r in select tgrelid::regclass as t, tgname from pg_trigger
                 where not tgisinternal and tgrelid in (select oid from pg_class where relnamespace = 'rollcall'::regnamespace)
        loop execute format('alter table %s enable always trigger %I', r.t, r.tgname); end loop; end $$";
    run(store, sql).await.expect("enabled again");
}

/// `epoch/seq problem` of every finding.
async fn findings(store: &Store) -> Vec<String> {
    let rows = sqlx::query("select severity, epoch, seq, problem from rollcall.verify_audit_chain()")
        .fetch_all(&store.pool)
        .await
        .expect("verifies");
    let number = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let text = |row: &sqlx::postgres::PgRow| {
        let (severity, problem): (String, String) = (row.get(0), row.get(3));
        format!("{severity} {}/{} {problem}", number(row.get(1)), number(row.get(2)))
    };
    rows.iter().map(text).collect()
}

fn assert_found(findings: &[String], wanted: &[String]) {
    for part in wanted {
        assert!(findings.iter().any(|finding| finding.contains(part.as_str())), "{part:?} is not in {findings:#?}");
    }
}

#[tokio::test]
async fn an_intact_trail_has_no_findings() {
    let (store, epoch) = trail().await;
    assert_eq!(findings(&store).await, Vec::<String>::new());
    verify(&store).await.expect("sound");
    assert_ne!(value(&store, "select count(*) from rollcall.evidence_marks").await, "0");
    let batches = format!("select count(*) > 3 from rollcall.audit_batches where epoch = {epoch}");
    assert_eq!(value(&store, batches).await, "true");
    run(&store, "select rollcall.seal_control_events()").await.expect("sealed");
    assert_eq!(value(&store, "select records from rollcall.audit_batches where epoch = 0").await, "5");
    assert_eq!(findings(&store).await, Vec::<String>::new());
    let since = "select count(*) from rollcall.verify_audit_chain(p_since => now() - interval '1 microsecond')";
    assert_eq!(value(&store, since).await, "0");
    let unknown = run(&store, "select rollcall.verify_audit_chain(999)").await.expect_err("refused").to_string();
    assert!(unknown.contains("unknown epoch 999"), "{unknown}");
}

#[tokio::test]
async fn an_altered_record_is_found_and_located() {
    let (store, epoch) = trail().await;
    let seq =
        value(&store, format!("select min(seq) + 12 from rollcall.session_audit_log where epoch = {epoch}")).await;
    let seq = value(
        &store,
        format!("select min(seq) from rollcall.session_audit_log where epoch = {epoch} and seq >= {seq}"),
    )
    .await;
    let update = format!(
        "update rollcall.session_audit_log set occurred_at = occurred_at + interval '1 microsecond'
         where epoch = {epoch} and seq = {seq}"
    );
    tamper(&store, &update).await;
    assert_eq!(
        findings(&store).await,
        [format!("error {epoch}/{seq} the record was altered: its leaf hash is not that of its columns")]
    );
}

#[tokio::test]
async fn every_column_of_a_record_is_covered() {
    let (store, _) = trail().await;
    for change in [
        "tenant_id = gen_random_uuid()",
        "session_id = null",
        "participant_id = gen_random_uuid()",
        "connection = '9-9'",
        "event_type = 'app.other'",
        "actor = 'operator '",
        "metadata = metadata || '{\"x\": 1}'",
        "occurred_at = occurred_at - interval '1 us'",
        "leaf = sha256('')",
    ] {
        let before = "create table keep as select * from rollcall.session_audit_log where epoch = 0 and seq = 3";
        run(&store, before).await.expect("kept");
        tamper(&store, &format!("update rollcall.session_audit_log set {change} where epoch = 0 and seq = 3")).await;
        assert_found(&findings(&store).await, &["error 0/3 the record was altered".to_owned()]);
        let back = "delete from rollcall.session_audit_log where epoch = 0 and seq = 3;
                    insert into rollcall.session_audit_log select * from keep; drop table keep";
        tamper(&store, back).await;
        assert_eq!(findings(&store).await, Vec::<String>::new(), "{change}");
    }
}

#[tokio::test]
async fn a_record_replaced_with_its_leaf_is_found_by_the_root() {
    let (store, epoch) = trail().await;
    let forge = format!(
        "update rollcall.session_audit_log a set actor = 'operator',
                leaf = rollcall.audit_leaf(epoch, seq, occurred_at, tenant_id, session_id, participant_id, connection,
                                           event_type, 'operator', metadata)
         where epoch = {epoch} and seq = (select min(seq) from rollcall.session_audit_log where epoch = {epoch} and seq > 20)"
    );
    tamper(&store, &forge).await;
    let found = findings(&store).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_found(&found, &[format!("error {epoch}/21 batch 21 to 30 does not have the root of its records")]);
}

#[tokio::test]
async fn deleted_and_swapped_records_are_found_and_located() {
    let (store, epoch) = trail().await;
    let seqs = format!(
        "select string_agg(seq::text, ',') from (select seq from rollcall.session_audit_log
         where epoch = {epoch} and seq between 11 and 20 order by seq limit 3) x"
    );
    let seqs: Vec<i64> = value(&store, seqs).await.split(',').map(|seq| seq.parse().expect("seq")).collect();
    tamper(&store, &format!("delete from rollcall.session_audit_log where epoch = {epoch} and seq = {}", seqs[0]))
        .await;
    let found = findings(&store).await;
    assert_eq!(found, [format!("error {epoch}/{} the record is missing", seqs[0])]);

    let (left, right) = (seqs[1], seqs[2]);
    let swap = format!(
        "update rollcall.session_audit_log set seq = -1 where epoch = {epoch} and seq = {left};
         update rollcall.session_audit_log set seq = {left} where epoch = {epoch} and seq = {right};
         update rollcall.session_audit_log set seq = {right} where epoch = {epoch} and seq = -1"
    );
    tamper(&store, &swap).await;
    assert_found(
        &findings(&store).await,
        &[
            format!("error {epoch}/{left} the record was altered"),
            format!("error {epoch}/{right} the record was altered"),
        ],
    );
    let mark = value(&store, format!("select min(seq) from rollcall.evidence_marks where epoch = {epoch}")).await;
    tamper(&store, &format!("delete from rollcall.evidence_marks where epoch = {epoch} and seq = {mark}")).await;
    assert_found(&findings(&store).await, &[format!("error {epoch}/{mark} the record is missing")]);
}

#[tokio::test]
async fn a_cut_off_end_is_found_by_the_chain_and_behind_it_by_checkpoints() {
    let (store, epoch) = trail().await;
    let cut = format!(
        "delete from rollcall.session_audit_log where epoch = {epoch} and seq > 30;
         delete from rollcall.evidence_marks where epoch = {epoch} and seq > 30;
         delete from rollcall.audit_batches where epoch = {epoch} and last_seq > 30"
    );
    // A checkpoint over what is there, as the server would write it.
    let checkpoint = format!(
        "insert into rollcall.audit_checkpoint_heads (incarnation, size, epoch, last_seq, hash)
         select 1, 1, epoch, last_seq, hash from rollcall.audit_batches where epoch = {epoch} order by last_seq desc limit 1;
         insert into rollcall.audit_checkpoints (incarnation, size, created_at, leaf, root, subtrees, note)
         select 1, 1, t, l, l, array[l], e'x\\n1\\n' || encode(l, 'base64') || e'\\n'
         from (select t, rollcall.audit_checkpoint_leaf(1, 1, t, null) as l from (select now() as t) a) b"
    );
    run(&store, checkpoint).await.expect("a checkpoint");
    assert_eq!(findings(&store).await, Vec::<String>::new());
    tamper(&store, &cut).await;
    let found = findings(&store).await;
    assert_found(&found, &[format!("error {epoch}/31 the end is cut off"), "checkpoint 1/1 of ".to_owned()]);
    // Whoever also sets back the count is found by the checkpoint alone.
    run(&store, format!("update rollcall.node_epochs set applied_seq = 30 where epoch = {epoch}")).await.expect("may");
    let found = findings(&store).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_found(&found, &["saw this epoch up to record".to_owned()]);
    tamper(&store, "update rollcall.audit_checkpoints set root = sha256('x')").await;
    assert_found(&findings(&store).await, &["checkpoint 1/1 does not take up".to_owned()]);
}

#[tokio::test]
async fn changed_and_removed_batch_rows_are_found() {
    let (store, epoch) = trail().await;
    let root = format!("update rollcall.audit_batches set root = sha256('x') where epoch = {epoch} and first_seq = 11");
    tamper(&store, &root).await;
    assert_found(
        &findings(&store).await,
        &[
            format!("error {epoch}/11 batch 11 to 20 was changed"),
            format!("error {epoch}/11 batch 11 to 20 does not have the root of its records"),
        ],
    );
    let rehash = format!(
        "update rollcall.audit_batches set hash = rollcall.audit_batch_hash(prev_hash, root, epoch, first_seq, last_seq, committed_at)
         where epoch = {epoch} and first_seq = 11"
    );
    tamper(&store, &rehash).await;
    assert_found(
        &findings(&store).await,
        &[format!("error {epoch}/21 batch 21 to 30 does not continue the batch before")],
    );
    tamper(&store, &format!("delete from rollcall.audit_batches where epoch = {epoch} and first_seq = 11")).await;
    assert_found(&findings(&store).await, &[format!("error {epoch}/21 the chain is broken before batch 21 to 30")]);
}

#[tokio::test]
async fn added_records_and_disabled_triggers_are_found() {
    let (store, epoch) = trail().await;
    let forge = format!(
        "insert into rollcall.session_audit_log (occurred_at, epoch, seq, tenant_id, event_type, actor, leaf)
         select now(), {epoch}, 5000, tenant_id, 'note', 'server', sha256('') from rollcall.tenants limit 1"
    );
    run(&store, forge).await.expect("insert is allowed");
    assert_found(&findings(&store).await, &[format!("error {epoch}/5000 the record was added behind the end")]);
    run(&store, "alter table rollcall.evidence_marks disable trigger evidence_marks_no_truncate").await.expect("may");
    run(&store, "drop trigger audit_batches_append_only on rollcall.audit_batches").await.expect("may");
    let partition = value(
        &store,
        "select max(inhrelid::regclass::text) from pg_inherits
                                   where inhparent = 'rollcall.session_audit_log'::regclass",
    )
    .await;
    run(&store, format!("alter table {partition} enable trigger session_audit_log_append_only")).await.expect("may");
    assert_found(
        &findings(&store).await,
        &[
            "error -/- rollcall.evidence_marks does not refuse TRUNCATE".to_owned(),
            "error -/- rollcall.audit_batches does not refuse UPDATE and DELETE".to_owned(),
            format!("error -/- {partition} does not refuse UPDATE and DELETE"),
        ],
    );
}

#[tokio::test]
async fn old_months_are_detached_and_stay_verifiable() {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    let old = value(&store, "select (date_trunc('month', now() at time zone 'UTC') - interval '1 month')::text").await;
    for at in [format!("'{old}Z'::timestamptz"), "now()".to_owned()] {
        let log =
            format!("select rollcall.log_control_event('{tenant}', null, null, 'note', 'operator', '{{}}', {at})");
        run(&store, log).await.expect("logged");
    }
    let nothing = "select count(*) from rollcall.detach_audit_partitions(1)";
    assert_eq!(value(&store, nothing).await, "0", "last month stays");
    // The function goes by the name of the partition: give last month's the name of a month long ago.
    let name =
        value(&store, format!("select 'session_audit_log_y' || to_char('{old}'::timestamp, 'YYYY\"m\"MM')")).await;
    run(&store, format!("alter table rollcall.{name} rename to session_audit_log_y2020m01")).await.expect("renamed");
    let dry = "select count(*) from rollcall.detach_audit_partitions(1, true)";
    assert_eq!(value(&store, dry).await, "1");
    let detach = "select string_agg(partition_name || ' ' || records, ',') from rollcall.detach_audit_partitions(1)";
    assert_eq!(value(&store, detach).await, "session_audit_log_y2020m01 1");
    assert_eq!(value(&store, "select count(*) from rollcall.session_audit_log").await, "1");
    assert_eq!(value(&store, "select count(*) from rollcall.audit_log_all").await, "2");
    assert_eq!(findings(&store).await, Vec::<String>::new());
    for change in ["delete from", "truncate", "insert into rollcall.session_audit_log_y2020m01 select * from"] {
        let refused = run(&store, format!("{change} rollcall.session_audit_log_y2020m01")).await.expect_err("refused");
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    run(&store, "drop view rollcall.audit_log_all cascade; drop table rollcall.session_audit_log_y2020m01")
        .await
        .expect("archived elsewhere");
    run(&store, "delete from rollcall.applied_functions").await.expect("applied again");
    store.migrate().await.expect("the view comes back");
    assert_eq!(findings(&store).await, ["info 0/1 1 record(s) up to 1 left with a detached partition"]);
}

/// What is hashed is the text that the server makes; what is verified is the text that Postgres prints.
#[test]
fn jsonb_prints_what_the_server_hashes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    let store = runtime.block_on(database());
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&any_json(), |value| {
        let printed: String = runtime.block_on(async {
            let sql = AssertSqlSafe("select ($1::text::jsonb)::text");
            sqlx::query_scalar(sql).bind(value.to_string()).fetch_one(&store.pool).await.expect("jsonb")
        });
        prop_assert_eq!(jsonb_text(&value), printed);
        Ok(())
    });
    outcome.expect("the same text");
}

fn any_json() -> impl Strategy<Value = Value> {
    let text =
        proptest::string::string_regex("[\u{1}-\u{7f}é\u{2028}\u{1f600}\"\\\\/]{0,12}").expect("a pattern").boxed();
    let number = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| json!(n)),
        (-1e9..1e9_f64).prop_map(|n| json!(n)),
        Just(json!(-0.0)),
        Just(json!(1e300)),
        Just(json!(5e-324)),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number,
        text.clone().prop_map(Value::String)
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
