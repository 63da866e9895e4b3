//! From a record to its row in the audit trail. Never a name, an identity or a token: the trail cannot be erased.

use std::collections::HashSet;

use rollcall_core::chain::{EventEntry, Hash};
use rollcall_core::{
    Actor, ConnectionId, Epoch, Fact, ParticipantId, Record, SessionFact, SessionId, TenantId, Timestamp,
};
use serde_json::{Value, json};

use crate::store::jsonb::jsonb_text;
use crate::store::mapping::{actor_text, from_utc, storable_json, to_utc};

/// What becomes of an end that found the session ended already.
const END_SUPERSEDED: &str = "session_end_superseded";

/// A row of the trail as it is written.
#[derive(Debug)]
pub struct Row {
    pub seq: i64,
    pub at: Timestamp,
    pub tenant: TenantId,
    pub session: SessionId,
    pub participant: Option<ParticipantId>,
    pub connection: Option<String>,
    pub event_type: &'static str,
    pub actor: String,
    /// In the text form of jsonb, so that what is hashed is what is stored.
    pub metadata: String,
    pub leaf: Hash,
}

/// The rows of a batch that say the same whatever came before it: all but the ends of sessions.
pub fn rows(epoch: Epoch, first_seq: i64, records: &[Record]) -> Vec<Row> {
    let of = |(seq, record): (i64, &Record)| match &record.fact {
        Fact::Session { tenant, session, fact } if !is_end(fact) => {
            Some(Row::new(epoch, seq, record.at, (*tenant, *session, fact), fact.event_type()))
        }
        _ => None,
    };
    (first_seq..).zip(records).filter_map(of).collect()
}

/// The rows of the ends of sessions. `effective` are the places of the records whose end took effect.
pub fn end_rows(epoch: Epoch, first_seq: i64, records: &[Record], effective: &HashSet<usize>) -> Vec<Row> {
    let of = |(index, record): (usize, &Record)| match &record.fact {
        Fact::Session { tenant, session, fact } if is_end(fact) => {
            let event_type = if effective.contains(&index) { fact.event_type() } else { END_SUPERSEDED };
            Some(Row::new(epoch, first_seq + index as i64, record.at, (*tenant, *session, fact), event_type))
        }
        _ => None,
    };
    records.iter().enumerate().filter_map(of).collect()
}

fn is_end(fact: &SessionFact) -> bool {
    matches!(fact, SessionFact::SessionEnded { .. })
}

impl Row {
    fn new(
        epoch: Epoch,
        seq: i64,
        at: Timestamp,
        (tenant, session, fact): (TenantId, SessionId, &SessionFact),
        event_type: &'static str,
    ) -> Self {
        let mut row = Self {
            seq,
            at,
            tenant,
            session,
            participant: fact.participant(),
            connection: connection(fact).map(|id| id.to_string()),
            event_type,
            actor: actor(fact),
            metadata: metadata(at, fact),
            leaf: [0; 32],
        };
        row.leaf = row.entry(epoch).leaf();
        row
    }

    fn entry(&self, epoch: Epoch) -> EventEntry<'_> {
        EventEntry {
            epoch: epoch.0,
            seq: self.seq,
            occurred_at: from_utc(to_utc(self.at)),
            tenant: self.tenant.0,
            session: Some(self.session.0),
            participant: self.participant.map(|participant| participant.0),
            connection: self.connection.as_deref(),
            event_type: self.event_type,
            actor: &self.actor,
            metadata: &self.metadata,
        }
    }
}

fn connection(fact: &SessionFact) -> Option<ConnectionId> {
    match fact {
        SessionFact::ConnectionOpened { connection, .. }
        | SessionFact::ConnectionClosed { connection, .. }
        | SessionFact::ConnectionCloseAmended { connection, .. } => Some(*connection),
        _ => None,
    }
}

fn actor(fact: &SessionFact) -> String {
    match fact {
        SessionFact::SessionEnded { by, .. } | SessionFact::ParticipantLeft { by, .. } => actor_text(by),
        SessionFact::ParticipantJoined { participant, .. }
        | SessionFact::ConnectionOpened { participant, .. }
        | SessionFact::StateUpdated { participant, .. } => actor_text(&Actor::Participant(*participant)),
        SessionFact::SessionStarted
        | SessionFact::SessionWarned { .. }
        | SessionFact::ConnectionClosed { .. }
        | SessionFact::ConnectionCloseAmended { .. }
        | SessionFact::PresenceChanged { .. }
        | SessionFact::InviteExpired { .. } => actor_text(&Actor::Server),
    }
}

fn metadata(at: Timestamp, fact: &SessionFact) -> String {
    let value = match fact {
        SessionFact::SessionStarted => return "{}".to_owned(),
        SessionFact::SessionEnded { reason, .. } => json!({ "reason": reason.as_str() }),
        SessionFact::SessionWarned { cause, ends_at } => {
            json!({ "cause": cause.as_str(), "ends_at": to_utc(*ends_at) })
        }
        SessionFact::ParticipantJoined { verified, role, invite, .. } => {
            json!({ "role": role, "invite_id": invite, "identity_verified": verified })
        }
        SessionFact::ConnectionOpened { role, invite, resumed, .. } => {
            json!({ "role": role, "invite_id": invite, "resumed_from": resumed.map(|id| id.to_string()) })
        }
        SessionFact::ConnectionClosed { connected_at, reason, uncertainty_us, .. } => json!({
            "reason": reason.as_str(),
            "connected_at": to_utc(*connected_at),
            "duration_us": at.since(*connected_at).as_micros() as u64,
            "uncertainty_us": uncertainty_us,
        }),
        SessionFact::ConnectionCloseAmended { uncertainty_us, .. } => json!({ "uncertainty_us": uncertainty_us }),
        SessionFact::PresenceChanged { status, .. } => json!({ "status": status.as_str() }),
        SessionFact::ParticipantLeft { reason, .. } => json!({ "reason": reason.as_str() }),
        // Not the state itself: the app may put anything into it, and the trail cannot be erased (docs/adr/0008).
        SessionFact::StateUpdated { state, .. } => match storable_json(state) {
            Some(state) => json!({ "bytes": state.len() }),
            None => json!({ "refused": "not storable as jsonb" }),
        },
        SessionFact::InviteExpired { invite } => json!({ "invite_id": invite }),
    };
    jsonb_text(&without_nulls(value))
}

/// A field that does not apply is left out.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}
