//! Postgres from outside: its processes, whoever started it, and one that the harness lets run apart from the server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::START_TIMEOUT;
use crate::clock;
use crate::measure;
use crate::process::signal_process;

/// How long Postgres may take to end: it writes what it has in memory first.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// How often and how soon a start is tried again.
const START_TRIES: u32 = 10;
const START_PAUSE: Duration = Duration::from_millis(500);

/// Pause between two looks at a process.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What `rollcall db start` prints.
#[derive(Debug, Deserialize)]
struct DatabaseReady {
    pid: u32,
    database_url: String,
}

/// A Postgres that `rollcall db start` left running. Dropping it asks it to end.
#[derive(Debug)]
pub struct ApartPostgres {
    pid: u32,
    url: String,
    program: PathBuf,
    data_dir: PathBuf,
    stopped: bool,
}

/// How a Postgres ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresEnd {
    /// SIGTERM, then SIGINT: nobody new is let in, then everybody is sent away, then it ends in good order.
    Stop { patience: Duration },
    /// `kill -9` of the postmaster; its processes end when they find out.
    Kill,
}

impl ApartPostgres {
    pub async fn start(program: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let ready = start(program, data_dir).await?;
        let (program, data_dir) = (program.to_owned(), data_dir.to_owned());
        Ok(Self { pid: ready.pid, url: ready.database_url, program, data_dir, stopped: false })
    }

    /// The same through all restarts.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Ends it; returns when it is gone.
    ///
    /// # Errors
    /// It is not running, or does not end.
    pub async fn end(&mut self, how: PostgresEnd) -> anyhow::Result<()> {
        match how {
            PostgresEnd::Stop { patience } => {
                signal_process(self.pid, Signal::SIGTERM)?;
                tokio::time::sleep(patience).await;
                // With nobody inside it may have ended by then.
                signal_process(self.pid, Signal::SIGINT).ok();
            }
            PostgresEnd::Kill => signal_process(self.pid, Signal::SIGKILL)?,
        }
        let give_up_at = clock::now() + END_TIMEOUT;
        while is_running(self.pid) {
            if clock::now() >= give_up_at {
                bail!("Postgres does not end");
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// `kill -9` of one process that serves a connection: Postgres cannot know what it has left in the shared memory, so it
    /// ends all of them and recovers by itself.
    ///
    /// # Errors
    /// It is not running.
    pub fn kill_one_backend(&self, choose: impl FnOnce(usize) -> usize) -> anyhow::Result<()> {
        let backends = measure::children_of(self.pid)?;
        let chosen = choose(backends.len());
        // It may have just ended by itself.
        backends.get(chosen).map_or(Ok(()), |pid| signal_process(*pid, Signal::SIGKILL).or(Ok(())))
    }

    /// Starts it again if it is not running, and waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ensure_running(&mut self) -> anyhow::Result<()> {
        for attempt in 1.. {
            match start(&self.program, &self.data_dir).await {
                Ok(ready) => {
                    self.pid = ready.pid;
                    break;
                }
                // It may be just about to end because of what happened before.
                Err(error) if attempt >= START_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(START_PAUSE).await,
            }
        }
        Ok(())
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        database_verb(&self.program, "stop", &self.data_dir).await?;
        self.stopped = true;
        Ok(())
    }
}

impl Drop for ApartPostgres {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        // The harness failed, perhaps while it was frozen; SIGQUIT ends the backends as well, without waiting for them.
        let mut pids = measure::children_of(self.pid).unwrap_or_default();
        pids.push(self.pid);
        signal_all(&[self.pid], Signal::SIGQUIT);
        signal_all(&pids, Signal::SIGCONT);
    }
}

/// All processes of the Postgres in a data folder, the postmaster last.
fn pids(data_dir: &Path) -> anyhow::Result<Vec<u32>> {
    let postmaster = postmaster(data_dir)?;
    let mut pids = measure::children_of(postmaster)?;
    pids.push(postmaster);
    Ok(pids)
}

pub fn freeze(data_dir: &Path) -> anyhow::Result<()> {
    // The postmaster first: it must not start another process that we would not find.
    let postmaster = postmaster(data_dir)?;
    signal_process(postmaster, Signal::SIGSTOP)?;
    signal_all(&measure::children_of(postmaster)?, Signal::SIGSTOP);
    Ok(())
}

pub fn thaw(data_dir: &Path) -> anyhow::Result<()> {
    signal_all(&pids(data_dir)?, Signal::SIGCONT);
    Ok(())
}

async fn start(program: &Path, data_dir: &Path) -> anyhow::Result<DatabaseReady> {
    let said = database_verb(program, "start", data_dir).await?;
    serde_json::from_slice(&said).context("db start said something else")
}

/// A process that nobody has waited for yet has ended all the same.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

async fn database_verb(program: &Path, verb: &str, data_dir: &Path) -> anyhow::Result<Vec<u8>> {
    let mut command = tokio::process::Command::new(program);
    command.args(["db", verb, "--json", "--data-dir"]).arg(data_dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(START_TIMEOUT, command.output()).await.context("db does not answer")??;
    if !output.status.success() {
        bail!("rollcall db {verb}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn postmaster(data_dir: &Path) -> anyhow::Result<u32> {
    let path = find_file(data_dir, "postmaster.pid").context("no postmaster.pid in the data folder")?;
    let text = std::fs::read_to_string(&path)?;
    text.lines().next().unwrap_or_default().trim().parse().context("postmaster.pid")
}

/// A process that has just ended is no failure: Postgres ends its backends whenever it likes.
fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        signal_process(*pid, signal).ok();
    }
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
