//! `rollcall usage export` as a billing engine meets it: real spans, killed half-way, resumed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{Client, PATIENCE, ROOT_KEY, TestApp, eventually};

/// Spans of a closed epoch on three days in November 2026's past: 40 people in each of 50 sessions, two tabs each.
const SPANS: i64 = 4_000;

const FROM: &str = "2026-01-05";

async fn seed(app: &TestApp) {
    let tenant = app.api.tenant;
    app.database
        .execute(&format!(
            "insert into rollcall.node_epochs (epoch, node_name, state, closed_at)
                 values (900, 'gone', 'drained', now() - interval '1 day');
             insert into rollcall.sessions (session_id, tenant_id, external_id, idle_timeout_s, created_at, last_activity_at,
                 last_seen_at, hold_until)
             select md5('s' || n)::uuid, '{tenant}', 'lesson, ' || n, 60, '2026-01-05', now(), now(), now()
             from generate_series(0, 49) n;
             insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, disconnected_at, last_evidence_at, end_reason)
             select 900, n, md5('s' || n / 2 % 50)::uuid, '{tenant}', md5('p' || n / 2)::uuid, 'guest', s.at,
                    s.at + interval '40 minutes', s.at + interval '40 minutes', 'left'
             from generate_series(1, {SPANS}) n,
                  lateral (select timestamptz '2026-01-05 01:00Z' + n * interval '1 minute' + n % 2 * interval '10.25 s' as at) s"
        ))
        .await;
}

