//! What the server says when it is ready: a short banner for people, exactly one JSON line for machines.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use uuid::Uuid;

pub use super::output::OutputFormat;
use super::output::print;
use crate::telemetry::redact_url;

/// A server that accepts connections.
#[derive(Debug, Clone)]
pub struct Ready<'a> {
    /// The address people reach it at.
    pub url: &'a str,
    /// Where it really listens, with the port it got.
    pub listen: SocketAddr,
    /// In libpq form, so that psql takes it.
    pub database_url: &'a str,
    /// Which database that is, for people.
    pub database: String,
    pub data_dir: &'a Path,
    /// What `dev` made.
    pub demo: Option<&'a Demo>,
}

/// The demo objects of `dev`. Their secrets are meant to be shown: they open nothing but this computer.
#[derive(Clone, Serialize)]
pub struct Demo {
    pub api_key: String,
    pub tenant_id: Uuid,
    pub session_id: Uuid,
    pub invite_token: String,
    pub invite_url: String,
    pub host_invite_url: String,
}

impl std::fmt::Debug for Demo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demo").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

/// The line that scripts wait for. Names are public; fields may be added.
#[derive(Serialize)]
struct ReadyLine<'a> {
    url: &'a str,
    listen: SocketAddr,
    database_url: &'a str,
    data_dir: &'a Path,
    #[serde(flatten)]
    demo: Option<&'a Demo>,
}

/// Says on stdout that the server is ready. A stdout that nobody reads does not stop the server.
pub fn print_ready(output: OutputFormat, ready: &Ready<'_>) {
    let text = match output {
        OutputFormat::Text => banner(ready),
        OutputFormat::Json => line(ready),
    };
    if let Err(failure) = print(&text) {
        tracing::warn!(error = failure.message, "stdout cannot be written; the server is ready all the same");
    }
}

/// The one JSON line.
fn line(ready: &Ready<'_>) -> String {
    let data_dir = absolute(ready.data_dir);
    let line = ReadyLine {
        url: ready.url,
        listen: ready.listen,
        database_url: ready.database_url,
        data_dir: &data_dir,
        demo: ready.demo,
    };
    let text = serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    format!("{text}\n")
}

/// The banner. The database's password is not in it: a banner is copied into chats.
fn banner(ready: &Ready<'_>) -> String {
    let data_dir = absolute(ready.data_dir);
    let Ready { url, listen, demo, .. } = ready;
    let mut lines = vec![("Server", (*url).to_owned())];
    if !url.ends_with(&listen.to_string()) {
        lines.push(("Listening on", listen.to_string()));
    }
    lines.push(("API reference", format!("{url}/docs")));
    lines.push(("WebSocket", format!("{}/v1/ws", url.replacen("http", "ws", 1))));
    if let Some(demo) = demo {
        lines.push(("API key", demo.api_key.clone()));
        lines.push(("Invite link", demo.invite_url.clone()));
        lines.push(("Host's link", demo.host_invite_url.clone()));
    }
    lines.push(("Database", format!("{}\n{}", ready.database, redact_url(ready.database_url))));
    lines.push(("Data", data_dir.display().to_string()));
    lines.push(("Stop", "Ctrl-C".to_owned()));

    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let title = if demo.is_some() {
        "Rollcall is ready (dev: placeholder keys, this computer only)"
    } else {
        "Rollcall is ready"
    };
    lines.into_iter().fold(format!("\n  {title}\n\n"), |mut text, (name, value)| {
        for (index, value) in value.lines().enumerate() {
            let name = if index == 0 { name } else { "" };
            // Writing to a String cannot fail.
            writeln!(text, "  {name:<width$}  {value}").unwrap_or_default();
        }
        text
    }) + "\n"
}

/// Scripts and people in another folder can use it as it is.
fn absolute(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Demo {
        Demo {
            api_key: "rck_example".to_owned(),
            tenant_id: Uuid::from_u128(1),
            session_id: Uuid::from_u128(2),
            invite_token: "rci_example".to_owned(),
            invite_url: "http://127.0.0.1:7655/join#rci_example".to_owned(),
            host_invite_url: "http://127.0.0.1:7655/join#rci_host".to_owned(),
        }
    }

    fn ready<'a>(demo: Option<&'a Demo>, folder: &'a Path) -> Ready<'a> {
        Ready {
            url: "http://127.0.0.1:7655",
            listen: "127.0.0.1:7655".parse().expect("an address"),
            database_url: "postgresql://app:hunter2@db/app",
            database: "the PostgreSQL of DATABASE_URL".to_owned(),
            data_dir: folder,
            demo,
        }
    }

    #[test]
    fn machines_get_one_line_with_the_public_names() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let keys = |demo: Option<&Demo>| {
            let text = line(&ready(demo, folder.path()));
            assert_eq!(text.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
        };
        let mut dev = keys(Some(&demo()));
        dev.sort_unstable();
        let serve = keys(None);
        assert_eq!(serve.len(), 4);
        for key in ["url", "listen", "database_url", "data_dir"] {
            assert!(serve.iter().any(|have| have == key), "{key}");
        }
        assert_eq!(
            dev,
            [
                "api_key",
                "data_dir",
                "database_url",
                "host_invite_url",
                "invite_token",
                "invite_url",
                "listen",
                "session_id",
                "tenant_id",
                "url"
            ]
        );
    }

    #[test]
    fn people_see_where_everything_is_and_no_password() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let text = banner(&ready(Some(&demo()), folder.path()));
        let path = folder.path().canonicalize().expect("it is there").display().to_string();
        for part in [
            "http://127.0.0.1:7655/docs",
            "ws://127.0.0.1:7655/v1/ws",
            "rck_example",
            "/join#rci_example",
            "/join#rci_host",
            "Ctrl-C",
            path.as_str(),
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!banner(&ready(None, folder.path())).contains("dev"), "serve is not dev");
    }
}
