//! The journal near its limit: joins are refused, leaves never.

use serde_json::json;

use crate::support::{Client, TestApp, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_joins_and_takes_leaves() {
    let app = TestApp::start_with(&[
        ("LEDGER__JOURNAL_BYTES_MAX", "16777216"),
        ("LEDGER__JOURNAL_REFUSE_PERCENT", "10"),
        ("WS__MESSAGES_PER_S", "10000"),
        ("WS__MESSAGES_BURST", "100000"),
    ])
    .await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let mut bob = app.join(&token, "Bob").await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 2).await;
    app.database.refuse_connections().await;
    // Each update is a record of about 4 KiB; 10 % of 16 MiB is full after some four hundred.
    let mut refusal = None;
    for number in 0..2_000 {
        ann.send(json!({ "type": "update", "state": format!("{number}{}", "x".repeat(4_000)) })).await;
        if number % 50 == 49 {
            ann.ping(None).await;
            refusal = Client::try_join(&app.url, json!({ "token": token })).await.err();
        }
        if refusal.is_some() {
            break;
        }
    }
    let refusal = refusal.expect("joins are refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("overloaded"), 4204));
    let (_, ready) = app.api.get("/readyz").await;
    assert_eq!(ready["checks"]["journal"]["ok"], false, "{ready}");
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    app.database.accept_connections().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'left'", 1).await;
    eventually("joins are taken again", || async {
        Client::try_join(&app.url, json!({ "token": token })).await.ok().map(drop)
    })
    .await;
    crate::outage::assert_dense(&app).await;
}
