//! What goes into a session and what comes out: specification, commands, effects, events.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::ConnectionClock;
use crate::ids::{ConnectionId, InviteId, ParticipantId, SessionId, TenantId};
use crate::presence::{PresenceDiff, Snapshot};
use crate::record::Record;
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, Role, SessionEndReason, WarningCause};

/// What a session is, as the control plane decided it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSpec {
    pub tenant: TenantId,
    pub session: SessionId,
    pub title: Option<Arc<str>>,
    pub created_at: Timestamp,
    /// The session ends when nobody was active for this long.
    pub idle_timeout: Duration,
    /// The hard end, from `max_duration_s`; moved by extend.
    pub expires_at: Option<Timestamp>,
    /// No idle end before this instant; moved by extend.
    pub hold_until: Timestamp,
    pub participants_max: Option<u32>,
    /// Leads of the warnings before the end. Leads not shorter than the idle timeout are ignored for idle ends.
    pub warn_before: Vec<Duration>,
    /// Whether anybody ever joined.
    pub started: bool,
    pub last_activity_at: Timestamp,
    /// Participants removed for good.
    pub kicked: Vec<ParticipantId>,
}

/// How presence is smoothed and coalesced; the same for all sessions of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresencePolicy {
    /// How long a participant without a connection is shown as reconnecting.
    pub grace: Duration,
    /// The same when the client last said that it was hidden: browsers throttle hidden pages to one wake-up a minute.
    pub grace_hidden: Duration,
    /// Without activity for this long an open connection counts as away.
    pub away_after: Duration,
    /// At this many connections of one participant the oldest is replaced by the next.
    pub connections_per_participant_max: usize,
    /// Diff ticks by room size: `(participants up to, coalescing window)`, ascending; the last also serves bigger rooms.
    pub diff_windows: Vec<(usize, Duration)>,
}

impl Default for PresencePolicy {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(15),
            grace_hidden: Duration::from_secs(75),
            away_after: Duration::from_secs(300),
            connections_per_participant_max: 5,
            diff_windows: vec![
                (16, Duration::ZERO),
                (100, Duration::from_millis(20)),
                (usize::MAX, Duration::from_millis(100)),
            ],
        }
    }
}

/// A connection that was open when its node crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrashedConnection {
    pub connection: ConnectionId,
    /// The last evidence, where its span ends so far.
    pub disconnected_at: Timestamp,
    /// The last mark of the crashed epoch: nothing later is ever believed.
    pub mark_at: Timestamp,
    /// The node, and the connection with it, may have lived until then.
    pub possible_until: Timestamp,
}

/// What a returning client says about the end of its old socket. It says how long ago that was, and the way of its words
/// took some time: the end lies between two instants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Testimony {
    pub closed_after: Timestamp,
    pub closed_before: Timestamp,
}

/// A participant that was present when the server stopped, shown as reconnecting until it is back or its grace is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredParticipant {
    pub participant: ParticipantId,
    pub identity: Arc<str>,
    pub verified: bool,
    pub name: Option<Arc<str>>,
    pub role: Role,
    pub state: Option<Arc<str>>,
    pub joined_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// Why its last span ended: a drain or a crash.
    pub reason: LeaveReason,
    pub crashed: Option<CrashedConnection>,
}

/// An admitted join: the shell has checked the token.
#[derive(Clone, Debug)]
pub struct Join {
    pub connection: ConnectionId,
    pub participant: ParticipantId,
    pub identity: Arc<str>,
    pub verified: bool,
    pub name: Option<Arc<str>>,
    pub role: Role,
    pub state: Option<Arc<str>>,
    pub invite: Option<InviteId>,
    /// When the token stops to be good for staying; `None` for invites.
    pub token_expires_at: Option<Timestamp>,
    /// The connection this client had before.
    pub resumed: Option<ConnectionId>,
    /// When the client saw its old socket close.
    pub testimony: Option<Testimony>,
    pub clock: Arc<ConnectionClock>,
}

/// What the transport knows about the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseProof {
    /// The peer closed, or answered our close: it was alive until now.
    Observed,
    /// Nothing was heard since the last evidence.
    Silent,
}

/// A connection and the participant that holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    pub participant: ParticipantId,
    pub connection: ConnectionId,
}

/// Everything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Command {
    /// Time passed.
    Tick,
    Join(Box<Join>),
    Update {
        member: Member,
        state: Arc<str>,
    },
    /// The person is active, after having been away or warned.
    Activity {
        member: Member,
    },
    /// The client says that the person does not see the page.
    Hide {
        member: Member,
    },
    /// A socket is gone. `reason` counts only if the server had not decided the end itself.
    Closed {
        member: Member,
        reason: LeaveReason,
        proof: CloseProof,
    },
    Snapshot {
        member: Member,
    },
    /// The server stops: close all connections, keep everybody as reconnecting for the restart.
    Drain,
    Kick {
        participant: ParticipantId,
        by: Actor,
    },
    RevokeInvite {
        invite: InviteId,
    },
    /// An end is being written to Postgres: let nobody in and fire nothing until `End` or `Thaw`.
    Freeze,
    Thaw,
    /// `recorded`: Postgres already has the end with its audit row.
    End {
        reason: SessionEndReason,
        by: Actor,
        at: Timestamp,
        recorded: bool,
    },
    /// The control plane moved the deadlines.
    Hold {
        hold_until: Timestamp,
        expires_at: Option<Timestamp>,
    },
    /// The control plane changed the session.
    Configure(Box<SessionSpec>),
    /// Postgres already has the recovery with its audit row.
    Recover {
        expires_at: Option<Timestamp>,
    },
}

/// What the shell has to do, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    Record(Record),
    Deliver {
        to: Recipients,
        event: Event,
    },
    /// Close a socket after what was delivered before.
    Close {
        connection: ConnectionId,
        reason: CloseReason,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipients {
    One(ConnectionId),
    All,
}

/// Why the server closes a socket; each is one public close code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    SessionEnded,
    Kicked,
    InviteRevoked,
    Replaced,
    TokenExpired,
    Restarting,
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Joined(Box<Joined>),
    Presence(PresenceDiff),
    Snapshot(Snapshot),
    Warning { cause: WarningCause, ends_at: Timestamp, in_time: Duration },
    Extended { ends_at: Timestamp },
    Ended { reason: SessionEndReason },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    pub participant: ParticipantId,
    pub connection: ConnectionId,
    pub identity: Arc<str>,
    pub role: Role,
    pub session: SessionView,
    pub snapshot: Snapshot,
}

/// What a member may know of its session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionView {
    pub session: SessionId,
    pub title: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub ends_at: Timestamp,
}

impl CloseReason {
    /// The reason that a span closed this way carries.
    pub const fn leave_reason(self) -> LeaveReason {
        match self {
            Self::SessionEnded => LeaveReason::SessionEnded,
            Self::Kicked => LeaveReason::Kicked,
            Self::InviteRevoked => LeaveReason::InviteRevoked,
            Self::Replaced => LeaveReason::Replaced,
            Self::TokenExpired => LeaveReason::TokenExpired,
            Self::Restarting => LeaveReason::ServerDrain,
        }
    }
}
