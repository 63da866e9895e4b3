//! The whole of `rollcall-load peers`, small: processes, floors, table, JSON, exit codes.

use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rollcall-load");

/// Few open files, so that the clients need several processes.
fn peers(arguments: &str) -> Output {
    let script = format!("ulimit -n 160; exec \"$0\" peers {arguments}");
    Command::new("sh").args(["-c", &script, PROGRAM]).output().expect("sh")
}

#[test]
fn floors_are_measured_with_clients_in_several_processes() {
    let output = peers(
        "--skip rollcall,socketio,ws --connections 130 --pings-per-s 400 --seconds 0.3 --turns 1 --json - --peers-folder .",
    );
    let table = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code <= 1), "{table}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {table}"));
    let systems = report["systems"].as_array().expect("systems");
    assert_eq!(systems.len(), 2, "{table}");
    for system in systems {
        let turns = system["turns"].as_array().expect("turns");
        assert_eq!(turns.len(), 2, "one turn, and one more at the end");
        for turn in turns {
            assert!(turn["saturated_per_s"].as_f64().is_some_and(|rate| rate > 100.0), "{turn}");
            assert!(turn["ping_p99_us"].as_f64().is_some_and(|micros| micros > 0.0), "{turn}");
            assert!(turn["ping_cpu_us"].as_f64().is_some_and(|micros| micros > 0.0), "{turn}");
            assert_eq!(turn["room"], Value::Null, "floors have no rooms");
        }
    }
    // On a machine that is busy with other things every turn may be void, and then there is no ratio.
    let is_sound = |system: &Value| {
        system["turns"].as_array().is_some_and(|turns| turns.iter().any(|turn| turn["void"].is_null()))
    };
    let ratio = if is_sound(&systems[0]) { Value::from(1.0) } else { Value::Null };
    assert_eq!(systems[0]["ping_cpu_to_library"], ratio, "{table}");
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, part) in [
        ("--peer mqtt=ws://127.0.0.1:1/", "unknown protocol"),
        ("--skip all", "rollcall, socketio and ws can be skipped"),
        ("--skip rollcall,socketio,ws --peer-pid ws=1", "no --peer of that name"),
        ("--skip rollcall,socketio,ws --connections 900000 --turns 1", "ulimit -n"),
    ] {
        let output = peers(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(part), "{arguments}: {text}");
    }
}
