//! The faults there are: their names on the command line, what each needs of the machine, and how long each takes.

use std::fmt;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;

use crate::ground;

/// Something that is done to the server or to what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum FaultKind {
    /// `kill -9` of the server: at random instants, while Postgres hangs, in the middle of a start
    Kill,
    /// SIGTERM to the server, which ends in good order, and a new start
    Drain,
    /// SIGSTOP of the server for longer than its lease, then SIGCONT
    Pause,
    /// SIGSTOP of Postgres, then SIGCONT
    PostgresPause,
    /// Postgres stops in good order and is started again
    PostgresStop,
    /// `kill -9` of Postgres, of all of it or of one process that serves a connection
    PostgresKill,
    /// The disk of Postgres is full for a while
    PostgresDiskFull,
    /// The disk of the journal is full for a while
    JournalDiskFull,
    /// The server's wall clock is set an hour ahead or back
    ClockStep,
    /// Packets are lost
    PacketLoss,
    /// Some clients and the server hear nothing of each other any more, while their sockets stay open
    HalfOpen,
}

/// Those that need nothing of the machine.
pub const BY_DEFAULT: &[FaultKind] = &[FaultKind::Kill, FaultKind::Drain, FaultKind::PostgresPause];

impl FaultKind {
    pub fn needs_isolation(self) -> bool {
        matches!(self, Self::PostgresDiskFull | Self::JournalDiskFull | Self::PacketLoss | Self::HalfOpen)
    }

    pub fn needs_small_disks(self) -> bool {
        matches!(self, Self::PostgresDiskFull | Self::JournalDiskFull)
    }

    pub fn needs_network(self) -> bool {
        matches!(self, Self::PacketLoss | Self::HalfOpen)
    }

    /// Connections may go silent without anybody having ended them.
    pub fn silences(self) -> bool {
        matches!(self, Self::Pause | Self::PacketLoss | Self::HalfOpen)
    }

    /// The server may come to read long after something was sent to it.
    pub fn holds_up(self) -> bool {
        matches!(self, Self::Pause | Self::JournalDiskFull)
    }

    /// What one takes on average, until the server is back, for the estimate that is printed before a run.
    pub fn usual_length(self, brief: bool) -> Duration {
        let seconds = match self {
            Self::Kill | Self::Drain | Self::ClockStep | Self::PostgresPause => 3,
            Self::Pause if brief => 5,
            Self::Pause => 19,
            Self::PostgresDiskFull => 8,
            _ => 6,
        };
        Duration::from_secs(seconds)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every variant has a name: none is skipped.
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// Those of the faults that can be made here; what cannot is said aloud.
///
/// # Errors
/// On a machine that is there for tests (`CI=true`), where root runs them, all must be possible.
pub fn possible(wanted: &[FaultKind]) -> anyhow::Result<Vec<FaultKind>> {
    let missing: Vec<_> = wanted.iter().filter(|kind| kind.needs_isolation()).map(ToString::to_string).collect();
    let reason = match ground::isolation() {
        Err(reason) if !missing.is_empty() => reason,
        _ => return Ok(wanted.to_vec()),
    };
    let missing = missing.join(", ");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") && nix::unistd::geteuid().is_root() {
        bail!("cannot make {missing}: {reason}");
    }
    eprintln!("SKIPPED: {missing}: {reason}");
    Ok(wanted.iter().copied().filter(|kind| !kind.needs_isolation()).collect())
}
