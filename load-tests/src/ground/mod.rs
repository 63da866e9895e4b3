//! The ground that a server under test stands on, where faults of the machine are made: small disks that can be filled, a
//! network of its own that loses packets, a wall clock that steps.
//!
//! Disks and network need a mount table and a network of this process's own ([`isolate`]): nothing outside of it sees
//! them, and the kernel takes them away with the last process in it.

mod disk;
mod network;
mod wall_clock;

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

pub use disk::Disk;
pub use network::Network;
pub use wall_clock::WallClock;

/// Whether this process is on its own, or why not.
static ISOLATION: OnceLock<Result<(), String>> = OnceLock::new();

/// Gives this process a mount table and a network of its own, with a loopback device and nothing else. Must be called
/// while there is one thread only: threads that exist already would stay outside. [`isolation`] says how it went.
pub fn isolate() {
    ISOLATION.get_or_init(|| try_isolate().map_err(|error| format!("{error:#}")));
}

/// Whether this process has a mount table and a network of its own.
///
/// # Errors
/// Why not: mostly, that it does not run as root.
pub fn isolation() -> Result<(), &'static str> {
    match ISOLATION.get() {
        Some(Ok(())) => Ok(()),
        Some(Err(reason)) => Err(reason),
        None => Err("it was not asked for"),
    }
}

fn try_isolate() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root may make disks and networks");
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("a mount table and a network of our own")?;
    // What is mounted from here on stays with us.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("a private mount table")?;
    run("ip", &["link", "set", "lo", "up"]).context("a loopback device; iproute2 must be installed")?;
    run("nft", &["list", "tables"]).context("a filter of packets; nftables must be installed")
}

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
