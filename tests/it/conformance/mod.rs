//! Our own framing against a real server over raw TCP: what RFC 6455 asks, with the answers that `rollcall.v1` gives.

mod cases;
mod handshake;
mod utf8;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cases::{Case, Then};
use serde_json::json;
use wire::{Heard, Wire, frame, join_frame, join_text};

use crate::support::{Client, TestApp};

/// Cases that run side by side. Each lane has a session of its own, with a watcher who must not be disturbed.
const LANES: usize = 12;

/// After so many cases of a lane its watcher must get an answer. After each would be more than a participant may ask.
const CASES_PER_LOOK: u32 = 5;

/// A case whose bytes are at most so many is also sent byte by byte; a longer one in pieces.
const BYTE_BY_BYTE_MAX: usize = 160;
const PIECE_BYTES: usize = 997;

#[derive(Debug, Clone, Copy)]
enum Way {
    Joined,
    JoinedInPieces,
    BeforeJoin,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_answered_as_the_rules_say_and_nobody_else_notices() {
    let app = TestApp::start().await;
    let runs: Vec<(Case, Way)> = cases::all().into_iter().flat_map(ways).collect();
    assert!(runs.len() > 600, "{}", runs.len());
    let (runs, next) = (Arc::new(runs), Arc::new(AtomicUsize::new(0)));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let (_, token) = app.room().await;
        let mut watcher = app.join(&token, "Watcher").await;
        let (runs, next, url) = (runs.clone(), next.clone(), app.url.clone());
        lanes.spawn(async move {
            let (mut wrong, mut done) = (Vec::new(), 0);
            while let Some((case, way)) = runs.get(next.fetch_add(1, Relaxed)) {
                if let Err(why) = run(&url, &token, case, *way).await {
                    wrong.push(format!("{} ({way:?}): {why}", case.name));
                }
                done += 1;
                if done % CASES_PER_LOOK == 0 {
                    watcher.ping(None).await;
                }
            }
            watcher.ping(None).await;
            watcher.close().await;
            wrong
        });
    }
    let wrong = lanes.join_all().await.concat();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), runs.len(), wrong.join("\n"));
    nothing_is_left(&app).await;
}

fn ways(case: Case) -> Vec<(Case, Way)> {
    let mut ways = vec![(case.clone(), Way::Joined), (case.clone(), Way::JoinedInPieces)];
    if case.before_join {
        ways.push((case, Way::BeforeJoin));
    }
    ways
}

