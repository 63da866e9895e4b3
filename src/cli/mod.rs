//! The command line: [`arguments`] (what can be written), [`verbs`] (what it does), [`output`] (how results and errors
//! look), [`banner`] (what the server says when it is ready), [`database`] (which database a verb works on).
//!
//! The daily verbs work on the database directly, with the same operations as the HTTP interface. A running server learns
//! of what they did from the database.

pub mod arguments;
pub mod banner;
mod database;
pub mod output;
#[cfg(test)]
mod tests;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

pub use arguments::Cli;
pub use output::{Failure, OutputFormat};

/// Reads the command line, does what it says, and reports how it went.
pub fn main() -> ExitCode {
    // Prints help, or what is wrong with the arguments, and exits with 0 or 2.
    let cli = Cli::parse();
    let output = if cli.common.json { OutputFormat::Json } else { OutputFormat::Text };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from_error(&error).report(output),
    };
    match runtime.block_on(verbs::run(cli, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}
