//! Deadlines: never early, a moment late at most, and told to everybody.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends_at_its_deadline_though_sockets_are_alive() {
    let app = TestApp::start().await;
    let session = app.session(json!({ "idle_timeout_s": 2, "warn_before_s": [1] })).await;
    let invite = app.invite(&session, json!({})).await;
    let mut ann = app.join(&invite.token, "Ann").await;
    let warning = ann.expect("warning").await;
    assert_eq!(warning["code"], "session_idle");
    // A ping that says nothing of the person is liveness, not activity.
    ann.ping(None).await;
    assert_eq!(ann.expect("ended").await["code"], "idle");
    assert_eq!(ann.closed().await, 4000);
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'session_ended'", 1)
        .await;
    let exact = app
        .database
        .text(
            "select s.ended_at = s.last_activity_at + interval '2 seconds' and p.disconnected_at = s.ended_at
               from rollcall.sessions s join rollcall.participation_spans p using (session_id)",
        )
        .await;
    assert_eq!(exact, "true", "the end is the deadline, to the microsecond");
    assert_eq!(app.database.text("select end_reason from rollcall.sessions").await, "idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_withdraws_the_warning_at_once() {
    let app = TestApp::start().await;
    let session = app.session(json!({ "idle_timeout_s": 4, "warn_before_s": [3] })).await;
    let invite = app.invite(&session, json!({})).await;
    let mut ann = app.join(&invite.token, "Ann").await;
    let warning = ann.expect("warning").await;
    ann.send(json!({ "type": "ping", "active": true })).await;
    let extended = ann.expect("extended").await;
    assert!(extended["ends_at"].as_str() > warning["ends_at"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_maximum_duration_holds_whatever_people_do() {
    let app = TestApp::start().await;
    let session = app.session(json!({ "max_duration_s": 2, "warn_before_s": [1] })).await;
    let invite = app.invite(&session, json!({})).await;
    let mut ann = app.join(&invite.token, "Ann").await;
    assert_eq!(ann.expect("warning").await["code"], "session_max_duration");
    ann.ping(Some(true)).await;
    assert_eq!(ann.expect("ended").await["code"], "max_duration");
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.session_audit_log where event_type = 'session_warned'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_nobody_came_to_is_abandoned() {
    let app = TestApp::start().await;
    app.session(json!({ "idle_timeout_s": 1 })).await;
    app.eventually_counts("select count(*) from rollcall.sessions where end_reason = 'abandoned'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_while_the_server_was_down_is_kept() {
    let mut app = TestApp::start().await;
    let session = app.session(json!({ "idle_timeout_s": 1 })).await;
    let kept = app.session(json!({ "idle_timeout_s": 600 })).await;
    app.crash().await;
    app.eventually_counts(
        "select count(*) from rollcall.sessions where last_activity_at + interval '1.2 s' < now()",
        2,
    )
    .await;
    app.run().await;
    app.eventually_counts(
        &format!("select count(*) from rollcall.sessions where session_id = '{session}' and status = 'ended'"),
        1,
    )
    .await;
    let on_time = app
        .database
        .text(&format!("select ended_at = last_activity_at + interval '1 second' from rollcall.sessions where session_id = '{session}'"))
        .await;
    assert_eq!(on_time, "true", "the logical end does not move because nobody was there to see it");
    assert_eq!(app.api.get(&format!("/v1/sessions/{kept}")).await.1["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_invite_is_refused_without_a_database() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let inside = app.join(&token, "Inside").await;
    let brief = app.invite(&session, json!({ "expires_in_s": 1 })).await;
    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'invite_expired'", 1)
        .await;
    app.database.refuse_connections().await;
    let started = std::time::Instant::now();
    let refusal = Client::try_join(&app.url, json!({ "token": brief.token })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("invite_expired"), 4002));
    assert!(started.elapsed() < Duration::from_secs(1), "took {:?}", started.elapsed());
    app.database.accept_connections().await;
    drop(inside);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_into_a_session_that_has_ended_before_postgres_knows() {
    let app = TestApp::start_with(&[("LEDGER__FLUSH_INTERVAL_MS", "5000")]).await;
    let session = app.session(json!({ "idle_timeout_s": 2, "warn_before_s": [] })).await;
    let invite = app.invite(&session, json!({})).await;
    let mut ann = app.join(&invite.token, "Ann").await;
    assert_eq!(ann.expect("ended").await["code"], "idle");
    assert_eq!(ann.closed().await, 4000);
    for token in [invite.token.as_str(), ann.resume()] {
        let refusal = Client::try_join(&app.url, json!({ "token": token })).await.err().expect("refused");
        assert_eq!((refusal.error.as_deref(), refusal.close), (Some("session_not_found"), 4006));
    }
    app.eventually_counts("select count(*) from rollcall.sessions where end_reason = 'idle'", 1).await;
    assert_eq!(app.database.number("select count(*) from rollcall.participation_spans").await, 1);
}
