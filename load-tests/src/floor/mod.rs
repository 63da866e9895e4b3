//! The floors: echo servers that figures are compared with, because absolute microseconds move with the machine. One has
//! the same runtime and library as Rollcall, so that what is above it is Rollcall's own; the other has neither, so that what
//! is above it is the price of both.

mod echo;
mod epoll;
mod frames;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

use crate::process::Process;

/// As the server's, so that a storm of connects meets the same queue.
const LISTEN_BACKLOG: u32 = 4096;

const START_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(value_enum, default_value = "library")]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Floor (a): the runtime and the WebSocket library of Rollcall
    Library,
    /// Floor (b): one thread, epoll, and a WebSocket codec of a hundred lines
    Epoll,
}

/// The one line on stdout once connections are accepted.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub listen: SocketAddr,
}

/// Runs until its standard input is closed, so that it cannot outlive the harness.
///
/// # Errors
/// The system lets us not listen.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    crate::swarm::raise_limit()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(LISTEN_BACKLOG)?;
    println!("{}", serde_json::to_string(&Ready { listen: listener.local_addr()? })?);
    match arguments.kind {
        Kind::Library => echo::run(listener).await,
        Kind::Epoll => {
            let listener = listener.into_std()?;
            tokio::task::spawn_blocking(move || epoll::serve(&listener, std::io::stdin().as_fd())).await?
        }
    }
}

/// Starts a floor as a process of its own.
///
/// # Errors
/// It cannot be started.
pub async fn start(kind: Kind) -> anyhow::Result<(Process, SocketAddr)> {
    let program = std::env::current_exe()?;
    let kind = match kind {
        Kind::Library => "library",
        Kind::Epoll => "epoll",
    };
    let mut floor = Process::start("the floor", Path::new(&program), &["floor", kind], &[], None)?;
    let Ready { listen } = floor.read(START_TIMEOUT).await?;
    Ok((floor, listen))
}
