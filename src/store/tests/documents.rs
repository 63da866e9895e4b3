//! What docs/SQL.md and docs/BILLING.md say is run: every query in the role it names, on books with a history.

use std::collections::HashSet;
use std::time::Duration;

use rollcall_core::{LeaveReason, Timestamp};
use sqlx::{AssertSqlSafe, Executor, Row};

use super::history::History;
use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value};
use crate::audit::kinds::{APP_KINDS, KINDS};
use crate::store::Store;
use crate::store::ledger::apply_batch;
use crate::usage_export::{Encoder, Format, UsageEvent};

const SQL: &str = include_str!("../../../docs/SQL.md");
const BILLING: &str = include_str!("../../../docs/BILLING.md");

/// Index of the session in the history, index of the person.
const LESSON_11: usize = 0;
const LESSON_12: usize = 1;
const LESSON_13: usize = 2;
const ANN: usize = 0;
const BOB: usize = 1;

/// The blocks of a language, without their fences.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().expect("has an end")).collect()
}

/// Nine in the morning (UTC) of the tenth, some months ago.
async fn morning(store: &Store, months_ago: i32) -> Timestamp {
    let sql = format!(
        "select (extract(epoch from date_trunc('month', now(), 'UTC') - interval '{months_ago} months'
                                     + interval '9 days 9 hours') * 1000000)::bigint"
    );
    Timestamp(value(store, sql).await.parse().expect("a number"))
}

/// Lets everybody who is present go, the last one first.
fn all_leave(history: &mut History, people: usize) {
    for index in (0..people).rev() {
        history.leave(index, LeaveReason::Left);
    }
}

/// The worked example of docs/BILLING.md, as one node could have recorded it.
fn worked_example(history: &mut History, start: Timestamp) {
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    history.now = at(0.0);
    history.join(LESSON_12, ANN);
    history.now = at(300.0);
    history.join(LESSON_12, BOB);
    history.now = at(310.0);
    history.leave(1, LeaveReason::Left);
    history.now = at(600.0);
    history.join(LESSON_12, ANN);
    history.now = at(620.0);
    history.close(0, LeaveReason::Closed);
    history.now = at(1_230.5);
    history.close(0, LeaveReason::LivenessTimeout);
    history.now = at(1_250.0);
    history.join(LESSON_12, ANN);
    history.now = at(1_500.25);
    history.leave(0, LeaveReason::Left);
    history.end(LESSON_12);
}

/// Two closed lessons and one under way; a closed period with a late fact; a receiver of usage.
async fn seeded() -> Store {
    let store = database().await;
    let tenant = make_tenant(&store).await;
    run(&store, "update rollcall.tenants set name = 'acme'").await.expect("names");
    let (before, last) = (morning(&store, 2).await, morning(&store, 1).await);
    let minutes_ago = Timestamp(now().0 - 600_000_000);
    let mut sessions = Vec::new();
    for (number, at) in [(11, before), (12, last), (13, minutes_ago)] {
        let session = make_session(&store, tenant, fresh_id(), at).await;
        let name =
            format!("update rollcall.sessions set external_id = 'lesson-{number}' where session_id = '{session}'");
        run(&store, name).await.expect("names");
        sessions.push(session);
    }
    let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
    let mut history = History::new(tenant, sessions, epoch, before);
    let mut conn = store.dedicated().await.expect("connection");
    let attest = "update rollcall.node_epochs set attested_until = now()";

    history.join(LESSON_11, ANN);
    history.join(LESSON_11, BOB);
    history.now = before + Duration::from_secs(600);
    all_leave(&mut history, 2);
    let told = history.records.len();
    apply_batch(&mut conn, epoch, 1, &history.records, LEASE).await.expect("applies");
    run(&store, attest).await.expect("attests");
    let month = "date_trunc('month', now(), 'UTC') - interval";
    let close = format!(
        "select rollcall.close_billing_period('{tenant}', {month} '2 months', {month} '1 month');
         select rollcall.add_usage_sink('stripe', {month} '2 months')"
    );
    run(&store, close).await.expect("closes");

    // Late: of the month that is closed.
    history.now = before + Duration::from_secs(86_400);
    history.join(LESSON_11, BOB);
    history.now = history.now + Duration::from_secs(90);
    history.leave(0, LeaveReason::Left);
    worked_example(&mut history, last);
    history.now = minutes_ago;
    history.join(LESSON_13, ANN);
    history.now = now();
    history.mark(0);
    apply_batch(&mut conn, epoch, told as i64 + 1, &history.records[told..], LEASE).await.expect("applies");
    run(&store, attest).await.expect("attests");
    run(&store, "select rollcall.fill_usage_outbox('stripe', 100)").await.expect("fills");
    store
}

#[tokio::test]
async fn every_query_of_the_documents_runs_in_the_role_it_names() {
    let store = seeded().await;
    let queries = [("SQL.md", SQL), ("BILLING.md", BILLING)]
        .into_iter()
        .flat_map(|(name, text)| blocks(text, "sql").into_iter().map(move |query| (name, query)));
    let mut count = 0;
    for (name, query) in queries {
        let mut tx = store.pool.begin().await.expect("begins");
        let role = query.lines().next().and_then(|line| line.strip_prefix("-- as ")).expect("the first line is a role");
        if role != "the owner" {
            tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("set local role {role}")))).await.expect("a role");
        }
        let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch_all(&mut *tx).await;
        let rows = rows.unwrap_or_else(|error| panic!("{name}: {error}\n{query}"));
        assert_eq!(rows.is_empty(), query.contains("\n-- no rows\n"), "{name}: {} row(s)\n{query}", rows.len());
        count += 1;
    }
    assert!(count > 20, "only {count} queries were found");
}

