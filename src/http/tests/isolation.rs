//! Another tenant's key on every route, scopes, and keys that are none.

use std::time::Duration;

use reqwest::Method;
use rollcall_core::Actor;
use serde_json::{Value, json};

use super::World;
use crate::control::ApiKey;
use crate::control::keys::Scope;
use crate::http::HttpSettings;

/// Every route of the API with a body that would be good.
fn calls(session: &str, invite: &str, participant: &str) -> Vec<(Method, String, Option<Value>)> {
    let at = |rest: &str| format!("/v1/sessions/{session}{rest}");
    let period = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
    vec![
        (Method::GET, at(""), None),
        (Method::PATCH, at(""), Some(json!({ "title": "x" }))),
        (Method::POST, at("/extend"), Some(json!({ "by_s": 60 }))),
        (Method::POST, at("/invites"), Some(json!({}))),
        (Method::GET, at("/invites"), None),
        (Method::DELETE, format!("/v1/invites/{invite}"), None),
        (Method::GET, at("/presence"), None),
        (Method::GET, at("/participants"), None),
        (Method::DELETE, at(&format!("/participants/{participant}")), None),
        (Method::GET, at("/audit"), None),
        (Method::GET, at("/usage"), None),
        (Method::GET, format!("/v1/audit?session_id={session}"), None),
        (Method::POST, at("/end"), Some(json!({}))),
        (Method::POST, at("/recover"), Some(json!({}))),
        // Without an object in the path.
        (Method::GET, "/v1/sessions".to_owned(), None),
        (Method::POST, "/v1/sessions".to_owned(), Some(json!({}))),
        (Method::GET, "/v1/audit".to_owned(), None),
        (Method::GET, format!("/v1/usage?{period}"), None),
        (Method::GET, format!("/v1/analytics?{period}"), None),
    ]
}

async fn world_with_objects() -> (World, String, String, String) {
    let world = World::new().await;
    let session = world.session(json!({ "external_id": "secret-room" })).await;
    let invite = world.post(&format!("/v1/sessions/{session}/invites"), json!({})).await.ok(201);
    let invite = invite["id"].as_str().expect("id").to_owned();
    let participant = world.join(&session, "ada").await.to_string();
    (world, session, invite, participant)
}

#[tokio::test]
async fn the_calls_above_are_all_there_are() {
    let document = crate::http::document();
    let mut routes: Vec<String> = Vec::new();
    for (path, item) in &document.paths.paths {
        let methods = [("GET", &item.get), ("POST", &item.post), ("PATCH", &item.patch), ("DELETE", &item.delete)];
        let present = methods.into_iter().filter(|(_, operation)| operation.is_some());
        routes.extend(present.map(|(method, _)| format!("{method} {path}")));
    }
    routes.retain(|route| route.contains(" /v1/") && !route.ends_with("/invites/check"));
    routes.sort_unstable();
    let mut called: Vec<String> = calls("{session_id}", "{invite_id}", "{participant_id}")
        .into_iter()
        .map(|(method, path, _)| format!("{method} {}", path.split('?').next().unwrap_or_default()))
        .collect();
    called.sort_unstable();
    called.dedup();
    assert_eq!(called, routes);
}

