//! The verb `run`: goes through scenarios, holds what they find against their budgets, and writes the report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::SecondsFormat;
use clap::Args;

use super::catalogue::{self, ALL};
use super::file::{Override, Scenario, ScenarioError};
use super::source::Source;
use super::stage::Stage;
use crate::clock;
use crate::measure;
use crate::report::data::FORMAT;
use crate::report::figure::Verdict;
use crate::report::{Figure, Machine, Outcome, Report, html, text};

/// Repeats more than this tell nothing new.
const REPEATS_MAX: i64 = 100;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    rollcall-load run idle --html idle.html\n  \
    rollcall-load run join-storm --set participants=2000 --set budget.join_p99_ms_max=50\n  \
    rollcall-load run ping-rate --repeat 5 --json new.json && rollcall-load compare old.json new.json\n  \
    rollcall-load run join-rate --target http://127.0.0.1:7655 --key rck_…\n\n\
    `rollcall-load list` shows the scenarios, `rollcall-load explain` every key of a scenario file.\n\
    Exit code: 0 every budget was kept, 1 one was missed or the run was void, 2 usage.")]
pub struct Arguments {
    /// Scenarios by name, TOML files, or `all`
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Change a key of the scenarios: participants=500, budget.join_p99_ms_max=50
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    /// Run each scenario so often and report medians; `compare` then knows what is noise
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPEATS_MAX))]
    repeat: u32,
    /// Write the report as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as one HTML file with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The rollcall binary to start [default: the one beside this one]
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    server: Option<PathBuf>,
    /// Measure a server that runs already: http://host:port
    #[arg(long, value_name = "URL", requires = "key")]
    target: Option<String>,
    /// An API key of that server with scope `write`
    #[arg(long, value_name = "KEY", requires = "target", env = "ROLLCALL_LOAD_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The process of that server, when it is on this machine: for memory and processor time
    #[arg(long, value_name = "PID", requires = "target")]
    pid: Option<u32>,
}

