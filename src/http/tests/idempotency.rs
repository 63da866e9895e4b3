//! Requests that come again.

use rollcall_core::Actor;
use serde_json::json;

use super::World;
use crate::control::sessions::NewSession;
use crate::control::{Call, Repeatable};

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let world = World::new().await;
    let first =
        world.post_with_key("/v1/sessions", "k-1", json!({ "title": "Maths", "metadata": { "b": 1, "a": 2.5 } })).await;
    let second =
        world.post_with_key("/v1/sessions", "k-1", json!({ "title": "Maths", "metadata": { "b": 1, "a": 2.5 } })).await;
    first.ok(201);
    second.ok(201);
    assert_eq!(first.text, second.text);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(second.headers["idempotent-replayed"], "true");
    assert_eq!(world.get("/v1/sessions").await.ok(200)["data"].as_array().map(Vec::len), Some(1));

    let other_body = world.post_with_key("/v1/sessions", "k-1", json!({ "title": "Physics" })).await;
    other_body.refused(422, "idempotency_key_reused");
    let id = first.json()["id"].as_str().expect("id").to_owned();
    let other_path = world.post_with_key(&format!("/v1/sessions/{id}/end"), "k-1", json!({})).await;
    other_path.refused(422, "idempotency_key_reused");
}

#[tokio::test]
async fn an_extension_counts_once() {
    let world = World::new().await;
    let id = world.session(json!({})).await;
    let path = format!("/v1/sessions/{id}/extend");
    let first = world.post_with_key(&path, "k", json!({ "by_s": 60 })).await;
    let again = world.post_with_key(&path, "k", json!({ "by_s": 60 })).await;
    assert_eq!(first.ok(200)["ends_at"], again.ok(200)["ends_at"]);
    assert_eq!(world.get(&format!("/v1/sessions/{id}")).await.ok(200)["ends_at"], first.json()["ends_at"]);
    assert_eq!(world.trail(&id).await, ["session_created", "session_extended"]);
}

#[tokio::test]
async fn a_repeated_invite_shows_its_token_although_none_is_stored() {
    let world = World::new().await;
    let id = world.session(json!({})).await;
    let path = format!("/v1/sessions/{id}/invites");
    let first = world.post_with_key(&path, "k", json!({})).await.ok(201);
    let again = world.post_with_key(&path, "k", json!({})).await;
    assert_eq!(again.ok(201), first);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let other = world.post_with_key(&path, "k-2", json!({})).await.ok(201);
    assert_ne!(other["token"], first["token"]);
    let stored: Vec<String> = sqlx::query_scalar("select body::text from rollcall.idempotency_keys")
        .fetch_all(&mut *world.store.begin().await.expect("a transaction"))
        .await
        .expect("rows");
    assert_eq!(stored.len(), 2);
    assert!(stored.iter().all(|body| !body.contains(first["token"].as_str().expect("token"))));
    let check = json!({ "token": first["token"] });
    let checked = world.send(reqwest::Method::POST, "/v1/invites/check", None, Some(check)).await.ok(200);
    assert_eq!(checked["valid"], true);
}

#[tokio::test]
async fn failures_are_not_kept_and_tenants_have_keys_of_their_own() {
    let world = World::new().await;
    let taken = world.session(json!({ "external_id": "room" })).await;
    let body = json!({ "external_id": "room" });
    world.post_with_key("/v1/sessions", "k", body.clone()).await.refused(409, "conflict");
    world.post(&format!("/v1/sessions/{taken}/end"), json!({})).await.ok(200);
    let second = world.post_with_key("/v1/sessions", "k", body.clone()).await;
    second.ok(201);
    let request = world.client.post(format!("{}/v1/sessions", world.base)).bearer_auth(&world.other_key);
    let foreign = request.header("idempotency-key", "k").json(&body).send().await.expect("an answer");
    assert_eq!(foreign.status(), 201);
    assert!(!foreign.headers().contains_key("idempotent-replayed"));
    for bad in ["", "a b", &"x".repeat(256)] {
        let answer = world.post_with_key("/v1/sessions", bad, json!({})).await;
        assert_eq!(answer.pointers(), ["Idempotency-Key"], "{bad:?}");
    }
}

#[tokio::test]
async fn a_request_under_way_is_told_from_a_finished_one() {
    let world = World::new().await;
    let mut first = world.store.begin().await.expect("a transaction");
    let hash = [7; 32];
    let since = chrono::DateTime::UNIX_EPOCH;
    let claim = crate::store::idempotency::claim(&mut first, world.tenant, "k", &hash, since).await.expect("claimed");
    assert_eq!(claim, crate::store::idempotency::Claim::New);
    world.post_with_key("/v1/sessions", "k", json!({})).await.refused(409, "request_in_progress");
    first.rollback().await.expect("given up");
    world.post_with_key("/v1/sessions", "k", json!({})).await.ok(201);
}

#[tokio::test]
async fn of_many_at_once_one_does_the_work() {
    let world = World::new().await;
    let call = Call {
        repeatable: Some(Repeatable { key: "k".to_owned(), request_hash: [1; 32] }),
        ..Call::new(world.tenant, Actor::Operator)
    };
    let attempts = (0..20).map(|_| {
        let (control, call) = (world.control.clone(), call.clone());
        tokio::spawn(async move { control.create_session(&call, NewSession::default()).await })
    });
    let mut made = std::collections::HashSet::new();
    let mut fresh = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.expect("no panic") {
            Ok(done) => {
                made.insert(done.value.id);
                fresh += usize::from(!done.replayed);
            }
            Err(error) => assert!(matches!(error, crate::control::ControlError::RequestInProgress), "{error}"),
        }
    }
    assert_eq!((made.len(), fresh), (1, 1));
    assert_eq!(world.get("/v1/sessions").await.ok(200)["data"].as_array().map(Vec::len), Some(1));
}
