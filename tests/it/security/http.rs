//! The accept loop and the HTTP stack: requests that are too much, that mean two things, or that never end.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, TestApp};

/// Sends these bytes and reads until the server closes.
async fn exchange(app: &TestApp, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(app)).await.expect("connected");
    // A server that has seen enough does not read on, and closes before all is sent.
    stream.write_all(request).await.ok();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn address(app: &TestApp) -> String {
    app.url.trim_start_matches("http://").to_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|one| &one[..3]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_bodies_that_are_too_long_are_refused() {
    let app = TestApp::start_with(&[("WS__HEADER_TIMEOUT_S", "1")]).await;
    let key = &app.api.key;
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    for (name, request, status) in [
        ("a long header", format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000)), "431"),
        ("many headers", format!("GET /livez HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20_000)), "431"),
        ("a head without end", format!("GET /livez HTTP/1.1\r\nX: {}", "x".repeat(1_000_000)), "431"),
        ("a second protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".to_owned(), "400"),
    ] {
        let answer = exchange(&app, request.as_bytes()).await;
        // Sending on after the answer may reset the connection, and the answer with it.
        assert!(answer.is_empty() || statuses(&answer) == [status], "{name}: {answer}");
    }
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    );
    let declared = exchange(&app, format!("{head}Content-Length: 10000000\r\n\r\n{{").as_bytes()).await;
    assert!(declared.contains("payload_too_large"), "refused by its length alone: {declared}");
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let chunked =
        exchange(&app, format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3)).as_bytes()).await;
    assert!(chunked.contains("payload_too_large") || chunked.is_empty(), "{chunked}");
    assert_eq!(app.api.get("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_means_two_things_is_the_last_of_its_connection() {
    let app = TestApp::start_with(&[("WS__HEADER_TIMEOUT_S", "1")]).await;
    let hidden = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /v1/invites/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    // A proxy that goes by the length takes the second request for the body of the first.
    let length = hidden.len() + 5;
    let both = [
        format!("{post}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hidden}"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
    ];
    for request in both {
        let answer = exchange(&app, request.as_bytes()).await;
        assert_eq!(statuses(&answer).len(), 1, "the hidden request was answered: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "X-Nul: a\0b",
        "X-Folded: a\r\n Transfer-Encoding: chunked",
        " Transfer-Encoding: chunked",
        "X-Bare-Return: a\rContent-Length: 5",
    ] {
        let answer = exchange(&app, format!("{post}{headers}\r\n\r\n0\r\n\r\n{hidden}").as_bytes()).await;
        assert_eq!(statuses(&answer), ["400"], "{headers:?}: {answer}");
    }
    let old = format!("POST /v1/invites/check HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    let answer = exchange(&app, old.as_bytes()).await;
    assert_eq!(statuses(&answer).len(), 1, "{answer}");
    // Honest requests one behind the other are answered in their order.
    let sized = format!("{post}Content-Length: 2\r\n\r\n{{}}{hidden}");
    assert_eq!(statuses(&exchange(&app, sized.as_bytes()).await), ["400", "200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_are_none_end_the_request() {
    let app = TestApp::start_with(&[("WS__HEADER_TIMEOUT_S", "1"), ("HTTP__REQUEST_TIMEOUT_S", "1")]).await;
    let post = "POST /v1/invites/check HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "ffffffffffffffff\r\n{",
        "fffffffffffffffff\r\n{",
        "-1\r\n{",
        "zz\r\n{",
        "2\r\n{}X\r\n0\r\n\r\n",
        &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(60_000)),
    ] {
        let answer = exchange(&app, format!("{post}{body}").as_bytes()).await;
        // 503: a chunk that is announced and does not come.
        let refused = |status: &&str| status.starts_with('4') || *status == "503";
        assert!(statuses(&answer).iter().all(refused), "{body:.30}: {answer}");
    }
    assert_eq!(app.api.get("/livez").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_client_becomes_a_header() {
    let app = TestApp::start().await;
    let session = app.session(json!({})).await;
    let invites = format!("/v1/sessions/{session}/invites");
    for text in ["Ann\r\nSet-Cookie: a=b", "Ann\nX: y", "Ann\rX", "Ann\0", "Ann\u{85}"] {
        for (path, body) in [
            ("/v1/sessions", json!({ "title": text })),
            ("/v1/sessions", json!({ "external_id": text })),
            (invites.as_str(), json!({ "name": text })),
            (&invites, json!({ "identity": text })),
            (&invites, json!({ "role": text })),
        ] {
            let (status, problem) = app.api.post(path, body.clone()).await;
            assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{body}");
        }
    }
    let long = "x".repeat(65);
    for id in ["evil id", "<script>", "a,b", long.as_str(), "\u{e9}"] {
        let request = reqwest::Client::new().get(format!("{}/livez", app.url));
        let value = reqwest::header::HeaderValue::from_bytes(id.as_bytes()).expect("a header");
        let answer = request.header("x-request-id", value).send().await.expect("answered");
        let given = answer.headers()["x-request-id"].to_str().expect("ASCII");
        assert!(given.len() == 32 && given.bytes().all(|byte| byte.is_ascii_hexdigit()), "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_be_careful() {
    let app = TestApp::start().await;
    for path in
        ["/v1/sessions", "/livez", "/metrics", "/docs", "/", "/join", "/nowhere", "/ui/join.js", "/openapi.json"]
    {
        let answer = reqwest::get(format!("{}{path}", app.url)).await.expect("answered");
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!((header("x-content-type-options"), header("referrer-policy")), ("nosniff", "no-referrer"), "{path}");
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(!answer.headers().contains_key("set-cookie"), "{path}: there are no cookies to steal");
        assert!(!answer.headers().contains_key("server"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_a_body_drop_by_drop_is_answered_in_time() {
    let app = TestApp::start_with(&[("HTTP__REQUEST_TIMEOUT_S", "1"), ("WS__HEADER_TIMEOUT_S", "1")]).await;
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
        app.api.key
    );
    let started = std::time::Instant::now();
    let answer = exchange(&app, head.as_bytes()).await;
    assert_eq!(statuses(&answer), ["503"], "{answer}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
