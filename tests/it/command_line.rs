//! The program as a person or a script meets it: `dev` from nothing, the daily verbs, exit codes.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Client, PATIENCE, TestApp, eventually};

fn rollcall() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
    command
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn dev(data_dir: &std::path::Path) -> (Child, Value) {
    let mut command = rollcall();
    command.args(["dev", "--json", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).stderr(Stdio::null());
    let mut server = command.spawn().expect("started");
    let mut line = String::new();
    let stdout = BufReader::new(server.stdout.take().expect("piped"));
    tokio::time::timeout(PATIENCE * 3, {
        let mut stdout = stdout;
        let line = &mut line;
        async move { stdout.read_line(line).await }
    })
    .await
    .expect("ready in time")
    .expect("a line");
    (server, serde_json::from_str(&line).expect("one JSON line"))
}

/// What the README promises: from nothing to two people, a crash, and the right spans in SQL.
#[tokio::test(flavor = "multi_thread")]
async fn dev_works_from_nothing_and_survives_kill_9() {
    let folder = tempfile::Builder::new().prefix("rollcall-dev-").tempdir().expect("temporary folder");
    let (mut server, ready) = dev(folder.path()).await;
    let text = |field: &str| ready[field].as_str().unwrap_or_else(|| panic!("{field} in {ready}")).to_owned();
    let url = text("url");
    for field in ["listen", "database_url", "data_dir", "api_key", "tenant_id", "session_id", "invite_url"] {
        text(field);
    }
    let ann = Client::join(&url, &text("invite_token"), "Ann").await;
    let mut bob = Client::join(&url, &text("invite_token"), "Bob").await;
    bob.send(json!({ "type": "leave" })).await;
    assert_eq!(bob.closed().await, 1000);
    server.kill().await.expect("killed");

    let (mut server, again) = dev(folder.path()).await;
    assert_eq!((&again["api_key"], &again["session_id"]), (&ready["api_key"], &ready["session_id"]));
    let back = Client::join_with(again["url"].as_str().expect("url"), json!({ "token": ann.resume() })).await;
    assert_eq!(back.participant(), ann.participant());

    let spans = "select string_agg(end_reason, ',' order by connected_at) from rollcall.participation_spans where end_reason is not null";
    let words = eventually("the spans are in SQL", || async {
        let output = rollcall()
            .args(["db", "psql", "--data-dir"])
            .arg(folder.path())
            .args(["--", "-At", "-c", spans])
            .output()
            .await;
        let words = String::from_utf8(output.expect("ran").stdout).expect("text");
        (!words.trim().is_empty()).then_some(words)
    })
    .await;
    assert_eq!(words.trim(), "node_crash,left");
    let pid = nix::unistd::Pid::from_raw(server.id().expect("running") as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signalled");
    let status = tokio::time::timeout(PATIENCE, server.wait()).await.expect("ended in time").expect("status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_work_needs_no_curl() {
    let app = TestApp::start().await;
    let json = async |arguments: &[&str]| -> Value {
        let output = app.command(&[arguments, &["--json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    };
    json(&["tenant", "create", "school"]).await;
    let tenants = json(&["tenant", "list"]).await;
    assert!(tenants.to_string().contains("school"), "{tenants}");
    let key = json(&["key", "create", "--tenant", "school", "ci"]).await;
    assert!(key.to_string().contains("rck_"), "{key}");
    let session = app.session(json!({ "title": "From the API" })).await;
    let invite = json(&["invite", "create", &session, "--tenant", "app"]).await;
    let token = invite["token"].as_str().expect("token").to_owned();
    // The running server has never heard of this invite and finds it in the database.
    let ann = Client::join(&app.url, &token, "Ann").await;
    assert_eq!(ann.joined["session"]["title"], "From the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_service_is_told_from_a_fault() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let serve = async |variables: &[(&str, &str)]| {
        let mut command = rollcall();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .envs(variables.iter().copied());
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("ended in time").expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let key = ("ROLLCALL_AUTH__ROOT_KEY", crate::support::ROOT_KEY);
    let (code, words) = serve(&[key]).await;
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("DATABASE_URL") && words.contains("--embedded-db"), "{words}");
    let nobody = ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none");
    let (code, words) = serve(&[key, nobody, ("ROLLCALL_DATABASE__CONNECT_TIMEOUT_S", "1")]).await;
    assert_eq!(code, Some(69), "{words}");
    let (code, words) = serve(&[key, nobody, ("ROLLCALL_WS__PING_INTERVALL_MS", "5")]).await;
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("did you mean ROLLCALL_WS__PING_INTERVAL_MS"), "no suggestion in: {words}");
}
