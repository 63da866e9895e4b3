//! What goes into the ledger. A record is immutable; the ledger gives it its place `(epoch, seq)`.

use std::sync::Arc;

use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::ids::{ConnectionId, InviteId, ParticipantId, SessionId, TenantId};
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, Role, SessionEndReason, Status, WarningCause};

/// One fact at one instant. `at` is the logical time of the fact (a deadline, the last evidence), not the time at which
/// somebody noticed, so records may be numbered in another order than their `at`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    pub at: Timestamp,
    pub fact: Fact,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Something that happened in one session. Becomes one row of the audit log.
    Session { tenant: TenantId, session: SessionId, fact: SessionFact },
    /// Once a second: which connections proved themselves alive since the last mark. Never an audit row.
    EvidenceMark { heard: Vec<Heard> },
}

/// One line of an evidence mark. There are thousands a second, so it is written without the names of its fields, in their
/// order; it is understood with names, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Heard {
    /// The connection's counter inside the epoch of the mark.
    pub counter: i64,
    pub evidence_at: Timestamp,
    /// Last activity of the person, when there was any since the last mark.
    #[serde(default)]
    pub activity_at: Option<Timestamp>,
}

impl Serialize for Heard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_tuple(2 + usize::from(self.activity_at.is_some()))?;
        line.serialize_element(&self.counter)?;
        line.serialize_element(&self.evidence_at)?;
        if let Some(activity_at) = &self.activity_at {
            line.serialize_element(activity_at)?;
        }
        line.end()
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionFact {
    /// The first participant ever is in.
    SessionStarted,
    SessionEnded {
        reason: SessionEndReason,
        by: Actor,
    },
    /// A warning went out that the session will end at `ends_at`.
    SessionWarned {
        cause: WarningCause,
        ends_at: Timestamp,
    },
    /// A participant appeared: for the first time, or after it had left.
    ParticipantJoined {
        participant: ParticipantId,
        identity: Arc<str>,
        /// Whether the token fixed the identity; false where the client chose it.
        verified: bool,
        /// Personal data: stored in the erasable table only, never in the audit row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Arc<str>>,
        role: Role,
        invite: Option<InviteId>,
    },
    ConnectionOpened {
        participant: ParticipantId,
        connection: ConnectionId,
        role: Role,
        invite: Option<InviteId>,
        /// The connection the client had before, when it came with a resume token.
        resumed: Option<ConnectionId>,
    },
    /// The record's `at` is the end of the span.
    ConnectionClosed {
        participant: ParticipantId,
        connection: ConnectionId,
        connected_at: Timestamp,
        reason: LeaveReason,
        /// How much longer the connection may have been there, unproven and unbilled.
        uncertainty_us: i64,
    },
    /// After a crash the same client came back and testified how long its old socket had stayed open. The record's `at`
    /// is the new end of the old span, never later than the crashed epoch's last mark.
    ConnectionCloseAmended {
        participant: ParticipantId,
        connection: ConnectionId,
        uncertainty_us: i64,
    },
    /// Presence changed between active, away and reconnecting.
    PresenceChanged {
        participant: ParticipantId,
        status: Status,
    },
    /// The participant is gone for the others. The record's `at` is when its grace period or its stay was over.
    ParticipantLeft {
        participant: ParticipantId,
        reason: LeaveReason,
        by: Actor,
    },
    /// The app's own state of a participant, as JSON text.
    StateUpdated {
        participant: ParticipantId,
        state: Arc<str>,
    },
    InviteExpired {
        invite: InviteId,
    },
}

impl SessionFact {
    /// The `event_type` of the audit row.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::SessionStarted => "session_started",
            Self::SessionEnded { .. } => "session_ended",
            Self::SessionWarned { .. } => "session_warned",
            Self::ParticipantJoined { .. } => "participant_joined",
            Self::ConnectionOpened { .. } => "connection_opened",
            Self::ConnectionClosed { .. } => "connection_closed",
            Self::ConnectionCloseAmended { .. } => "connection_close_amended",
            Self::PresenceChanged { .. } => "presence_changed",
            Self::ParticipantLeft { .. } => "participant_left",
            Self::StateUpdated { .. } => "state_updated",
            Self::InviteExpired { .. } => "invite_expired",
        }
    }

    /// Whether the fact ends something. Such records are accepted even when the journal is nearly full.
    pub const fn is_exit(&self) -> bool {
        matches!(
            self,
            Self::SessionEnded { .. }
                | Self::ConnectionClosed { .. }
                | Self::ConnectionCloseAmended { .. }
                | Self::ParticipantLeft { .. }
        )
    }

    pub const fn participant(&self) -> Option<ParticipantId> {
        match self {
            Self::SessionStarted
            | Self::SessionEnded { .. }
            | Self::SessionWarned { .. }
            | Self::InviteExpired { .. } => None,
            Self::ParticipantJoined { participant, .. }
            | Self::ConnectionOpened { participant, .. }
            | Self::ConnectionClosed { participant, .. }
            | Self::ConnectionCloseAmended { participant, .. }
            | Self::PresenceChanged { participant, .. }
            | Self::ParticipantLeft { participant, .. }
            | Self::StateUpdated { participant, .. } => Some(*participant),
        }
    }
}
