//! Postgres goes away under traffic and comes back.

use serde_json::json;

use crate::support::{Client, TestApp, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn those_inside_notice_nothing_and_nothing_is_lost() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let limited = app.invite(&session, json!({ "max_uses": 5 })).await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;

    app.database.refuse_connections().await;
    // By an unlimited invite people still come in: the journal keeps them.
    let mut bob = app.join(&token, "Bob").await;
    assert_eq!(ann.expect("presence").await["joins"][0]["name"], "Bob");
    bob.send(json!({ "type": "update", "state": 1 })).await;
    assert_eq!(ann.expect("presence").await["updates"][0]["state"], 1);
    // Who is the last by a limited one only Postgres can say.
    let refusal = Client::try_join(&app.url, json!({ "token": limited.token })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("overloaded"), 4204));
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    let (status, ready) = app.api.get("/readyz").await;
    assert_eq!((status, &ready["checks"]["database"]["ok"]), (503, &json!(false)));
    let (status, problem) = app.api.post("/v1/sessions", json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("database_unavailable")));
    assert_eq!(app.api.get("/livez").await.0, 200);
    ann.ping(Some(true)).await;

    app.database.accept_connections().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'left'", 1).await;
    eventually("ready again", || async { (app.api.get("/readyz").await.0 == 200).then_some(()) }).await;
    app.join(&limited.token, "Cy").await;
    assert_dense(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_ends_nobody_whose_activity_may_still_be_in_a_journal() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 1).await;
    // As after an outage of two hours: everything Postgres knows is two hours old, the node is alive.
    app.database
        .execute(&format!(
            "update rollcall.sessions set last_activity_at = last_activity_at - interval '2 hours',
                 hold_until = hold_until - interval '2 hours' where session_id = '{session}';
             update rollcall.node_epochs set attested_until = attested_until - interval '2 hours',
                 lease_until = lease_until - interval '2 hours' where state = 'active'"
        ))
        .await;
    let ended = app.database.number("select count(*) from rollcall.cleanup_inactive_sessions()").await;
    assert_eq!(ended, 0);
    ann.ping(Some(true)).await;
    assert_eq!(app.api.get(&format!("/v1/sessions/{session}")).await.1["status"], "active");
}

/// Audit rows and marks together have no gap and nothing twice.
pub async fn assert_dense(app: &TestApp) {
    app.eventually_counts(
        "select count(*) from (
             select epoch, count(*) as n, count(distinct seq) as d, max(seq) as m from (
                 select epoch, seq from rollcall.session_audit_log union all select epoch, seq from rollcall.evidence_marks
                     union all select epoch, seq from rollcall.refused_records
             ) numbered group by epoch
         ) per_epoch where n <> d or n <> m",
        0,
    )
    .await;
}
