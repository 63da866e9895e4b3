//! The server stands still (SIGSTOP, a virtual machine that is moved, a machine without time for it) and goes on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, PATIENCE, TestApp, eventually};

/// Longer than the shortest standstill that the server takes notice of, and than the lease.
const PAUSE: Duration = Duration::from_secs(4);

fn settings() -> Vec<(&'static str, &'static str)> {
    vec![
        ("LEDGER__LEASE_S", "3"),
        ("WS__PING_INTERVAL_MS", "1000"),
        ("WS__PROBE_AFTER_MS", "2000"),
        ("WS__DEAD_AFTER_MS", "3000"),
        ("WS__MESSAGES_PER_S", "10000"),
        ("WS__MESSAGES_BURST", "10000"),
    ]
}

fn wall_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64
}

/// A tab that is closed while the server stands still: its last words wait in the socket, and nobody waits for an answer.
async fn gone_after(mut client: Client, last_words: serde_json::Value) -> i64 {
    client.send(last_words).await;
    client.socket.close(None).await.ok();
    drop(client);
    wall_us()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_went_while_the_server_stood_still_is_billed_for_it() {
    let app = TestApp::start_with(&settings()).await;
    let (_, token) = app.room().await;
    let mut closing = app.join(&token, "Ann").await;
    let mut leaving = app.join(&token, "Bob").await;
    let mut staying = app.join(&token, "Cy").await;
    for client in [&mut closing, &mut leaving, &mut staying] {
        client.ping(Some(true)).await;
    }
    let connections = [closing.connection().to_owned(), leaving.connection().to_owned()];
    let stayed = staying.connection().to_owned();

    app.freeze().await;
    let paused_at = wall_us();
    let gone = [
        gone_after(closing, json!({ "type": "ping", "active": true })).await,
        gone_after(leaving, json!({ "type": "leave" })).await,
    ];
    // The pause is the fault itself, no wait for anything.
    tokio::time::sleep(PAUSE).await;
    app.signal(Signal::SIGCONT);
    let resumed_at = wall_us();

    // Who is still there is not taken for dead because the server could not listen.
    staying.ping(Some(true)).await;
    for ((connection, gone_at), reason) in connections.iter().zip(gone).zip(["closed", "left"]) {
        let of = format!("from rollcall.participation_spans where epoch || '-' || connection = '{connection}'");
        app.eventually_counts(&format!("select count(*) {of} and end_reason = '{reason}'"), 1).await;
        let number = |what: &str| format!("select {what} {of}");
        let end = app.database.number(&number("(extract(epoch from disconnected_at) * 1000000)::bigint")).await;
        let uncertainty = app.database.number(&number("uncertainty_us")).await;
        assert!(end <= gone_at, "{reason}: billed {} us too much", end - gone_at);
        assert!(end + uncertainty >= paused_at, "{reason}: {uncertainty} us do not cover the time before the pause");
        assert!(end + uncertainty >= resumed_at - 1_000_000, "{reason}: nor the pause, which nobody can know about");
    }
    staying.ping(None).await;
    let open = format!(
        "select count(*) from rollcall.participation_spans
         where epoch || '-' || connection = '{stayed}' and disconnected_at is null"
    );
    assert_eq!(app.database.number(&open).await, 1);
    eventually("ready again", || async { (app.api.get("/readyz").await.0 == 200).then_some(()) }).await;
    assert_dense(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_counts_again_once_what_waited_is_read() {
    let app = TestApp::start_with(&settings()).await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    ann.ping(None).await;
    app.freeze().await;
    tokio::time::sleep(PAUSE).await;
    app.signal(Signal::SIGCONT);
    let connection = ann.connection().to_owned();
    // Each ping is evidence of its own; soon one is as fresh as before the pause.
    let fresh = format!(
        "select count(*) from rollcall.participation_spans where epoch || '-' || connection = '{connection}'
         and last_evidence_at > clock_timestamp() - interval '2 seconds'"
    );
    let give_up_at = tokio::time::Instant::now() + PATIENCE;
    while app.database.number(&fresh).await == 0 {
        assert!(tokio::time::Instant::now() < give_up_at, "no fresh evidence");
        ann.ping(None).await;
    }
    let before = wall_us();
    ann.close().await;
    let of = format!("from rollcall.participation_spans where epoch || '-' || connection = '{connection}'");
    app.eventually_counts(&format!("select count(*) {of} and end_reason = 'closed'"), 1).await;
    let exact =
        format!("select count(*) {of} and uncertainty_us = 0 and disconnected_at >= to_timestamp({before} / 1e6)");
    assert_eq!(app.database.number(&exact).await, 1, "a close that is read at once is billed to its instant");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_idle_because_the_server_could_not_listen() {
    let app = TestApp::start_with(&settings()).await;
    let session = app.session(json!({ "idle_timeout_s": 2, "warn_before_s": [] })).await;
    let token = app.invite(&session, json!({})).await.token;
    let mut ann = app.join(&token, "Ann").await;
    ann.ping(Some(true)).await;
    app.freeze().await;
    // In time, but the server hears of it when its deadline has passed.
    ann.send(json!({ "type": "ping", "active": true })).await;
    tokio::time::sleep(PAUSE).await;
    app.signal(Signal::SIGCONT);
    ann.ping(Some(true)).await;
    ann.ping(Some(true)).await;
    assert_eq!(app.api.get(&format!("/v1/sessions/{session}")).await.1["status"], "active");
    // From here on nobody does anything, and it is over in time.
    let ended = ann.expect("ended").await;
    assert_eq!(ended["code"], "idle", "{ended}");
}