/// Returns whether every budget was kept.
///
/// # Errors
/// A scenario is at fault ([`ScenarioError`]) or could not be carried out.
pub async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let scenarios = choose(&arguments.scenarios, &arguments.overrides)?;
    let source = match &arguments.target {
        Some(url) => Source::running(url, arguments.key.as_deref().unwrap_or_default(), arguments.pid).await?,
        None => Source::program(arguments.server.as_deref())?,
    };
    let server = source.describe().await?;
    if server.build == "debug" {
        eprintln!("rollcall-load: this is a debug build; its figures say nothing about a release");
    }
    let mut report = Report {
        format: FORMAT,
        made_at: now(),
        command: std::env::args().collect(),
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        server,
        machine: Machine::describe(),
        outcomes: Vec::new(),
    };
    hide_key(&mut report.command);
    let everything = async {
        for scenario in &scenarios {
            let mut outcomes = Vec::new();
            for _ in 0..arguments.repeat {
                outcomes.push(one(scenario, &source).await.with_context(|| scenario.name.clone())?);
            }
            report.outcomes.extend(median(scenario, outcomes));
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = everything => outcome?,
        // Processes die with their handles, which are dropped with the future.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
    finish(&report, arguments.json.as_deref(), arguments.html.as_deref())
}

fn finish(report: &Report, json: Option<&Path>, page: Option<&Path>) -> anyhow::Result<bool> {
    eprint!("{}", text::report(report));
    if let Some(path) = json {
        let json = report.to_json()?;
        if path.as_os_str() == "-" {
            print!("{json}");
        } else {
            write(path, &json)?;
        }
    }
    if let Some(path) = page {
        write(path, &html::page(report))?;
    }
    let (missed, void) = (report.count(Verdict::Missed), report.count(Verdict::Void));
    if missed + void > 0 {
        eprintln!("\nbudgets: {} kept, {missed} missed, {void} void", report.count(Verdict::Ok));
    }
    Ok(report.passes())
}

/// The scenarios of the command line. An override must mean something to one of them at least; those that do not know its
/// key are left as they are.
fn choose(names: &[String], overrides: &[Override]) -> Result<Vec<Scenario>, ScenarioError> {
    let names: Vec<&str> = names
        .iter()
        .flat_map(|name| if name == ALL { catalogue::all().collect() } else { vec![name.as_str()] })
        .collect();
    let mut scenarios = Vec::new();
    let mut is_known = vec![names.len() == 1; overrides.len()];
    for name in &names {
        let plain = catalogue::find(name, &[])?;
        let known = |change: &Override| plain.knows(&change.key);
        overrides.iter().zip(&mut is_known).for_each(|(change, is_known)| *is_known |= known(change));
        // With one scenario an unknown key is told by the reader, with a hint.
        let mine: Vec<_> = overrides.iter().filter(|change| names.len() == 1 || known(change)).cloned().collect();
        scenarios.push(catalogue::find(name, &mine)?);
    }
    match overrides.iter().zip(is_known).find(|(_, is_known)| !is_known) {
        Some((change, _)) => {
            Err(ScenarioError { name: "--set".to_owned(), faults: vec![format!("no scenario has {}", change.key)] })
        }
        None => Ok(scenarios),
    }
}

async fn one(scenario: &Scenario, source: &Source) -> anyhow::Result<Outcome> {
    let started_at = now();
    let mut stage = Stage::new(&scenario.name, source.clone());
    let findings = scenario.kind.run(&stage).await;
    stage.finish().await;
    let findings = findings?;
    Ok(Outcome {
        name: scenario.name.clone(),
        kind: scenario.kind.name().to_owned(),
        about: scenario.about.clone(),
        parameters: scenario.kind.show(),
        started_at,
        seconds: stage.progress.elapsed_s(),
        figures: scenario.judge(findings.figures, stage.is_blind()),
        distributions: findings.distributions,
        series: stage.series(),
        marks: stage.progress.marks(),
    })
}

/// One outcome out of several of the same scenario: figures are medians, everything else is of the last.
fn median(scenario: &Scenario, mut outcomes: Vec<Outcome>) -> Option<Outcome> {
    let mut last = outcomes.pop()?;
    if outcomes.is_empty() {
        return Some(last);
    }
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut void: BTreeMap<String, Figure> = BTreeMap::new();
    for figure in outcomes.into_iter().flat_map(|outcome| outcome.figures).chain(last.figures.iter().cloned()) {
        samples.entry(figure.key.clone()).or_default().push(figure.value);
        if figure.verdict == Verdict::Void {
            void.insert(figure.key.clone(), figure);
        }
    }
    let figures = std::mem::take(&mut last.figures).into_iter().map(|mut figure| {
        let mut samples = samples.remove(&figure.key).unwrap_or_default();
        figure.value = measure::median(samples.clone());
        samples.retain(|sample| sample.is_finite());
        figure.samples = samples;
        figure.verdict = Verdict::Info;
        let reason = void.remove(&figure.key).map(|void| void.note);
        figure.void_if(reason)
    });
    last.figures = scenario.judge(figures.collect(), true);
    Some(last)
}

/// A report is passed around; the key is not for everybody.
fn hide_key(command: &mut [String]) {
    for index in 0..command.len() {
        if command[index] == "--key" && index + 1 < command.len() {
            "…".clone_into(&mut command[index + 1]);
        } else if command[index].starts_with("--key=") {
            "--key=…".clone_into(&mut command[index]);
        }
    }
    // The folder of the program is nobody's business either.
    if let Some(program) = command.first_mut() {
        *program = Path::new(program.as_str()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
}

fn now() -> String {
    let now = chrono::DateTime::from_timestamp_micros(clock::wall_us()).unwrap_or_default();
    now.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_override_is_for_those_who_know_it() {
        let change = ["within_s=3".parse().unwrap()];
        let chosen = choose(&names(&["room", "idle"]), &change).unwrap();
        assert_eq!(chosen[0].kind.show()["within_s"], "3");
        assert!(
            choose(&names(&["idle", "ping-rate"]), &change)
                .unwrap_err()
                .to_string()
                .contains("no scenario has within_s")
        );
        assert!(choose(&names(&["idle"]), &change).unwrap_err().to_string().contains("unknown key \"within_s\""));
        assert!(choose(&names(&["all"]), &[]).unwrap().len() > 10);
    }

    #[test]
    fn repeats_become_medians_that_are_judged() {
        let scenario = Scenario::parse("mine", "kind = \"idle\"\n[budget]\nmemory_kib_max = 2.0", &[]).unwrap();
        let outcome = |value| {
            let figures = scenario.judge(vec![scenario.kind.figures()[0].is(value)], false);
            Outcome { figures, ..crate::report::sample::report().outcomes.remove(0) }
        };
        let merged = median(&scenario, [9.0, 1.0, 1.5].map(outcome).to_vec()).unwrap();
        assert_eq!((merged.figures[0].value, merged.figures[0].verdict), (1.5, Verdict::Ok));
        assert_eq!(merged.figures[0].samples, [9.0, 1.0, 1.5]);
    }

    #[test]
    fn a_key_does_not_reach_the_report() {
        let mut command = names(&["/opt/x/rollcall-load", "run", "idle", "--key", "rck_secret", "--key=rck_secret"]);
        hide_key(&mut command);
        assert_eq!(command.join(" "), "rollcall-load run idle --key … --key=…");
    }
}
