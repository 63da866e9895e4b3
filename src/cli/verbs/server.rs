//! `dev`, `serve` and `migrate`.

use serde_json::json;

use super::start_logging;
use crate::cli::database::{Missing, with_store};
use crate::cli::output::{Failure, OutputFormat, print, print_json};
use crate::config::{self, Config, Inputs, Mode};

/// Runs the server until it is told to stop.
pub async fn run(inputs: &Inputs, mode: Mode, output: OutputFormat) -> Result<(), Failure> {
    let loaded = config::load(inputs, Some(mode))?;
    start_logging(&loaded.config.log)?;
    Ok(crate::app::run(loaded.config, mode, output).await?)
}

pub async fn migrate(config: &Config, output: OutputFormat) -> Result<(), Failure> {
    let report = with_store(config, Missing::Make, async |store| Ok(store.migrate().await?)).await?;
    match output {
        OutputFormat::Json => print_json(&json!({
            "version": report.version,
            "migrations_applied": report.migrations_applied,
            "functions_applied": report.functions_applied,
        })),
        OutputFormat::Text if report.migrations_applied + report.functions_applied == 0 => {
            print(&format!("The schema is current (version {}).\n", report.version))
        }
        OutputFormat::Text => print(&format!(
            "Applied {} migration(s) and {} function(s). The schema is current (version {}).\n",
            report.migrations_applied, report.functions_applied, report.version
        )),
    }
}
