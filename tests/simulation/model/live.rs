//! What a node loads at its start, or when somebody joins a session that it does not have.

use std::time::Duration;

use rollcall::store::LoadedSession;
use rollcall_core::{
    CrashedConnection, LeaveReason, ParticipantId, RestoredParticipant, SessionId, SessionSpec, Timestamp,
};

use serde_json::{Value, json};

use super::Model;
use super::rows::{EpochRow, ParticipantRow, Presence, SessionRow};

/// How long after the end of a crashed epoch its people may still be restored as witnesses.
const TESTIMONY_BEFORE: Duration = Duration::from_secs(40);

impl Model {
    /// `None`: there is no such session.
    pub fn load_session(&self, session: SessionId, now: Timestamp) -> Option<LoadedSession> {
        let row = self.sessions.get(&session)?;
        let present = self.participants.iter().filter(|((of, _), person)| {
            *of == session && row.is_active() && matches!(person.presence, Presence::Here(_))
        });
        Some(LoadedSession {
            spec: self.spec(session, row),
            ended: row.ended.map(|(at, reason)| (reason, at)),
            identity_salt: *self.tenants.get(&row.tenant)?,
            restored: present.map(|((_, id), person)| self.restored(session, *id, person, now)).collect(),
        })
    }

    /// Active sessions by id, at most `limit` of those after `after`.
    pub fn load_active_sessions(&self, after: Option<SessionId>, limit: usize, now: Timestamp) -> Vec<LoadedSession> {
        let active = self.sessions.iter().filter(|(id, row)| row.is_active() && after.is_none_or(|after| **id > after));
        active.take(limit).filter_map(|(id, _)| self.load_session(*id, now)).collect()
    }

    fn spec(&self, session: SessionId, row: &SessionRow) -> SessionSpec {
        let kicked = self.participants.iter().filter(|((of, _), person)| *of == session && person.kicked_at.is_some());
        SessionSpec {
            tenant: row.tenant,
            session,
            title: row.title.clone(),
            created_at: row.created_at,
            idle_timeout: row.idle_timeout,
            expires_at: row.expires_at,
            hold_until: row.hold_until,
            participants_max: row.participants_max,
            warn_before: row.warn_before.clone(),
            started: row.started_at.is_some(),
            last_activity_at: row.last_activity_at,
            kicked: kicked.map(|((_, id), _)| *id).collect(),
        }
    }

    /// How its newest connection ended tells whether the node drained or crashed.
    fn restored(
        &self,
        session: SessionId,
        id: ParticipantId,
        person: &ParticipantRow,
        now: Timestamp,
    ) -> RestoredParticipant {
        let of_person = |span: &super::rows::SpanRow| span.session == session && span.participant == id;
        let newest = self.spans.iter().rfind(|(_, span)| of_person(span));
        let ended = newest.and_then(|(connection, span)| span.end.map(|end| (*connection, span, end)));
        let crashed = match ended {
            Some((connection, span, (disconnected_at, LeaveReason::NodeCrash))) => {
                // A crash that is longer ago takes no more testimony.
                let is_recent = |node: &&EpochRow| node.closed_at.unwrap_or(now) > now - TESTIMONY_BEFORE;
                self.epochs.get(&connection.epoch).filter(is_recent).map(|node| CrashedConnection {
                    connection,
                    disconnected_at,
                    mark_at: node.attested_until,
                    possible_until: Timestamp(disconnected_at.0 + span.uncertainty_us),
                })
            }
            _ => None,
        };
        RestoredParticipant {
            participant: id,
            identity: person.identity.as_str().into(),
            verified: person.verified,
            name: self.names.get(&(session, id)).map(|(name, _)| name.as_str().into()),
            role: person.role.clone(),
            state: person.state.as_ref().map(|state| jsonb_text(state).into()),
            joined_at: person.joined_at,
            last_seen_at: person.last_seen_at,
            reason: ended.map_or(LeaveReason::Closed, |(_, _, (_, reason))| reason),
            crashed,
        }
    }
}

/// JSON as the database gives it back: keys by length and then by bytes, a space after each colon and comma. Numbers are
/// meant to be whole.
pub fn jsonb_text(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(jsonb_text).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| (name.len(), name.as_bytes()));
            let pair = |(name, value): (&String, &Value)| format!("{}: {}", json!(name), jsonb_text(value));
            format!("{{{}}}", fields.into_iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
