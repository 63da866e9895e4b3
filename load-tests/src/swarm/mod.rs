//! A swarm: thousands of clients in a process of their own, because one process may open no more files than its limit.
//! The harness drives it with one JSON line for each command and reads one line of JSON in answer.

mod connection;
mod driver;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use driver::run;

use crate::client::Target;
use crate::measure::Latency;
use crate::process::Process;

/// Sends later than this at the 99th percentile, or fewer than this share of what was planned, mean that the loader and
/// not the server was measured: the run is void.
const LAG_P99_US_MAX: u64 = 20_000;
const SENT_SHARE_MIN: f64 = 0.99;

/// Added to the expected duration of a command before the swarm counts as stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum SwarmCommand {
    Connect(Connect),
    /// How clients behave from now on.
    Pace(Pace),
    /// The same for a time, then silence; the answer has the figures.
    Phase {
        pace: Pace,
        seconds: f64,
    },
    Status,
}

/// Opens connections on a schedule, whatever the answers are.
#[derive(Debug, Serialize, Deserialize)]
pub struct Connect {
    pub target: Target,
    pub server: SocketAddr,
    pub count: usize,
    pub per_s: f64,
    /// Connection `i` joins with token `i / room_size`.
    pub tokens: Vec<String>,
    pub room_size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    Silent,
    /// All connections together ping this often, evenly spread.
    Pings {
        per_s: f64,
    },
    /// State updates in place of pings.
    Updates {
        per_s: f64,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Connected {
    pub connected: usize,
    pub failed: usize,
    /// A few of the reasons.
    pub errors: Vec<String>,
    pub seconds: f64,
    /// Connect and upgrade.
    pub upgrade: Latency,
    /// From the scheduled instant of the join frame to `joined`.
    pub join: Latency,
    /// How late join frames were sent.
    pub lag: Latency,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub planned: u64,
    pub sent: u64,
    pub answered: u64,
    /// From the scheduled instant of the ping to its answer.
    pub latency: Latency,
    /// How late pings were sent.
    pub lag: Latency,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub open: usize,
    /// Connections that ended although nobody asked them to.
    pub lost: usize,
    /// Frames received.
    pub frames: u64,
    pub errors: Vec<String>,
    pub ended: Vec<Ended>,
}

/// An `ended` frame against what `joined` had announced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Arrival minus the announced end; negative when it came early.
    pub late_us: i64,
}

impl Connected {
    /// Why this says nothing about the server, if so.
    pub fn void(&self) -> Option<String> {
        (self.lag.p99_us > LAG_P99_US_MAX).then(|| format!("the loader sent joins {} ms late", self.lag.p99_us / 1000))
    }
}

impl Figures {
    pub fn void(&self) -> Option<String> {
        if self.lag.p99_us > LAG_P99_US_MAX {
            return Some(format!("the loader sent pings {} ms late", self.lag.p99_us / 1000));
        }
        let share = self.sent as f64 / self.planned.max(1) as f64;
        (share < SENT_SHARE_MIN).then(|| format!("the loader sent {:.1} % of the pings", share * 100.0))
    }
}

/// The harness's end of a swarm process.
#[derive(Debug)]
pub struct Swarm {
    process: Process,
}

impl Swarm {
    /// # Errors
    /// The process cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self { process: Process::start("the swarm", Path::new(&program), &["swarm"], &[], None)? })
    }

    /// # Errors
    /// The swarm is gone or stuck; clients that fail are in the answer.
    pub async fn connect(&mut self, connect: Connect) -> anyhow::Result<Connected> {
        let expected = Duration::from_secs_f64(connect.count as f64 / connect.per_s);
        self.process.write(&SwarmCommand::Connect(connect)).await?;
        self.process.read(expected + ANSWER_TIMEOUT).await
    }

    /// # Errors
    /// The swarm is gone or stuck.
    pub async fn pace(&mut self, pace: Pace) -> anyhow::Result<()> {
        self.process.write(&SwarmCommand::Pace(pace)).await?;
        let Status { .. } = self.process.read(ANSWER_TIMEOUT).await?;
        Ok(())
    }

    /// # Errors
    /// The swarm is gone or stuck.
    pub async fn phase(&mut self, pace: Pace, seconds: f64) -> anyhow::Result<Figures> {
        self.process.write(&SwarmCommand::Phase { pace, seconds }).await?;
        self.process.read(Duration::from_secs_f64(seconds) + ANSWER_TIMEOUT).await
    }

    /// # Errors
    /// The swarm is gone or stuck.
    pub async fn status(&mut self) -> anyhow::Result<Status> {
        self.process.write(&SwarmCommand::Status).await?;
        self.process.read(ANSWER_TIMEOUT).await
    }

    /// Drops all connections with the process.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}
