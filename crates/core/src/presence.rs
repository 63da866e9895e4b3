//! What other people see: views of participants, snapshots, and coalesced diffs with a sequence number.

use std::sync::Arc;

use crate::ids::ParticipantId;
use crate::time::Timestamp;
use crate::words::{LeaveReason, Role, Status};

/// One participant as it is shown to the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParticipantView {
    pub participant: ParticipantId,
    pub identity: Arc<str>,
    pub verified: bool,
    pub name: Option<Arc<str>>,
    pub role: Role,
    pub status: Status,
    /// JSON text of the app's own state.
    pub state: Option<Arc<str>>,
    pub connections: u32,
    pub joined_at: Timestamp,
    pub last_seen_at: Timestamp,
}

/// Everybody at one instant. Diffs with a higher `seq` continue from here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub seq: u64,
    pub participants: Vec<ParticipantView>,
}

/// What changed since the diff before. Joins and updates carry the whole view and replace what a client had, so applying
/// one twice changes nothing; a leave of somebody unknown is ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresenceDiff {
    pub seq: u64,
    pub joins: Vec<ParticipantView>,
    pub updates: Vec<ParticipantView>,
    pub leaves: Vec<(ParticipantId, LeaveReason)>,
}
