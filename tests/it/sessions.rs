//! The control plane over HTTP and by hosts, as those inside experience it.

use serde_json::json;

use crate::support::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn ending_by_the_api_tells_and_closes_everybody() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let (status, ended) =
        app.api.post(&format!("/v1/sessions/{session}/end"), json!({ "reason": "lesson over" })).await;
    assert_eq!((status, &ended["status"], &ended["end_reason"]), (200, &json!("ended"), &json!("completed")));
    let told = ann.expect("ended").await;
    assert_eq!((&told["code"], &told["recoverable"]), (&json!("completed"), &json!(true)));
    assert_eq!(ann.closed().await, 4000);
    let refusal = Client::try_join(&app.url, json!({ "token": token })).await.err().expect("refused");
    assert_eq!(refusal.close, 4006, "{refusal:?}");
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'session_ended'", 1)
        .await;
    let exact = app
        .database
        .text(
            "select bool_and(p.disconnected_at = s.ended_at and p.uncertainty_us = 0)
               from rollcall.participation_spans p join rollcall.sessions s using (session_id)",
        )
        .await;
    assert_eq!(exact, "true", "a peer that answers the close is billed to the end, exactly");
    assert_eq!(
        app.database.number("select count(*) from rollcall.session_audit_log where event_type = 'session_ended'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovered_session_is_the_same_session() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let ann = app.join(&token, "Ann").await;
    let (resume, participant) = (ann.resume().to_owned(), ann.participant().to_owned());
    app.api.post(&format!("/v1/sessions/{session}/end"), json!({})).await;
    let (status, recovered) = app.api.post(&format!("/v1/sessions/{session}/recover"), json!({})).await;
    assert_eq!((status, &recovered["status"], &recovered["id"]), (200, &json!("active"), &json!(session)));
    let back = Client::join_with(&app.url, json!({ "token": resume })).await;
    assert_eq!(back.participant(), participant);
    let (status, problem) = app.api.post(&format!("/v1/sessions/{session}/recover"), json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("session_not_ended")));
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.session_audit_log where event_type = 'session_recovered'")
            .await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_may_extend_kick_and_end_and_guests_may_not() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let host = app.invite(&session, json!({ "role": "host", "identity": "teacher" })).await;
    let mut host = app.join(&host.token, "Host").await;
    let mut guest = app.join(&token, "Guest").await;
    let victim = guest.participant().to_owned();

    for frame in [
        json!({ "type": "end" }),
        json!({ "type": "extend", "by_s": 60 }),
        json!({ "type": "kick", "participant_id": victim }),
    ] {
        guest.send(frame).await;
        assert_eq!(guest.expect("error").await["code"], "forbidden");
    }
    host.send(json!({ "type": "extend", "by_s": 600 })).await;
    let extended = guest.expect("extended").await;
    assert_ne!(extended["ends_at"], guest.joined["session"]["ends_at"]);

    host.send(json!({ "type": "kick", "participant_id": victim })).await;
    assert_eq!(guest.expect("error").await["code"], "kicked");
    assert_eq!(guest.closed().await, 4001);
    let resume = guest.resume().to_owned();
    let refusal = Client::try_join(&app.url, json!({ "token": resume })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("kicked"), 4001));
    host.send(json!({ "type": "kick", "participant_id": "nonsense" })).await;
    assert_eq!(host.expect("error").await["code"], "malformed_frame");

    host.send(json!({ "type": "end", "reason": "over" })).await;
    assert_eq!(host.expect("ended").await["code"], "completed");
    assert_eq!(host.closed().await, 4000);
    let actor =
        app.database.text("select actor from rollcall.session_audit_log where event_type = 'session_ended'").await;
    assert_eq!(actor, format!("participant:{}", host.participant()));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_participant_over_http_is_final() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let path = format!("/v1/sessions/{session}/participants/{}", ann.participant());
    assert_eq!(app.api.call("DELETE", &path, None).await.0 / 100, 2);
    assert_eq!(ann.expect("error").await["code"], "kicked");
    assert_eq!(ann.closed().await, 4001);
    app.eventually_counts("select count(*) from rollcall.participants where kicked_at is not null", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_in_another_process_reaches_those_inside() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let output = app.command(&["session", "end", &session]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ann.expect("ended").await["code"], "completed");
    assert_eq!(ann.closed().await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_removed_while_absent_does_not_come_back() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let _host = app.join(&token, "Host").await;
    let mut ann = app.join(&token, "Ann").await;
    let (participant, resume) = (ann.participant().to_owned(), ann.resume().to_owned());
    ann.send(json!({ "type": "leave" })).await;
    assert_eq!(ann.closed().await, 1000);
    app.eventually_counts("select count(*) from rollcall.participants where status = 'left'", 1).await;
    let path = format!("/v1/sessions/{session}/participants/{participant}");
    assert_eq!(app.api.call("DELETE", &path, None).await.0 / 100, 2);
    let refusal = Client::try_join(&app.url, json!({ "token": resume })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("kicked"), 4001));
}
