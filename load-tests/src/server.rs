//! The server under test: `rollcall dev` on a loopback port, with a Postgres in a folder of its own that goes with it, and
//! with the limits per address lifted, because all clients come from one machine. It can be killed, ended and started
//! again in place, and its Postgres can be stopped in the middle of what it does.

mod postgres;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;

use crate::control::Api;
use crate::process::Process;

use postgres::ApartPostgres;

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
    database_url: String,
    api_key: String,
}

/// Whose process Postgres is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Postgres {
    /// The server's: it goes with the server, also after `kill -9`.
    Embedded,
    /// Its own: it outlives the server, and so does a transaction that a killed server had under way.
    Apart,
}

#[derive(Debug)]
pub struct Server {
    /// `None` between an end and the next start.
    process: Option<Process>,
    program: PathBuf,
    environment: Vec<(String, String)>,
    ready: Ready,
    /// Declared after the process: the server goes first.
    database: Option<ApartPostgres>,
    folder: TempDir,
}

impl Server {
    /// Starts the server with an embedded Postgres and waits until it accepts connections.
    ///
    /// # Errors
    /// It did not become ready; the text has the end of its log.
    pub async fn start(program: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_with(program, environment, Postgres::Embedded).await
    }

    /// As [`Server::start`], with a choice of whose process Postgres is.
    ///
    /// # Errors
    /// It did not become ready; the text has the end of its log.
    pub async fn start_with(
        program: &Path,
        environment: &[(&str, String)],
        postgres: Postgres,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-load-").tempdir()?;
        let environment: Vec<_> =
            defaults().iter().chain(environment).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let database = match postgres {
            Postgres::Embedded => None,
            Postgres::Apart => Some(ApartPostgres::start(program, &data_dir(&folder)).await?),
        };
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (process, ready) = launch(program, &environment, &folder, any_port).await?;
        Ok(Self { process: Some(process), program: program.to_owned(), environment, ready, database, folder })
    }

    /// The process of the latest start.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// The same through all restarts.
    pub fn listen(&self) -> SocketAddr {
        self.ready.listen
    }

    /// For `psql` and drivers; the same through all restarts.
    pub fn database_url(&self) -> &str {
        &self.ready.database_url
    }

    pub fn url(&self) -> &str {
        &self.ready.url
    }

    pub fn api_key(&self) -> &str {
        &self.ready.api_key
    }

    /// # Errors
    /// The HTTP client cannot be made.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(&self.ready.url, &self.ready.api_key)
    }

    /// Stops Postgres in the middle of what it does, as a machine does that hangs: connections stay open and nothing
    /// answers. It cannot end before [`Server::thaw_postgres`]. Idempotent.
    ///
    /// # Errors
    /// It is not running.
    pub fn freeze_postgres(&self) -> anyhow::Result<()> {
        postgres::freeze(&self.ready.data_dir)
    }

    /// Lets a frozen Postgres go on where it stopped. Idempotent.
    ///
    /// # Errors
    /// It is not running.
    pub fn thaw_postgres(&self) -> anyhow::Result<()> {
        postgres::thaw(&self.ready.data_dir)
    }

    /// `kill -9`; returns when the process is gone. An embedded Postgres then shuts itself down.
    ///
    /// # Errors
    /// The server is not running.
    pub async fn kill9(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the server is not running")?.kill().await
    }

    /// SIGTERM; returns when the process has ended in good order.
    ///
    /// # Errors
    /// The server is not running, or it had to be killed.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        let process = self.process.take().context("the server is not running")?;
        process.stop().await.map_err(|error| error.context(tail(&log_file(&self.folder))))
    }

    /// The status of a server that has ended by itself, which it never should.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.as_mut().map_or(Ok(None), Process::ended)
    }

    /// Starts again after [`Server::kill9`] or [`Server::terminate`]: same data folder, same database, same address.
    ///
    /// # Errors
    /// It runs already, or did not become ready; the text has the end of its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("the server is still running");
        }
        let (process, ready) = launch(&self.program, &self.environment, &self.folder, self.ready.listen).await?;
        self.process = Some(process);
        self.ready = ready;
        Ok(())
    }

    /// What the server has logged since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(&self.folder)).unwrap_or_default()
    }

    /// Ends the server in good order and removes its folder.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            self.terminate().await?;
        }
        match self.database.take() {
            Some(database) => database.stop().await,
            None => Ok(()),
        }
    }
}

async fn launch(
    program: &Path,
    environment: &[(String, String)],
    folder: &TempDir,
    listen: SocketAddr,
) -> anyhow::Result<(Process, Ready)> {
    let log = log_file(folder);
    let listen = listen.to_string();
    let arguments = ["dev", "--json", "--listen", &listen, "--data-dir"].map(OsString::from);
    let arguments = [&arguments[..], &[data_dir(folder).into_os_string()]].concat();
    let environment: Vec<_> = environment.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut process = Process::start("the server", program, &arguments, &environment, Some(&log))?;
    match process.read::<Ready>(START_TIMEOUT).await {
        Ok(ready) => Ok((process, ready)),
        Err(error) => {
            // The first error says why; that the server had to be stopped adds nothing.
            process.stop().await.ok();
            Err(error.context(tail(&log)))
        }
    }
}

fn data_dir(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn log_file(folder: &TempDir) -> PathBuf {
    folder.path().join("server.log")
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
