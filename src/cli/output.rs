//! How results and errors look: tables and sentences for people, JSON for machines.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use crate::app::AppError;
use crate::config::{ConfigError, Fault};
use crate::control::ControlError;
use crate::embedded_pg;
use crate::store::StoreError;

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    Text,
    Json,
}

/// How a verb ends when it does not succeed. The numbers are public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Failed = 1,
    /// Wrong arguments or configuration.
    Usage = 2,
    /// `EX_UNAVAILABLE` of sysexits.h: a needed service is missing.
    ServiceMissing = 69,
}

/// Why a verb did not succeed, in the user's words.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
    pub faults: Vec<Fault>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, faults: Vec::new() }
    }

    /// With the whole chain of causes.
    pub fn from_error(error: &dyn Error) -> Self {
        Self::new(Exit::Failed, chain(error))
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the failure on stderr and gives the exit code.
    pub fn report(&self, output: OutputFormat) -> ExitCode {
        match output {
            OutputFormat::Text => {
                eprintln!("error: {}", self.message);
                if let Some(hint) = &self.hint {
                    eprintln!("hint: {hint}");
                }
            }
            OutputFormat::Json => eprintln!("{}", self.to_json()),
        }
        ExitCode::from(self.exit as u8)
    }

    pub fn to_json(&self) -> serde_json::Value {
        let mut error = json!({ "message": self.message, "hint": self.hint, "exit_code": self.exit as u8 });
        if !self.faults.is_empty() {
            error["faults"] = json!(self.faults);
        }
        json!({ "error": error })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self::new(Exit::Usage, chain(&error));
        match error {
            ConfigError::Faults(faults) => {
                let hint =
                    "`rollcall config doc` lists every setting; `rollcall config show` prints the effective values";
                Self { faults, ..failure.hint(hint) }
            }
            ConfigError::Unreadable { .. } => failure.hint("name another file with --config"),
            ConfigError::NotToml { .. } => failure,
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let exit = if error.is_missing_service() { Exit::ServiceMissing } else { Exit::Failed };
        let failure = Self::new(exit, chain(&error));
        match error {
            AppError::Listen { .. } => failure.hint("`--listen 127.0.0.1:0` picks a free port"),
            AppError::Store(error) => Self { hint: Self::from(error).hint, ..failure },
            _ => failure,
        }
    }
}

impl From<embedded_pg::Error> for Failure {
    fn from(error: embedded_pg::Error) -> Self {
        let exit = if error.needs_installation() { Exit::ServiceMissing } else { Exit::Failed };
        Self::new(exit, chain(&error)).hint("`rollcall db doctor` tells more")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            let hint = "check that Postgres runs and that DATABASE_URL is right; `rollcall check` tells more";
            return Self::new(Exit::ServiceMissing, chain(&error)).hint(hint);
        }
        Self::from_error(&error)
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::TenantNotFound => Some("`rollcall tenant list` shows all tenants"),
            ControlError::SessionNotFound => Some("`rollcall session list` shows the sessions of a tenant"),
            ControlError::InviteNotFound => Some("`rollcall invite list SESSION_ID` shows the invites of a session"),
            ControlError::KeyNotFound => Some("`rollcall key list` shows the keys of a tenant"),
            ControlError::SessionEnding => Some("try again in a moment"),
            _ => None,
        };
        let failure = match error {
            ControlError::Store(error) => Self::from(error),
            ControlError::Invalid(violations) => {
                let name = |pointer: &str| pointer.trim_start_matches('/').replace('_', "-");
                let details: Vec<String> =
                    violations.0.iter().map(|one| format!("{}: {}", name(&one.pointer), one.detail)).collect();
                Self::new(Exit::Usage, details.join("; "))
            }
            error => Self::from_error(&error),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from_error(&error)
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Errors of other libraries may repeat their cause.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Prints text on stdout. A reader that went away, as `head` does, is no failure.
///
/// # Errors
/// Stdout cannot be written for another reason.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One JSON value on one line of stdout.
///
/// # Errors
/// Stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::from_error(&error))?;
    print(&format!("{text}\n"))
}

/// A result in the asked format: `{"data": […]}` for machines, a table or a sentence for people.
///
/// # Errors
/// Stdout cannot be written.
pub fn print_list<T: Serialize>(
    output: OutputFormat,
    items: &[T],
    empty: &str,
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        OutputFormat::Json => print_json(&json!({ "data": items })),
        OutputFormat::Text if items.is_empty() => print(&format!("{empty}\n")),
        OutputFormat::Text => print(&table(header, &items.iter().map(row).collect::<Vec<_>>())),
    }
}

/// Columns as wide as their widest cell, two spaces between.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&header).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    std::iter::once(&header).chain(&rows).map(line).collect()
}

/// Titles and names come from strangers: a control character in them must not reach the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// An instant for people.
pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `-` where there is nothing.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}
