//! The thread that starts the server, waits for it, and cleans up after it.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::{io, path::Path};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::Error;
use super::lock::FolderLock;
use super::postmaster::{FAST_STOP_LIMIT, IMMEDIATE_STOP_LIMIT};
use super::socket;
use super::spawn::{self, Job};
use super::{cluster::Layout, identity::Identity};

/// What the thread needs to start one server.
pub(super) struct Launch {
    pub program: PathBuf,
    pub args: Vec<std::ffi::OsString>,
    pub identity: Identity,
    pub layout: Layout,
    pub socket_dir: PathBuf,
    /// Held until the server is gone, even if every handle was dropped before. `None` for a server
    /// that is to outlive us: others shall be able to adopt it.
    pub lock: Option<FolderLock>,
    pub ends_with_us: bool,
}

/// A server that is our child.
///
/// Dropping it asks the server to shut down and does not wait; the folder stays locked until it has.
#[derive(Debug)]
pub(super) struct Supervised {
    pid: Pid,
    /// `Some` until the child is reaped: while it is, the pid cannot be another process's.
    signallable: Arc<Mutex<Option<Pid>>>,
    state: watch::Receiver<State>,
    ends_with_us: bool,
    stop_requested: Arc<AtomicBool>,
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Exited(ExitStatus),
}

impl Launch {
    /// Starts the server on a thread of its own and returns when exec has succeeded. Blocks.
    ///
    /// A thread of its own, because the death signal of the child is tied to the thread that started
    /// it: tokio ends idle blocking threads, and Postgres would stop with them.
    ///
    /// # Errors
    /// What fork, the change of identity or exec reports.
    pub fn start(self) -> io::Result<Supervised> {
        let signallable = Arc::new(Mutex::new(None));
        let (state, state_receiver) = watch::channel(State::Running);
        let (started, started_receiver) = mpsc::sync_channel(1);
        let ends_with_us = self.ends_with_us;
        let shared = Arc::clone(&signallable);
        thread::Builder::new()
            .name("embedded-postgres".to_owned())
            .spawn(move || self.run(&shared, &started, &state))?;
        let pid = started_receiver.recv().map_err(|_| io::Error::other("the supervising thread ended"))??;
        Ok(Supervised { pid, signallable, state: state_receiver, ends_with_us, stop_requested: Arc::default() })
    }

    fn run(
        self,
        signallable: &Mutex<Option<Pid>>,
        started: &mpsc::SyncSender<io::Result<Pid>>,
        state: &watch::Sender<State>,
    ) {
        let job = Job {
            program: self.program,
            args: self.args,
            identity: &self.identity,
            directory: Path::new("/"),
            log: &self.layout.log,
            ends_with_us: self.ends_with_us,
        };
        let result = spawn::spawn(job);
        let mut child = match result {
            Ok(child) => child,
            Err(error) => {
                // The receiver waits for exactly this message; without it nobody wants to know.
                started.send(Err(error)).ok();
                return;
            }
        };
        let pid = spawn::pid_of(&child);
        *guard(signallable) = Some(pid);
        started.send(Ok(pid)).ok();
        if let Err(error) = spawn::wait_without_reaping(&child) {
            tracing::error!(postgres.pid = pid.as_raw(), %error, "cannot wait for PostgreSQL");
        }
        let status = {
            let mut signallable = guard(signallable);
            *signallable = None;
            child.wait()
        };
        socket::remove(&self.socket_dir);
        drop(self.lock);
        match status {
            Ok(status) => {
                state.send_replace(State::Exited(status));
            }
            // Dropping the sender tells the receivers as much as we know: it is gone.
            Err(error) => {
                tracing::error!(postgres.pid = pid.as_raw(), %error, "cannot reap PostgreSQL");
            }
        }
    }
}

impl Supervised {
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The exit status if the server has ended already.
    pub fn exited(&self) -> Option<ExitStatus> {
        match *self.state.borrow() {
            State::Exited(status) => Some(status),
            State::Running => None,
        }
    }

    /// Resolves when the server ends without having been asked to. Never resolves after a stop.
    pub fn died(&self) -> impl Future<Output = String> + Send + 'static {
        let mut state = self.state.clone();
        let stop_requested = Arc::clone(&self.stop_requested);
        async move {
            let reason = match state.wait_for(|state| *state != State::Running).await {
                Ok(state) => match *state {
                    State::Exited(status) => status.to_string(),
                    State::Running => "unknown status".to_owned(),
                },
                Err(_) => "unknown status".to_owned(),
            };
            if stop_requested.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            reason
        }
    }

    /// SIGINT, after [`FAST_STOP_LIMIT`] SIGQUIT. Cancel safe: the server goes on stopping.
    ///
    /// # Errors
    /// [`Error::StopTimeout`] when it survives both.
    pub async fn stop(mut self) -> Result<(), Error> {
        for (signal, limit) in [(Signal::SIGINT, FAST_STOP_LIMIT), (Signal::SIGQUIT, IMMEDIATE_STOP_LIMIT)] {
            self.signal(signal);
            let ended = self.state.wait_for(|state| *state != State::Running);
            if timeout(limit, ended).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(postgres.pid = self.pid(), %signal, "PostgreSQL did not stop in {limit:?}");
        }
        Err(Error::StopTimeout { pid: self.pid(), limit: FAST_STOP_LIMIT + IMMEDIATE_STOP_LIMIT })
    }

    fn signal(&self, signal: Signal) {
        self.stop_requested.store(true, Ordering::Release);
        if let Some(pid) = *guard(&self.signallable)
            && let Err(error) = kill(pid, signal)
        {
            tracing::warn!(postgres.pid = pid.as_raw(), %signal, %error, "cannot signal PostgreSQL");
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if self.ends_with_us && !self.stop_requested.load(Ordering::Acquire) {
            self.signal(Signal::SIGINT);
        }
    }
}

/// A panic of a holder leaves an `Option<Pid>` as valid as before.
fn guard(mutex: &Mutex<Option<Pid>>) -> MutexGuard<'_, Option<Pid>> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
