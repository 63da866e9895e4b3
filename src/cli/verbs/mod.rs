//! What each verb does.

mod audit;
mod check;
mod configuration;
mod db;
mod identity;
mod invite;
mod key;
mod server;
mod session;
mod tenant;
mod usage;

use clap::CommandFactory as _;
use serde_json::json;

use super::arguments::{Cli, Verb};
use super::output::{Exit, Failure, OutputFormat, print, print_json};
use crate::config::{self, Config, Inputs, Loaded, Mode};
use crate::telemetry;

/// Log lines of the verbs that are no servers, unless somebody asks for more.
const FILTER_OF_TOOLS: &str = "warn";

/// Carries out a verb.
///
/// # Errors
/// See [`Failure`].
pub async fn run(cli: Cli, output: OutputFormat) -> Result<(), Failure> {
    let inputs = cli.inputs(environment());
    match cli.verb {
        Verb::Dev(_) => server::run(&inputs, Mode::Dev, output).await,
        Verb::Serve(_) => server::run(&inputs, Mode::Serve, output).await,
        Verb::Migrate => server::migrate(&tool_config(&inputs)?, output).await,
        Verb::Check(arguments) => check::run(&inputs, arguments.mode.map_or(Mode::Serve, Mode::from), output).await,
        Verb::Key(verb) => key::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Tenant(verb) => tenant::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Session(verb) => session::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Invite(verb) => invite::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Usage(verb) => usage::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Audit(verb) => audit::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Identity(verb) => identity::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Db(verb) => db::run(&tool_config(&inputs)?, verb, output).await,
        Verb::Config(verb) => configuration::run(&inputs, &verb, output),
        Verb::Openapi => print_json(&crate::http::document()),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Verb::Version => match output {
            OutputFormat::Text => print(concat!("rollcall ", env!("CARGO_PKG_VERSION"), "\n")),
            OutputFormat::Json => print_json(&json!({ "version": env!("CARGO_PKG_VERSION") })),
        },
    }
}

/// Variables that are not Unicode cannot be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The configuration of a verb that is no server, with quiet logging set up.
fn tool_config(inputs: &Inputs) -> Result<Config, Failure> {
    let loaded = config::load(inputs, None)?;
    start_quiet_logging(&loaded)?;
    Ok(loaded.config)
}

fn start_quiet_logging(loaded: &Loaded) -> Result<(), Failure> {
    let mut log = loaded.config.log.clone();
    if !loaded.is_set("log.filter") {
        log.filter = FILTER_OF_TOOLS.to_owned();
    }
    start_logging(&log)
}

fn start_logging(log: &config::Log) -> Result<(), Failure> {
    telemetry::init(log).map_err(|error| Failure::new(Exit::Failed, super::output::chain(&error)))
}
