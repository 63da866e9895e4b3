//! The documents name the tests that prove what they say; those must exist. And every promise has a number and a proof.

use std::path::{Path, PathBuf};

const GUARANTEES: &str = include_str!("../../docs/GUARANTEES.md");
const SIMULATION: &str = include_str!("../../docs/SIMULATION.md");
const FAILURE_MODES: &str = include_str!("../../docs/FAILURE_MODES.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between back-ticks, in order.
fn quoted(text: &str) -> Vec<String> {
    // A name may be broken over two lines.
    text.split('`').skip(1).step_by(2).map(|words| words.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Whether the function that begins after this text is a test: the attribute stands a few lines before it.
fn is_marked(before: &str) -> bool {
    let mut lines = before.lines().rev().take(5).take_while(|line| !line.starts_with('}'));
    lines.any(|line| line.trim() == "#[test]" || line.trim().starts_with("#[tokio::test"))
}

/// What is wrong with a reference; `None` for a good one, and for words that are none.
fn fault(reference: &str) -> Option<String> {
    let exists = |path: PathBuf| (!path.is_file()).then(|| format!("there is no {}", path.display()));
    if let Some((file, name)) = reference.split_once(".rs::").map(|(file, name)| (format!("{file}.rs"), name)) {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { return Some(format!("there is no {file}")) };
        let declared = text.split_once(&format!("fn {name}(")).is_some_and(|(before, _)| is_marked(before));
        return (!declared).then(|| format!("{file} has no test {name}"));
    }
    if let Some((file, name)) = reference.split_once(".js::").map(|(file, name)| (format!("{file}.js"), name)) {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { return Some(format!("there is no {file}")) };
        return (!text.contains(&format!("test(\"{name}\""))).then(|| format!("{file} has no test {name:?}"));
    }
    if let Some(name) = reference.strip_prefix("scenario ").filter(|name| *name != "name") {
        return exists(root().join("load-tests/scenarios").join(format!("{name}.toml")));
    }
    if let Some(name) = reference.strip_prefix("sql ") {
        return exists(root().join("migrations/functions").join(format!("{name}.sql")));
    }
    if reference.starts_with("migrations/") || reference.starts_with("tests/") {
        return exists(root().join(reference));
    }
    None
}

#[test]
fn every_proof_that_is_named_exists() {
    let named: Vec<_> = [GUARANTEES, FAILURE_MODES].into_iter().flat_map(quoted).collect();
    let faults: Vec<_> = named.iter().filter_map(|reference| fault(reference)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(named.iter().filter(|one| one.contains("::")).count() > 80, "the documents are read");
    // The check itself finds what is wrong.
    for wrong in [
        "tests/it/crash.rs::no_such_test",
        "tests/it/none.rs::a_restart_is_not_a_mass_leave",
        "sdk/test/browser/network.test.js::no such test",
        "scenario none",
        "sql none",
        "migrations/none.sql",
    ] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn every_promise_has_its_number_and_a_proof() {
    let promises: Vec<_> = GUARANTEES.split("\n**G").skip(1).collect();
    assert!(promises.len() > 30);
    for (index, promise) in promises.iter().enumerate() {
        let number = promise.split("**").next().expect("a number");
        assert_eq!(number.parse(), Ok(index + 1), "numbers are dense");
        let proofs = promise.split_once("\n: ").unwrap_or_else(|| panic!("G{number} names no proof")).1;
        let proofs = proofs.split("\n\n").next().expect("a paragraph");
        assert!(proofs.contains("`") || proofs.contains("reconciliation"), "G{number} names no proof");
    }
}

/// The rules of the simulation are named as its own document names them.
#[test]
fn rules_of_the_simulation_are_those_of_its_document() {
    let rules = SIMULATION.split_once("| rule | what must hold |").expect("a table").1;
    let rules = rules.split("\n\n").next().expect("its rows");
    let is_rule = |name: &str| rules.lines().any(|row| row.split('|').nth(1).is_some_and(|names| names.contains(name)));
    let named: Vec<_> = quoted(GUARANTEES).into_iter().filter(|words| words != "simulation: rule").collect();
    let named: Vec<_> = named.iter().filter_map(|words| words.strip_prefix("simulation: ")).collect();
    assert!(named.len() > 10, "the document is read");
    for name in named {
        assert!(is_rule(name), "docs/SIMULATION.md has no rule {name:?}");
    }
    assert!(!is_rule("no such rule"));
}
