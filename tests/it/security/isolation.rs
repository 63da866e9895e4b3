//! A second tenant tries everything there is. Routes come out of the OpenAPI document of the running server, so a new one is
//! tried without a word here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Client, Database, TestApp};

/// Stands in everything of the first tenant that a text can stand in.
const MARK: &str = "planted-in-the-first-tenant";

/// One call, ready to be made.
struct Attempt {
    method: String,
    path: String,
    body: Option<Value>,
}

/// Every operation of the document behind an API key, with these ids in place of its parameters.
fn attempts(document: &Value, ids: &BTreeMap<&str, &str>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            // Whoever needs no key is answered without one.
            if operation["security"].as_array().is_some_and(|needed| needed.iter().all(|one| one == &json!({}))) {
                continue;
            }
            attempts.push(attempt(document, path, method, operation, ids));
        }
    }
    attempts
}

fn attempt(document: &Value, path: &str, method: &str, operation: &Value, ids: &BTreeMap<&str, &str>) -> Attempt {
    let mut filled = path.to_owned();
    let mut query = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        match (parameter["in"].as_str(), ids.get(name)) {
            (Some("path"), Some(id)) => filled = filled.replace(&format!("{{{name}}}"), id),
            (Some("path"), None) => panic!("{path}: which id of the first tenant is {name}?"),
            (Some("query"), Some(id)) => query.push(format!("{name}={id}")),
            _ => {}
        }
    }
    assert!(!filled.contains('{'), "{path} has a parameter that is not described");
    if !query.is_empty() {
        filled = format!("{filled}?{}", query.join("&"));
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    Attempt {
        method: method.to_uppercase(),
        path: filled,
        body: (!schema.is_null()).then(|| example(document, schema)),
    }
}

/// A small body that the schema allows.
fn example(document: &Value, schema: &Value) -> Value {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a schema"),
        None => schema,
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let fields = required.iter().filter_map(Value::as_str).map(|name| {
        let field = &schema["properties"][name];
        let value = match field["type"].as_str() {
            Some("integer") => field["minimum"].as_i64().unwrap_or(1).into(),
            Some("string") => field.get("example").cloned().unwrap_or_else(|| "x".into()),
            Some("object") => json!({}),
            other => panic!("an example of {other:?} for {name}"),
        };
        (name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

/// Every row of the first tenant, in every table that names tenants.
async fn rows_of(database: &Database, tenant: &str) -> Vec<String> {
    let tables = database
        .column(
            "select c.table_name from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
             where c.table_schema = 'rollcall' and c.column_name = 'tenant_id' and t.table_type = 'BASE TABLE' order by 1",
        )
        .await;
    assert!(tables.len() > 5, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let select = format!("select t::text from rollcall.{table} t where tenant_id = '{tenant}' order by 1");
        rows.extend(database.column(&select).await.into_iter().map(|row| format!("{table} {row}")));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tenants_key_reaches_nothing_by_any_route() {
    let app = TestApp::start().await;
    let fields = json!({ "title": MARK, "external_id": MARK, "metadata": { "note": MARK } });
    let session = app.session(fields).await;
    let invite = app.invite(&session, json!({ "name": MARK, "identity": MARK })).await;
    let mut ann = app.join(&invite.token, MARK).await;
    let participant = ann.participant().to_owned();
    ann.send(json!({ "type": "leave" })).await;
    ann.closed().await;
    app.eventually_counts("select count(*) from rollcall.session_audit_log where event_type = 'participant_left'", 1)
        .await;
    let other = app.other_tenant().await;
    let (status, document) = other.get("/openapi.json").await;
    assert_eq!(status, 200);
    let ids = BTreeMap::from([
        ("session_id", session.as_str()),
        ("invite_id", &invite.id),
        ("participant_id", &participant),
        ("from", "2026-01-01T00:00:00Z"),
        ("to", "2026-12-31T00:00:00Z"),
        ("group", "participant"),
        ("q", MARK),
    ]);
    let attempts = attempts(&document, &ids);
    assert!(attempts.len() >= 18, "only {} routes need a key", attempts.len());
    let before = rows_of(&app.database, &app.api.tenant.to_string()).await;
    assert!(before.iter().any(|row| row.contains(MARK)));
    for Attempt { method, path, body } in attempts {
        let (status, answer) = other.call(&method, &path, body).await;
        if path.contains(&session) || path.contains(&invite.id) {
            assert_eq!(status, 404, "{method} {path}: {answer}");
        } else {
            assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        }
        let text = answer.to_string();
        for secret in [MARK, &session, &invite.id, &participant, &app.api.tenant.to_string()] {
            assert!(!text.contains(secret), "{method} {path} shows {secret}: {text}");
        }
    }
    assert_eq!(rows_of(&app.database, &app.api.tenant.to_string()).await, before, "rows of the first tenant changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_another_tenant_commands_only_its_own_session() {
    let app = TestApp::start().await;
    let (_, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    let other = app.other_tenant().await;
    let session = other.session(json!({})).await;
    let invite = other.invite(&session, json!({ "role": "host" })).await;
    let mut host = Client::join(&app.url, &invite.token, "Host").await;
    host.send(json!({ "type": "kick", "participant_id": ann.participant() })).await;
    assert_eq!(host.next().await.expect("an answer")["code"], "participant_not_found");
    host.send(json!({ "type": "snapshot" })).await;
    let snapshot = host.expect("snapshot").await.to_string();
    assert!(!snapshot.contains(ann.participant()), "{snapshot}");
    host.send(json!({ "type": "end" })).await;
    host.expect("ended").await;
    ann.ping(Some(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landing_page_learns_what_a_visitor_needs_and_nothing_more() {
    let app = TestApp::start().await;
    let fields = json!({ "title": "Lesson 12", "external_id": MARK, "metadata": { "note": MARK } });
    let session = app.session(fields).await;
    let invite = app.invite(&session, json!({ "identity": MARK, "name": MARK })).await;
    let (_, answer) = app.api.post("/v1/invites/check", json!({ "token": invite.token })).await;
    assert_eq!((&answer["valid"], &answer["session"]["title"]), (&json!(true), &json!("Lesson 12")));
    for hidden in [MARK, &invite.token, &app.api.tenant.to_string()] {
        assert!(!answer.to_string().contains(hidden), "{answer}");
    }
    // Whoever's invite was withdrawn is told that, and not of what.
    app.api.call("DELETE", &format!("/v1/invites/{}", invite.id), None).await;
    let (_, answer) = app.api.post("/v1/invites/check", json!({ "token": invite.token })).await;
    assert_eq!(answer["code"], "invite_revoked");
    assert!(!answer.to_string().contains(&session) && !answer.to_string().contains("Lesson"), "{answer}");
    // The page itself is the same for everybody: the token stands behind `#` and never reaches a server.
    let (status, page) = app.api.get("/join").await;
    assert_eq!((status, page), app.api.get(&format!("/join?token={}", invite.token)).await);
}
