//! What people see of each other, and what the ledger has of it.

use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn people_see_each_other_come_change_go_away_and_return() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    assert_eq!(ann.joined["participants"][0]["name"], "Ann");
    assert_eq!(ann.joined["durability"], "local");
    let mut bob = app.join(&token, "Bob").await;
    assert_eq!(bob.joined["participants"].as_array().map(Vec::len), Some(2));

    let came = ann.expect("presence").await;
    assert_eq!(came["joins"][0]["name"], "Bob");
    bob.send(json!({ "type": "update", "state": { "hand": "up" } })).await;
    let changed = ann.expect("presence").await;
    assert_eq!(changed["updates"][0]["state"], json!({ "hand": "up" }));
    assert_eq!(changed["leaves"], json!([]), "an update is one diff, not a leave and a join");

    bob.ping(Some(false)).await;
    assert_eq!(ann.expect("presence").await["updates"][0]["status"], "away");
    bob.ping(Some(true)).await;
    assert_eq!(ann.expect("presence").await["updates"][0]["status"], "active");

    let (resume, participant) = (bob.resume().to_owned(), bob.participant().to_owned());
    bob.close().await;
    assert_eq!(ann.expect("presence").await["updates"][0]["status"], "reconnecting");
    let mut bob = Client::join_with(&app.url, json!({ "token": resume })).await;
    assert_eq!(bob.participant(), participant);
    let back = ann.expect("presence").await;
    assert_eq!((&back["updates"][0]["status"], &back["leaves"]), (&json!("active"), &json!([])));

    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    let gone = ann.expect("presence").await;
    assert_eq!(gone["leaves"], json!([{ "participant_id": participant, "reason": "left" }]));

    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'participant_left'", 1)
        .await;
    let spans = app
        .database
        .column(&format!(
            "select end_reason from rollcall.participation_spans where participant_id = '{participant}' order by connected_at"
        ))
        .await;
    assert_eq!(spans, ["closed", "left"]);
    let usage = app.api.get(&format!("/v1/sessions/{session}/usage")).await;
    assert_eq!(usage.1["data"].as_array().map(Vec::len), Some(2), "{usage:?}");
}

/// RFC 6455, 5.5.1: whoever has sent no close frame yet answers one. Without it browsers report an abnormal closure.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_is_answered() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    ann.socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "reload".into() })).await.expect("sent");
    assert_eq!(ann.closed().await, 1001);
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'closed'", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_are_one_person_and_one_time() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({ "identity": "ann" })).await;
    let mut first = app.join(&invite.token, "Ann").await;
    let second = app.join(&invite.token, "Ann").await;
    assert_eq!(first.participant(), second.participant());
    assert_eq!(first.expect("presence").await["updates"][0]["connections"], 2);
    second.close().await;
    let one_left = first.expect("presence").await;
    assert_eq!((&one_left["updates"][0]["connections"], &one_left["leaves"]), (&json!(1), &json!([])));
    first.send(json!({ "type": "leave" })).await;
    first.closed().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where disconnected_at is not null", 2)
        .await;
    let billed = app
        .database
        .text(&format!(
            "select bool_and(billable_seconds < connected_seconds and overlap_seconds > 0)
             from rollcall.get_session_billing_data('{session}')"
        ))
        .await;
    assert_eq!(billed, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_the_leave_is_announced_once() {
    let app = TestApp::start_with(&[("PRESENCE__GRACE_S", "1")]).await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let bob = app.join(&token, "Bob").await;
    let participant = bob.participant().to_owned();
    bob.close().await;
    let left = ann.expect_where("presence", |frame| frame["leaves"] != json!([])).await;
    assert_eq!(left["leaves"], json!([{ "participant_id": participant, "reason": "closed" }]));
    // The grace is presence only: the span ended when the socket did.
    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'participant_left'", 1)
        .await;
    let gap = app
        .database
        .text(&format!(
            "select extract(epoch from p.left_at - s.disconnected_at)::numeric
             from rollcall.participants p join rollcall.participation_spans s using (session_id, participant_id)
             where participant_id = '{participant}'"
        ))
        .await;
    let gap: f64 = gap.parse().expect("a number");
    assert!((0.9..1.1).contains(&gap), "left {gap} s after its span had ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_healed_by_a_snapshot_and_sequences_are_dense() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let mut seq = ann.joined["seq"].as_u64().expect("seq");
    let mut others = Vec::new();
    for name in ["Bob", "Cy", "Dee"] {
        others.push(app.join(&token, name).await);
        seq += 1;
        assert_eq!(ann.expect("presence").await["seq"], seq);
    }
    ann.send(json!({ "type": "snapshot" })).await;
    let snapshot = ann.expect("snapshot").await;
    assert_eq!((snapshot["seq"].as_u64(), snapshot["participants"].as_array().map(Vec::len)), (Some(seq), Some(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_dies_and_its_span_ends_at_the_last_frame() {
    let app = TestApp::start_with(&[
        ("WS__PING_INTERVAL_MS", "1000"),
        ("WS__PROBE_AFTER_MS", "1200"),
        ("WS__DEAD_AFTER_MS", "2000"),
        ("PRESENCE__GRACE_S", "1"),
    ])
    .await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    ann.ping(None).await;
    // Not reading means that the WebSocket ping of the server is not answered either.
    app.eventually_counts("select count(*) from rollcall.participation_spans where end_reason = 'liveness_timeout'", 1)
        .await;
    let (length, uncertainty) = (
        app.database
            .text("select extract(epoch from disconnected_at - connected_at) from rollcall.participation_spans")
            .await,
        app.database.number("select uncertainty_us from rollcall.participation_spans").await,
    );
    assert!(length.parse::<f64>().expect("number") < 1.0, "billed {length} s of silence");
    assert!((1_900_000..3_500_000).contains(&uncertainty), "{uncertainty}");
    assert_eq!(ann.closed().await, 4201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_connection_replaces_the_first() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({ "identity": "ann" })).await;
    let mut first = app.join(&invite.token, "Ann").await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(app.join(&invite.token, "Ann").await);
    }
    let told = first.expect("error").await;
    assert_eq!((&told["code"], &told["retry"]), (&json!("replaced"), &json!("never")));
    assert_eq!(first.closed().await, 4010);
    for other in &mut others {
        other.ping(None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_gets_coalesced_diffs_and_everybody_the_same_list() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;
    let mut crowd = Vec::new();
    for number in 0..60 {
        crowd.push(app.join(&token, &format!("P{number}")).await);
    }
    let mut known: std::collections::BTreeSet<String> =
        watcher.joined["participants"].as_array().expect("list").iter().map(id_of).collect();
    let mut frames = 0;
    while known.len() < 61 {
        let diff = watcher.expect("presence").await;
        frames += 1;
        known.extend(diff["joins"].as_array().expect("list").iter().map(id_of));
    }
    assert!(frames <= 60, "{frames} frames");
    watcher.send(json!({ "type": "snapshot" })).await;
    let snapshot = watcher.expect("snapshot").await;
    let listed: std::collections::BTreeSet<String> =
        snapshot["participants"].as_array().expect("list").iter().map(id_of).collect();
    assert_eq!(known, listed);
}

fn id_of(participant: &serde_json::Value) -> String {
    participant["participant_id"].as_str().expect("id").to_owned()
}
