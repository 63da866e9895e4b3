//! Floods from one address, and what everybody else feels of them. The flood comes from 127.0.0.2, the others from
//! 127.0.0.1; the limits are those of the configuration unless a test says otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::latency::{assert_undisturbed, waits};
use crate::support::{Client, PATIENCE, TestApp, eventually};

const LORISES: usize = 400;

/// Kilobytes that one loris may cost, in a debug build with its larger tasks.
const KIB_PER_LORIS_MAX: u64 = 48;

/// The four ways to hold a connection without ever being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loris {
    /// Connects and says nothing.
    Silent,
    /// Never finishes the head of its request.
    Head,
    /// Becomes a socket and never joins.
    Upgrade,
    /// Asks again and again, and never reads an answer.
    Deaf,
}

impl Loris {
    const ALL: [Self; 4] = [Self::Silent, Self::Head, Self::Upgrade, Self::Deaf];

    fn words(self) -> Vec<u8> {
        match self {
            Self::Silent => Vec::new(),
            Self::Head => b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_vec(),
            Self::Upgrade => b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Protocol: rollcall.v1\r\n\r\n"
                .to_vec(),
            Self::Deaf => b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400),
        }
    }
}

async fn from_elsewhere(app: &TestApp) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Small, so that whoever reads nothing is noticed soon.
    socket.set_recv_buffer_size(8 * 1024)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)))?;
    socket.connect(app.url.trim_start_matches("http://").parse().expect("an address")).await
}

/// Whether the server has let go of this connection, which is not asked to read for that.
async fn is_let_go(stream: &mut TcpStream) -> bool {
    let mut rest = vec![0; 64 * 1024];
    let ended = async {
        loop {
            match stream.read(&mut rest).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

fn memory_kib(app: &TestApp) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn open_files(app: &TestApp) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", app.pid())).expect("a process").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_lorises_of_every_kind_cost_little_and_are_let_go() {
    let app = TestApp::start_with(&[
        ("WS__HEADER_TIMEOUT_S", "4"),
        ("WS__FIRST_FRAME_TIMEOUT_S", "4"),
        ("HTTP__ANSWER_STALL_TIMEOUT_S", "4"),
        ("HTTP__CONNECTIONS_MAX", "150"),
    ])
    .await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let before = waits(&mut ann).await;
    let (memory, files) = (memory_kib(&app), open_files(&app));
    let mut lorises = Vec::new();
    for number in 0..LORISES {
        let loris = Loris::ALL[number % Loris::ALL.len()];
        let mut stream = from_elsewhere(&app).await.expect("connected");
        // Deaf ones are cut off in the middle of asking.
        let words = loris.words();
        tokio::time::timeout(Duration::from_millis(200), stream.write_all(&words)).await.ok();
        lorises.push(stream);
    }
    let grown = memory_kib(&app).saturating_sub(memory);
    let during = waits(&mut ann).await;
    // More lorises than there is room for, and still nobody waits in front of the door.
    let joined = tokio::time::timeout(Duration::from_secs(5), app.join(&token, "Bob")).await.expect("let in");
    assert_eq!(app.api.get("/livez").await.0, 200);
    assert_undisturbed(&before, &during);
    assert!(grown <= KIB_PER_LORIS_MAX * LORISES as u64, "{grown} KiB for {LORISES} lorises");
    let mut let_go = JoinSet::new();
    for mut stream in lorises {
        let_go.spawn(async move { is_let_go(&mut stream).await });
    }
    while let Some(is_let_go) = let_go.join_next().await {
        assert!(is_let_go.expect("looked at"), "a loris is still there");
    }
    // Bob's socket, and what the database pool opened meanwhile.
    eventually("no descriptor is left behind", || async { (open_files(&app) <= files + 16).then_some(()) }).await;
    drop(joined);
    ann.ping(Some(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_every_connection() {
    let app = TestApp::start_with(&[("HTTP__CONNECTIONS_PER_ADDRESS_MAX", "20"), ("WS__HEADER_TIMEOUT_S", "30")]).await;
    let (_, token) = app.room().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(from_elsewhere(&app).await.expect("connected"));
    }
    let mut refused = from_elsewhere(&app).await.expect("connected");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, refused.read_to_string(&mut answer)).await.expect("closed").expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("connection: close"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&problem["code"], &problem["status"]), (&json!("rate_limited"), &json!(429)));
    app.join(&token, "Somebody else").await;
    held.pop();
    eventually("a place is free again", || async {
        let mut stream = from_elsewhere(&app).await.ok()?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

/// Sockets that come and go without a token, as many as the machine makes, until it is told to stop.
async fn flood_of_connections(url: String, stop: tokio_util::sync::CancellationToken) -> usize {
    let mut made = 0;
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    while !stop.is_cancelled() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).expect("an address of this machine");
        let Ok(mut stream) = socket.connect(address).await else { continue };
        stream.write_all(&Loris::Upgrade.words()).await.ok();
        made += 1;
        // One core is enough for the flood; the server has the other.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_from_one_address_is_felt_by_nobody_else() {
    let app = TestApp::start_with(&[
        ("WS__CONNECTIONS_PER_ADDRESS_PER_S", "10"),
        ("WS__CONNECTIONS_PER_ADDRESS_BURST", "50"),
        ("WS__UNAUTHENTICATED_PER_ADDRESS_MAX", "20"),
        ("HTTP__CONNECTIONS_PER_ADDRESS_MAX", "256"),
    ])
    .await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let before = waits(&mut ann).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let flood = tokio::spawn(flood_of_connections(app.url.clone(), stop.clone()));
    let during = waits(&mut ann).await;
    tokio::time::timeout(Duration::from_secs(5), app.join(&token, "Bob")).await.expect("let in during the flood");
    stop.cancel();
    let made = flood.await.expect("ended");
    assert!(made > 200, "a flood of {made} connections is none");
    assert_undisturbed(&before, &during);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_messages_is_felt_by_nobody_else() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let before = waits(&mut ann).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut floods = JoinSet::new();
    for number in 0..4 {
        let (url, token, stop) = (app.url.clone(), token.clone(), stop.clone());
        floods.spawn(async move {
            let mut sent = 0_u64;
            while !stop.is_cancelled() {
                // Whoever is closed for it comes back and goes on.
                let Ok(mut flood) =
                    Client::try_join(&url, json!({ "token": token, "name": format!("Flood {number}") })).await
                else {
                    continue;
                };
                while !stop.is_cancelled()
                    && flood.socket.feed(Message::Text(r#"{"type":"ping"}"#.into())).await.is_ok()
                {
                    sent += 1;
                    if sent.is_multiple_of(64) {
                        let flushed = tokio::time::timeout(Duration::from_millis(100), flood.socket.flush()).await;
                        // A server that reads no faster than the rate is what stops a flood.
                        if matches!(flushed, Ok(Err(_))) {
                            break;
                        }
                    }
                }
            }
            sent
        });
    }
    let during = waits(&mut ann).await;
    stop.cancel();
    let mut sent = 0;
    while let Some(one) = floods.join_next().await {
        sent += one.expect("ended");
    }
    assert!(sent > 1_000, "a flood of {sent} messages is none");
    assert_undisturbed(&before, &during);
}