#[tokio::test]
async fn the_objects_of_another_tenant_do_not_exist() {
    let (world, session, invite, participant) = world_with_objects().await;
    for (method, path, body) in calls(&session, &invite, &participant) {
        let answer = world.send(method.clone(), &path, Some(&world.other_key), body).await;
        if path.contains(&session) || path.contains(&invite) {
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
            assert!(answer.json()["code"].as_str().is_some_and(|code| code.ends_with("not_found")), "{}", answer.text);
        } else {
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
            assert!(!answer.text.contains(&session) && !answer.text.contains("secret-room"), "{method} {path}");
        }
    }
    assert_eq!(world.get(&format!("/v1/sessions/{session}")).await.ok(200)["status"], "active", "untouched");
    let listed = world.send(Method::GET, "/v1/sessions?q=secret", Some(&world.other_key), None).await.ok(200);
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn an_object_that_is_nobodys_looks_the_same() {
    let (world, session, invite, participant) = world_with_objects().await;
    let nobody = uuid::Uuid::from_u128(1).to_string();
    let foreign = calls(&session, &invite, &participant);
    let missing = calls(&nobody, &nobody, &nobody);
    for ((method, path, body), (_, other_path, _)) in foreign.into_iter().zip(missing) {
        if path == other_path {
            continue;
        }
        let foreign = world.send(method.clone(), &path, Some(&world.other_key), body.clone()).await;
        let missing = world.send(method.clone(), &other_path, Some(&world.other_key), body).await;
        let text = |answer: &super::Answer| {
            let body = answer.json();
            (answer.status, body["code"].clone(), body["detail"].clone())
        };
        assert_eq!(text(&foreign), text(&missing), "{method} {path}");
    }
}

#[tokio::test]
async fn every_call_needs_a_good_key() {
    let (world, session, invite, participant) = world_with_objects().await;
    let unknown = ApiKey::from_random([1; 32]);
    let revoked = world.key_with(&[Scope::Admin]).await;
    let keys = world.control.keys(world.tenant).await.expect("keys");
    let id = keys.iter().find(|key| key.key_hint == revoked.hint()).expect("the key").id;
    world.control.revoke_key(&Actor::Operator, world.tenant, id).await.expect("revoked");
    let invite_token = crate::control::InviteToken::from_random([1; 32]);
    for (method, path, body) in calls(&session, &invite, &participant) {
        let wrong =
            [None, Some("nonsense"), Some(unknown.expose()), Some(revoked.expose()), Some(invite_token.expose())];
        for key in wrong {
            let answer = world.send(method.clone(), &path, key, body.clone()).await;
            answer.refused(401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"rollcall\"");
        }
    }
    let basic = world.client.get(format!("{}/v1/sessions", world.base)).basic_auth(&world.key, None::<&str>);
    assert_eq!(basic.send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn scopes_permit_what_they_say() {
    let (world, session, invite, participant) = world_with_objects().await;
    let keys = [
        (Scope::Write, world.key_with(&[Scope::Write]).await),
        (Scope::Read, world.key_with(&[Scope::Read]).await),
        (Scope::Billing, world.key_with(&[Scope::Billing]).await),
    ];
    for (scope, key) in keys {
        for (method, path, body) in calls(&session, &invite, &participant) {
            let reads = method == Method::GET;
            let books = path.contains("/audit") || path.contains("/usage") || path.contains("/analytics");
            let permitted = match scope {
                Scope::Admin | Scope::Write => true,
                Scope::Read => reads,
                Scope::Billing => reads && books,
            };
            // Only what is refused, so that the objects stay as they are.
            if permitted && !reads {
                continue;
            }
            let answer = world.send(method.clone(), &path, Some(key.expose()), body).await;
            if permitted {
                answer.ok(200);
            } else {
                answer.refused(403, "forbidden");
            }
        }
    }
    let writer = world.key_with(&[Scope::Write]).await;
    world.send(Method::POST, "/v1/sessions", Some(writer.expose()), Some(json!({}))).await.ok(201);
}

#[tokio::test]
async fn wrong_keys_and_checks_are_limited_for_each_address() {
    let world = World::with(HttpSettings {
        requests_per_key_per_s: 0,
        invite_checks_per_address_per_min: 3,
        failed_keys_per_address_per_min: 3,
        ..HttpSettings::default()
    })
    .await;
    world.get("/v1/sessions").await.ok(200);
    for number in 0..4 {
        let key = ApiKey::from_random([number; 32]);
        world.send(Method::GET, "/v1/sessions", Some(key.expose()), None).await.refused(401, "unauthorized");
    }
    let key = ApiKey::from_random([99; 32]);
    let answer = world.send(Method::GET, "/v1/sessions", Some(key.expose()), None).await;
    answer.refused(429, "rate_limited");
    assert!(answer.headers.contains_key("retry-after"));
    world.get("/v1/sessions").await.ok(200);
    for _ in 0..3 {
        world.send(Method::POST, "/v1/invites/check", None, Some(json!({ "token": "x" }))).await.ok(200);
    }
    let answer = world.send(Method::POST, "/v1/invites/check", None, Some(json!({ "token": "x" }))).await;
    answer.refused(429, "rate_limited");
}

#[tokio::test]
async fn requests_are_limited_for_each_key() {
    let world =
        World::with(HttpSettings { requests_per_key_per_s: 1, requests_per_key_burst: 2, ..HttpSettings::default() })
            .await;
    world.get("/v1/sessions").await.ok(200);
    world.get("/v1/sessions").await.ok(200);
    world.get("/v1/sessions").await.refused(429, "rate_limited");
    world.send(Method::GET, "/v1/sessions", Some(&world.other_key), None).await.ok(200);
}

#[tokio::test]
async fn without_a_database_the_answer_says_so() {
    let world = World::new().await;
    world.readiness.set_ready();
    assert_eq!(world.send(Method::GET, "/readyz", None, None).await.ok(200)["ready"], true);
    world.get("/v1/sessions").await.ok(200);
    tokio::time::timeout(Duration::from_secs(10), world.store.close()).await.expect("closed");
    let answer = world.get("/v1/sessions").await;
    answer.refused(503, "database_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    let readiness = world.send(Method::GET, "/readyz", None, None).await.ok(503);
    assert_eq!(readiness["checks"]["database"]["ok"], false);
    assert_eq!(readiness["checks"]["journal"]["ok"], true);
    world.send(Method::GET, "/livez", None, None).await.ok(200);
}
