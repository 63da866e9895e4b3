//! `rollcall-load micro`: what single steps of the server cost, in instructions. They are counted by valgrind, where it is
//! installed: such a count is the same on a busy machine, so that a change of a few percent is a change of the code. Times
//! stand beside it for information.
//!
//! A case runs in a process of its own, once with its repetitions and once with twice as many. The difference is what the
//! repetitions cost; start, setup and end cancel out.

mod cases;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use self::cases::{CASES, Case};
use crate::clock;

/// Repetitions of the timed run: this many times those of a count.
const TIMED_ROUNDS: usize = 20;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Cases to count [default: all]
    cases: Vec<String>,
    /// Write the figures as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare with such a file of an earlier commit; exit 1 where a case needs more instructions
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// By how many percent more before it counts
    #[arg(long, default_value_t = 3.0)]
    tolerance: f64,
}

/// Arguments of the process that a count is made of.
#[derive(Debug, Args)]
pub struct CaseArguments {
    case: String,
    repetitions: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Figure {
    /// Instructions of one repetition. Nothing without valgrind.
    instructions: Option<f64>,
    nanoseconds: f64,
}

/// Returns whether no case is worse than before.
///
/// # Errors
/// A case cannot be run or is not known.
pub fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let valgrind = has_valgrind();
    if !valgrind {
        eprintln!("micro: valgrind is missing (apt-get install valgrind): times alone, which move with the machine");
    }
    if cfg!(debug_assertions) {
        eprintln!("micro: this is a debug build; its figures say nothing about a release");
    }
    let before = arguments.against.as_deref().map(read).transpose()?;
    let mut figures = BTreeMap::new();
    let mut is_kept = true;
    println!("{:<16} {:>14} {:>12} {:>9}", "case", "instructions", "ns", "change");
    for case in chosen(&arguments.cases)? {
        let instructions = if valgrind { Some(count(case)?) } else { None };
        let figure = Figure { instructions, nanoseconds: time(case) };
        let old = before.as_ref().and_then(|before| before.get(case.name)).and_then(|old| old.instructions);
        let change = figure.instructions.zip(old).map(|(new, old)| (new / old - 1.0) * 100.0);
        is_kept &= change.is_none_or(|change| change <= arguments.tolerance);
        println!("{}", line(case, &figure, change));
        figures.insert(case.name.to_owned(), figure);
    }
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&figures)?;
        if path.as_os_str() == "-" {
            println!("{json}");
        } else {
            std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(is_kept)
}

/// Sets a case up and repeats it. What valgrind runs.
///
/// # Errors
/// There is no such case.
pub fn repeat(arguments: &CaseArguments) -> anyhow::Result<()> {
    let mut repeat = (find(&arguments.case)?.build)();
    (0..arguments.repetitions).for_each(|_| repeat());
    Ok(())
}

fn line(case: &Case, figure: &Figure, change: Option<f64>) -> String {
    let instructions = figure.instructions.map_or("-".to_owned(), |count| format!("{count:.0}"));
    let change = change.map_or(String::new(), |change| format!("{change:+.1} %"));
    format!("{:<16} {instructions:>14} {:>12.0} {change:>9}  {}", case.name, figure.nanoseconds, case.what)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    names.iter().map(|name| find(name)).collect()
}

fn find(name: &str) -> anyhow::Result<&'static Case> {
    let names = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    CASES.iter().find(|case| case.name == name).ok_or_else(|| anyhow!("no case {name:?}; there are {}", names()))
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn count(case: &Case) -> anyhow::Result<f64> {
    let once = instructions(case, case.repetitions)?;
    let twice = instructions(case, 2 * case.repetitions)?;
    ensure!(twice > once, "{}: more repetitions did not take more instructions", case.name);
    Ok((twice - once) as f64 / case.repetitions as f64)
}

fn instructions(case: &Case, repetitions: usize) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["micro-case", case.name, &repetitions.to_string()])
        .output()
        .context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} under valgrind: {text}", case.name);
    }
    instructions_in(&text).with_context(|| format!("valgrind said: {text}"))
}

/// `==123== I   refs:      1,234,567`
fn instructions_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("refs:")?;
    rest.lines().next()?.trim().replace(',', "").parse().ok()
}

fn time(case: &Case) -> f64 {
    let mut repeat = (case.build)();
    repeat();
    let started_at = clock::now();
    let repetitions = case.repetitions * TIMED_ROUNDS;
    (0..repetitions).for_each(|_| repeat());
    clock::now().duration_since(started_at).as_nanos() as f64 / repetitions as f64
}

fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Figure>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no file of `micro --json`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_count_of_valgrind() {
        assert_eq!(instructions_in("==7== Cachegrind\n==7== \n==7== I   refs:      1,234,567\n"), Some(1_234_567));
        assert_eq!(instructions_in("==7== I refs:        89\n==7== x"), Some(89));
        assert_eq!(instructions_in("no count"), None);
    }

    #[test]
    fn an_unknown_case_is_named_with_those_there_are() {
        let error = find("churn").unwrap_err().to_string();
        assert!(error.contains("churn-10") && error.contains("timer"), "{error}");
    }
}
