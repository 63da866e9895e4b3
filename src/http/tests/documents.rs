//! Health, documents, and what every answer carries.

use reqwest::Method;
use serde_json::Value;

use super::World;

#[tokio::test]
async fn every_answer_has_an_id_and_safe_headers() {
    let world = World::new().await;
    for path in ["/v1/sessions", "/livez", "/nothing", "/docs", "/test/panic"] {
        let answer = world.get(path).await;
        for header in ["x-request-id", "x-content-type-options", "content-security-policy", "referrer-policy"] {
            assert!(answer.headers.contains_key(header), "{path}: {header}");
        }
    }
    let request = world.client.get(format!("{}/nothing", world.base)).header("x-request-id", "mine-1");
    let answer = super::read(request.send().await.expect("an answer")).await;
    assert_eq!(answer.refused(404, "not_found")["request_id"], "mine-1");
}

#[tokio::test]
async fn wrong_paths_methods_and_bugs_are_problems() {
    let world = World::new().await;
    world.get("/v1/nothing").await.refused(404, "not_found");
    let answer = world.send(Method::PUT, "/v1/sessions", Some(&world.key), None).await;
    answer.refused(405, "method_not_allowed");
    assert!(answer.headers["allow"].to_str().is_ok_and(|allow| allow.contains("POST")));
    let answer = world.get("/test/panic").await;
    answer.refused(500, "internal");
    assert!(!answer.text.contains("secret"));
    world.get("/v1/sessions").await.ok(200);
}

#[tokio::test]
async fn pages_of_any_origin_may_check_an_invite_and_nothing_else() {
    let world = World::new().await;
    let preflight = world.send(Method::OPTIONS, "/v1/invites/check", None, None).await;
    assert_eq!(
        (preflight.status.as_u16(), &preflight.headers["access-control-allow-origin"]),
        (204, &"*".parse().expect("a value"))
    );
    let wrong = world.send(Method::POST, "/v1/invites/check", None, Some(serde_json::json!({}))).await;
    assert_eq!(wrong.pointers(), ["/token"]);
    assert_eq!(wrong.headers["access-control-allow-origin"], "*", "errors can be read, too");
    assert!(!world.get("/v1/sessions").await.headers.contains_key("access-control-allow-origin"));
    world.send(Method::OPTIONS, "/v1/sessions", None, None).await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn health_and_metrics() {
    let world = World::new().await;
    let starting = world.send(Method::GET, "/readyz", None, None).await.ok(503);
    assert_eq!(starting["checks"]["migrations"]["ok"], false);
    world.readiness.set_ready();
    world.send(Method::GET, "/readyz", None, None).await.ok(200);
    world.readiness.set_draining();
    let draining = world.send(Method::GET, "/readyz", None, None).await.ok(503);
    assert_eq!(draining["checks"]["draining"]["ok"], false);
    let session = world.session(serde_json::json!({})).await;
    world.get(&format!("/v1/sessions/{session}")).await.ok(200);
    let metrics = world.send(Method::GET, "/metrics", None, None).await;
    assert!(
        metrics
            .text
            .contains(r#"rollcall_http_requests_total{method="GET",route="/v1/sessions/{session_id}",status="200"} 1"#),
        "{}",
        metrics.text
    );
    assert!(!metrics.text.contains(&session), "no ids in labels");
}

#[tokio::test]
async fn the_documents_are_served() {
    let world = World::new().await;
    let document: Value = world.send(Method::GET, "/openapi.json", None, None).await.ok(200);
    assert_eq!(document["openapi"], "3.1.0");
    let docs = world.send(Method::GET, "/docs", None, None).await;
    assert!(docs.headers["content-type"].to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    assert!(docs.headers["content-security-policy"].to_str().is_ok_and(|policy| policy.contains("style-src 'sha256-")));
}

#[test]
fn every_operation_is_complete() {
    let document = serde_json::to_value(crate::http::document()).expect("a document");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut ids = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].to_string()), "{name}: operationId is not unique");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{name}");
            if path.starts_with("/v1/") {
                for status in ["400", "503"] {
                    let content = &operation["responses"][status]["content"]["application/problem+json"];
                    assert!(content["example"]["code"].is_string(), "{name} {status}");
                }
            }
        }
    }
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(schemas.contains_key(name), "{name} is referred to, but missing");
    }
}
