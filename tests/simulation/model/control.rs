//! Changes of the control plane, each with its row of the trail in the reserved epoch.

use rollcall::store::StoredInvite;
use rollcall::store::changes::Change;
use rollcall_core::{Actor, InviteId, ParticipantId, SessionEndReason, SessionId, SessionSpec, TenantId, Timestamp};
use serde_json::{Value, json};

use super::rows::{AuditRow, Event, SessionRow};
use super::{CONTROL_EPOCH, Model, raise};

impl Model {
    /// Returns whether the session is new.
    pub fn create_session(&mut self, spec: &SessionSpec, by: &Actor) -> bool {
        if self.sessions.contains_key(&spec.session) {
            return false;
        }
        let at = spec.created_at;
        let row = SessionRow {
            tenant: spec.tenant,
            title: spec.title.clone(),
            idle_timeout: spec.idle_timeout,
            participants_max: spec.participants_max,
            warn_before: spec.warn_before.clone(),
            created_at: at,
            started_at: None,
            ended: None,
            last_activity_at: spec.last_activity_at,
            last_seen_at: spec.last_activity_at,
            hold_until: spec.hold_until,
            expires_at: spec.expires_at,
            version: 1,
        };
        self.sessions.insert(spec.session, row);
        self.decide(at, (spec.tenant, spec.session), None, "session_created", by, json!({}));
        true
    }

    pub fn create_invite(&mut self, invite: StoredInvite, by: &Actor, at: Timestamp) {
        let (scope, id) = ((invite.tenant, invite.session), invite.invite);
        self.invites.insert(id, invite);
        self.decide(at, scope, None, "invite_created", by, json!({ "invite_id": id }));
    }

    /// Returns whether the invite was good until now.
    pub fn revoke_invite(&mut self, invite: InviteId, by: &Actor, at: Timestamp) -> bool {
        let Some(row) = self.invites.get_mut(&invite).filter(|row| row.revoked_at.is_none()) else { return false };
        row.revoked_at = Some(at);
        let scope = (row.tenant, row.session);
        self.decide(at, scope, None, "invite_revoked", by, json!({ "invite_id": invite }));
        true
    }

    /// The one decision who ends the session; false: it had ended. `live`: a node has it in memory and records who leaves.
    pub fn end_session(&mut self, session: SessionId, live: bool, by: &Actor, at: Timestamp) -> bool {
        let Some(row) = self.sessions.get_mut(&session).filter(|row| row.is_active()) else { return false };
        row.ended = Some((at, SessionEndReason::Completed));
        raise(&mut row.last_seen_at, at);
        row.version += 1;
        let tenant = row.tenant;
        if !live {
            self.leave_all(session, at);
        }
        let metadata = json!({ "reason": SessionEndReason::Completed.as_str() });
        self.decide(at, (tenant, session), None, "session_ended", by, metadata);
        true
    }

    /// Moves the two ends of an active session; false: it has ended.
    pub fn extend_session(
        &mut self,
        session: SessionId,
        (hold_until, expires_at): (Timestamp, Option<Timestamp>),
        by: &Actor,
        at: Timestamp,
    ) -> bool {
        let Some(row) = self.sessions.get_mut(&session).filter(|row| row.is_active()) else { return false };
        (row.hold_until, row.expires_at) = (hold_until, expires_at);
        row.version += 1;
        let tenant = row.tenant;
        self.decide(at, (tenant, session), None, "session_extended", by, json!({}));
        true
    }

    /// Makes an ended session active again; false: it is active.
    pub fn recover_session(
        &mut self,
        session: SessionId,
        expires_at: Option<Timestamp>,
        by: &Actor,
        at: Timestamp,
    ) -> bool {
        let Some(row) = self.sessions.get_mut(&session).filter(|row| !row.is_active()) else { return false };
        row.ended = None;
        raise(&mut row.last_activity_at, at);
        raise(&mut row.last_seen_at, at);
        (row.hold_until, row.expires_at) = (at, expires_at);
        row.version += 1;
        let tenant = row.tenant;
        self.decide(at, (tenant, session), None, "session_recovered", by, json!({}));
        true
    }

    /// Keeps a participant who is not present from coming back. False: unknown, or kept out before.
    pub fn bar_participant(
        &mut self,
        session: SessionId,
        participant: ParticipantId,
        by: &Actor,
        at: Timestamp,
    ) -> bool {
        let row = self.participants.get_mut(&(session, participant)).filter(|row| row.kicked_at.is_none());
        let Some(row) = row else { return false };
        row.kicked_at = Some(at);
        let tenant = row.tenant;
        self.decide(at, (tenant, session), Some(participant), "participant_barred", by, json!({}));
        true
    }

    /// Decisions after `seq`, in order, at most `limit`.
    pub fn changes_since(&self, seq: i64, limit: usize) -> Vec<Change> {
        let later = self.audit.iter().filter(|row| row.epoch == CONTROL_EPOCH && row.seq > seq);
        let changes = later.filter_map(|row| match &row.event {
            Event::Decided { event_type, metadata, .. } => Some(Change {
                seq: row.seq,
                event_type: (*event_type).to_owned(),
                session: Some(row.session),
                metadata: metadata.clone(),
            }),
            Event::Recorded { .. } => None,
        });
        changes.take(limit).collect()
    }

    pub fn latest_change(&self) -> i64 {
        self.control_seq
    }

    pub(super) fn decide(
        &mut self,
        at: Timestamp,
        (tenant, session): (TenantId, SessionId),
        participant: Option<ParticipantId>,
        event_type: &'static str,
        by: &Actor,
        metadata: Value,
    ) {
        self.control_seq += 1;
        let event = Event::Decided { event_type, actor: by.clone(), metadata };
        let (epoch, seq) = (CONTROL_EPOCH, self.control_seq);
        self.audit.push(AuditRow { epoch, seq, at, tenant, session, participant, event });
        if !matches!(event_type, "session_ended" | "invite_revoked") {
            self.see(at, session, participant);
        }
    }
}
