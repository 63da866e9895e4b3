//! From a record to its row in the audit trail. Never a name, an identity or a token: the trail cannot be erased.

use rollcall_core::{Actor, ConnectionId, Record, SessionFact};
use serde_json::{Value, json};

use crate::store::mapping::{actor_text, storable_json, to_utc};

/// What becomes of an end that found the session ended already.
pub const END_SUPERSEDED: &str = "session_end_superseded";

pub fn connection(fact: &SessionFact) -> Option<ConnectionId> {
    match fact {
        SessionFact::ConnectionOpened { connection, .. }
        | SessionFact::ConnectionClosed { connection, .. }
        | SessionFact::ConnectionCloseAmended { connection, .. } => Some(*connection),
        _ => None,
    }
}

pub fn actor(fact: &SessionFact) -> String {
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

pub fn metadata(record: &Record, fact: &SessionFact) -> String {
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
            "duration_us": record.at.since(*connected_at).as_micros() as u64,
            "uncertainty_us": uncertainty_us,
        }),
        SessionFact::ConnectionCloseAmended { uncertainty_us, .. } => json!({ "uncertainty_us": uncertainty_us }),
        SessionFact::PresenceChanged { status, .. } => json!({ "status": status.as_str() }),
        SessionFact::ParticipantLeft { reason, .. } => json!({ "reason": reason.as_str() }),
        SessionFact::StateUpdated { state, .. } => {
            return match storable_json(state) {
                Some(state) => format!("{{\"state\":{state}}}"),
                None => json!({ "refused": "not storable as jsonb" }).to_string(),
            };
        }
        SessionFact::InviteExpired { invite } => json!({ "invite_id": invite }),
    };
    without_nulls(value).to_string()
}

/// A field that does not apply is left out.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}
