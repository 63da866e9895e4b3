//! Bad input and hostile clients: a public code and a sentence each, and nobody else disturbed.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::support::{Client, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_cannot_be_understood_get_an_error_and_the_socket_stays() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let deep = format!("{{\"type\":\"update\",\"state\":{}", "[".repeat(5_000));
    for (frame, code) in [
        ("", "malformed_frame"),
        ("{", "malformed_frame"),
        ("[1,2]", "malformed_frame"),
        ("null", "malformed_frame"),
        (r#"{"type":"ping","type":"leave"}"#, "malformed_frame"),
        (r#"{"type":"ping","id":{}}"#, "malformed_frame"),
        (r#"{"type":"update"}"#, "malformed_frame"),
        (deep.as_str(), "malformed_frame"),
        (r#"{"type":"dance"}"#, "unknown_type"),
        (r#"{"type":"join","token":"again"}"#, "already_joined"),
    ] {
        ann.send_raw(frame).await;
        let error = ann.expect("error").await;
        assert_eq!(error["code"], code, "{frame:.60}");
        assert_eq!(error["retry"], "never");
    }
    ann.send(json!({ "type": "update", "state": "x".repeat(5_000) })).await;
    assert_eq!(ann.expect("error").await["code"], "state_too_large");
    ann.ping(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_close_the_socket_with_a_reason() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;

    let mut binary = app.join(&token, "Binary").await;
    binary.socket.send(Message::Binary(vec![1, 2, 3].into())).await.expect("sent");
    assert_eq!(binary.expect("error").await["code"], "binary_refused");
    assert_eq!(binary.closed().await, 4009);

    let mut big = app.join(&token, "Big").await;
    big.send_raw("x".repeat(20_000)).await;
    assert_eq!(big.expect("error").await["code"], "message_too_big");
    assert_eq!(big.closed().await, 4009);

    let mut early = Client::connect(&app.url).await;
    early.send(json!({ "type": "ping" })).await;
    let refusal = early.refused().await;
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("join_required"), 4009));

    let mut long = Client::connect(&app.url).await;
    long.send_join(json!({ "token": "x".repeat(5_000) })).await;
    let refusal = long.refused().await;
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("message_too_big"), 4009));
    watcher.ping(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_join_in_time_is_closed() {
    let app = TestApp::start_with(&[("WS__FIRST_FRAME_TIMEOUT_S", "1")]).await;
    let refusal = Client::connect(&app.url).await.refused().await;
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("join_required"), 4009));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_is_refused_by_its_origin() {
    let app = TestApp::start_with(&[("WS__ORIGINS", "https://app.example.com")]).await;
    let (_, token) = app.room().await;
    for origin in ["https://evil.example", "null", "https://app.example.com.evil.example"] {
        let refusal = Client::connect_from(&app.url, Some(origin)).await.refused().await;
        assert_eq!((refusal.error.as_deref(), refusal.close), (Some("origin_refused"), 4011), "{origin}");
    }
    let mut good = Client::connect_from(&app.url, Some("https://app.example.com")).await;
    good.send_join(json!({ "token": token })).await;
    good.expect("joined").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_to_the_socket_is_told_what_to_do() {
    let app = TestApp::start().await;
    let (status, problem) = app.api.get("/v1/ws").await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_slowed_then_closed_and_others_do_not_notice() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut quiet = app.join(&token, "Quiet").await;
    let mut flood = app.join(&token, "Flood").await;
    let flooding = tokio::spawn(async move {
        for _ in 0..20_000 {
            if flood.socket.send(Message::Text(r#"{"type":"ping"}"#.into())).await.is_err() {
                break;
            }
        }
        let limited = flood.expect("error").await;
        (limited, flood.closed().await)
    });
    for _ in 0..20 {
        let started = std::time::Instant::now();
        quiet.ping(None).await;
        assert!(started.elapsed() < Duration::from_millis(500), "disturbed: {:?}", started.elapsed());
    }
    let (limited, close) = flooding.await.expect("flood ended");
    assert_eq!((&limited["code"], &limited["retry"]), (&json!("rate_limited"), &json!("later")));
    // The close frame may be lost to a reset: the flood's own bytes were still on their way.
    assert!(close == 4203 || close == 1006, "{close}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_updates_are_coalesced_and_never_punished() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;
    let mut busy = app.join(&token, "Busy").await;
    for number in 0..200 {
        busy.send(json!({ "type": "update", "state": number })).await;
    }
    watcher
        .expect_where("presence", |frame| {
            frame["updates"].as_array().is_some_and(|updates| updates.iter().any(|one| one["state"] == 199))
        })
        .await;
    busy.ping(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_let_go_and_others_do_not_notice() {
    let app = TestApp::start_with(&[
        ("WS__SLOW_CONSUMER_TIMEOUT_S", "1"),
        ("WS__OUTBOX_BYTES_MAX", "65536"),
        ("WS__MESSAGES_PER_S", "10000"),
        ("WS__MESSAGES_BURST", "100000"),
    ])
    .await;
    let (_, token) = app.room().await;
    let mut busy = app.join(&token, "Busy").await;
    let deaf = app.join(&token, "Deaf").await;
    let deaf_id = deaf.participant().to_owned();
    let slow = "select count(*) from rollcall.participation_spans where end_reason = 'slow_consumer'";
    let give_up_at = std::time::Instant::now() + crate::support::PATIENCE * 2;
    let mut number = 0;
    while app.database.number(slow).await == 0 {
        assert!(std::time::Instant::now() < give_up_at, "the deaf client was never let go, after {number} updates");
        for _ in 0..200 {
            number += 1;
            busy.send(json!({ "type": "update", "state": format!("{number}{}", "x".repeat(3_900)) })).await;
        }
        busy.ping(None).await;
    }
    let closed = app
        .database
        .text("select participant_id from rollcall.participation_spans where end_reason = 'slow_consumer'")
        .await;
    assert_eq!(closed, deaf_id);
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_lorises_are_cut_off_and_others_do_not_notice() {
    let app = TestApp::start_with(&[("WS__HEADER_TIMEOUT_S", "1")]).await;
    let (_, token) = app.room().await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let mut lorises = Vec::new();
    for number in 0..200 {
        let mut socket = TcpStream::connect(&address).await.expect("connected");
        if number % 2 == 0 {
            socket.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.expect("sent");
        }
        lorises.push(socket);
    }
    app.join(&token, "Ann").await;
    for mut socket in lorises {
        let mut rest = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await;
        assert!(cut.is_ok(), "still open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_tokens_must_wait() {
    let app = TestApp::start_with(&[("WS__FAILED_JOINS_PER_ADDRESS_PER_MIN", "3")]).await;
    for _ in 0..3 {
        let refusal = Client::try_join(&app.url, json!({ "token": "guess" })).await.err().expect("refused");
        assert_eq!(refusal.error.as_deref(), Some("token_invalid"));
    }
    let (_, token) = app.room().await;
    let refusal = Client::try_join(&app.url, json!({ "token": token })).await.err().expect("refused");
    assert_eq!((refusal.error.as_deref(), refusal.close), (Some("rate_limited"), 4203));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_client_is_limited_and_not_the_proxy() {
    let app = TestApp::start_with(&[
        ("WS__FAILED_JOINS_PER_ADDRESS_PER_MIN", "1"),
        ("HTTP__TRUSTED_PROXIES", "127.0.0.1/32"),
    ])
    .await;
    let (_, token) = app.room().await;
    let try_from = async |client: &str, token: &str| {
        let mut socket = Client::connect_with(&app.url, &[("x-forwarded-for", client)]).await;
        socket.send_join(json!({ "token": token })).await;
        socket.next().await.expect("an answer")
    };
    assert_eq!(try_from("192.0.2.1", "guess").await["code"], "token_invalid");
    assert_eq!(try_from("192.0.2.1", &token).await["code"], "rate_limited");
    assert_eq!(try_from("192.0.2.2", &token).await["type"], "joined");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_over_http_is_a_problem_and_not_a_crash() {
    let app = TestApp::start().await;
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    for body in [
        "{",
        "[]",
        "null",
        r#"{"idle_timeout_s":1e400}"#,
        r#"{"idle_timeout_s":-1}"#,
        r#"{"title":5}"#,
        r#"{"tittle":"x"}"#,
        &deep,
    ] {
        let response = reqwest::Client::new()
            .post(format!("{}/v1/sessions", app.url))
            .bearer_auth(&app.api.key)
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .expect("answered");
        let status = response.status().as_u16();
        assert!((400..=422).contains(&status), "{status} for {body:.40}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = response.json().await.expect("JSON");
        assert!(problem["code"].is_string() && problem["request_id"].is_string(), "{problem}");
    }
    assert_eq!(app.api.get("/livez").await.0, 200);
}
