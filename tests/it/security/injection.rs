//! Hostile text in every place that takes text: it is stored as it is or refused, and never becomes a part of a query.

use serde_json::{Value, json};

use crate::support::{Client, TestApp};

const HOSTILE: [&str; 12] = [
    "'; drop table rollcall.sessions; --",
    "' or '1'='1",
    "\\'; select pg_sleep(10); --",
    "$$; select 1; $$",
    "%' or 1=1 --",
    "_%_%_%",
    "{{7*7}}${7*7}",
    "<img src=x onerror=alert(1)>",
    "../../../../etc/passwd",
    "=cmd|'/c calc'!A1",
    "\u{1f469}\u{200d}\u{1f680} \u{5d0}\u{200f} e\u{301}",
    "\u{fffd}\u{10ffff}",
];

/// The text fields of every request body in the OpenAPI document, with the path they are for.
fn text_fields(document: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(reference) = schema["$ref"].as_str() else { continue };
            let schema = document.pointer(reference.trim_start_matches('#')).expect("a schema");
            for (name, field) in schema["properties"].as_object().expect("properties") {
                let is_text = field["type"] == "string"
                    || field["type"].as_array().is_some_and(|all| all.contains(&json!("string")));
                if is_text {
                    found.push((method.to_uppercase(), path.clone(), name.clone()));
                }
            }
        }
    }
    found
}

/// The text parameters of every query in the document.
fn text_parameters(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                found.push((path.clone(), parameter["name"].as_str().expect("a name").to_owned()));
            }
        }
    }
    found
}

