//! Postgres stops, is killed, and hangs, under people who are inside.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, OwnCluster, TestApp, eventually};

/// What holds whatever becomes of Postgres: people stay, come, go and hear of each other, the operator is told, and
/// afterwards everything is there once.
async fn outage(how: Signal) {
    let mut cluster = OwnCluster::start().await;
    let app = TestApp::start_on(cluster.database.clone(), &[]).await;
    let (session, token) = app.room().await;
    let limited = app.invite(&session, json!({ "max_uses": 5 })).await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;

    cluster.end(how).await;
    let mut bob = app.join(&token, "Bob").await;
    assert_eq!(ann.expect("presence").await["joins"][0]["name"], "Bob");
    let refusal = Client::try_join(&app.url, json!({ "token": limited.token })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("overloaded"), 4204));
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    let (status, problem) = app.api.post("/v1/sessions", json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("database_unavailable")));
    let (status, ready) = app.api.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["database"]["ok"]), (503, &json!(false)));
    eventually("the metric says so", || async {
        app.metric("rollcall_postgres_failing").await.filter(|one| *one > 0.0)
    })
    .await;
    assert!(app.metric("rollcall_journal_backlog_records").await.expect("there") > 0.0);
    ann.ping(Some(true)).await;

    cluster.start_again().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'left'", 1).await;
    eventually("ready again", || async { (app.api.get("/readyz").await.0 == 200).then_some(()) }).await;
    eventually("the metric as well", || async {
        app.metric("rollcall_postgres_failing").await.filter(|one| *one == 0.0)
    })
    .await;
    app.join(&limited.token, "Cy").await;
    ann.ping(Some(true)).await;
    assert_dense(&app).await;
    drop(app);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stops_in_good_order_is_waited_for() {
    outage(Signal::SIGINT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_is_waited_for() {
    outage(Signal::SIGKILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_holds_up_nobody_inside() {
    let cluster = OwnCluster::start().await;
    let app = TestApp::start_on(cluster.database.clone(), &[]).await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;
    cluster.signal_all(Signal::SIGSTOP);
    let mut bob = app.join(&token, "Bob").await;
    assert_eq!(ann.expect("presence").await["joins"][0]["name"], "Bob");
    let (status, ready) = app.api.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["database"]["ok"]), (503, &json!(false)));
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    cluster.signal_all(Signal::SIGCONT);
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'left'", 1).await;
    ann.ping(Some(true)).await;
    assert_dense(&app).await;
    drop(app);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_of_postgres_is_one_more_reconnect() {
    let cluster = OwnCluster::start().await;
    let app = TestApp::start_on(cluster.database.clone(), &[]).await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;
    let backend: i32 = app
        .database
        .number("select pid from pg_stat_activity where application_name like 'rollcall%' and backend_type = 'client backend' limit 1")
        .await as i32;
    kill(Pid::from_raw(backend), Signal::SIGKILL).expect("killed");
    let bob = app.join(&token, "Bob").await;
    let of_bob = format!(
        "select count(*) from rollcall.participation_spans where epoch || '-' || connection = '{}'",
        bob.connection()
    );
    // Postgres sends everybody away and recovers by itself; our own look may fail meanwhile.
    eventually("everything is there", || async { (app.database.try_number(&of_bob).await == Some(1)).then_some(()) })
        .await;
    ann.ping(Some(true)).await;
    assert_dense(&app).await;
    drop(app);
    cluster.stop().await;
}
