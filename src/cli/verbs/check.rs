//! `check`: everything that is wrong with configuration, machine and database, at once.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::json;

use super::start_quiet_logging;
use crate::cli::database::{Missing, embedded_options, with_store};
use crate::cli::output::{Exit, Failure, OutputFormat, print, print_json, printable};
use crate::config::{self, Config, Fault, Inputs, Mode};
use crate::embedded_pg::{self, Finding, Level};

/// File descriptors that a server needs besides those of its connections: journal, database, log, listener.
const DESCRIPTORS_OF_THE_SERVER: u64 = 256;

pub async fn run(inputs: &Inputs, mode: Mode, output: OutputFormat) -> Result<(), Failure> {
    let (loaded, faults) = config::load_with_faults(inputs, Some(mode))?;
    if !faults.iter().any(|fault| fault.key().starts_with("log.")) {
        start_quiet_logging(&loaded)?;
    }
    let mut findings: Vec<Finding> = faults.iter().map(of_fault).collect();
    if faults.is_empty() {
        findings.push(good("configuration", "every setting is good".to_owned()));
    }
    findings.push(check_descriptors(&loaded.config));
    // A database of the wrong address would only add a second text about the same fault.
    if !faults.iter().any(|fault| fault.key().starts_with("database.") || fault.key() == "data_dir") {
        findings.extend(check_database(&loaded.config).await);
    }
    print_findings(output, &findings, "Everything is fine.")
}

/// Prints findings; those of level `failed` make the verb fail.
///
/// # Errors
/// At least one check failed.
pub fn print_findings(output: OutputFormat, findings: &[Finding], all_good: &str) -> Result<(), Failure> {
    let failed = findings.iter().filter(|finding| finding.level == Level::Failed).count();
    match output {
        OutputFormat::Json => print_json(&json!({ "ok": failed == 0, "data": findings }))?,
        OutputFormat::Text => print(&findings.iter().map(line).collect::<String>())?,
    }
    if failed > 0 {
        return Err(Failure::new(Exit::Failed, format!("{failed} of {} checks failed", findings.len())));
    }
    if output == OutputFormat::Text { print(&format!("{all_good}\n")) } else { Ok(()) }
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok     ",
        Level::Warning => "warning",
        Level::Failed => "FAILED ",
    };
    let cure = finding.cure.as_ref().map_or_else(String::new, |cure| format!("         cure: {}\n", printable(cure)));
    format!("{level}  {}: {}\n{cure}", finding.check, printable(&finding.detail))
}

fn of_fault(fault: &Fault) -> Finding {
    failed("configuration", fault.to_string(), None)
}

fn good(check: &'static str, detail: String) -> Finding {
    Finding { check, level: Level::Ok, detail, cure: None }
}

fn failed(check: &'static str, detail: String, cure: Option<String>) -> Finding {
    Finding { check, level: Level::Failed, detail, cure }
}

fn check_descriptors(config: &Config) -> Finding {
    const CHECK: &str = "open_files";
    let wanted = u64::from(config.ws.connections_max) + DESCRIPTORS_OF_THE_SERVER;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= wanted => good(CHECK, format!("{hard} may be open")),
        Ok((_, hard)) => Finding {
            check: CHECK,
            level: Level::Warning,
            detail: format!("ws.connections_max is {}, but only {hard} files may be open", config.ws.connections_max),
            cure: Some(format!(
                "raise the limit (`LimitNOFILE={wanted}` in systemd, `ulimit -n`), or lower ws.connections_max"
            )),
        },
        Err(error) => failed(CHECK, format!("the limit cannot be read: {error}"), None),
    }
}

async fn check_database(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "database";
    if config.database.url.is_none() && !config.data_dir.join("postgres").is_dir() {
        // Nothing to connect to yet; the start will make it.
        return embedded_pg::doctor(&embedded_options(config));
    }
    let current = with_store(config, Missing::Refuse, async |store| {
        store.ping().await?;
        Ok(store.schema_is_current().await?)
    })
    .await;
    match current {
        Ok(true) => vec![good(CHECK, "it answers, and its schema is current".to_owned())],
        Ok(false) => vec![Finding {
            check: CHECK,
            level: Level::Warning,
            detail: "it answers; its schema is not that of this program".to_owned(),
            cure: Some("`rollcall migrate`, or the next start of `rollcall serve`, brings it up to date".to_owned()),
        }],
        Err(failure) => vec![failed(CHECK, failure.message, failure.hint)],
    }
}
