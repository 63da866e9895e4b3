//! The program as its user meets it: a tiny scenario from end to end against the real server, the report, the exit codes.

mod support;

use serde_json::Value;

use support::{harness, server, text};

/// Few people, a few seconds, and budgets that a busy machine keeps.
const TINY: &str = r#"
kind = "join-storm"
about = "twenty people"
participants = 20
room_size = 5
joins_per_s = 40

[budget]
errors_max = 0
seconds_max = 600
"#;

#[test]
fn a_tiny_scenario_runs_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("tiny.toml"), TINY).unwrap();
    let server = server();
    let run = |changes: &[&str], json: &str| {
        let tiny = file("tiny.toml");
        let page = file("page.html");
        let mut arguments = vec!["run", &tiny, "--server", server.to_str().unwrap(), "--json", json, "--html", &page];
        arguments.extend(changes.iter().flat_map(|change| ["--set", *change]));
        harness(&arguments)
    };

    let output = run(&[], &file("old.json"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(file("old.json")).unwrap()).unwrap();
    let outcome = &report["outcomes"][0];
    let figure =
        |key: &str| outcome["figures"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone();
    assert_eq!((figure("errors")["value"].as_f64(), figure("errors")["verdict"].as_str()), (Some(0.0), Some("ok")));
    assert!(figure("join_p99_ms")["value"].as_f64().unwrap() > 0.0);
    assert_eq!(outcome["distributions"][0]["count"], 20);
    assert_eq!(report["server"]["build"], if cfg!(debug_assertions) { "debug" } else { "release" });
    let page = std::fs::read_to_string(file("page.html")).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    roxmltree::Document::parse_with_options(&page, options).expect("well-formed");

    // A budget that nobody can keep.
    let output = run(&["budget.seconds_max=0"], &file("new.json"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("missed"), "{}", text(&output.stderr));

    assert!(harness(&["report", &file("old.json")]).status.success());
    assert_eq!(harness(&["report", &file("new.json")]).status.code(), Some(1));
    assert!(harness(&["compare", &file("old.json"), &file("old.json")]).status.success());
    let output = harness(&["compare", &file("old.json"), &file("new.json")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("budget missed"), "{}", text(&output.stdout));
}

#[test]
fn what_is_wrong_with_a_scenario_is_a_matter_of_usage() {
    for arguments in [
        &["run", "idel"][..],
        &["run", "idle", "--set", "particpants=3"],
        &["run", "idle", "--set", "participants"],
        &["run", "idle", "--target", "http://127.0.0.1:1"],
        &["run", "idle", "--target", "https://127.0.0.1:1", "--key", "k"],
        &["explain", "idel"],
        &["run"],
    ] {
        let output = harness(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    }
    assert!(text(&harness(&["run", "idel"]).stderr).contains("did you mean \"idle\"?"));
    let output = harness(&["run", "idle", "--set", "particpants=3"]);
    assert!(text(&output.stderr).contains("did you mean \"participants\"?"), "{}", text(&output.stderr));
    // Nobody listens there: no fault of the command line.
    let output = harness(&["run", "idle", "--target", "http://127.0.0.1:1", "--key", "k"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn list_and_explain_show_what_there_is() {
    let list = text(&harness(&["list"]).stdout);
    assert!(list.lines().any(|line| line.starts_with("join-storm ")), "{list}");
    let explained = text(&harness(&["explain", "room"]).stdout);
    assert!(explained.contains("within_s") && explained.contains("presence_frames_max"), "{explained}");
}
