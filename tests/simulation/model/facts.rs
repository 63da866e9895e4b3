//! What one record changes.

use rollcall_core::{ConnectionId, Epoch, Heard, LeaveReason, SessionFact, SessionId, TenantId, Timestamp};

use super::rows::{AuditRow, Event, ParticipantRow, Presence, SpanRow};
use super::{Model, raise};

impl Model {
    /// Evidence of a connection, also of one that has closed meanwhile.
    pub(super) fn apply_heard(&mut self, epoch: Epoch, line: &Heard) {
        let Some(span) = self.spans.get_mut(&ConnectionId { epoch, counter: line.counter }) else { return };
        raise(&mut span.last_evidence_at, line.evidence_at);
        let (session, person) = (span.session, (span.session, span.participant));
        if let Some(participant) = self.participants.get_mut(&person) {
            raise(&mut participant.last_seen_at, line.evidence_at);
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            raise(&mut session.last_seen_at, line.evidence_at);
            if let Some(activity_at) = line.activity_at {
                raise(&mut session.last_activity_at, activity_at);
            }
        }
    }

    pub(super) fn apply_fact(
        &mut self,
        epoch: Epoch,
        seq: i64,
        at: Timestamp,
        (tenant, session): (TenantId, SessionId),
        fact: &SessionFact,
    ) {
        let superseded = self.change(at, (tenant, session), fact);
        let participant = fact.participant();
        if proves_presence(fact) {
            self.see(at, session, participant);
        }
        let event = Event::Recorded { fact: fact.clone(), superseded };
        self.audit.push(AuditRow { epoch, seq, at, tenant, session, participant, event });
    }

    /// Somebody was there at this instant.
    pub(super) fn see(&mut self, at: Timestamp, session: SessionId, participant: Option<rollcall_core::ParticipantId>) {
        if let Some(row) = self.sessions.get_mut(&session) {
            raise(&mut row.last_seen_at, at);
        }
        if let Some(row) = participant.and_then(|participant| self.participants.get_mut(&(session, participant))) {
            raise(&mut row.last_seen_at, at);
        }
    }

    /// Returns whether the fact is an end that found the session ended.
    fn change(&mut self, at: Timestamp, (tenant, session): (TenantId, SessionId), fact: &SessionFact) -> bool {
        match fact {
            SessionFact::SessionStarted => {
                if let Some(row) = self.sessions.get_mut(&session) {
                    row.started_at.get_or_insert(at);
                }
            }
            SessionFact::SessionEnded { reason, .. } => {
                let row = self.sessions.get_mut(&session).filter(|row| row.is_active());
                let Some(row) = row else { return true };
                row.ended = Some((at, *reason));
                row.version += 1;
            }
            SessionFact::ParticipantJoined { .. } => {
                self.act(at, session);
                self.join(at, (tenant, session), fact);
            }
            SessionFact::ConnectionOpened { .. } => {
                self.act(at, session);
                self.open(at, (tenant, session), fact);
            }
            SessionFact::ConnectionClosed { connection, reason, uncertainty_us, .. } => {
                self.close(at, *connection, *reason, *uncertainty_us);
            }
            SessionFact::ConnectionCloseAmended { connection, uncertainty_us, .. } => {
                self.amend(at, *connection, *uncertainty_us);
            }
            SessionFact::PresenceChanged { participant, status } => {
                let row = self.participants.get_mut(&(session, *participant));
                if let Some(ParticipantRow { presence: Presence::Here(known), .. }) = row {
                    *known = *status;
                }
            }
            SessionFact::ParticipantLeft { participant, reason, .. } => {
                let Some(row) = self.participants.get_mut(&(session, *participant)) else { return false };
                if let Presence::Here(_) = row.presence {
                    row.presence = Presence::Left(at, *reason);
                }
                if *reason == LeaveReason::Kicked {
                    row.kicked_at.get_or_insert(at);
                }
            }
            SessionFact::StateUpdated { participant, state } => {
                self.act(at, session);
                let row = self.participants.get_mut(&(session, *participant));
                // What is no JSON leaves the state as it was.
                if let (Some(row), Ok(state)) = (row, serde_json::from_str(state)) {
                    row.state = Some(state);
                }
            }
            SessionFact::SessionWarned { .. } | SessionFact::InviteExpired { .. } => {}
        }
        false
    }

