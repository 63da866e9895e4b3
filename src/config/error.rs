//! What can be wrong with a configuration. No text here contains a secret.

use std::fmt;
use std::path::PathBuf;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The parser's own text quotes the line, which may hold a secret; hence only its message and the line's number.
    #[error("{}, line {line}: {message}", path.display())]
    NotToml { path: PathBuf, line: usize, message: String },
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

/// One thing that is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    UnknownKey {
        /// As written: a dotted key or the name of an environment variable.
        key: String,
        source: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    Invalid {
        key: String,
        /// TOML text, masked when secret.
        value: String,
        source: String,
        allowed: String,
    },
}

impl Fault {
    /// The setting it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::UnknownKey { key, .. } | Self::Invalid { key, .. } => key,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, source, nearest } => {
                write!(f, "{key} ({source}) is not a setting")?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest}?"))
            }
            Self::Invalid { key, value, source, allowed } => {
                write!(f, "{key} = {value} ({source}); allowed: {allowed}")
            }
        }
    }
}

fn list(faults: &[Fault]) -> String {
    match faults {
        [fault] => format!("in the configuration, {fault}"),
        faults => {
            let lines: String = faults.iter().map(|fault| format!("\n  - {fault}")).collect();
            format!("the configuration has {} faults:{lines}", faults.len())
        }
    }
}
