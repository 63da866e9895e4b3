//! The steps of a start: lock, what runs already, binaries, identity, cluster, socket, server, answer.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::cluster::{self, Content, Layout};
use super::connect::{self, NotReady, START_LIMIT};
use super::error::Error;
use super::lock::FolderLock;
use super::postmaster::{self, Postmaster};
use super::supervisor::{Launch, Supervised};
use super::{ATTACH_LIMIT, EmbeddedPostgres, Lifetime, MAJOR_MIN, Options};
use super::{binaries, identity, settings, socket};

/// A server that runs and may not answer yet.
pub(super) struct Launched {
    layout: Layout,
    /// Where the part of the log begins that belongs to this start.
    log_start: u64,
    postmaster: Postmaster,
    supervised: Option<Supervised>,
    lifetime: Lifetime,
    lock: Option<FolderLock>,
}

impl Launched {
    /// Waits for the first answer and makes the database.
    pub async fn finish(self) -> Result<EmbeddedPostgres, Error> {
        let gone = || match &self.supervised {
            Some(supervised) => supervised.exited().map(|status| status.to_string()),
            None => (!postmaster::serves(&self.postmaster, &self.layout.cluster))
                .then(|| "shut down by somebody else".to_owned()),
        };
        let Postmaster { socket_dir, port, .. } = &self.postmaster;
        let ready = connect::when_ready(socket_dir, *port, START_LIMIT, gone).await;
        let connection =
            ready.map_err(|reason| explain(reason, &self.layout, socket_dir, START_LIMIT, self.log_start))?;
        let version = connect::complete(connection, socket_dir).await?;
        tracing::info!(
            postgres.version = %version,
            postgres.pid = self.postmaster.pid,
            postgres.adopted = self.supervised.is_none(),
            "embedded PostgreSQL is ready"
        );
        Ok(EmbeddedPostgres {
            layout: self.layout,
            postmaster: self.postmaster,
            version,
            supervised: self.supervised.filter(|_| self.lifetime == Lifetime::Process),
            _lock: self.lock,
        })
    }
}

/// Everything up to a running server process. Blocks.
pub(super) fn launch(options: &Options) -> Result<Launched, Error> {
    let layout = Layout::create(&options.data_dir)?;
    let lock = FolderLock::take(&layout.lock, &layout.data_dir)?;
    if let Some(postmaster) = settled(&layout)? {
        if !postmaster::belongs_to_a_process(&layout.cluster) {
            return Ok(Launched {
                log_start: layout.rotate_log(),
                layout,
                postmaster,
                supervised: None,
                lifetime: Lifetime::Detached,
                lock: Some(lock),
            });
        }
        tracing::info!(postgres.pid = postmaster.pid, "ending the PostgreSQL that a killed rollcall left");
        postmaster::end(&postmaster, &layout.cluster)?;
    }
    let survey = binaries::survey(options.bin_dir.as_deref())?;
    let (binaries, identity) = match layout.content()? {
        Content::Cluster { major } => {
            let cluster = layout.cluster.as_path();
            if major < MAJOR_MIN {
                return Err(Error::ClusterTooOld { cluster: cluster.to_owned(), cluster_major: major });
            }
            let binaries = binaries::pick(survey, Some((cluster, major)))?;
            let candidates = identity::candidates(Some(cluster))?;
            let identity = identity::choose(candidates, &binaries, cluster, false)?;
            (binaries, identity)
        }
        Content::Nothing => {
            let binaries = binaries::pick(survey, None)?;
            let identity = cluster::initialise(&layout, &binaries, options.throw_away)?;
            (binaries, identity)
        }
    };
    postmaster::remove_recycled_pid_file(&layout.cluster)?;
    settings::write_access_files(&layout.cluster, &identity)?;
    let socket_dir = socket::prepare(&layout.cluster, &identity, &binaries)?;
    let log_start = layout.rotate_log();
    let (lock_of_thread, lock) = match options.lifetime {
        Lifetime::Process => (Some(lock), None),
        Lifetime::Detached => (None, Some(lock)),
    };
    let launch = Launch {
        program: binaries.postgres(),
        args: settings::server_args(&layout, &socket_dir, options),
        identity,
        layout: layout.clone(),
        socket_dir: socket_dir.clone(),
        lock: lock_of_thread,
        ends_with_us: options.lifetime == Lifetime::Process,
    };
    let supervised = launch.start().map_err(Error::io("start", &binaries.postgres()))?;
    Ok(Launched {
        log_start,
        layout,
        postmaster: Postmaster { pid: supervised.pid(), port: socket::PORT, socket_dir },
        supervised: Some(supervised),
        lifetime: options.lifetime,
        lock,
    })
}

/// As [`postmaster::find`], and waits until a server that is just starting has told its socket folder. Blocks.
pub(super) fn settled(layout: &Layout) -> Result<Option<Postmaster>, Error> {
    identity::check_owner(&layout.cluster)?;
    let tries = ATTACH_LIMIT.as_millis() / postmaster::POLL.as_millis();
    for _ in 0..tries {
        match postmaster::find(&layout.cluster)? {
            Some(found) if found.socket_dir.as_os_str().is_empty() => {
                thread::sleep(postmaster::POLL);
            }
            found => return Ok(found),
        }
    }
    Err(Error::StartTimeout { limit: ATTACH_LIMIT, log: layout.log.clone(), log_tail: layout.log_tail(0) })
}

/// Turns "no connection" into an error that shows what the log says.
pub(super) fn explain(reason: NotReady, layout: &Layout, socket_dir: &Path, limit: Duration, log_start: u64) -> Error {
    let log = layout.log.clone();
    match reason {
        NotReady::Gone(status) => Error::Exited { status, log, log_tail: layout.log_tail(log_start) },
        NotReady::TimedOut => Error::StartTimeout { limit, log, log_tail: layout.log_tail(log_start) },
        NotReady::Refused(source) => Error::Connect { socket_dir: socket_dir.to_owned(), source },
    }
}
