//! The upgrade: what RFC 6455 (4.2.1) wants to see in it, and what a server must refuse.

use super::wire::{Heard, Wire, join_frame, upgrade_request};
use crate::support::TestApp;

/// The key of [`upgrade_request`] and its answer are the example of RFC 6455, 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_in_every_spelling_are_let_in() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let plain = upgrade_request("", "");
    for (name, request) in [
        ("plain", plain.clone()),
        (
            "lower case",
            plain.replace("Upgrade: websocket", "upgrade: WEBSOCKET").replace("Connection: U", "connection: u"),
        ),
        ("a list of connection options", plain.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade")),
        ("two connection headers", upgrade_request("Connection: keep-alive\r\n", "")),
        ("a list of upgrades", plain.replace("Upgrade: websocket", "Upgrade: h2c, websocket")),
        ("a list of protocols", plain.replace("rollcall.v1", "chat, rollcall.v1")),
        ("two protocol headers", upgrade_request("Sec-WebSocket-Protocol: chat\r\n", "")),
        ("extensions, which are not taken up", upgrade_request("Sec-WebSocket-Extensions: permessage-deflate\r\n", "")),
        ("a body of nothing", upgrade_request("Content-Length: 0\r\n", "")),
        ("spaces around values", plain.replace(": ", ":  ").replace("13\r", "13 \t\r")),
    ] {
        let (mut wire, head) = Wire::request(&app.url, request.as_bytes()).await;
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{name}: {head}");
        assert!(head.contains(&format!("sec-websocket-accept: {}\r\n", ACCEPT.to_lowercase())), "{name}: {head}");
        assert!(head.contains("sec-websocket-protocol: rollcall.v1\r\n"), "{name}: {head}");
        assert!(!head.contains("sec-websocket-extensions"), "{name}: {head}");
        wire.send(&join_frame(&token)).await;
        assert_eq!(wire.hear().await, Heard::Joined, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_upgrade_is_refused_and_the_server_stays() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;
    let plain = upgrade_request("", "");
    let without = |line| upgrade_request("", line);
    for (name, request) in [
        ("no connection header", without("Connection")),
        ("no upgrade header", without("Upgrade")),
        ("no version", without("Sec-WebSocket-Version")),
        ("no key", without("Sec-WebSocket-Key")),
        ("no protocol", without("Sec-WebSocket-Protocol")),
        ("another protocol", plain.replace("rollcall.v1", "rollcall.v9")),
        ("the protocol in other letters, which no client would recognise", plain.replace("rollcall.v1", "ROLLCALL.V1")),
        ("version 8", plain.replace("Version: 13", "Version: 8")),
        ("version 130", plain.replace("Version: 13", "Version: 130")),
        ("two versions in one", plain.replace("Version: 13", "Version: 8, 13")),
        ("two versions", upgrade_request("Sec-WebSocket-Version: 13\r\n", "")),
        ("two keys", upgrade_request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "")),
        ("an empty key", plain.replace("dGhlIHNhbXBsZSBub25jZQ==", "")),
        ("a short key", plain.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==")),
        ("a key that is not base64", plain.replace("dGhlIHNhbXBsZSBub25jZQ==", "!!!!IHNhbXBsZSBub25jZQ==")),
        ("another upgrade", plain.replace("websocket", "h2c")),
        ("POST", plain.replacen("GET", "POST", 1)),
        ("HEAD", plain.replacen("GET", "HEAD", 1)),
        ("HTTP/1.0", plain.replacen("HTTP/1.1", "HTTP/1.0", 1)),
        ("a body", format!("{}hello", upgrade_request("Content-Length: 5\r\n", ""))),
        ("a body in chunks", format!("{}0\r\n\r\n", upgrade_request("Transfer-Encoding: chunked\r\n", ""))),
        ("a length that is none", upgrade_request("Content-Length: five\r\n", "")),
        ("a header without a name", upgrade_request(": nothing\r\n", "")),
        ("a folded header", upgrade_request("X-Folded: a\r\n b\r\n", "")),
        ("a long header", upgrade_request(&format!("X-Long: {}\r\n", "x".repeat(20_000)), "")),
    ] {
        let (_, head) = Wire::request(&app.url, request.as_bytes()).await;
        let status = head.split(' ').nth(1).expect("a status");
        assert!(status.starts_with('4'), "{name}: {head}");
        if name.contains("version") {
            assert!(head.to_lowercase().contains("sec-websocket-version: 13\r\n"), "{name}: {head}");
        }
        watcher.ping(None).await;
    }
}
