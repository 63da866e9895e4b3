//! The disk of the journal is full: joins are refused, leaves are kept, and it heals by itself.

use std::time::Duration;

use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, TestApp, eventually};

const FULL: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_joins_keeps_leaves_and_heals() {
    let Some((app, disk)) = TestApp::start_on_small_disk(&[]).await else { return };
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let mut bob = app.join(&token, "Bob").await;
    disk.fill();
    // The next record finds out; until then nothing has gone wrong.
    bob.send(json!({ "type": "leave" })).await;
    let refusal = eventually("joins are refused", || async {
        match app.api.get("/readyz").await.1["checks"]["journal"]["ok"].as_bool() {
            Some(false) => Client::try_join(&app.url, json!({ "token": token })).await.err(),
            _ => None,
        }
    })
    .await;
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("overloaded"), 4204));
    let (status, ready) = app.api.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["journal"]["detail"]), (503, &json!("the disk of the journal is full")));
    assert_eq!(app.metric("rollcall_journal_admitting").await, Some(0.0));
    let (status, problem) = app.api.post("/v1/sessions", json!({})).await;
    assert_eq!(status, 201, "what Postgres alone decides goes on: {problem}");
    // Those inside are served.
    ann.ping(Some(true)).await;

    disk.free();
    // The goodbye waited until the leave was durable.
    assert_eq!(bob.closed().await, 1000);
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'left'", 1).await;
    eventually("joins are taken again", || async {
        Client::try_join(&app.url, json!({ "token": token })).await.ok().map(drop)
    })
    .await;
    assert_dense(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_on_a_full_disk_loses_nothing_acknowledged() {
    let Some((mut app, disk)) = TestApp::start_on_small_disk(&[]).await else { return };
    let (_, token) = app.room().await;
    let ann = app.join(&token, "Ann").await;
    disk.fill();
    eventually("the disk is known to be full", || async {
        (app.api.get("/readyz").await.1["checks"]["journal"]["ok"] == false).then_some(())
    })
    .await;
    app.crash().await;
    assert_eq!(app.try_run().await, Err(Some(1)), "without room for its journal a server does not start");
    disk.free();
    app.run().await;
    let kept = format!(
        "select count(*) from rollcall.participation_spans
         where epoch || '-' || connection = '{}' and end_reason = 'node_crash'",
        ann.connection()
    );
    assert_eq!(app.database.number(&kept).await, 1);
    assert_dense(&app).await;
}

/// A join waits for its record to be durable, and its client waits with it.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_long_for_the_answer_is_neither_dead_nor_billed_for_going() {
    let short = [("WS__PING_INTERVAL_MS", "1000"), ("WS__PROBE_AFTER_MS", "1500"), ("WS__DEAD_AFTER_MS", "2500")];
    let Some((app, disk)) = TestApp::start_on_small_disk(&short).await else { return };
    let (_, token) = app.room().await;
    let is_full = async |expected: bool| {
        eventually("the server knows of the disk", || async {
            (app.api.get("/readyz").await.1["checks"]["journal"]["ok"] == !expected).then_some(())
        })
        .await;
    };
    let mut ann = Client::connect(&app.url).await;
    disk.fill();
    ann.send_join(json!({ "token": token, "name": "Ann" })).await;
    is_full(true).await;
    // The full disk is the fault itself: it lasts for longer than a silent connection is held.
    tokio::time::sleep(FULL).await;
    disk.free();
    ann.expect("joined").await;
    ann.ping(Some(true)).await;
    ann.close().await;
    is_full(false).await;

    let mut bob = Client::connect(&app.url).await;
    disk.fill();
    bob.send_join(json!({ "token": token, "name": "Bob" })).await;
    is_full(true).await;
    bob.socket.close(None).await.ok();
    drop(bob);
    let gone_at = app.database.text("clock_timestamp()").await;
    tokio::time::sleep(FULL).await;
    disk.free();
    let of_bob = "select count(*) from rollcall.participation_spans where connection = 2 and end_reason = 'closed'";
    app.eventually_counts(of_bob, 1).await;
    let right = format!("{of_bob} and disconnected_at <= '{gone_at}' and uncertainty_us > 0");
    assert_eq!(app.database.number(&right).await, 1, "billed up to {gone_at} at most");
    assert_dense(&app).await;
}
