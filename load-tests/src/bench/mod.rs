//! The benchmarks, one file each. Each starts what it needs, measures, and stops it.

mod expired;
mod expiry;
mod expiry_core;
mod flush;
mod idle;
mod join;
mod ping;
mod stage;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::report::{Figure, Machine, Progress, Report};

#[derive(Debug, Args)]
pub struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    benchmarks: Vec<Benchmark>,
    /// Connections of `idle` and `ping`; this process's limit of open files must allow them
    #[arg(long, default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    connections: u32,
    /// Sessions that are live during `expiry`
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2_000..=1_000_000))]
    sessions: u32,
    /// Write the figures as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The rollcall binary to measure [default: the one beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Memory of a participant who is there and silent but for its pings
    Idle,
    /// Processor time of a ping as a ratio to a bare echo server, and its latency
    Ping,
    /// Latency of joins that come at a fixed rate
    Join,
    /// Latency of the refusal of an expired invite
    Expired,
    /// How late sessions end, with many timers armed
    Expiry,
    /// Records a second into Postgres while a backlog drains
    Flush,
    /// All of these, one after the other
    All,
}

/// What every benchmark is given.
#[derive(Debug)]
struct Options {
    server: PathBuf,
    connections: usize,
    sessions: usize,
}

/// Returns whether all budgets were kept.
///
/// # Errors
/// A benchmark could not be carried out.
pub async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let options = Options {
        server: find_server(arguments.server)?,
        connections: arguments.connections as usize,
        sessions: arguments.sessions as usize,
    };
    if cfg!(debug_assertions) {
        eprintln!("rollcall-load: this is a debug build; its figures say nothing about a release");
    }
    let chosen = |benchmark| arguments.benchmarks.iter().any(|one| *one == benchmark || *one == Benchmark::All);
    let mut figures = Vec::new();
    let machine = Machine::describe();
    let everything = async {
        for benchmark in Benchmark::value_variants() {
            if *benchmark != Benchmark::All && chosen(*benchmark) {
                figures.extend(benchmark.run(&options).await?);
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = everything => outcome?,
        // Processes die with their handles, which are dropped with the future.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
    let passed = figures.iter().all(Figure::passes);
    let report = Report { machine, figures };
    eprint!("{}", report.table());
    if let Some(path) = arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        if path.as_os_str() == "-" {
            println!("{json}");
        } else {
            std::fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(passed)
}

impl Benchmark {
    async fn run(self, options: &Options) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Idle => idle::run(options, &Progress::new("idle")).await,
            Self::Ping => ping::run(options, &Progress::new("ping")).await,
            Self::Join => join::run(options, &Progress::new("join")).await,
            Self::Expired => expired::run(options, &Progress::new("expired")).await,
            Self::Expiry => expiry::run(options, &Progress::new("expiry")).await,
            Self::Flush => flush::run(options, &Progress::new("flush")).await,
            Self::All => Ok(Vec::new()),
        }
    }
}

fn find_server(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("rollcall"),
    };
    if !path.is_file() {
        bail!("there is no server at {}; build it with `cargo build --release`, or pass --server", path.display());
    }
    Ok(path)
}
