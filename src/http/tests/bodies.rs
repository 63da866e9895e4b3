//! Hostile and mistaken bodies, over the wire.

use reqwest::Method;
use serde_json::json;

use super::World;

#[tokio::test]
async fn mistakes_are_named_all_at_once() {
    let world = World::new().await;
    let body = json!({
        "titel": "Maths", "idle_timeout_s": "60", "max_participants": 0, "warn_before_s": [60, -1], "metadata": [],
        "external_id": "",
    });
    let answer = world.post("/v1/sessions", body).await;
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        ["/external_id", "/idle_timeout_s", "/max_participants", "/metadata", "/titel", "/warn_before_s/1"]
    );
    assert!(answer.text.contains("did you mean title?"));
    assert_eq!(world.post("/v1/sessions", json!({ "metadata": { "a": "\u{0}" } })).await.pointers(), ["/metadata"]);
    assert_eq!(world.get("/v1/sessions").await.ok(200)["data"], json!([]), "nothing was created");
}

#[tokio::test]
async fn hostile_bodies_get_a_problem_and_no_more() {
    let world = World::new().await;
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let bodies: Vec<Vec<u8>> = vec![
        format!(r#"{{"metadata": {deep}}}"#).into_bytes(),
        br#"{"idle_timeout_s": 1e999}"#.to_vec(),
        br#"{"title": "a", "title": "b"}"#.to_vec(),
        br#"{"metadata": {"a": {"b": 1, "b": 2}}}"#.to_vec(),
        b"{\"title\": \"\xff\xfe\"}".to_vec(),
        br#"{"title": "\ud800"}"#.to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{".to_vec(),
        b"\0".to_vec(),
        br#"{"title": {"$ne": null}}"#.to_vec(),
        br#"{"idle_timeout_s": 99999999999999999999999999}"#.to_vec(),
        br#"{"max_duration_s": 9223372036854775807}"#.to_vec(),
        br#"{"warn_before_s": "300"}"#.to_vec(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = world.post_raw("/v1/sessions", "application/json", body).await;
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
        answer.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn size_and_type_of_bodies_are_checked() {
    let world = World::new().await;
    let big = format!(r#"{{"title": "{}"}}"#, "x".repeat(70_000));
    world.post_raw("/v1/sessions", "application/json", big).await.refused(413, "payload_too_large");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        world.post_raw("/v1/sessions", content_type, "{}").await.refused(415, "unsupported_media_type");
    }
    world.post_raw("/v1/sessions", "application/json; charset=utf-8", "{}").await.ok(201);
    let empty = world.client.post(format!("{}/v1/sessions", world.base)).bearer_auth(&world.key);
    assert_eq!(empty.send().await.expect("an answer").status(), 201, "no body is no field");
}

#[tokio::test]
async fn queries_are_checked_too() {
    let world = World::new().await;
    let pointers = |query: &'static str| {
        let world = &world;
        async move { world.get(query).await.pointers() }
    };
    assert_eq!(pointers("/v1/sessions?limit=0").await, ["?limit"]);
    assert_eq!(pointers("/v1/sessions?limit=201&status=open").await, ["?limit", "?status"]);
    assert_eq!(pointers("/v1/sessions?limit=5&limit=6").await, ["?limit"]);
    assert_eq!(pointers("/v1/sessions?statsu=active").await, ["?statsu"]);
    assert_eq!(pointers("/v1/sessions?cursor=abc").await, ["?cursor"]);
    assert_eq!(pointers("/v1/sessions?q=%00").await.first().map(String::as_str), Some("?q"));
    assert_eq!(pointers("/v1/audit?from=yesterday&session_id=5&order=up").await.len(), 3);
    assert_eq!(pointers("/v1/usage").await, ["?from", "?to"]);
    assert_eq!(pointers("/v1/usage?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z").await, ["?to"]);
    assert_eq!(pointers("/v1/usage?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z").await, ["?to"]);
    assert_eq!(pointers("/v1/usage?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&tz=Mars/Base").await, ["?tz"]);
    assert_eq!(
        pointers("/v1/analytics?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&bucket=year").await,
        ["?bucket"]
    );
    world.get("/v1/sessions?q=%ff%fe").await;
    for path in ["/v1/sessions/nonsense", "/v1/sessions/%ff", "/v1/sessions/../../etc", "/v1/sessions/' or 1=1"] {
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_body_may_be_left_out_exactly_where_the_document_says_so() {
    let world = World::new().await;
    let document = world.send(Method::GET, "/openapi.json", None, None).await.ok(200);
    let mut needed = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let Some(body) = operation.get("requestBody") else { continue };
            let path = path.replace("{session_id}", &world.session(json!({})).await);
            let method = method.to_uppercase().parse::<Method>().expect("a method");
            let answer = world.send(method, &path, Some(&world.key), None).await;
            let is_needed = body["required"] == true;
            assert_eq!(answer.status.as_u16() == 400, is_needed, "{path}: {}", answer.text);
            if is_needed {
                assert!(!answer.pointers().is_empty(), "{path} names what is missing");
                needed.push(path);
            }
        }
    }
    assert_eq!(needed.len(), 2, "{needed:?}");
}
