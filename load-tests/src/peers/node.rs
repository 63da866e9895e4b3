//! The peers that run on Node: where they are, what they need, how they are started.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use crate::adapter::{Protocol, Target};
use crate::floor::Ready;
use crate::process::Process;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Oldest Node that the servers run on.
const MAJOR_MIN: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    SocketIo,
    Ws,
}

impl Library {
    fn script(self) -> &'static str {
        match self {
            Self::SocketIo => "socketio-server.mjs",
            Self::Ws => "ws-server.mjs",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::SocketIo => Protocol::SocketIo { path: "/socket.io/".to_owned() },
            Self::Ws => Protocol::RollcallPeer { path: "/".to_owned() },
        }
    }
}

/// Makes sure that the servers can run: Node is there, and what they depend on is installed.
///
/// # Errors
/// The text says what is missing.
pub(super) async fn prepare(folder: &Path) -> anyhow::Result<()> {
    let output = Command::new("node").arg("--version").output().await;
    let version = output.ok().filter(|output| output.status.success());
    let version = version.context("Node is missing (https://nodejs.org, or apt-get install nodejs npm)")?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(major.is_some_and(|major| major >= MAJOR_MIN), "Node {version} is too old: {MAJOR_MIN} is the oldest");
    if folder.join("node_modules").is_dir() {
        return Ok(());
    }
    eprintln!("peers: npm ci in {}, once", folder.display());
    let mut install = Command::new("npm");
    install.arg("ci").current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let status = install.status().await.context("npm is missing (it comes with Node, or apt-get install npm)")?;
    ensure!(status.success(), "npm ci failed ({status})");
    Ok(())
}

/// # Errors
/// It does not start.
pub(super) async fn start(library: Library, folder: &Path) -> anyhow::Result<(Process, Target)> {
    let script: OsString = folder.join(library.script()).into();
    let mut process = Process::start(library.script(), Path::new("node"), &[script], &environment(), None)?;
    let Ready { listen } = process.read(START_TIMEOUT).await?;
    Ok((process, target(library, listen)))
}

/// The folder of the servers: the one given, or the one of the repository that this is run in or was built in.
///
/// # Errors
/// There is none.
pub(super) fn folder(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    const FOLDER: &str = "load-tests/peers";
    if let Some(given) = given {
        ensure!(given.join("package.json").is_file(), "no package.json in {}", given.display());
        return Ok(given);
    }
    let program = std::env::current_exe()?;
    let here = std::env::current_dir()?;
    for place in here.ancestors().chain(program.ancestors()) {
        let folder = place.join(FOLDER);
        if folder.join("package.json").is_file() {
            return Ok(folder);
        }
    }
    bail!("there is no {FOLDER} here or above; pass --peers-folder")
}

fn target(library: Library, address: SocketAddr) -> Target {
    Target { address, protocol: library.protocol() }
}

/// As in production: libraries leave out checks that are for developers.
fn environment() -> [(&'static str, String); 1] {
    [("NODE_ENV", "production".to_owned())]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::swarm::tests::check;

    /// Both servers do the job that they are measured at.
    #[tokio::test]
    async fn node_servers_keep_rooms() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers");
        if let Err(error) = prepare(&folder).await {
            eprintln!("skipped: {error:#}");
            return;
        }
        for library in [Library::Ws, Library::SocketIo] {
            let (process, target) = start(library, &folder).await.unwrap();
            check(&target).await;
            process.stop().await.unwrap();
        }
    }
}
