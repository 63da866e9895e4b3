//! One struct per table.

use std::sync::Arc;
use std::time::Duration;

use rollcall::store::EpochState;
use rollcall_core::{
    Actor, ConnectionId, Epoch, InviteId, LeaveReason, ParticipantId, Record, Role, SessionEndReason, SessionFact,
    SessionId, Status, TenantId, Timestamp,
};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    pub node_name: String,
    pub state: EpochState,
    pub started_at: Timestamp,
    /// The last record of the epoch that is in.
    pub applied_seq: i64,
    /// Up to here everything the node heard is in.
    pub attested_until: Timestamp,
    pub lease_until: Timestamp,
    pub closed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub tenant: TenantId,
    pub title: Option<Arc<str>>,
    pub idle_timeout: Duration,
    pub participants_max: Option<u32>,
    pub warn_before: Vec<Duration>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// `None` while the session is active.
    pub ended: Option<(Timestamp, SessionEndReason)>,
    pub last_activity_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub hold_until: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub version: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ParticipantRow {
    pub tenant: TenantId,
    pub identity: String,
    pub verified: bool,
    pub role: Role,
    pub invite: Option<InviteId>,
    pub state: Option<Value>,
    pub presence: Presence,
    pub first_joined_at: Timestamp,
    pub joined_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub kicked_at: Option<Timestamp>,
}

/// Present with a status, or gone with when and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Here(Status),
    Left(Timestamp, LeaveReason),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRow {
    pub session: SessionId,
    pub tenant: TenantId,
    pub participant: ParticipantId,
    pub role: Role,
    pub invite: Option<InviteId>,
    pub resumed: Option<ConnectionId>,
    pub connected_at: Timestamp,
    pub last_evidence_at: Timestamp,
    /// `None` while the connection is open.
    pub end: Option<(Timestamp, LeaveReason)>,
    pub uncertainty_us: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub epoch: Epoch,
    pub seq: i64,
    pub at: Timestamp,
    pub tenant: TenantId,
    pub session: SessionId,
    pub participant: Option<ParticipantId>,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A record of a node. `superseded`: the end of a session that had ended already.
    Recorded { fact: SessionFact, superseded: bool },
    /// Written by the control plane or the clean-up, with the change it tells of.
    Decided { event_type: &'static str, actor: Actor, metadata: Value },
}

impl Event {
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Recorded { superseded: true, .. } => "session_end_superseded",
            Self::Recorded { fact, .. } => fact.event_type(),
            Self::Decided { event_type, .. } => event_type,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRow {
    pub epoch: Epoch,
    pub seq: i64,
    pub at: Timestamp,
    /// How many connections were heard.
    pub connections: usize,
}

/// A record that the tables could not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    pub epoch: Epoch,
    pub seq: i64,
    pub record: Record,
}

impl SessionRow {
    pub fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// When the session ends if nobody is active any more.
    pub fn idle_at(&self) -> Timestamp {
        (self.last_activity_at + self.idle_timeout).max(self.hold_until)
    }

    /// The first of its two ends.
    pub fn deadline(&self) -> Timestamp {
        self.idle_at().min(self.expires_at.unwrap_or(Timestamp::NEVER))
    }
}

impl SpanRow {
    /// Where an open span counts up to.
    pub fn proven_until(&self) -> Timestamp {
        self.end.map_or(self.last_evidence_at.max(self.connected_at), |(at, _)| at)
    }

    /// Half-open.
    pub fn interval(&self) -> (Timestamp, Timestamp) {
        (self.connected_at, self.proven_until())
    }
}
