//! Rows as the queries give them, and what they mean.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_core::{
    ConnectionId, CrashedConnection, Epoch, LeaveReason, ParticipantId, RestoredParticipant, Role, SessionSpec,
};
use uuid::Uuid;

use super::{LoadedSession, StoredInvite};
use crate::store::StoreError;
use crate::store::mapping::{from_seconds, from_utc, parse};

pub(super) struct SessionRow {
    pub session_id: Uuid,
    pub tenant_id: Uuid,
    pub title: Option<String>,
    pub idle_timeout_s: i32,
    pub max_participants: Option<i32>,
    pub warn_before_s: Vec<i32>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
    pub last_activity_at: DateTime<Utc>,
    pub hold_until: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub identity_salt: Vec<u8>,
    pub kicked: Vec<Uuid>,
}

impl TryFrom<SessionRow> for LoadedSession {
    type Error = StoreError;
    fn try_from(row: SessionRow) -> Result<Self, StoreError> {
        let ended = match (row.end_reason, row.ended_at) {
            (Some(reason), Some(at)) => Some((parse("sessions.end_reason", &reason)?, from_utc(at))),
            _ => None,
        };
        let spec = SessionSpec {
            tenant: row.tenant_id.into(),
            session: row.session_id.into(),
            title: row.title.map(Arc::from),
            created_at: from_utc(row.created_at),
            idle_timeout: from_seconds(row.idle_timeout_s),
            expires_at: row.expires_at.map(from_utc),
            hold_until: from_utc(row.hold_until),
            participants_max: row.max_participants.and_then(|max| u32::try_from(max).ok()),
            warn_before: row.warn_before_s.into_iter().map(from_seconds).collect::<Vec<Duration>>(),
            started: row.started_at.is_some(),
            last_activity_at: from_utc(row.last_activity_at),
            kicked: row.kicked.into_iter().map(ParticipantId).collect(),
        };
        Ok(Self { spec, ended, identity_salt: bytes_32("tenants.identity_salt", row.identity_salt)?, restored: vec![] })
    }
}

pub(super) struct RestoredRow {
    pub session_id: Uuid,
    pub participant_id: Uuid,
    pub identity: String,
    pub identity_verified: bool,
    pub name: Option<String>,
    pub role: String,
    pub state: Option<String>,
    pub joined_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub epoch: Option<i64>,
    pub connection: Option<i64>,
    pub disconnected_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
    pub uncertainty_us: Option<i64>,
    pub attested_until: Option<DateTime<Utc>>,
}

impl TryFrom<RestoredRow> for RestoredParticipant {
    type Error = StoreError;
    fn try_from(row: RestoredRow) -> Result<Self, StoreError> {
        let reason = row.end_reason.as_deref().map(|reason| parse("participation_spans.end_reason", reason));
        let reason = reason.transpose()?.unwrap_or(LeaveReason::Closed);
        let crashed = match (reason, row.epoch, row.connection, row.disconnected_at, row.attested_until) {
            (LeaveReason::NodeCrash, Some(epoch), Some(counter), Some(disconnected_at), Some(mark_at)) => {
                Some(CrashedConnection {
                    connection: ConnectionId { epoch: Epoch(epoch), counter },
                    disconnected_at: from_utc(disconnected_at),
                    mark_at: from_utc(mark_at),
                    possible_until: from_utc(disconnected_at)
                        + Duration::from_micros(row.uncertainty_us.unwrap_or(0).unsigned_abs()),
                })
            }
            _ => None,
        };
        Ok(Self {
            participant: row.participant_id.into(),
            identity: row.identity.into(),
            verified: row.identity_verified,
            name: row.name.map(Arc::from),
            role: role("participants.role", &row.role)?,
            state: row.state.map(Arc::from),
            joined_at: from_utc(row.joined_at),
            last_seen_at: from_utc(row.last_seen_at),
            reason,
            crashed,
        })
    }
}

pub(super) struct InviteRow {
    pub invite_id: Uuid,
    pub tenant_id: Uuid,
    pub session_id: Uuid,
    pub token_hash: Vec<u8>,
    pub role: String,
    pub identity: Option<String>,
    pub name: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    pub max_uses: Option<i32>,
    pub uses: i32,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<InviteRow> for StoredInvite {
    type Error = StoreError;
    fn try_from(row: InviteRow) -> Result<Self, StoreError> {
        Ok(Self {
            invite: row.invite_id.into(),
            tenant: row.tenant_id.into(),
            session: row.session_id.into(),
            token_hash: bytes_32("invites.token_hash", row.token_hash)?,
            role: role("invites.role", &row.role)?,
            identity: row.identity.map(Arc::from),
            name: row.name.map(Arc::from),
            not_before: row.not_before.map(from_utc),
            expires_at: from_utc(row.expires_at),
            max_uses: row.max_uses.and_then(|max| u32::try_from(max).ok()),
            uses: u32::try_from(row.uses).unwrap_or(0),
            revoked_at: row.revoked_at.map(from_utc),
        })
    }
}

fn role(column: &str, text: &str) -> Result<Role, StoreError> {
    Role::parse(text).map_err(|_| StoreError::Unreadable(format!("{column} is {text:?}")))
}

fn bytes_32(column: &str, bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    let length = bytes.len();
    bytes.try_into().map_err(|_| StoreError::Unreadable(format!("{column} has {length} bytes, not 32")))
}
