//! Postgres from outside: its processes, whoever started it, and one that the harness lets run apart from the server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::START_TIMEOUT;
use crate::measure;
use crate::process::signal_process;

/// What `rollcall db start` prints.
#[derive(Debug, Deserialize)]
struct DatabaseReady {
    pid: u32,
}

/// A Postgres that `rollcall db start` left running. Dropping it asks it to end.
#[derive(Debug)]
pub struct ApartPostgres {
    pid: u32,
    program: PathBuf,
    data_dir: PathBuf,
    stopped: bool,
}

impl ApartPostgres {
    pub async fn start(program: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let said = database_verb(program, "start", data_dir).await?;
        let ready: DatabaseReady = serde_json::from_slice(&said).context("db start said something else")?;
        Ok(Self { pid: ready.pid, program: program.to_owned(), data_dir: data_dir.to_owned(), stopped: false })
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
