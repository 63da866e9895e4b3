//! Fuzzing of the configuration: a file and an environment.

use std::io::Write;
use std::path::PathBuf;
use std::process;

use super::{File, Inputs, Mode, load};

/// Stands in every setting that is a secret.
const SECRET: &str = "KEPTSECRETKEPTSECRETKEPTSECRETKEPTSECRET";

/// Between the file and the environment.
const SEPARATOR: &str = "\n---\n";

/// Every configuration is taken or refused with words, and neither the words nor what `config show` prints has a secret.
/// The input is a file in TOML, a line with three dashes, and lines `NAME=value` of the environment.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (file, environment) = text.split_once(SEPARATOR).unwrap_or((text, ""));
    if text.contains(SECRET) {
        return;
    }
    let path = file_of_this_process();
    let written = std::fs::File::create(&path).and_then(|mut created| created.write_all(file.as_bytes()));
    written.expect("a temporary file");
    let mut environment: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    environment.push(("DATABASE_URL".to_owned(), format!("postgres://app:{SECRET}@db.example.com/app")));
    environment.push(("ROLLCALL_ROOT_KEY".to_owned(), SECRET.to_owned()));
    // One of them for each input: three times as many inputs find more than three times the same.
    let mode = [None, Some(Mode::Dev), Some(Mode::Serve)][text.len() % 3];
    let inputs = Inputs { file: File::Named(path), environment, flags: Vec::new() };
    let words = match load(&inputs, mode) {
        Ok(loaded) => format!("{:?} {loaded:?}", loaded.effective()),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!words.contains(SECRET), "a secret in {words}");
}

/// Fuzzers run side by side.
fn file_of_this_process() -> PathBuf {
    std::env::temp_dir().join(format!("rollcall-fuzz-{}.toml", process::id()))
}
