//! A private PostgreSQL for people who have none: `rollcall dev` works after `apt-get install postgresql`.
//!
//! [`start`] makes a cluster in `<data_dir>/postgres` when there is none, runs it from installed
//! binaries, and returns when a real connection has answered. It depends on nothing else in Rollcall.
//!
//! **Private.** No TCP. A 0700 folder holds the Unix socket (mode 0700), and peer authentication lets
//! the server's own system user, ourselves and root in (`settings::write_access_files`).
//!
//! **Durable.** `fsync`, `full_page_writes` and data checksums are on. `throw_away` is for tests.
//!
//! **Root.** PostgreSQL refuses to run as root, so the child becomes another user, or an ordinary
//! user inside a user namespace; `identity.rs` has the table.
//!
//! **Life and death.** The server has its own session, so Ctrl-C reaches only us and we stop it last.
//!
//! | what happens | what the server does | the next [`start`] |
//! |---|---|---|
//! | [`EmbeddedPostgres::stop`] | fast shutdown, waited for | starts it |
//! | the handle is dropped | fast shutdown in the background, the folder stays locked meanwhile | waits a moment for the lock, starts it |
//! | `kill -9` of us | Linux: fast shutdown by parent-death signal; elsewhere it goes on | ends an orphan, waits, starts it |
//! | `kill -9` of the server | – ([`EmbeddedPostgres::died`] resolves) | starts it, it recovers |
//! | started with [`Lifetime::Detached`] or by `pg_ctl` | goes on | adopts it and never stops it |
//!
//! An orphan of a dead rollcall is replaced rather than adopted: it may have its death signal
//! pending, and nobody would end it if we died too. On Linux it is on its way out anyway.
//!
//! **Invariant:** whoever starts, adopts, or cleans up in a data folder holds its `postgres.lock`.

mod binaries;
mod cluster;
mod connect;
mod doctor;
mod error;
mod files;
mod identity;
mod launch;
mod lock;
mod postmaster;
mod settings;
mod socket;
mod spawn;
mod supervisor;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use binaries::Version;
pub use doctor::{Finding, Level, doctor};
pub use error::Error;

use cluster::Layout;
use connect::NotReady;
use lock::FolderLock;
use postmaster::Postmaster;
use supervisor::Supervised;

/// The oldest PostgreSQL that Rollcall supports.
pub const MAJOR_MIN: u32 = 14;

/// The database superuser of the cluster.
pub const SUPERUSER: &str = "rollcall";

/// The database that [`start`] makes.
pub const DATABASE: &str = "rollcall";

/// How often a start is tried again because the processes of a killed server still hold its shared memory.
const LEFTOVER_TRIES: u32 = 20;

/// Pause between those tries.
const LEFTOVER_RETRY: Duration = Duration::from_millis(500);

/// How long a command waits for a server that somebody else is just starting.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);

/// Pause between two looks at an adopted server, which is not our child.
const ADOPTED_POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster goes to `<data_dir>/postgres`, its log to `<data_dir>/postgres.log`. Made if missing.
    pub data_dir: PathBuf,
    /// Folder of `initdb` and `postgres`; `None` searches the usual places.
    pub bin_dir: Option<PathBuf>,
    /// Tests only: no fsync. A power cut may destroy the cluster; a kill loses nothing that was committed.
    pub throw_away: bool,
    pub lifetime: Lifetime,
}

impl Options {
    /// Durable, ends with this process, binaries from the usual places.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), bin_dir: None, throw_away: false, lifetime: Lifetime::Process }
    }
}

/// Who ends the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// We do; it does not outlive this process.
    Process,
    /// [`RunningPostgres::stop`] (`rollcall db stop`) does; it goes on when this process ends.
    Detached,
}

/// A server that this process uses, with the lock of its folder. See the module for what a drop does.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    layout: Layout,
    postmaster: Postmaster,
    version: Version,
    /// `None` for a server that is not ours to end.
    supervised: Option<Supervised>,
    /// Only with `supervised: None`; otherwise the supervising thread holds it.
    _lock: Option<FolderLock>,
}

/// A running server that this process merely found.
#[derive(Debug, Clone)]
pub struct RunningPostgres {
    layout: Layout,
    postmaster: Postmaster,
}

/// Starts or adopts the server of a data folder and waits until a connection has answered.
///
/// Idempotent: makes what is missing and leaves what is there. Cancel safe: a started server is shut
/// down in the background.
///
/// # Errors
/// See [`Error`]; [`Error::Locked`] when another process has the folder, and
/// [`Error::needs_installation`] tells when PostgreSQL has to be installed first.
pub async fn start(options: Options) -> Result<EmbeddedPostgres, Error> {
    let mut tries = 1;
    loop {
        let options = options.clone();
        let launched = blocking(move || launch::launch(&options)).await?;
        match launched.finish().await {
            Err(Error::Exited { log_tail, .. })
                if log_tail.contains("shared memory block") && tries < LEFTOVER_TRIES =>
            {
                // Its server was killed, and PostgreSQL protects the files from its last processes.
                tracing::info!("waiting for the processes of a killed PostgreSQL to end");
                tries += 1;
                tokio::time::sleep(LEFTOVER_RETRY).await;
            }
            result => return result,
        }
    }
}

