//! What the harness and its swarm processes say to each other, one line of JSON each, and how answers of several
//! processes become one.

use serde::{Deserialize, Serialize};

use crate::adapter::Target;
use crate::measure::Latency;

/// Sends later than this at the 99th percentile, or fewer than this share of what was planned, mean that the loader and
/// not the server was measured: the run is void.
const LAG_P99_US_MAX: u64 = 20_000;
const SENT_SHARE_MIN: f64 = 0.99;

/// Times are microseconds of wall time, because the processes share the machine's clock and nothing else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Command {
    Connect(Entrance),
    /// How clients behave from now on. `seconds`: for how long; the answer comes after that and has the figures.
    Pace {
        pace: Pace,
        /// Of all processes.
        connections: usize,
        start_us: i64,
        seconds: Option<f64>,
    },
    Drop(Drop),
    Reconnect {
        reconnect: Reconnect,
        start_us: i64,
    },
    Rooms {
        settle_s: f64,
    },
    Mark,
    SinceMark,
    Status,
}

/// A command without figures was carried out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {}

/// One process's part of a [`Connect`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entrance {
    pub target: Target,
    /// Number of the first client in the swarm.
    pub first: usize,
    /// Its place in the schedule.
    pub position: usize,
    pub count: usize,
    pub per_s: f64,
    pub start_us: i64,
    /// Client `i` of this part joins with token `i / room_size`.
    pub tokens: Vec<String>,
    pub room_size: usize,
    pub track_members: bool,
}

/// Opens connections on a schedule, whatever the answers are.
#[derive(Debug, Clone)]
pub struct Connect {
    pub target: Target,
    pub count: usize,
    pub per_s: f64,
    /// Connection `i` joins with token `i / room_size`, from the start again when there are not enough.
    pub tokens: Vec<String>,
    pub room_size: usize,
    /// Whether clients follow who is in their room. Costs the loader time.
    pub track_members: bool,
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
    /// Closed loop: the first `connections` clients each ping again as soon as they are answered. For throughput; its
    /// latencies are not corrected for coordinated omission.
    Saturate {
        connections: usize,
    },
}

/// Takes a share of the clients that are in, evenly spread over the swarm, and ends or silences them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    pub how: How,
    /// From 0 to 1.
    pub share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A close frame, then the end of the stream.
    Close,
    /// A TCP reset, no close frame.
    Reset,
    /// The socket stays open; nothing is sent, read or answered any more but what the kernel does.
    Silent,
}

/// How many clients a drop took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Dropped {
    pub dropped: usize,
    pub seconds: f64,
}

/// Brings everybody back who is not in: dropped, silenced or lost. Clients come with their resume token where the protocol
/// has one, else as at first. Who is not let in tries again with growing pauses until `give_up_s`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reconnect {
    /// `None`: as before.
    pub target: Option<Target>,
    pub schedule: Schedule,
    /// Counted from a client's first attempt.
    pub give_up_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// So many each second, in order.
    Rate { per_s: f64 },
    /// Each at an instant of its own within so many seconds: full jitter, the same in every run.
    Jitter { within_s: f64 },
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
    /// The longest that a client that is still in waited for an answer, counting those that never came, from the
    /// scheduled instant.
    pub stall_us: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reconnected {
    /// How many were to come back.
    pub wanted: usize,
    pub connected: usize,
    /// Not in by the end of their time.
    pub failed: usize,
    /// Attempts that the server answered with a refusal.
    pub refused: usize,
    /// Attempts of all kinds.
    pub attempts: usize,
    pub errors: Vec<String>,
    /// From the first scheduled attempt until the last client was in.
    pub seconds: f64,
    /// From a client's first scheduled attempt until it was in.
    pub latency: Latency,
}

/// The rooms of clients that follow their members, since the mark (at first: since the start).
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Rooms {
    /// Clients that are in and follow their room.
    pub members: usize,
    /// Of them: whose list is exactly the swarm's members who are in.
    pub exact: usize,
    /// Of them: whose list lacks none of those, but may have others (such as who is expected back).
    pub complete: usize,
    /// Until all were exact, or the time given for it.
    pub settled_s: f64,
    /// From the scheduled instant of a join frame until another member has the joiner in its list, over all pairs.
    pub seen: Latency,
    pub received: Received,
}

/// What clients that are in have received since the mark.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    pub members: usize,
    pub frames: u64,
    /// With the heads of the WebSocket frames.
    pub bytes: u64,
    pub presence_frames: Spread,
    pub presence_bytes: Spread,
    /// Lines of presence frames. Only where members are followed.
    pub joins_seen: u64,
    pub updates_seen: u64,
    pub leaves_seen: u64,
    pub snapshots: u64,
    /// Holes in the numbers of presence frames.
    pub gaps: u64,
    /// Connections that ended although nobody asked them to.
    pub lost: u64,
}

/// A count for each member.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    pub total: u64,
    pub max: u64,
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

impl Spread {
    pub fn mean(&self, members: usize) -> f64 {
        self.total as f64 / members.max(1) as f64
    }

    pub(super) fn add(&mut self, value: u64) {
        self.total += value;
        self.max = self.max.max(value);
    }
}
