//! The server under test: `rollcall dev` on a free loopback port, with an embedded Postgres in a folder of its own that
//! goes with it, and with the limits per address lifted, because all clients come from one machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;

use crate::control::Api;
use crate::measure;
use crate::process::Process;

/// The first start makes a database cluster.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of the log that are shown when the server fails.
const LOG_SHOWN_BYTES: usize = 3_000;

/// What the server prints on stdout when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    url: String,
    listen: SocketAddr,
    data_dir: PathBuf,
    api_key: String,
}

#[derive(Debug)]
pub struct Server {
    process: Process,
    ready: Ready,
    folder: TempDir,
}

impl Server {
    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// It did not become ready; the text has the end of its log.
    pub async fn start(program: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-load-").tempdir()?;
        let log = folder.path().join("server.log");
        let data = folder.path().join("data");
        let mut all = defaults();
        all.extend_from_slice(environment);
        let arguments = ["dev", "--json", "--listen", "127.0.0.1:0", "--data-dir"].map(std::ffi::OsString::from);
        let arguments = [&arguments[..], &[data.into_os_string()]].concat();
        let mut process = Process::start("the server", program, &arguments, &all, Some(&log))?;
        match process.read::<Ready>(START_TIMEOUT).await {
            Ok(ready) => Ok(Self { process, ready, folder }),
            Err(error) => {
                // The first error says why; that the server had to be stopped adds nothing.
                process.stop().await.ok();
                Err(error.context(tail(&log)))
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn listen(&self) -> SocketAddr {
        self.ready.listen
    }

    /// # Errors
    /// The HTTP client cannot be made.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(&self.ready.url, &self.ready.api_key)
    }

    /// All processes of the embedded Postgres, the postmaster last.
    ///
    /// # Errors
    /// It is not running.
    pub fn postgres_pids(&self) -> anyhow::Result<Vec<u32>> {
        let path = find_file(&self.ready.data_dir, "postmaster.pid").context("no postmaster.pid in the data folder")?;
        let text = std::fs::read_to_string(&path)?;
        let postmaster: u32 = text.lines().next().unwrap_or_default().trim().parse().context("postmaster.pid")?;
        let mut pids = measure::children_of(postmaster)?;
        pids.push(postmaster);
        Ok(pids)
    }

    /// Ends the server in good order and removes its folder.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        let log = self.folder.path().join("server.log");
        if let Err(error) = self.process.stop().await {
            bail!("{error:#}\n{}", tail(&log));
        }
        Ok(())
    }
}

/// Limits that are about many addresses are lifted; everything else is as shipped.
fn defaults() -> Vec<(&'static str, String)> {
    [
        ("ROLLCALL_WS__CONNECTIONS_PER_ADDRESS_PER_S", "0"),
        ("ROLLCALL_WS__UNAUTHENTICATED_PER_ADDRESS_MAX", "0"),
        ("ROLLCALL_WS__FAILED_JOINS_PER_ADDRESS_PER_MIN", "0"),
        ("ROLLCALL_HTTP__REQUESTS_PER_KEY_PER_S", "0"),
        ("ROLLCALL_LOG__FILTER", "warn"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .to_vec()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut start = text.len().saturating_sub(LOG_SHOWN_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("the end of the server's log:\n{}", &text[start..])
}

fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if entry.file_name() == name {
                return Some(path);
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    None
}