/// The running server of a data folder, whoever runs it; `None` when there is none (or no such folder).
///
/// For `rollcall db psql` and other commands beside a running `rollcall serve`. Waits for a server
/// that is just starting.
///
/// # Errors
/// [`Error::Connect`] or [`Error::StartTimeout`] when it runs and does not let us in.
pub async fn attach(data_dir: impl Into<PathBuf>) -> Result<Option<RunningPostgres>, Error> {
    let data_dir = data_dir.into();
    if !data_dir.is_dir() {
        return Ok(None);
    }
    let found = blocking(move || {
        let layout = Layout::open(&data_dir)?;
        Ok(launch::settled(&layout)?.map(|postmaster| RunningPostgres { layout, postmaster }))
    })
    .await?;
    let Some(running) = found else {
        return Ok(None);
    };
    let RunningPostgres { layout, postmaster } = &running;
    let gone = || (!postmaster::serves(postmaster, &layout.cluster)).then(|| "it was shut down".to_owned());
    let socket_dir = &postmaster.socket_dir;
    match connect::when_ready(socket_dir, postmaster.port, ATTACH_LIMIT, gone).await {
        Ok(_) => Ok(Some(running)),
        Err(NotReady::Gone(_)) => Ok(None),
        Err(reason) => Err(launch::explain(reason, layout, socket_dir, ATTACH_LIMIT, 0)),
    }
}

impl EmbeddedPostgres {
    /// `postgresql:///DB?host=FOLDER&port=5432&user=rollcall&sslmode=disable`: the one form that both
    /// libpq (`psql "$URL"`) and sqlx read. `socket.rs` has the reasons.
    pub fn database_url(&self, db: &str) -> String {
        socket::database_url(&self.postmaster.socket_dir, self.postmaster.port, db)
    }

    /// The data folder, absolute and free of links.
    pub fn data_dir(&self) -> &Path {
        &self.layout.data_dir
    }

    pub fn log_file(&self) -> &Path {
        &self.layout.log
    }

    pub fn socket_dir(&self) -> &Path {
        &self.postmaster.socket_dir
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The process id of the server.
    pub fn pid(&self) -> i32 {
        self.postmaster.pid
    }

    /// True for a server that was running on purpose before us and goes on after us.
    pub fn is_adopted(&self) -> bool {
        self.supervised.is_none()
    }

    /// Resolves with the reason when the server ends without [`stop`](Self::stop), so that the
    /// application can shut down cleanly. Never resolves after a stop; may be called many times.
    pub fn died(&self) -> impl Future<Output = String> + Send + 'static {
        let ours = self.supervised.as_ref().map(Supervised::died);
        let postmaster = self.postmaster.clone();
        let cluster = self.layout.cluster.clone();
        async move {
            if let Some(died) = ours {
                return died.await;
            }
            while postmaster::serves(&postmaster, &cluster) {
                tokio::time::sleep(ADOPTED_POLL).await;
            }
            "it was shut down by somebody else".to_owned()
        }
    }

    /// Shuts the server down (fast: open sessions are ended, everything committed is kept) and waits.
    /// An adopted or detached server goes on; only the folder is released.
    ///
    /// Cancel safe: the shutdown goes on in the background.
    ///
    /// # Errors
    /// [`Error::StopTimeout`] when it survives SIGINT and, after a limit, SIGQUIT.
    pub async fn stop(self) -> Result<(), Error> {
        match self.supervised {
            Some(supervised) => supervised.stop().await,
            None => Ok(()),
        }
    }
}

impl RunningPostgres {
    /// As [`EmbeddedPostgres::database_url`].
    pub fn database_url(&self, db: &str) -> String {
        socket::database_url(&self.postmaster.socket_dir, self.postmaster.port, db)
    }

    pub fn pid(&self) -> i32 {
        self.postmaster.pid
    }

    /// Ends the server, for `rollcall db stop`.
    ///
    /// # Errors
    /// [`Error::Locked`] while a rollcall process uses it: that one is to be stopped.
    pub async fn stop(self) -> Result<(), Error> {
        blocking(move || {
            let _lock = FolderLock::take(&self.layout.lock, &self.layout.data_dir)?;
            postmaster::end(&self.postmaster, &self.layout.cluster)?;
            socket::remove(&self.postmaster.socket_dir);
            Ok(())
        })
        .await
    }
}

/// Runs what blocks beside the async workers; a panic in there goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down and nobody reads the answer.
            Err(_) => std::future::pending().await,
        },
    }
}
