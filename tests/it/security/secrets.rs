//! Secrets are planted everywhere and then searched for everywhere else: logs at their most talkative, error bodies,
//! metrics, every table, every file of the server, its command line, and what Postgres shows of its queries.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Database, ROOT_KEY, TestApp, eventually};

const DATABASE_PASSWORD: &str = "planted-database-password";
const EMAIL: &str = "ann.planted@example.com";
const NAME: &str = "Ann Planted";
const STATE: &str = "planted-in-a-state";

/// A thing that must not be found, by a name that may be printed.
struct Secret {
    name: &'static str,
    text: String,
}

/// Everything that anybody may read later.
struct Trace {
    place: String,
    text: String,
}

fn search<'a>(secrets: impl IntoIterator<Item = &'a Secret>, traces: &[Trace]) {
    for secret in secrets {
        assert!(secret.text.len() >= 8, "{} is too short to be searched for", secret.name);
        for trace in traces {
            if let Some(at) = trace.text.find(&secret.text) {
                let before: String = trace.text[..at].chars().rev().take(160).collect();
                let before: String = before.chars().rev().collect();
                panic!("{} is in {}, after: {before}", secret.name, trace.place);
            }
        }
    }
}

/// Every row of every table of ours.
async fn tables(database: &Database) -> Vec<Trace> {
    let select = "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'rollcall' and c.relkind = 'r'";
    let mut traces = Vec::new();
    for table in database.column(select).await {
        let rows = database.column(&format!("select t::text from rollcall.{table} t")).await;
        traces.push(Trace { place: table, text: rows.join("\n") });
    }
    traces
}

fn files(folder: &Path, traces: &mut Vec<Trace>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            files(&path, traces);
        } else if let Ok(bytes) = std::fs::read(&path) {
            traces
                .push(Trace { place: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() });
        }
    }
}

/// Everything a client may do wrong with a secret in its hand. Gives the answers.
async fn mishaps(app: &TestApp, secrets: &[Secret]) -> Vec<Trace> {
    let mut answers = Vec::new();
    let http = reqwest::Client::new();
    for Secret { name, text } in secrets {
        let requests = [
            http.get(format!("{}/v1/sessions", app.url)).bearer_auth(text),
            http.get(format!("{}/v1/sessions", app.url)).bearer_auth(format!("{text}x")),
            http.get(format!("{}/v1/sessions/{text}", app.url)).bearer_auth(&app.api.key),
            http.get(format!("{}/v1/sessions?limit={text}", app.url)).bearer_auth(&app.api.key),
            http.get(format!("{}/v1/sessions?cursor={text}", app.url)).bearer_auth(&app.api.key),
            http.get(format!("{}/join/{text}?token={text}", app.url)),
            http.post(format!("{}/v1/invites/check", app.url)).json(&json!({ "token": format!("{text}x") })),
            http.post(format!("{}/v1/invites/check", app.url))
                .header("content-type", "application/json")
                .body(format!("{{\"token\":\"{text}\"")),
            http.post(format!("{}/v1/sessions", app.url))
                .bearer_auth(&app.api.key)
                .json(&json!({ "title": 5, "metadata": text })),
            http.get(format!("{}/v1/ws", app.url)).header("sec-websocket-protocol", text),
        ];
        for request in requests {
            let answer = request.send().await.expect("answered");
            let headers = format!("{:?}", answer.headers());
            let text = format!("{headers}\n{}", answer.text().await.expect("a body"));
            answers.push(Trace { place: format!("an answer about {name}"), text });
        }
        let mut socket = Client::connect(&app.url).await;
        socket.send_raw(format!("{{\"type\":\"join\",\"token\":\"{text}\",\"token\":5}}")).await;
        let refusal = socket.next().await.unwrap_or_default();
        answers.push(Trace { place: format!("a refusal about {name}"), text: refusal.to_string() });
        if let Err(refusal) = Client::try_join(&app.url, json!({ "token": format!("{text}x") })).await {
            answers.push(Trace { place: format!("a refusal about {name}"), text: format!("{refusal:?}") });
        }
    }
    answers
}

async fn next_error(client: &mut Client) -> Value {
    loop {
        match client.next().await {
            Some(frame) if frame["type"] == "error" => return frame,
            Some(_) => {}
            None => panic!("closed before an error"),
        }
    }
}

