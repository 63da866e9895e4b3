//! Who is let in: invites, identities, JWTs, tenants.

use serde_json::{Value, json};

use crate::support::{Client, Refusal, TestApp, eventually};

async fn refused(app: &TestApp, token: &str) -> Refusal {
    Client::try_join(&app.url, json!({ "token": token })).await.err().expect("refused")
}

fn says(refusal: &Refusal, code: &str, close: u16) {
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some(code), close), "{refusal:?}");
    assert!(refusal.message.ends_with('.') && refusal.message.contains(' '), "not a sentence: {}", refusal.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_invite_is_refused_with_its_own_sentence() {
    let app = TestApp::start().await;
    let (session, good) = app.room().await;

    let in_days = |days: u32| {
        format!("to_char(now() at time zone 'utc' + interval '{days} days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
    };
    let (from, until) = (app.database.text(&in_days(1)).await, app.database.text(&in_days(2)).await);
    let not_yet = app.invite(&session, json!({ "not_before": from, "expires_at": until })).await;
    says(&refused(&app, &not_yet.token).await, "invite_not_yet_valid", 4005);

    let revoked = app.invite(&session, json!({})).await;
    assert_eq!(app.api.call("DELETE", &format!("/v1/invites/{}", revoked.id), None).await.0 / 100, 2);
    says(&refused(&app, &revoked.token).await, "invite_revoked", 4003);

    let once = app.invite(&session, json!({ "max_uses": 1 })).await;
    let first = app.join(&once.token, "First").await;
    says(&refused(&app, &once.token).await, "invite_used_up", 4004);
    // A chosen identity is no proof of having been here: one link does not let in everybody who knows a name.
    let single = app.invite(&session, json!({ "max_uses": 1 })).await;
    Client::join_with(&app.url, json!({ "token": single.token, "identity": "shared" })).await;
    let refusal = Client::try_join(&app.url, json!({ "token": single.token, "identity": "shared" })).await.err();
    says(&refusal.expect("refused"), "invite_used_up", 4004);
    // Coming back is not a second use.
    let resume = first.resume().to_owned();
    first.close().await;
    Client::join_with(&app.url, json!({ "token": resume })).await;

    let brief = app.invite(&session, json!({ "expires_in_s": 1 })).await;
    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'invite_expired'", 1)
        .await;
    says(&refused(&app, &brief.token).await, "invite_expired", 4002);

    let mut cut = good.clone();
    cut.pop();
    for bad in [cut.as_str(), "rci_", "nonsense", "", "a.b.c", "rcr_a.b", &"x".repeat(3_000)] {
        says(&refused(&app, bad).await, "token_invalid", 4008);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landing_page_is_told_at_once() {
    let app = TestApp::start().await;
    let session = app.session(json!({ "title": "Lesson 12" })).await;
    let invite = app.invite(&session, json!({ "expires_in_s": 60 })).await;
    let (status, good) = app.api.post("/v1/invites/check", json!({ "token": invite.token })).await;
    assert_eq!((status, &good["valid"], &good["session"]["title"]), (200, &json!(true), &json!("Lesson 12")));
    assert!((1..=60_000).contains(&good["expires_in_ms"].as_i64().expect("a number")));
    let (status, bad) = app.api.post("/v1/invites/check", json!({ "token": "rci_nonsense" })).await;
    assert_eq!((status, &bad["valid"], &bad["code"]), (200, &json!(false), &json!("token_invalid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_invite_lets_in_exactly_as_many_as_it_says() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({ "max_uses": 3 })).await;
    let joins = (0..12).map(|_| Client::try_join(&app.url, json!({ "token": invite.token })));
    let outcomes = futures_util::future::join_all(joins).await;
    let (inside, outside): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((inside.len(), outside.len()), (3, 9));
    assert_eq!(
        app.database.number(&format!("select uses from rollcall.invites where invite_id = '{}'", invite.id)).await,
        3
    );
}

/// As after a restore of the database from before the invite, with a server that remembers it.
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_invite_that_the_database_lost_is_none() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({ "max_uses": 5 })).await;
    app.join(&invite.token, "Ann").await;
    app.database.execute(&format!("delete from rollcall.invite_uses where invite_id = '{}'", invite.id)).await;
    app.database.execute(&format!("delete from rollcall.invites where invite_id = '{}'", invite.id)).await;
    says(&refused(&app, &invite.token).await, "token_invalid", 4008);
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_an_open_invite_are_counted_by_people_and_not_by_sockets() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({})).await;
    let ann = app.join(&invite.token, "Ann").await;
    let _bob = app.join(&invite.token, "Bob").await;
    let resume = ann.resume().to_owned();
    ann.close().await;
    let _again = Client::join_with(&app.url, json!({ "token": resume })).await;
    app.eventually_counts("select count(*) from rollcall.participation_spans", 3).await;
    assert_eq!(
        app.database.number(&format!("select uses from rollcall.invites where invite_id = '{}'", invite.id)).await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_closes_those_who_came_by_it_and_nobody_else() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut stays = app.join(&token, "Stays").await;
    let invite = app.invite(&session, json!({})).await;
    let mut goes = app.join(&invite.token, "Goes").await;
    let resume = goes.resume().to_owned();
    app.api.call("DELETE", &format!("/v1/invites/{}", invite.id), None).await;
    assert_eq!(goes.expect("error").await["code"], "invite_revoked");
    assert_eq!(goes.closed().await, 4003);
    let left = stays.expect_where("presence", |frame| frame["leaves"] != json!([])).await;
    assert_eq!(left["leaves"][0]["reason"], "invite_revoked");
    says(&refused(&app, &resume).await, "invite_revoked", 4003);
    stays.ping(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_session_lets_nobody_in_but_its_own_people() {
    let app = TestApp::start().await;
    let session = app.session(json!({ "max_participants": 2 })).await;
    let invite = app.invite(&session, json!({ "max_uses": 5 })).await;
    let ann = app.join(&invite.token, "Ann").await;
    let _bob = app.join(&invite.token, "Bob").await;
    says(&refused(&app, &invite.token).await, "session_full", 4007);
    let uses = format!("select uses from rollcall.invites where invite_id = '{}'", invite.id);
    assert_eq!(app.database.number(&uses).await, 2, "a refused join is no use");
    let resume = ann.resume().to_owned();
    ann.close().await;
    Client::join_with(&app.url, json!({ "token": resume })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_identity_never_becomes_a_fixed_one() {
    let app = TestApp::start().await;
    let (session, open) = app.room().await;
    let host = app.invite(&session, json!({ "identity": "teacher", "role": "host" })).await;
    let teacher = Client::join_with(&app.url, json!({ "token": host.token, "identity": "somebody-else" })).await;
    assert_eq!(teacher.joined["self"]["identity"], "teacher");
    let impostor = Client::join_with(&app.url, json!({ "token": open, "identity": "teacher" })).await;
    assert_ne!(impostor.participant(), teacher.participant());
    assert_eq!(impostor.joined["self"]["role"], "guest");
    let again = Client::join_with(&app.url, json!({ "token": open, "identity": "teacher" })).await;
    assert_eq!(impostor.participant(), again.participant());
    for bad in ["a\u{0}b", "tab\tbed", &"x".repeat(129)] {
        let refusal =
            Client::try_join(&app.url, json!({ "token": open, "identity": bad })).await.err().expect("refused");
        assert_eq!(refusal.error.as_deref(), Some("invalid_request"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_of_the_tenant_lets_in_until_it_is_over() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let secret = app.signing_secret(app.api.tenant).await;
    let claims = |exp: i64| json!({ "sub": "user-7", "aud": "rollcall", "exp": exp, "name": "Ann", "rollcall": { "session": session, "role": "host" } });
    let now = app.database.number("select extract(epoch from now())::bigint").await;
    let inside = Client::join_with(&app.url, json!({ "token": sign(&claims(now + 600), &secret) })).await;
    assert_eq!(
        (&inside.joined["self"]["identity"], &inside.joined["self"]["role"]),
        (&json!("user-7"), &json!("host"))
    );

    says(&refused(&app, &sign(&claims(now + 600), "wrong secret")).await, "token_invalid", 4008);
    let mut wrong_audience = claims(now + 600);
    wrong_audience["aud"] = "other".into();
    says(&refused(&app, &sign(&wrong_audience, &secret)).await, "token_invalid", 4008);
    let refusal = refused(&app, &sign(&claims(now - 31), &secret)).await;
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("token_expired"), 4100));

    // Two seconds left, of which the leeway of 30 s is most.
    let mut brief = Client::join_with(&app.url, json!({ "token": sign(&claims(now - 28), &secret) })).await;
    assert_eq!(brief.expect("error").await["retry"], "refresh");
    assert_eq!(brief.closed().await, 4100);

    let other = app.other_tenant().await;
    let foreign = app.signing_secret(other.tenant).await;
    says(&refused(&app, &sign(&claims(now + 600), &foreign)).await, "token_invalid", 4008);
    let none =
        format!("{}.{}.", base64(br#"{"alg":"none","typ":"JWT"}"#), base64(claims(now + 600).to_string().as_bytes()));
    says(&refused(&app, &none).await, "token_invalid", 4008);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_key_finds_nothing() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({})).await;
    let other = app.other_tenant().await;
    for (method, path, body) in [
        ("GET", format!("/v1/sessions/{session}"), None),
        ("PATCH", format!("/v1/sessions/{session}"), Some(json!({ "title": "mine" }))),
        ("POST", format!("/v1/sessions/{session}/extend"), Some(json!({ "by_s": 60 }))),
        ("POST", format!("/v1/sessions/{session}/end"), Some(json!({}))),
        ("POST", format!("/v1/sessions/{session}/recover"), Some(json!({}))),
        ("POST", format!("/v1/sessions/{session}/invites"), Some(json!({}))),
        ("GET", format!("/v1/sessions/{session}/invites"), None),
        ("DELETE", format!("/v1/invites/{}", invite.id), None),
        ("GET", format!("/v1/sessions/{session}/presence"), None),
        ("GET", format!("/v1/sessions/{session}/participants"), None),
        ("DELETE", format!("/v1/sessions/{session}/participants/{session}"), None),
        ("GET", format!("/v1/sessions/{session}/audit"), None),
        ("GET", format!("/v1/sessions/{session}/usage"), None),
    ] {
        let (status, problem) = other.call(method, &path, body).await;
        assert_eq!(status, 404, "{method} {path}: {problem}");
        let code = problem["code"].as_str().unwrap_or_default();
        assert!(matches!(code, "not_found" | "session_not_found"), "{method} {path}: {problem}");
    }
    let (_, sessions) = other.get("/v1/sessions").await;
    assert_eq!(sessions["data"], json!([]));
    let mut nobody = other.clone();
    nobody.key = "rck_nonsense".to_owned();
    assert_eq!(nobody.get("/v1/sessions").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_log_metrics_or_ledger() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Secret-Name-Of-Ann").await;
    refused(&app, &format!("{token}x")).await;
    ann.send(json!({ "type": "leave" })).await;
    let resume = ann.resume().to_owned();
    ann.closed().await;
    app.eventually_counts("select count(*) from rollcall.participation_spans where disconnected_at is not null", 1)
        .await;
    let (_, metrics) = app.api.get("/metrics").await;
    let (_, audit) = app.api.get(&format!("/v1/sessions/{session}/audit")).await;
    let ledger = app.database.column("select l::text from rollcall.session_audit_log l").await.join("\n");
    let log = eventually("something in the log", || async { Some(app.log()).filter(|log| !log.is_empty()) }).await;
    for secret in [token.as_str(), &resume, &app.api.key, "Secret-Name-Of-Ann", crate::support::ROOT_KEY] {
        for (place, text) in
            [("log", &log), ("metrics", &metrics.to_string()), ("audit", &audit.to_string()), ("ledger", &ledger)]
        {
            assert!(!text.contains(secret), "{place} holds a secret");
        }
    }
}

fn sign(claims: &Value, secret: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let body = format!("{}.{}", base64(br#"{"alg":"HS256","typ":"JWT"}"#), base64(claims.to_string().as_bytes()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    format!("{body}.{}", base64(&mac.finalize().into_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
