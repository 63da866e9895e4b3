//! `db`: the embedded Postgres of the data folder.

use std::ffi::OsString;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use serde_json::json;
use tokio::process::Command;

use super::check::print_findings;
use crate::cli::arguments::DbVerb;
use crate::cli::database::{Database, Missing, embedded_options};
use crate::cli::output::{Exit, Failure, OutputFormat, print, print_json};
use crate::config::Config;
use crate::embedded_pg::{self, Lifetime};

pub async fn run(config: &Config, verb: DbVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        DbVerb::Start => start(config, output).await,
        DbVerb::Stop => stop(config, output).await,
        DbVerb::Psql { arguments } => psql(config, arguments).await,
        DbVerb::Doctor => {
            let findings = embedded_pg::doctor(&embedded_options(config));
            print_findings(output, &findings, "The embedded Postgres would start.")
        }
    }
}

async fn start(config: &Config, output: OutputFormat) -> Result<(), Failure> {
    let mut options = embedded_options(config);
    options.lifetime = Lifetime::Detached;
    let server = embedded_pg::start(options).await?;
    let url = server.database_url(embedded_pg::DATABASE);
    match output {
        OutputFormat::Json => print_json(&json!({
            "database_url": url,
            "pid": server.pid(),
            "version": server.version().to_string(),
            "log": server.log_file(),
        })),
        OutputFormat::Text => print(&format!(
            "PostgreSQL {} is running (pid {}).\n\n  {url}\n\nStop it with `rollcall db stop`.\n",
            server.version(),
            server.pid()
        )),
    }
}

async fn stop(config: &Config, output: OutputFormat) -> Result<(), Failure> {
    let running = embedded_pg::attach(&config.data_dir).await?;
    let was_running = running.is_some();
    if let Some(running) = running {
        running.stop().await?;
    }
    match output {
        OutputFormat::Json => print_json(&json!({ "was_running": was_running })),
        OutputFormat::Text if was_running => print("The embedded Postgres is stopped.\n"),
        OutputFormat::Text => print("The embedded Postgres was not running.\n"),
    }
}

async fn psql(config: &Config, arguments: Vec<OsString>) -> Result<(), Failure> {
    let database = Database::find_embedded(config, Missing::Refuse).await.map_err(|failure| {
        if config.database.url.is_some() {
            failure.hint("`db` is about the embedded Postgres; for the configured one use `psql \"$DATABASE_URL\"`")
        } else {
            failure
        }
    })?;
    // The URL of the embedded Postgres has no password, so it may be an argument.
    let status = run_psql(config, database.url.expose_secret(), arguments).await;
    database.release().await?;
    let status = status?;
    if status.success() { Ok(()) } else { Err(Failure::new(Exit::Failed, format!("psql ended with {status}"))) }
}

async fn run_psql(config: &Config, url: &str, arguments: Vec<OsString>) -> Result<std::process::ExitStatus, Failure> {
    let program = config.database.pg_bin.as_ref().map(|folder| folder.join("psql")).filter(|path| path.is_file());
    let program = program.unwrap_or_else(|| PathBuf::from("psql"));
    // Ctrl-C is meant for the query in psql; with a handler of our own it does not end us.
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let status = Command::new(&program).arg(url).args(arguments).status().await;
    drop(interrupts);
    status.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Exit::ServiceMissing, format!("{} was not found", program.display()))
                .hint("install it: apt-get install postgresql-client, dnf install postgresql, or brew install libpq")
        }
        _ => error.into(),
    })
}
