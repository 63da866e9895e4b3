//! How long an answer takes says nothing about how much of a guess was right.

use std::time::{Duration, Instant};

use rollcall::control::{ApiKey, InviteToken};
use serde_json::json;

use crate::support::TestApp;

const ROUNDS: usize = 150;

/// Middle times may differ by this factor. A comparison that stops at the first wrong character differs by nanoseconds and
/// no network shows it; what this finds is another path: a query more, a hash of the slow kind, a pause.
const RATIO_MAX: f64 = 1.5;

/// Measurements that may fail before it counts: other tests run beside this one.
const ATTEMPTS: usize = 4;

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// The two middle times, taken in turns, so that whatever else the machine does meets both alike.
async fn compare(mut one: impl AsyncFnMut(usize), mut other: impl AsyncFnMut(usize)) -> (f64, f64) {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let started = Instant::now();
        one(round).await;
        ones.push(started.elapsed());
        let started = Instant::now();
        other(round).await;
        others.push(started.elapsed());
    }
    (middle(ones), middle(others))
}

/// Thirty-two random bytes of which some are those of the secret.
fn guess(secret: &[u8; 32], right: usize, round: usize) -> [u8; 32] {
    let mut bytes = [0xa5; 32];
    bytes[..right].copy_from_slice(&secret[..right]);
    bytes[24..].copy_from_slice(&(round as u64 | 1 << 63).to_be_bytes());
    bytes
}

fn bytes_of(text: &str) -> [u8; 32] {
    use base64::Engine;
    let body = &text[4..47];
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).expect("base64");
    bytes.try_into().expect("32 bytes")
}

async fn assert_alike(what: &str, mut measure: impl AsyncFnMut(usize) -> (f64, f64)) {
    let mut seen = Vec::new();
    for attempt in 0..ATTEMPTS {
        let (one, other) = measure(attempt).await;
        if one / other < RATIO_MAX && other / one < RATIO_MAX {
            return;
        }
        seen.push((one, other));
    }
    panic!("{what}: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_is_nearly_right_takes_as_long_as_one_that_is_not() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let invite = app.invite(&session, json!({})).await;
    let (key, token) = (bytes_of(&app.api.key), bytes_of(&invite.token));
    assert_alike("API keys", async |attempt| {
        let call = async |right: usize, round: usize| {
            let mut api = app.api.clone();
            // Never twice the same: an answer that is remembered is faster.
            api.key = ApiKey::from_random(guess(&key, right, attempt * ROUNDS + round)).expose().to_owned();
            assert_eq!(api.get("/v1/sessions").await.0, 401);
        };
        compare(async |round| call(0, round).await, async |round| call(23, round + (1 << 20)).await).await
    })
    .await;
    assert_alike("invite tokens", async |attempt| {
        let call = async |right: usize, round: usize| {
            let guessed = InviteToken::from_random(guess(&token, right, attempt * ROUNDS + round));
            let (_, answer) = app.api.post("/v1/invites/check", json!({ "token": guessed.expose() })).await;
            assert_eq!(answer["code"], "token_invalid");
        };
        compare(async |round| call(0, round).await, async |round| call(23, round + (1 << 20)).await).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_tenant_takes_as_long_as_none() {
    let app = TestApp::start().await;
    let (session, _) = app.room().await;
    let other = app.other_tenant().await;
    assert_alike("sessions", async |_| {
        let read = async |id: &str| assert_eq!(other.get(&format!("/v1/sessions/{id}")).await.0, 404);
        let nowhere = "00000000-0000-4000-8000-000000000001";
        compare(async |_| read(&session).await, async |_| read(nowhere).await).await
    })
    .await;
}
