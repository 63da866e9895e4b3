//! The bill under every fault that can be made on this machine: a short form of `make faults`.

mod support;

use serde_json::Value;

use support::{harness, server, text};

/// Each kind of fault once, kills a few times.
const BRIEF: &[&str] =
    &["--all-faults", "--seed", "7", "--kills", "3", "--others", "1", "--minutes", "0.7", "--brief", "--early"];

#[test]
fn the_bill_is_right_under_every_fault() {
    let server = server();
    let arguments = [&["reconcile", "--server", server.to_str().unwrap(), "--json", "-"], BRIEF].concat();
    let output = harness(&arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let value = |title: &str| figures.iter().find(|one| one["title"] == title).and_then(|one| one["value"].as_f64());
    let skipped = said.lines().find(|line| line.starts_with("SKIPPED")).unwrap_or_default();
    for kind in [
        "kill",
        "drain",
        "pause",
        "postgres-pause",
        "postgres-stop",
        "postgres-kill",
        "postgres-disk-full",
        "journal-disk-full",
        "clock-step",
        "packet-loss",
        "half-open",
    ] {
        let made = value(&format!("fault {kind}")).unwrap_or(0.0) >= 1.0;
        assert!(made || skipped.contains(kind), "{kind} was neither made nor skipped aloud: {said}");
    }
    assert!(value("connections").unwrap() > 50.0, "{said}");
    eprintln!("{skipped}");
}