#[tokio::test]
async fn the_worked_example_is_what_the_books_say() {
    let store = seeded().await;
    let (_, table) = BILLING.split_once("<!-- worked example").expect("has a beginning");
    let (table, _) = table.split_once("<!-- end of worked example").expect("has an end");
    let mut count = 0;
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let sql = format!(
            "select concat_ws(' ', trim_scale(sum(b.billed_units) filter (where b.identity = 'person-{ANN}')),
                              trim_scale(sum(b.billed_units) filter (where b.identity = 'person-{BOB}')),
                              trim_scale(sum(b.billed_units)))
             from rollcall.sessions s, rollcall.get_session_billing_data(s.session_id, p_rounding => '{}') b
             where s.external_id = 'lesson-12'",
            cells[1]
        );
        let said = cells[2..5].join(" ");
        let billed = value(&store, sql).await;
        // Whose row has the odd minute of the session follows from the order of the ids; the sum does not.
        if cells[1] == "minute_per_session" {
            assert_eq!(billed.rsplit(' ').next(), said.rsplit(' ').next(), "{}", cells[1]);
        } else {
            assert_eq!(billed, said, "{}", cells[1]);
        }
        count += 1;
    }
    assert_eq!(count, 5, "every rounding is in the example");
    let with_grace = "select concat_ws(' ', trim_scale(sum(b.billable_seconds)), sum(b.billed_units))
        from rollcall.sessions s, rollcall.get_session_billing_data(
            s.session_id, p_rounding => 'minute_per_participant', p_grace => interval '30 seconds') b
        where s.external_id = 'lesson-12'";
    assert_eq!(value(&store, with_grace).await, "1510.25 27");
    assert!(BILLING.contains("1,510.25 s in all, and 27 minutes per participant"));
}

/// Whether a word stands in the document as the beginning of a piece of code, not as part of a longer name.
fn names(document: &str, word: &str) -> bool {
    document.match_indices(&format!("`{word}")).any(|(place, found)| {
        let next = document[place + found.len()..].chars().next().unwrap_or(' ');
        !next.is_ascii_alphanumeric() && next != '_'
    })
}

#[tokio::test]
async fn every_table_function_and_event_is_in_the_document() {
    let store = database().await;
    // Partitions of a month come and go; functions that are parts of others say so in their comment.
    let sql = "select c.relname::text from pg_class c
               where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p', 'v')
                 and (not c.relispartition or c.relname = 'session_audit_log_default')
               union
               select p.proname::text from pg_proc p
               where p.pronamespace = 'rollcall'::regnamespace
                 and coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^(Internal|Trigger)'";
    let objects = sqlx::query(sql).fetch_all(&store.pool).await.expect("lists");
    assert!(objects.len() > 60, "{} objects", objects.len());
    let objects = objects.iter().map(|row| row.get::<String, _>(0));
    let events = KINDS.iter().map(|kind| kind.name).chain(APP_KINDS.iter().copied()).map(str::to_owned);
    let missing: Vec<String> = objects.chain(events).filter(|name| !names(SQL, name)).collect();
    assert_eq!(missing, Vec::<String>::new(), "not in docs/SQL.md");

    // And the other way round: what the document calls can be called.
    let known = "select coalesce(string_agg(distinct p.proname, ' '), '') from pg_proc p
                 where p.pronamespace in ('rollcall'::regnamespace, 'pg_catalog'::regnamespace)";
    let known = value(&store, known).await;
    let known: HashSet<&str> = known.split(' ').collect();
    let called = SQL.split('`').filter_map(|code| Some(code.split_once('(')?.0));
    let is_name = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let unknown: Vec<&str> = called.filter(is_name).filter(|name| !known.contains(name)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "docs/SQL.md names functions that do not exist");
}

#[tokio::test]
async fn the_examples_of_events_are_what_an_export_writes() {
    let examples = blocks(BILLING, "json");
    assert_eq!(examples.len(), 6, "the event itself, and one for each receiver");
    for example in &examples {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(example);
        assert!(parsed.is_ok(), "{parsed:?}\n{example}");
    }
    let said: serde_json::Value = serde_json::from_str(examples[0]).expect("JSON");
    let id = |name: &str| said[name].as_str().and_then(|text| text.parse().ok()).expect("an id");
    let at = |name: &str| said[name].as_str().and_then(|text| text.parse().ok()).expect("an instant");
    let event = UsageEvent {
        event_id: id("id"),
        kind: "usage".to_owned(),
        position: said["position"].as_i64(),
        tenant_id: id("tenant_id"),
        session_id: id("session_id"),
        external_id: said["external_id"].as_str().map(str::to_owned),
        participant_id: Some(id("participant_id")),
        slice_start: at("start"),
        slice_end: at("end"),
        usage_us: said["usage_us"].as_i64().expect("a number"),
        uncertainty_us: 0,
        is_provisional: false,
        reverses: None,
    };
    let sql = format!(
        "select rollcall.usage_event_id('{}', '{}', '{}', '{}')",
        event.session_id,
        id("participant_id"),
        event.slice_start,
        event.slice_end
    );
    assert_eq!(value(&database().await, sql).await, event.event_id.to_string());
    let mut written = String::new();
    Encoder::new(Format::Jsonl, String::new(), 1).push(&event, &mut written);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).expect("JSON"), said);
    assert_eq!(event.usage_us, (event.slice_end - event.slice_start).num_microseconds().expect("in range"));
}