async fn run(url: &str, token: &str, case: &Case, way: Way) -> Result<(), String> {
    let mut wire = match way {
        Way::BeforeJoin => Wire::upgraded(url).await,
        Way::Joined | Way::JoinedInPieces => Wire::joined(url, token).await,
    };
    match way {
        Way::JoinedInPieces if case.bytes.len() <= BYTE_BY_BYTE_MAX => wire.send_chopped(&case.bytes, 1).await,
        Way::JoinedInPieces => wire.send_chopped(&case.bytes, PIECE_BYTES).await,
        Way::Joined | Way::BeforeJoin => wire.send(&case.bytes).await,
    }
    for expected in &case.heard {
        hears(&mut wire, expected.clone()).await?;
    }
    match case.then {
        Then::Stays if matches!(way, Way::BeforeJoin) => {
            wire.send(&join_frame(token)).await;
            hears(&mut wire, Heard::Joined).await
        }
        Then::Stays => {
            wire.send(&frame(0x81, r#"{"type":"ping","id":"still here"}"#)).await;
            hears(&mut wire, Heard::JsonPong(r#""still here""#.into())).await
        }
        Then::Refused(code) => {
            hears(&mut wire, Heard::Error(code.into())).await?;
            hears(&mut wire, Heard::Close(Some(4009))).await?;
            wire.send(&frame(0x88, 4009_u16.to_be_bytes())).await;
            wire.shut().await;
            hears(&mut wire, Heard::End).await
        }
        Then::Answered(code) => {
            hears(&mut wire, Heard::Close(code)).await?;
            // The server ends the connection, and does not wait for the client to do so.
            hears(&mut wire, Heard::End).await
        }
    }
}

async fn hears(wire: &mut Wire, expected: Heard) -> Result<(), String> {
    let heard = wire.hear().await;
    if heard == expected { Ok(()) } else { Err(format!("heard {heard:?} where {expected:?} was due")) }
}

/// No joined socket counts any more, and the process holds no more sockets than an idle server does.
async fn nothing_is_left(app: &TestApp) {
    crate::support::eventually("all connections are gone", || async {
        let (_, metrics) = app.api.get("/metrics").await;
        let metrics = metrics.as_str().expect("text").to_owned();
        metrics.lines().any(|line| line == "rollcall_connections 0").then_some(())
    })
    .await;
    /// Connections to Postgres, of the HTTP client of the tests, and the listener.
    const SOCKETS_OF_AN_IDLE_SERVER_MAX: usize = 64;
    let folder = format!("/proc/{}/fd", app.pid());
    crate::support::eventually("all sockets are given back", || async {
        let files = std::fs::read_dir(&folder).expect("Linux").flatten();
        let sockets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let sockets = sockets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        (sockets < SOCKETS_OF_AN_IDLE_SERVER_MAX).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_may_come_in_any_form_that_framing_has() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let text = join_text(&token);
    // Inside a character of the name.
    let at = text.find('ό').expect("in the name") + 1;
    let (begin, end) = text.as_bytes().split_at(at);
    let in_parts = [frame(0x01, begin), frame(0x89, "between"), frame(0x80, end)].concat();
    let after_a_ping = [frame(0x89, "between"), join_frame(&token)].concat();
    for (name, bytes, piece_bytes, pongs) in [
        ("byte by byte", join_frame(&token), 1, 0),
        ("in parts", in_parts.clone(), usize::MAX, 1),
        ("in parts, byte by byte", in_parts, 1, 1),
        ("after a ping", after_a_ping, usize::MAX, 1),
    ] {
        let mut wire = Wire::upgraded(&app.url).await;
        wire.send_chopped(&bytes, piece_bytes).await;
        for _ in 0..pongs {
            assert_eq!(wire.hear().await, Heard::Pong(b"between".to_vec()), "{name}");
        }
        assert_eq!(wire.hear().await, Heard::Joined, "{name}");
        let participants = wire.joined["participants"].as_array().expect("a list").clone();
        let own = wire.joined["self"]["participant_id"].clone();
        let own = participants.iter().find(|one| one["participant_id"] == own).expect("in the list");
        assert_eq!(own["name"], "Ånn κόσμε 😀", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_join_is_refused_before_the_join() {
    let app = TestApp::start().await;
    for (text, code) in [
        ("", "protocol_violation"),
        ("{", "protocol_violation"),
        (r#"{"type":"dance"}"#, "protocol_violation"),
        (r#"{"type":"ping"}"#, "join_required"),
        (r#"{"type":"leave"}"#, "join_required"),
    ] {
        let mut wire = Wire::upgraded(&app.url).await;
        wire.send(&frame(0x81, text)).await;
        assert_eq!(wire.hear().await, Heard::Error(code.into()), "{text}");
        assert_eq!(wire.hear().await, Heard::Close(Some(4009)), "{text}");
        // The answer to the close is all that the server waits for.
        wire.send(&frame(0x88, 4009_u16.to_be_bytes())).await;
        assert_eq!(wire.hear().await, Heard::End, "{text}");
    }
}

/// A flood of parts that a library which assembles messages would hide.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_very_many_parts_counts_as_many_frames() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;
    let mut wire = Wire::joined(&app.url, &token).await;
    let parts = [frame(0x01, "{"), frame(0x00, " ").repeat(1_000)].concat();
    wire.send(&parts).await;
    closed_for_its_rate(&mut wire).await;
    watcher.ping(None).await;
}

/// Before the join nothing is known of the peer, so it may send no more than somebody who is in.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_control_frames_before_the_join_is_refused() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut watcher = app.join(&token, "Watcher").await;
    for one in [frame(0x89, ""), frame(0x8a, ""), frame(0x00, "")] {
        let mut wire = Wire::upgraded(&app.url).await;
        let begin = if one[0] == 0 { frame(0x01, "") } else { Vec::new() };
        wire.send(&[begin, one.repeat(2_000)].concat()).await;
        closed_for_its_rate(&mut wire).await;
        watcher.ping(None).await;
    }
}

async fn closed_for_its_rate(wire: &mut Wire) {
    let mut limited = false;
    loop {
        match wire.hear().await {
            Heard::Pong(_) => {}
            Heard::Error(code) => {
                assert_eq!(code, "rate_limited");
                limited = true;
            }
            Heard::Close(code) => break assert_eq!(code, Some(4203)),
            other => panic!("{other:?}"),
        }
    }
    assert!(limited, "the reason is said before the close");
}

/// The upgrade and the first frames may come in one segment.
#[tokio::test(flavor = "multi_thread")]
async fn frames_directly_behind_the_upgrade_are_not_lost() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let ping = frame(0x81, json!({ "type": "ping", "id": 7 }).to_string());
    let all = [wire::upgrade_request("", "").into_bytes(), join_frame(&token), ping].concat();
    for piece_bytes in [usize::MAX, 1, 100] {
        let mut wire = Wire::open(&app.url).await;
        wire.send_chopped(&all, piece_bytes).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
        assert_eq!(wire.hear().await, Heard::Joined);
        assert_eq!(wire.hear().await, Heard::JsonPong("7".into()));
    }
    Client::join(&app.url, &token, "Ann").await.ping(None).await;
}