fn export(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command
        .args(["usage", "export"])
        .args(arguments)
        .env("DATABASE_URL", &app.database.url)
        .env("ROLLCALL_AUTH__ROOT_KEY", ROOT_KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The whole output of an export that must succeed.
async fn exported(app: &TestApp, arguments: &[&str]) -> String {
    let output = tokio::time::timeout(PATIENCE, export(app, arguments).output()).await.expect("in time").expect("ran");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Usage by id; an id may come once.
fn by_id(lines: &str) -> BTreeMap<String, i64> {
    let mut events = BTreeMap::new();
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let id = event["id"].as_str().expect("id").to_owned();
        let doubled = events.insert(id, event["usage_us"].as_i64().expect("usage_us"));
        assert_eq!(doubled, None, "twice: {line}");
    }
    events
}

async fn billed_us(app: &TestApp, from: &str, to: &str) -> i64 {
    let tenant = app.api.tenant;
    app.database
        .number(&format!(
            "select (coalesce(sum(billable_seconds), 0) * 1000000)::bigint
             from rollcall.get_usage('{tenant}', {from}, {to}, 'session')"
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_tells_what_was_there_and_two_tabs_once() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = Client::join(&app.url, &token, "Ann").await;
    let mut tab = Client::join_with(&app.url, json!({ "token": token, "identity": "bob" })).await;
    let mut second_tab = Client::join_with(&app.url, json!({ "token": token, "identity": "bob" })).await;
    for client in [&mut ann, &mut tab, &mut second_tab] {
        client.ping(Some(true)).await;
        client.send(json!({ "type": "leave" })).await;
        client.closed().await;
    }
    app.eventually_counts("select count(*) from rollcall.participation_spans where disconnected_at is not null", 3)
        .await;
    let today = app.database.text("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD')").await;
    let lines = exported(&app, &["--from", &today, "--provisional"]).await;
    let events = by_id(&lines);
    let us = billed_us(&app, "now() - interval '1 day'", "now() + interval '1 s'").await;
    assert_eq!(events.values().sum::<i64>(), us);
    let raw = "select sum(extract(epoch from disconnected_at - connected_at) * 1000000)::bigint from rollcall.participation_spans";
    assert!(us < app.database.number(raw).await, "two tabs overlap");
    assert_eq!(by_id(&exported(&app, &["--from", &today, "--provisional"]).await), events, "the same ids every time");

    let csv = exported(&app, &["--from", &today, "--provisional", "--format", "csv"]).await;
    let ids: BTreeSet<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(ids, events.keys().map(String::as_str).collect());
    let batches = exported(&app, &["--from", &today, "--provisional", "--format", "cloudevents", "--batch", "1"]).await;
    let cloud: Vec<Value> = batches.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(cloud.len(), events.len());
    assert_eq!(cloud[0][0]["subject"], app.api.tenant.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_killed_anywhere_and_resumed_tells_everything_once() {
    let app = TestApp::start().await;
    seed(&app).await;

    // Killed while it fills the outbox: it waits for a lock that this test holds.
    app.database.execute(&format!("select rollcall.add_usage_sink('engine', '{FROM} 00:00Z')")).await;
    let mut lock = app.database.pool.begin().await.expect("begins");
    sqlx::query("lock table rollcall.usage_outbox in exclusive mode").execute(&mut *lock).await.expect("locks");
    let mut killed = export(&app, &["--sink", "engine"]).spawn().expect("started");
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    eventually("the export waits", || async { (app.database.number(waits).await > 0).then_some(()) }).await;
    killed.kill().await.expect("killed");
    lock.rollback().await.expect("released");

    // Killed while it writes: nobody reads on, so it is stuck in the middle.
    let mut killed = export(&app, &["--sink", "engine"]).spawn().expect("started");
    let mut lines = BufReader::new(killed.stdout.take().expect("piped")).lines();
    let mut half = String::new();
    for _ in 0..100 {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").expect("read");
        half.push_str(&line.expect("a line"));
        half.push('\n');
    }
    killed.kill().await.expect("killed");
    let half = by_id(&half);

    let file = app.data_dir.path().join("usage.jsonl");
    let path = file.to_str().expect("text");
    exported(&app, &["--sink", "engine", "--limit", "1500", "--output", path, "--ack", "written"]).await;
    let mut whole = std::fs::read_to_string(&file).expect("written");
    assert!(half.keys().all(|id| whole.contains(id.as_str())), "what was told is told again with its id");
    let rest = exported(&app, &["--sink", "engine"]).await;
    assert_eq!(exported(&app, &["--sink", "engine"]).await, rest, "not acknowledged: told again");
    whole.push_str(&rest);
    let events = by_id(&whole);
    assert_eq!(events.values().sum::<i64>(), billed_us(&app, "'2026-01-01'", "'2026-11-01'").await);
    let last = serde_json::from_str::<Value>(whole.lines().last().expect("lines")).expect("JSON")["position"].clone();
    assert_eq!(events.len() as i64, last.as_i64().expect("position"), "positions are dense");
    assert_eq!(exported(&app, &["--sink", "engine", "--ack", &last.to_string()]).await, "", "nothing is left to tell");

    let stateless = by_id(&exported(&app, &["--from", FROM, "--to", "2026-01-20"]).await);
    assert_eq!(stateless, events, "with and without a sink the same events");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_light_later_is_told_as_a_correction() {
    let app = TestApp::start().await;
    seed(&app).await;
    let first = by_id(&exported(&app, &["--sink", "s", "--from", FROM, "--ack", "written"]).await);
    let change = |by: &str, connection: u32| {
        format!(
            "update rollcall.participation_spans set disconnected_at = disconnected_at + interval '{by}' where connection = {connection}"
        )
    };
    app.database.execute(&change("30 minutes", 10)).await;
    app.database.execute(&change("-5 minutes", 2_001)).await;
    app.database.execute(&change("-5 minutes", 2_000)).await;
    let lines = exported(&app, &["--sink", "s", "--ack", "written"]).await;
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["kind"].as_str().expect("kind").to_owned())
        .collect();
    assert!(kinds.contains(&"late".to_owned()) && kinds.contains(&"retraction".to_owned()), "{kinds:?}");
    let second = by_id(&lines);
    assert!(second.keys().all(|id| !first.contains_key(id)));
    let us = billed_us(&app, "'2026-01-01'", "'2026-11-01'").await;
    assert_eq!(first.values().sum::<i64>() + second.values().sum::<i64>(), us);
    assert_eq!(exported(&app, &["--sink", "s"]).await, "", "and then there is peace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_export_is_refused_with_a_sentence() {
    let app = TestApp::start().await;
    for (arguments, code, words) in [
        (&["--sink", "new"][..], 2, "--from"),
        (&[][..], 2, "--from"),
        (&["--from", "2026-01-01", "--to", "2999-01-01"][..], 1, "complete up to"),
        (&["--from", "2026-02-01", "--to", "2026-01-01"][..], 2, "not before"),
        (&["--sink", "Bad Name", "--from", "2026-01-01"][..], 2, "not a name"),
        (&["--sink", "x", "--from", "2026-01-01T00:00:01Z"][..], 2, "cannot start"),
        (&["--sink", "y", "--from", "2026-01-01", "--ack", "99"][..], 2, "cannot acknowledge"),
        (&["--from", "2026-01-01", "--tz", "Europe/Nowhere"][..], 2, "time zone"),
    ] {
        let output = export(&app, arguments).output().await.expect("ran");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    exported(&app, &["--sink", "z", "--from", "2026-01-01"]).await;
    let output = export(&app, &["--sink", "z", "--from", "2026-01-01", "--slice", "hour"]).output().await.expect("ran");
    assert_eq!(output.status.code(), Some(2), "a sink's cut cannot be changed");
}