/// What must not have changed, whatever was sent.
async fn shape(app: &TestApp) -> String {
    app.database
        .text("select string_agg(table_name || ' ' || column_name, ',' order by 1) from information_schema.columns where table_schema = 'rollcall'")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_in_every_field_and_parameter_stays_text() {
    let app = TestApp::start().await;
    let (_, document) = app.api.get("/openapi.json").await;
    let before = shape(&app).await;
    let (fields, parameters) = (text_fields(&document), text_parameters(&document));
    assert!(fields.len() >= 8 && parameters.len() >= 20, "{fields:?} {parameters:?}");
    for (method, path, name) in fields {
        for text in HOSTILE {
            // Each on a session of its own: some of these calls end it.
            let session = if path.contains("{session_id}") { app.session(json!({})).await } else { String::new() };
            let path = path.replace("{session_id}", &session);
            let (status, answer) = app.api.call(&method, &path, Some(json!({ &name: text }))).await;
            assert!(status < 500, "{method} {path} {name} = {text}: {status} {answer}");
            if status < 300 && answer.get(&name).is_some_and(|stored| !stored.is_null()) {
                assert_eq!(answer[&name], *text, "{method} {path} {name}");
            }
        }
    }
    let session = app.session(json!({})).await;
    for (path, name) in parameters {
        let path = path.replace("{session_id}", &session);
        for text in HOSTILE {
            let url = reqwest::Url::parse_with_params(&format!("{}{path}", app.url), [(&name, text)]).expect("a URL");
            let query = url.query().expect("a query");
            let (status, answer) = app.api.get(&format!("{path}?{query}")).await;
            assert!(status < 500, "{path} {name} = {text}: {status} {answer}");
        }
    }
    assert_eq!(shape(&app).await, before, "the schema has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_it_says_and_not_what_it_means_to_a_database() {
    let app = TestApp::start().await;
    app.session(json!({ "title": "plain" })).await;
    app.session(json!({ "title": "100% sure_thing" })).await;
    for (text, titles) in [
        ("%", vec!["100% sure_thing"]),
        ("_", vec!["100% sure_thing"]),
        ("\\", vec![]),
        ("' or '1'='1", vec![]),
        ("pl_in", vec![]),
        ("pl%n", vec![]),
        ("PLAIN", vec!["plain"]),
    ] {
        let url = reqwest::Url::parse_with_params(&format!("{}/v1/sessions", app.url), [("q", text)]).expect("a URL");
        let (status, page) = app.api.get(&format!("/v1/sessions?{}", url.query().expect("a query"))).await;
        assert_eq!(status, 200, "{text}: {page}");
        let found: Vec<_> = page["data"].as_array().expect("a page").iter().map(|one| one["title"].clone()).collect();
        assert_eq!(found, titles, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_on_a_socket_stays_text() {
    let app = TestApp::start().await;
    let session = app.session(json!({})).await;
    let invite = app.invite(&session, json!({ "role": "host" })).await;
    let before = shape(&app).await;
    let mut watcher = app.join(&invite.token, "Watcher").await;
    for text in HOSTILE {
        let fields = json!({ "token": invite.token, "identity": text, "name": text, "state": { "text": text } });
        let mut one = Client::join_with(&app.url, fields).await;
        let joined = watcher
            .expect_where("presence", |frame| frame["joins"].as_array().is_some_and(|joins| !joins.is_empty()))
            .await;
        let joined = &joined["joins"][0];
        assert_eq!((&joined["identity"], &joined["name"]), (&json!(text), &json!(text)));
        assert_eq!(joined["state"]["text"], text);
        one.send(json!({ "type": "kick", "participant_id": text })).await;
        assert_eq!(one.next().await.expect("an answer")["code"], "malformed_frame");
        one.send(json!({ "type": "leave" })).await;
        one.closed().await;
    }
    watcher.send(json!({ "type": "end", "reason": HOSTILE[0] })).await;
    watcher.closed().await;
    app.eventually_counts("select count(*) from rollcall.participants", HOSTILE.len() as i64 + 1).await;
    let stored = app.database.column("select identity from rollcall.participants").await;
    for text in HOSTILE {
        assert!(stored.iter().any(|one| one == text), "{text} is not stored as it is");
    }
    assert_eq!(shape(&app).await, before, "the schema has changed");
    assert_eq!(app.database.number("select count(*) from rollcall.refused_records").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_misleads_the_eye_is_refused_or_made_readable() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let misleading = ["\u{202e}nnA", "A\u{2066}nn", "Ann\u{2028}Bob", "An\u{200b}n", "\u{feff}Ann"];
    for text in misleading {
        let (status, problem) = app.api.post("/v1/sessions", json!({ "title": text })).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/title")), "{text:?}");
        let refusal = Client::try_join(&app.url, json!({ "token": token, "identity": text })).await.err();
        assert_eq!(refusal.and_then(|refusal| refusal.error).as_deref(), Some("invalid_request"), "{text:?}");
        let named = Client::join_with(&app.url, json!({ "token": token, "name": text })).await;
        let own = named.joined["participants"].as_array().expect("a list").iter();
        let own = own.clone().find(|one| one["participant_id"] == named.participant()).expect("is in the list");
        let name = own["name"].as_str().expect("a name");
        let readable: String = text.chars().filter(char::is_ascii).collect();
        assert_eq!(name, readable, "{text:?}");
    }
    for unseen in ["\u{3164}", "\u{200d}\u{200d}", " \u{a0} ", "\u{200e}"] {
        let (status, _) = app.api.post("/v1/sessions", json!({ "title": unseen })).await;
        assert_eq!(status, 400, "{unseen:?}");
        let named = Client::join_with(&app.url, json!({ "token": token, "name": unseen })).await;
        let own = named.joined["participants"].as_array().expect("a list").iter();
        let own = own.clone().find(|one| one["participant_id"] == named.participant()).expect("is in the list");
        assert_eq!(own["name"], Value::Null, "{unseen:?}");
    }
}

/// Postgres writes a number out in full, and not every one it wrote could be read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_cannot_be_read_again_is_not_stored() {
    let app = TestApp::start().await;
    let (session, token) = app.room().await;
    let call = |method: reqwest::Method, path: String| {
        let metadata = r#"{"metadata":{"a":[-1.7976931348623157e308]}}"#;
        let request = reqwest::Client::new().request(method, format!("{}{path}", app.url)).bearer_auth(&app.api.key);
        request.header("content-type", "application/json").body(metadata).send()
    };
    for (method, path) in [
        (reqwest::Method::POST, "/v1/sessions".to_owned()),
        (reqwest::Method::PATCH, format!("/v1/sessions/{session}")),
    ] {
        assert_eq!(call(method, path).await.expect("answered").status(), 400);
    }
    assert_eq!(app.api.get("/v1/sessions").await.0, 200);
    let mut ann = app.join(&token, "Ann").await;
    ann.send(json!({ "type": "update", "state": "before" })).await;
    ann.send_raw(r#"{"type":"update","state":{"a":1.7976931348623157e308}}"#).await;
    ann.ping(Some(true)).await;
    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'state_updated'", 2)
        .await;
    for path in ["participants", "presence", "audit"] {
        let (status, answer) = app.api.get(&format!("/v1/sessions/{session}/{path}")).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}
