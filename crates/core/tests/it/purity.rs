//! The core depends on nothing that does I/O, reads a clock or draws random numbers.

use std::io::ErrorKind;
use std::process::Command;

#[test]
fn core_has_no_impure_dependency() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--package", "rollcall-core", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p} {f}", "--manifest-path", manifest])
        .output();
    let output = match tree {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: this machine runs the test binary without cargo, which lists the dependencies");
            return;
        }
        Err(error) => panic!("cargo tree could not be started: {error}"),
    };
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("rollcall-core v"), "cargo tree answered something else: {text}");
    let banned =
        ["tokio", "mio", "socket2", "sqlx", "rusqlite", "axum", "hyper", "rand", "getrandom", "chrono", "time"];
    let found: Vec<_> =
        text.lines().filter(|line| line.split(' ').next().is_some_and(|name| banned.contains(&name))).collect();
    assert!(found.is_empty(), "the core must stay pure, but depends on {found:?}");
    // The crate of ids can draw random numbers and read the clock, unless its features are off.
    let uuid = text.lines().find(|line| line.starts_with("uuid ")).expect("the crate of ids");
    let features: Vec<_> = uuid.rsplit(' ').next().unwrap_or_default().split(',').collect();
    assert!(!features.iter().any(|feature| ["v1", "v4", "v6", "v7", "rng"].contains(feature)), "uuid has {features:?}");
}
