//! Logs: pretty for people at a terminal, JSON lines for machines, always on stderr, so that stdout stays what the verb
//! prints. And what keeps secrets out of them.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log.filter is not a filter")]
    Filter(#[source] ParseError),
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sets up logging for the whole process.
///
/// # Errors
/// The filter does not parse, or logging was set up before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.filter).map_err(TelemetryError::Filter)?;
    let at_terminal = io::stderr().is_terminal();
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let pretty = match log.format {
        LogFormat::Auto => at_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let result = if pretty {
        let colours = at_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.compact().with_ansi(colours).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    result.map_err(|_| TelemetryError::AlreadySet)
}

/// Whether a text is a log filter, so that validation can say it before the start.
///
/// # Errors
/// The filter does not parse.
pub fn check_filter(filter: &str) -> Result<(), ParseError> {
    EnvFilter::try_new(filter).map(drop)
}

/// A URL without its password, whether that stands before the host or in a `password=` parameter.
///
/// Reads generously: what does not look like a URL is masked as a whole rather than shown.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    // The last @ of the whole rest: a password with a raw / or @ in it must not leak its end.
    let rest = match rest.rsplit_once('@') {
        Some((userinfo, host)) => match userinfo.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@{host}"),
            None => format!("{userinfo}@{host}"),
        },
        None => rest.to_owned(),
    };
    match query {
        Some(query) => {
            format!("{scheme}://{rest}?{}", query.split('&').map(redact_parameter).collect::<Vec<_>>().join("&"))
        }
        None => format!("{scheme}://{rest}"),
    }
}

/// Parameters known to be harmless are shown; an unknown one may be a password by another name.
fn redact_parameter(parameter: &str) -> String {
    const SHOWN: [&str; 8] =
        ["host", "port", "user", "dbname", "sslmode", "application_name", "options", "connect_timeout"];
    match parameter.split_once('=') {
        Some((name, _)) if SHOWN.contains(&name) => parameter.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_survive_redaction() {
        let urls = [
            "postgres://app:hunter2@db.example.com/app",
            "postgres://app:hunter2/@x@db.example.com:5432/app?sslmode=require",
            "postgresql:///app?host=/run/pg&password=hunter2",
            "postgres://app@db/app?sslpassword=hunter2",
            "hunter2",
        ];
        for url in urls {
            let shown = redact_url(url);
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(MASK), "{shown}");
        }
        assert_eq!(
            redact_url("postgres://app:x@db:5432/app?sslmode=require"),
            "postgres://app:********@db:5432/app?sslmode=require"
        );
        assert_eq!(redact_url("postgresql:///app?host=/run/pg&user=app"), "postgresql:///app?host=/run/pg&user=app");
    }

    #[test]
    fn a_bad_filter_is_told_before_the_start() {
        assert!(check_filter("info,rollcall=debug").is_ok());
        assert!(check_filter("rollcall=loud").is_err());
    }
}
