//! `rollcall-load`: measures a Rollcall server on this machine, loopback only. It starts what it needs and stops it.

mod adapter;
mod bench;
mod client;
mod clock;
mod control;
#[cfg(test)]
mod fixture;
mod floor;
mod histogram;
mod measure;
mod micro;
mod peers;
mod process;
mod reconcile;
mod report;
mod server;
mod swarm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "rollcall-load", version, about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure a release build against its budgets. Exit 0: all kept; 1: one missed, or the run was void
    Bench(bench::Arguments),
    /// Compare the bill with the truth while the server is killed again and again. Exit 0: right to the microsecond
    Reconcile(reconcile::Arguments),
    /// Measure Rollcall beside bare echo servers and other presence servers, in turns. Exit 0: all measured; 1: something
    /// was skipped or void
    Peers(peers::Arguments),
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match arguments.verb {
            Verb::Bench(arguments) => bench::run(arguments).await,
            Verb::Peers(arguments) => peers::run(arguments).await,
            Verb::Micro(arguments) => micro::run(&arguments),
            Verb::MicroCase(arguments) => micro::repeat(&arguments).map(|()| true),
            Verb::Reconcile(arguments) => reconcile::command(arguments).await,
            Verb::Floor(arguments) => floor::run(arguments).await.map(|()| true),
            Verb::Swarm => swarm::run().await.map(|()| true),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rollcall-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}