fn jwt(app_session: &str, secret: &str, expires_at: i64) -> String {
    use base64::Engine;
    use hmac::{Hmac, KeyInit, Mac};
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let claims = json!({ "sub": EMAIL, "aud": "rollcall", "exp": expires_at, "rollcall": { "session": app_session } });
    let body = format!("{}.{}", base64(br#"{"alg":"HS256"}"#), base64(claims.to_string().as_bytes()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    format!("{body}.{}", base64(&mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_anywhere_it_was_not_put() {
    let mut database = Database::new().await;
    let separator = if database.url.contains('?') { '&' } else { '?' };
    database.url = format!("{}{separator}password={DATABASE_PASSWORD}", database.url);
    let mut app = TestApp::start_on(database.into(), &[("LOG__FILTER", "trace"), ("LOG__FORMAT", "json")]).await;
    let session = app.session(json!({ "title": "Lesson" })).await;
    let guests = app.invite(&session, json!({ "name": NAME })).await;
    let limited = app.invite(&session, json!({ "identity": EMAIL, "max_uses": 5, "role": "host" })).await;
    let signing = app.signing_secret(app.api.tenant).await;
    let now = app.database.number("select extract(epoch from now())::bigint").await;
    let jwt = jwt(&session, &signing, now + 600);

    let mut answers = Vec::new();
    let mut ann = Client::join_with(&app.url, json!({ "token": jwt, "name": NAME, "state": { "x": STATE } })).await;
    let guest = Client::join_with(&app.url, json!({ "token": guests.token, "identity": EMAIL })).await;
    let host = Client::join_with(&app.url, json!({ "token": limited.token })).await;
    ann.send(json!({ "type": "update", "state": STATE })).await;
    ann.send_raw(format!("{{\"type\":\"update\",\"stat\":\"{STATE}\"}}")).await;
    ann.send_raw(format!("{{\"type\":\"{EMAIL}\"}}")).await;
    for code in ["malformed_frame", "unknown_type"] {
        let error = next_error(&mut ann).await;
        assert_eq!(error["code"], code);
        answers.push(Trace { place: format!("the error {code}"), text: error.to_string() });
    }

    let secret = |name, text: &str| Secret { name, text: text.to_owned() };
    let secrets = [
        secret("an API key", &app.api.key),
        secret("an invite token", &guests.token),
        secret("a limited invite token", &limited.token),
        secret("a JWT", &jwt),
        secret("a resume token", ann.resume()),
        secret("a guest's resume token", guest.resume()),
        secret("a host's resume token", host.resume()),
        secret("the signing secret", &signing),
        secret("the root key", ROOT_KEY),
        secret("the database password", DATABASE_PASSWORD),
    ];
    let personal = [secret("an e-mail", EMAIL), secret("a name", NAME), secret("a state", STATE)];
    let mut traces = mishaps(&app, &secrets[..7]).await;
    traces.append(&mut answers);

    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", app.pid())).expect("a process");
    traces.push(Trace { place: "the command line".to_owned(), text: cmdline });
    let queries =
        app.database.column("select coalesce(query, '') || coalesce(application_name, '') from pg_stat_activity").await;
    traces.push(Trace { place: "what Postgres runs".to_owned(), text: queries.join("\n") });
    let (_, metrics) = app.api.get("/metrics").await;
    traces.push(Trace { place: "/metrics".to_owned(), text: metrics.to_string() });
    for verb in ["config show", "config show --json", "check", "check --json"] {
        let output = app.command(&verb.split(' ').collect::<Vec<_>>()).await;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        traces.push(Trace { place: verb.to_owned(), text });
    }
    // A database that goes away is the time when drivers print what they were doing.
    app.database.refuse_connections().await;
    app.api.get("/v1/sessions").await;
    app.api.post("/v1/sessions", json!({ "title": "Later" })).await;
    Client::try_join(&app.url, json!({ "token": limited.token })).await.err();
    app.database.accept_connections().await;
    eventually("the database is back", || async { (app.api.get("/v1/sessions").await.0 == 200).then_some(()) }).await;
    drop((ann, guest, host));
    app.eventually_counts("select count(*) from rollcall.participation_spans where disconnected_at is null", 0).await;
    app.signal(Signal::SIGTERM);
    app.wait().await;

    let log = app.log();
    // Nothing writes at TRACE today. Whatever does tomorrow is searched too.
    assert!(log.contains("\"level\":\"DEBUG\""), "the log is not at its most talkative");
    traces.push(Trace { place: "the log".to_owned(), text: log });
    let lasting = tables(&app.database).await;
    let mut kept = Vec::new();
    files(app.data_dir.path(), &mut kept);
    assert!(kept.iter().any(|file| file.place.contains("journal")) && lasting.len() > 10);

    search(secrets.iter().chain(&personal), &traces);
    search(&secrets, &kept);
    search(&secrets, &lasting);
    // Where personal data may be: the erasable tables, and nowhere else in the database.
    let erasable = ["participants", "participant_pii", "invites"];
    let others: Vec<Trace> = lasting.into_iter().filter(|trace| !erasable.contains(&trace.place.as_str())).collect();
    assert!(others.iter().any(|trace| trace.place.starts_with("session_audit_log") && trace.text.contains(&session)));
    search(&personal, &others);
}