    /// A person was active.
    fn act(&mut self, at: Timestamp, session: SessionId) {
        if let Some(row) = self.sessions.get_mut(&session) {
            raise(&mut row.last_activity_at, at);
        }
    }

    fn join(&mut self, at: Timestamp, (tenant, session): (TenantId, SessionId), fact: &SessionFact) {
        let SessionFact::ParticipantJoined { participant, identity, verified, name, role, invite } = fact else {
            return;
        };
        let person = (session, *participant);
        if let Some(name) = name {
            self.names.insert(person, (name.as_ref().to_owned(), at));
        }
        if let Some(invite) = invite {
            self.note_use(*invite, *participant, at);
        }
        let row = self.participants.entry(person).or_insert_with(|| ParticipantRow {
            tenant,
            identity: identity.as_ref().to_owned(),
            verified: *verified,
            role: role.clone(),
            invite: *invite,
            state: None,
            presence: Presence::Here(rollcall_core::Status::Active),
            first_joined_at: at,
            joined_at: at,
            last_seen_at: at,
            kicked_at: None,
        });
        // A new stay: who it is and when it first came remain, everything else begins anew.
        row.role = role.clone();
        row.invite = *invite;
        row.state = None;
        row.presence = Presence::Here(rollcall_core::Status::Active);
        row.joined_at = at;
        raise(&mut row.last_seen_at, at);
    }

    fn open(&mut self, at: Timestamp, (tenant, session): (TenantId, SessionId), fact: &SessionFact) {
        let SessionFact::ConnectionOpened { participant, connection, role, invite, resumed } = fact else { return };
        self.spans.entry(*connection).or_insert_with(|| SpanRow {
            session,
            tenant,
            participant: *participant,
            role: role.clone(),
            invite: *invite,
            resumed: *resumed,
            connected_at: at,
            last_evidence_at: at,
            end: None,
            uncertainty_us: 0,
        });
    }

    /// The first close counts.
    fn close(&mut self, at: Timestamp, connection: ConnectionId, reason: LeaveReason, uncertainty_us: i64) {
        let Some(span) = self.spans.get_mut(&connection).filter(|span| span.end.is_none()) else { return };
        span.end = Some((at.max(span.connected_at), reason));
        span.uncertainty_us = uncertainty_us.max(0);
        raise(&mut span.last_evidence_at, at);
    }

    /// Only ever raises the end of a crashed connection.
    fn amend(&mut self, at: Timestamp, connection: ConnectionId, uncertainty_us: i64) {
        let Some(span) = self.spans.get_mut(&connection) else { return };
        if let Some((end, LeaveReason::NodeCrash)) = &mut span.end
            && *end < at
        {
            *end = at;
            span.uncertainty_us = uncertainty_us.max(0);
            raise(&mut span.last_evidence_at, at);
        }
    }
}

/// What time or the server brings about proves nobody's presence.
fn proves_presence(fact: &SessionFact) -> bool {
    match fact {
        SessionFact::SessionStarted
        | SessionFact::ParticipantJoined { .. }
        | SessionFact::ConnectionOpened { .. }
        | SessionFact::ConnectionClosed { .. }
        | SessionFact::ConnectionCloseAmended { .. }
        | SessionFact::StateUpdated { .. } => true,
        SessionFact::SessionEnded { .. }
        | SessionFact::SessionWarned { .. }
        | SessionFact::PresenceChanged { .. }
        | SessionFact::ParticipantLeft { .. }
        | SessionFact::InviteExpired { .. } => false,
    }
}
