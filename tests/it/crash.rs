//! Restarts and crashes: nothing acknowledged is lost, nobody is shown as gone, spans end at evidence.

use serde_json::json;

use crate::outage::assert_dense;
use crate::support::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_not_a_mass_leave() {
    let mut app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let bob = app.join(&token, "Bob").await;
    let (ann_resume, bob_participant) = (ann.resume().to_owned(), bob.participant().to_owned());
    app.signal(nix::sys::signal::Signal::SIGTERM);
    let told = ann.expect("error").await;
    assert_eq!((&told["code"], &told["retry"]), (&json!("restarting"), &json!("later")));
    assert!(told["retry_after_ms"].is_u64());
    assert_eq!(ann.closed().await, 4200);
    drop(bob);
    assert_eq!(app.wait().await, Some(0));
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.participation_spans where end_reason = 'server_drain'")
            .await,
        2
    );
    assert_eq!(app.database.text("select state from rollcall.node_epochs where epoch > 0").await, "drained");

    app.run().await;
    let ann = Client::join_with(&app.url, json!({ "token": ann_resume })).await;
    let people = ann.joined["participants"].as_array().expect("list");
    let bob = people.iter().find(|one| one["participant_id"] == bob_participant.as_str()).expect("Bob is kept");
    assert_eq!((&bob["status"], &bob["name"]), (&json!("reconnecting"), &json!("Bob")));
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.session_audit_log where event_type = 'participant_left'")
            .await,
        0
    );
    let (_, presence) = app.api.get(&format!("/v1/sessions/{session}/presence")).await;
    assert_eq!(presence["participants"].as_array().map(Vec::len), Some(2));
    assert_dense(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_acknowledged_and_bills_to_the_evidence() {
    let mut app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let mut bob = app.join(&token, "Bob").await;
    ann.ping(Some(true)).await;
    bob.ping(Some(true)).await;
    // One mark after these pings is durable; what came later may be missing, and is said to be.
    let heard = "select count(*) from rollcall.participation_spans where last_evidence_at > connected_at";
    app.eventually_counts(heard, 2).await;
    // Postgres sees nothing of this any more; the journal does.
    app.database.refuse_connections().await;
    let last_words = app.join(&token, "Cy").await;
    let cy = last_words.participant().to_owned();
    app.crash().await;
    app.database.accept_connections().await;
    assert_eq!(
        app.database.number(&format!("select count(*) from rollcall.participants where participant_id = '{cy}'")).await,
        0
    );

    app.run().await;
    assert_eq!(
        app.database.number(&format!("select count(*) from rollcall.participants where participant_id = '{cy}'")).await,
        1,
        "an acknowledged join survives"
    );
    let spans = "select count(*) from rollcall.participation_spans where end_reason = 'node_crash'
                 and disconnected_at = greatest(last_evidence_at, connected_at) and uncertainty_us > 0";
    assert_eq!(app.database.number(spans).await, 3);
    assert_eq!(
        app.database.text("select state from rollcall.node_epochs where epoch > 0 order by epoch limit 1").await,
        "recovered"
    );

    // Ann says how long ago she lost her socket: her span grows to that, never beyond the last mark.
    let back = Client::join_with(&app.url, json!({ "token": ann.resume(), "client": { "closed_ms_ago": 0 } })).await;
    assert_eq!(back.participant(), ann.participant());
    app.eventually_counts(
        "select count(*) from rollcall.session_audit_log where event_type = 'connection_close_amended'",
        1,
    )
    .await;
    let bounded = app
        .database
        .text(&format!(
            "select s.disconnected_at <= e.attested_until from rollcall.participation_spans s join rollcall.node_epochs e using (epoch)
             where s.epoch || '-' || s.connection = '{}'",
            ann.connection()
        ))
        .await;
    assert_eq!(bounded, "true");
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.session_audit_log where event_type = 'participant_left'")
            .await,
        0
    );
    assert_dense(&app).await;
    drop(bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_under_traffic_never_lose_or_double_anything() {
    let mut app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let joins = (0..8).map(|number| {
            let (url, token) = (app.url.clone(), token.clone());
            tokio::spawn(async move {
                let mut client = Client::join(&url, &token, &format!("{round}-{number}")).await;
                let connection = client.connection().to_owned();
                client.send(json!({ "type": "update", "state": number })).await;
                connection
            })
        });
        for join in joins.collect::<Vec<_>>() {
            acknowledged.push(join.await.expect("joined"));
        }
        app.crash().await;
        app.run().await;
    }
    for connection in &acknowledged {
        let kept = format!(
            "select count(*) from rollcall.participation_spans where epoch || '-' || connection = '{connection}'"
        );
        assert_eq!(app.database.number(&kept).await, 1, "{connection}");
    }
    assert_eq!(
        app.database.number("select count(*) from rollcall.participation_spans where disconnected_at is null").await,
        0,
        "every span of a crashed epoch is closed"
    );
    assert_dense(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_data_folder() {
    let app = TestApp::start().await;
    let output =
        app.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &app.data_dir.path().to_string_lossy()]).await;
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("in use") && words.contains(&app.pid().to_string()), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_share_a_name() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let output =
        app.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", &folder.path().to_string_lossy()]).await;
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("node_name"), "{words}");
    ann.ping(None).await;
    assert_eq!(
        app.database
            .number("select count(*) from rollcall.participation_spans where disconnected_at is not null")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_postgres_refuses_is_kept_and_stops_nobody() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    // A rule that this version of the server knows nothing of.
    app.database
        .execute("alter table rollcall.participants add constraint no_bob check (state is distinct from '\"poison\"'::jsonb)")
        .await;
    ann.send(json!({ "type": "update", "state": "poison" })).await;
    ann.ping(None).await;
    app.eventually_counts("select count(*) from rollcall.refused_records", 1).await;
    ann.send(json!({ "type": "update", "state": "fine" })).await;
    app.eventually_counts("select count(*) from rollcall.participants where state = '\"fine\"'", 1).await;
    let kept = app.database.text("select convert_from(body, 'UTF8')::jsonb from rollcall.refused_records").await;
    assert!(kept.contains("poison") && kept.contains(&session), "{kept}");
    assert_dense(&app).await;
}
