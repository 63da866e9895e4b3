//! The proof as an auditor gets it: from a running server, by the command line, and on another computer.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Client, TestApp, eventually};

/// A server with a little history that has stopped in good order, so that a checkpoint covers all of it.
async fn stopped_server() -> (TestApp, String) {
    let mut app = TestApp::start().await;
    let (session, token) = app.room().await;
    let mut ann = app.join(&token, "Ann").await;
    ann.send(json!({ "type": "update", "state": { "secret": "written by the app" } })).await;
    ann.ping(Some(true)).await;
    ann.send(json!({ "type": "leave" })).await;
    ann.closed().await;
    app.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(app.wait().await, Some(0));
    (app, session)
}

struct Answer {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("JSON in {:?}, {}", self.out, self.error))
    }
}

/// A verb with the data folder of the server.
async fn audit(app: &TestApp, arguments: &[&str]) -> Answer {
    let folder = app.data_dir.path().to_str().expect("text");
    let output = app.command(&[&["audit"], arguments, &["--data-dir", folder]].concat()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Answer { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

fn notes(app: &TestApp) -> String {
    let folder = app.data_dir.path().join("checkpoints");
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "txt");
    let mut files = std::fs::read_dir(folder).expect("folder").map(|file| file.expect("file").path());
    files.find(|path| is_log(path)).expect("a file of notes").to_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_leaves_a_ledger_that_proves_itself() {
    let (app, _) = stopped_server().await;
    let folder = app.data_dir.path();
    let export = folder.join("trail.jsonl").to_str().expect("text").to_owned();
    let report = audit(&app, &["verify", "--checkpoint", &notes(&app), "--json"]).await;
    assert_eq!(report.code, Some(0), "{}{}", report.out, report.error);
    let report = report.json();
    assert_eq!((&report["intact"], &report["findings"]), (&json!(true), &json!([])));
    assert!(report["signatures"].as_u64() >= Some(2) && report["records"].as_u64() > Some(5), "{report}");

    assert_eq!(audit(&app, &["export", "--output", &export]).await.code, Some(0));
    let text = std::fs::read_to_string(&export).expect("readable");
    assert!(!text.contains("written by the app") && !text.contains("Ann"), "personal data is not in the trail");
    let key = audit(&app, &["key"]).await.out.trim().to_owned();
    let offline =
        audit(&app, &["verify", "--export", &export, "--public-key", &key, "--checkpoint", &notes(&app)]).await;
    assert_eq!(offline.code, Some(0), "{}{}", offline.out, offline.error);
    assert!(offline.out.starts_with("Intact: "), "{}", offline.out);

    std::fs::write(&export, text.replacen("\"actor\":\"server\"", "\"actor\":\"nobody\"", 1)).expect("written");
    let tampered = audit(&app, &["verify", "--export", &export]).await;
    assert_eq!(tampered.code, Some(1));
    assert!(tampered.out.contains("the record was altered"), "{}", tampered.out);
    assert_eq!(audit(&app, &["verify", "--export", &export, "--public-key", "nonsense"]).await.code, Some(2));
    assert_eq!(audit(&app, &["verify", "--export", "/nowhere"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_proven_without_the_database() {
    let (app, session) = stopped_server().await;
    let proof = app.data_dir.path().join("event.json").to_str().expect("text").to_owned();
    let joined = format!(
        "select epoch || '-' || seq from rollcall.session_audit_log
         where session_id = '{session}' and event_type = 'participant_joined'"
    );
    let event = app.database.text(&joined).await;
    assert_eq!(audit(&app, &["prove", &event, "--output", &proof]).await.code, Some(0));
    let holds = audit(&app, &["verify", "--proof", &proof, "--json"]).await;
    assert_eq!((holds.code, &holds.json()["signed"]), (Some(0), &json!(true)), "{}", holds.error);
    let text = std::fs::read_to_string(&proof).expect("readable");
    std::fs::write(&proof, text.replacen("participant_joined", "participant_left", 1)).expect("written");
    assert_eq!(audit(&app, &["verify", "--proof", &proof]).await.code, Some(1));
    assert_eq!(audit(&app, &["prove", "7-9999"]).await.code, Some(1));
    assert_eq!(audit(&app, &["prove", "seven"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_database_is_found_with_and_without_the_checkpoints_outside() {
    let (app, session) = stopped_server().await;
    let off = "do $$ declare r record; begin
        for r in select c.oid::regclass as t from pg_class c where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p')
        loop execute format('alter table %s disable trigger user', r.t); end loop; end $$";
    app.database.execute(off).await;
    let report = audit(&app, &["verify"]).await;
    assert_eq!(report.code, Some(1));
    assert!(report.out.contains("audit_batches does not refuse UPDATE and DELETE"), "{}", report.out);
    let change = format!("update rollcall.session_audit_log set event_type = 'app.x' where session_id = '{session}'");
    app.database.execute(&change).await;
    let report = audit(&app, &["verify", "--json"]).await;
    assert!(report.out.contains("the record was altered"), "{}", report.out);
    // All traces removed, the count and the checkpoints too: only what was kept outside knows better.
    for sql in [
        "truncate rollcall.audit_checkpoints, rollcall.audit_checkpoint_heads, rollcall.audit_batches,
                  rollcall.session_audit_log, rollcall.evidence_marks",
        "update rollcall.node_epochs set applied_seq = 0",
    ] {
        app.database.execute(sql).await;
    }
    let blind = audit(&app, &["verify"]).await;
    assert!(!blind.out.contains("outside"), "{}", blind.out);
    let report = audit(&app, &["verify", "--checkpoint", &notes(&app)]).await;
    assert_eq!(report.code, Some(1));
    assert!(report.out.contains("exist outside, but not here"), "{}", report.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_and_the_proof_and_the_bill_stay() {
    let app = TestApp::start().await;
    let session = app.session(json!({})).await;
    let invite = app.invite(&session, json!({ "identity": "ann@example.org", "name": "Ann Example" })).await;
    let mut ann = Client::join_with(&app.url, json!({ "token": invite.token, "state": { "mood": "good" } })).await;
    ann.ping(Some(true)).await;
    app.eventually_counts("select count(*) from rollcall.participants where status <> 'left'", 1).await;
    let erase = async || {
        let output = app.command(&["identity", "erase", "ann@example.org", "--tenant", "app", "--json"]).await;
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(erase().await.0, Some(1), "refused while she is inside");
    ann.send(json!({ "type": "leave" })).await;
    ann.closed().await;
    app.eventually_counts("select count(*) from rollcall.participants where status = 'left'", 1).await;
    let bill = format!("select sum(billable_seconds) > 0 from rollcall.get_session_billing_data('{session}')");
    assert_eq!(app.database.text(&bill).await, "true");

    let (code, out) = erase().await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains(&session), "{out}");
    for table in ["participants", "participant_pii", "invites", "session_audit_log", "participation_spans", "sessions"]
    {
        let leaks = format!("select count(*) from rollcall.{table} t where t::text ~* 'ann|mood'");
        assert_eq!(app.database.number(&leaks).await, 0, "{table}");
    }
    assert_eq!(app.database.text(&bill).await, "true", "the time stays billable");
    let events = "select count(*) from rollcall.session_audit_log where event_type = 'participant_erased'";
    assert_eq!(app.database.number(events).await, 1);
    eventually("the proof stays valid", || async {
        (app.database.number("select count(*) from rollcall.verify_audit_chain()").await == 0).then_some(())
    })
    .await;
    assert_eq!(audit(&app, &["verify"]).await.code, Some(0));
}
