//! `rollcall-load`: measures a Rollcall server on this machine, loopback only. It starts what it needs and stops it.

mod bench;
mod client;
mod clock;
mod control;
mod floor;
mod measure;
mod process;
mod report;
mod server;
mod sql;
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
    /// Measure the books at size: bills, months, clean-up, flush and proof over millions of audit rows
    Sql(sql::Arguments),
    /// The bare echo server that figures are compared with
    #[command(hide = true)]
    Floor,
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
            Verb::Sql(arguments) => sql::run(arguments).await,
            Verb::Floor => floor::run().await.map(|()| true),
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
