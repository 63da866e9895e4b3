//! `rollcall-load`: puts a Rollcall server under load and says whether it kept its budgets. It starts what it needs, over
//! loopback, and stops it; or it measures a server that runs already.

mod adapter;
mod client;
mod clock;
mod control;
#[cfg(test)]
mod fixture;
mod floor;
mod ground;
mod histogram;
mod measure;
mod micro;
mod peers;
mod process;
mod progress;
mod reconcile;
mod report;
mod scenario;
mod server;
mod sql;
mod swarm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use report::Report;
use report::compare::Comparison;
use scenario::catalogue;
use scenario::file::ScenarioError;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Some budget was missed, or something could not be done.
const FAILED: u8 = 1;

/// The command line, a scenario or an override is at fault.
const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "rollcall-load", version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run scenarios against a server, started for them or running already
    Run(Box<scenario::run::Arguments>),
    /// Show the scenarios that come with this program
    List,
    /// Show every key of a scenario file, or of one kind of scenario
    Explain {
        /// A kind or a scenario [default: all kinds]
        name: Option<String>,
    },
    /// Show reports again, from the JSON of runs
    Report {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write the one report as an HTML file with plots
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Write the plots as SVG files, and one of all budgets
        #[arg(long, value_name = "FOLDER", conflicts_with = "html")]
        pictures: Option<PathBuf>,
        /// Print the figures as one table in Markdown
        #[arg(long, conflicts_with_all = ["html", "pictures"])]
        markdown: bool,
    },
    /// Compare two reports; exit 1 when something became worse by more than the tolerance and by more than noise
    Compare {
        old: PathBuf,
        new: PathBuf,
        /// Changes up to this many percent are no change
        #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = percent)]
        tolerance: f64,
    },
    /// Measure Rollcall beside bare echo servers and other presence servers, in turns. Exit 0: all measured; 1: something
    /// was skipped or void
    Peers(peers::Arguments),
    /// Compare the bill with the truth while the server is killed again and again. Exit 0: right to the microsecond
    Reconcile(reconcile::Arguments),
    /// Measure the books at size: bills, months, clean-up, flush and proof over millions of audit rows
    Sql(sql::Arguments),
    /// Count the instructions of single steps of the server. Exit 0; 1 where --against finds more than before
    Micro(micro::Arguments),
    /// One case of `micro`, repeated
    #[command(hide = true)]
    MicroCase(micro::CaseArguments),
    /// A bare echo server that figures are compared with
    #[command(hide = true)]
    Floor(floor::Arguments),
    /// A process full of clients, driven by JSON lines on its standard input
    #[command(hide = true)]
    Swarm,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Verb::Reconcile(reconcile) = &arguments.verb
        && reconcile.needs_isolation()
    {
        // Now, while there is one thread.
        ground::isolate();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(carry_out(arguments.verb)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("rollcall-load: {error:#}");
            ExitCode::from(if error.is::<ScenarioError>() { USAGE } else { FAILED })
        }
    }
}

/// Returns whether all was well.
async fn carry_out(verb: Verb) -> anyhow::Result<bool> {
    match verb {
        Verb::Run(arguments) => Box::pin(scenario::run::run(*arguments)).await,
        Verb::List => {
            print!("{}", catalogue::list()?);
            Ok(true)
        }
        Verb::Explain { name } => {
            print!("{}", catalogue::explain(name.as_deref())?);
            Ok(true)
        }
        Verb::Report { files, html, pictures, markdown } => {
            show(&files, html.as_deref(), pictures.as_deref(), markdown)
        }
        Verb::Compare { old, new, tolerance } => {
            let comparison = Comparison::of(&Report::read(&old)?, &Report::read(&new)?, tolerance / 100.0);
            print!("{}", comparison.table());
            Ok(comparison.passes())
        }
        Verb::Peers(arguments) => Box::pin(peers::run(arguments)).await,
        Verb::Micro(arguments) => micro::run(&arguments),
        Verb::MicroCase(arguments) => micro::repeat(&arguments).map(|()| true),
        Verb::Reconcile(arguments) => Box::pin(reconcile::command(arguments)).await,
        Verb::Sql(arguments) => Box::pin(sql::run(arguments)).await,
        Verb::Floor(arguments) => floor::run(arguments).await.map(|()| true),
        Verb::Swarm => swarm::run().await.map(|()| true),
    }
}

fn show(files: &[PathBuf], html: Option<&Path>, pictures: Option<&Path>, markdown: bool) -> anyhow::Result<bool> {
    let reports = files.iter().map(|file| Report::read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(folder) = pictures {
        let names = report::pictures::write(&reports, folder)
            .with_context(|| format!("cannot write pictures to {}", folder.display()))?;
        println!("{} pictures in {}", names.len(), folder.display());
    } else if let Some(path) = html {
        let [report] = reports.as_slice() else { anyhow::bail!("--html shows one report: give one file") };
        scenario::run::write(path, &report::html::page(report))?;
    } else if markdown {
        print!("{}", report::text::markdown(&reports));
    } else {
        for report in &reports {
            println!("{}\n{}\n{}", report.made_at, report.command.join(" "), report.machine.summary());
            print!("{}", report::text::report(report));
        }
    }
    Ok(reports.iter().all(Report::passes))
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim_end_matches('%').parse().map_err(|_| "write a number of percent".to_owned())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("write a number of percent".to_owned()) }
}
