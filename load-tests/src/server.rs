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
use nix::sys::signal::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::control::Api;
use crate::ground::{Disk, WallClock};
use crate::process::{Process, signal_process};

pub use postgres::{ApartPostgres, PostgresEnd};

/// The first start makes a database cluster.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Size of the disk that the journal has for itself where it has one, and of that of Postgres, in mebibytes. Memory is
/// only used for what lies on them.
const JOURNAL_DISK_MIB: u32 = 128;
const DATABASE_DISK_MIB: u32 = 1024;

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

/// The server to start: the one that was named, else the one beside this program.
///
/// # Errors
/// There is none.
pub fn find_program(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("rollcall"),
    };
    if !path.is_file() {
        bail!("there is no rollcall at {}; build it with `cargo build --release`, or pass --server", path.display());
    }
    Ok(path)
}

/// What the server stands on. Small disks need [`crate::ground::isolation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    pub postgres: Postgres,
    /// The journal and a Postgres apart have a disk each that can be filled.
    pub small_disks: bool,
    /// The server has a wall clock of its own.
    pub wall_clock: bool,
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
    wall_clock: Option<WallClock>,
    disks: Option<Disks>,
    folder: TempDir,
}

/// Declared before the folder in [`Server`]: a folder cannot be removed while a disk is in it.
#[derive(Debug)]
pub struct Disks {
    pub journal: Disk,
    pub database: Disk,
}

impl Server {
    /// Starts the server with an embedded Postgres and waits until it accepts connections.
    ///
    /// # Errors
    /// It did not become ready; the text has the end of its log.
    pub async fn start(program: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let site = Site { postgres: Postgres::Embedded, small_disks: false, wall_clock: false };
        Self::start_on(program, environment, site).await
    }

    /// As [`Server::start`], with a choice of what it stands on.
    ///
    /// # Errors
    /// It did not become ready; the text has the end of its log.
    pub async fn start_on(program: &Path, environment: &[(&str, String)], site: Site) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rollcall-load-").tempdir()?;
        let mut environment: Vec<_> =
            defaults().iter().chain(environment).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let disks = match site.small_disks {
            true => Some(Disks {
                journal: Disk::mount(&data_dir(&folder), JOURNAL_DISK_MIB)?,
                database: Disk::mount(&database_dir(&folder), DATABASE_DISK_MIB)?,
            }),
            false => None,
        };
        let wall_clock = if site.wall_clock { Some(WallClock::build(folder.path())?) } else { None };
        environment.extend(wall_clock.iter().flat_map(WallClock::environment));
        let database = match site.postgres {
            Postgres::Embedded => None,
            Postgres::Apart => Some(ApartPostgres::start(program, &database_dir(&folder)).await?),
        };
        environment.extend(database.iter().map(|database| ("DATABASE_URL".to_owned(), database.url().to_owned())));
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (process, ready) = launch(program, &environment, &folder, any_port).await?;
        let (process, program) = (Some(process), program.to_owned());
        Ok(Self { process, program, environment, ready, database, wall_clock, disks, folder })
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
        postgres::freeze(self.postgres_dir())
    }

    /// Lets a frozen Postgres go on where it stopped. Idempotent.
    ///
    /// # Errors
    /// It is not running.
    pub fn thaw_postgres(&self) -> anyhow::Result<()> {
        postgres::thaw(self.postgres_dir())
    }

    fn postgres_dir(&self) -> &Path {
        self.database.as_ref().map_or(&self.ready.data_dir, ApartPostgres::data_dir)
    }

    /// The Postgres that runs apart.
    ///
    /// # Errors
    /// It is the server's own.
    pub fn postgres(&mut self) -> anyhow::Result<&mut ApartPostgres> {
        self.database.as_mut().context("Postgres is the server's own")
    }

    /// # Errors
    /// The server was started without small disks.
    pub fn disks(&self) -> anyhow::Result<&Disks> {
        self.disks.as_ref().context("the server has no disks of its own")
    }

    /// # Errors
    /// The server was started without a wall clock of its own.
    pub fn wall_clock(&self) -> anyhow::Result<&WallClock> {
        self.wall_clock.as_ref().context("the server has no wall clock of its own")
    }

    /// Stops the server in the middle of what it does (SIGSTOP): connections stay open and nobody answers. Idempotent.
    ///
    /// # Errors
    /// The server is not running.
    pub fn pause(&self) -> anyhow::Result<()> {
        signal_process(self.process.as_ref().context("the server is not running")?.pid(), Signal::SIGSTOP)
    }

    /// Lets it go on where it stopped. Idempotent.
    ///
    /// # Errors
    /// The server is not running.
    pub fn resume(&self) -> anyhow::Result<()> {
        signal_process(self.process.as_ref().context("the server is not running")?.pid(), Signal::SIGCONT)
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

/// Where a Postgres that runs apart has its files.
fn database_dir(folder: &TempDir) -> PathBuf {
    folder.path().join("database")
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
