//! The program, and the server of the same profile beside it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rollcall-load")).args(arguments).output().expect("it runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The server of the same profile. Cargo hands a test only the programs of its own package, so it is built here, as
/// `cargo test --workspace` does: after that it takes no time.
pub fn server() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_rollcall-load")).with_file_name("rollcall");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--workspace", "--test", "it"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env("SQLX_OFFLINE", "true");
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(path.is_file(), "no server at {}", path.display());
    path
}
