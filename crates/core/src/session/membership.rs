//! Who is in: joins, closes, the grace between them.

use std::time::Duration;

use super::deadlines::TimerKey;
use super::{
    CloseProof, CloseReason, Closing, Connection, Effect, Event, Join, Joined, Member, Participant, Recipients,
    Session, SessionView, Warned,
};
use crate::ids::ParticipantId;
use crate::planted;
use crate::record::SessionFact;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, Status};

impl Session {
    pub(super) fn join(&mut self, join: Join, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.admits(join.participant, now, join.token_expires_at)?;
        if !self.started {
            self.started = true;
            self.record(SessionFact::SessionStarted, now, effects);
        }
        let member = Member { participant: join.participant, connection: join.connection };
        self.appear(&join, now, effects);
        self.replace_surplus(&join, now, effects);
        self.open(join, now, effects);
        // The others hear of a join in a small room before the joiner gets its snapshot, so the snapshot has that number.
        self.flush_presence_if_due(now, effects);
        self.deliver_joined(member, now, effects);
        self.note_activity(now, effects);
        self.deliver_standing_warning(member, now, effects);
        Ok(())
    }

    /// Whether a join of this participant would be let in now. The shell asks before it counts the use of an invite.
    pub fn admits(
        &self,
        participant: ParticipantId,
        now: Timestamp,
        token_expires_at: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        let is_frozen = self.frozen && !planted!("joins_while_ending");
        let is_drained = self.drained && !planted!("drain_lets_joins_in");
        if is_frozen || is_drained {
            return Err(Refusal::SessionEnding);
        }
        if self.kicked.contains(&participant) && !planted!("kicked_may_return") {
            return Err(Refusal::Kicked);
        }
        if token_expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Refusal::TokenExpired);
        }
        let surplus = usize::from(planted!("one_too_many_in_the_room"));
        let is_full = self.spec.participants_max.is_some_and(|max| self.participants.len() >= max as usize + surplus);
        if is_full && !self.participants.contains_key(&participant) {
            return Err(Refusal::SessionFull);
        }
        Ok(())
    }

    /// Makes the participant present, or brings it back from its grace period.
    fn appear(&mut self, join: &Join, now: Timestamp, effects: &mut Vec<Effect>) {
        self.touch(join.participant);
        if let Some(participant) = self.participants.get_mut(&join.participant) {
            participant.role = join.role.clone();
            if join.name.is_some() {
                participant.name = join.name.clone();
            }
            let new_state = join.state.clone().filter(|state| participant.state.as_ref() != Some(state));
            if new_state.is_some() {
                participant.state = new_state.clone();
            }
            // Another tab may come back first; only the client of the crashed socket can testify for it, and only once.
            let crashed = participant.crashed.take_if(|crashed| join.resumed == Some(crashed.connection));
            if let Some(state) = new_state {
                self.record(SessionFact::StateUpdated { participant: join.participant, state }, now, effects);
            }
            if let (Some(crashed), Some(testimony)) = (crashed, join.testimony) {
                self.amend_crashed(join.participant, *crashed, testimony, effects);
            }
            return;
        }
        let participant = Participant {
            identity: join.identity.clone(),
            verified: join.verified,
            name: join.name.clone(),
            role: join.role.clone(),
            state: join.state.clone(),
            status: Status::Active,
            joined_at: now,
            last_seen_at: now,
            connections: Vec::with_capacity(1),
            gone_at: None,
            gone_reason: LeaveReason::Closed,
            grace: self.policy.grace,
            away_timer_at: None,
            crashed: None,
        };
        self.participants.insert(join.participant, Box::new(participant));
        let fact = SessionFact::ParticipantJoined {
            participant: join.participant,
            identity: join.identity.clone(),
            verified: join.verified,
            name: join.name.clone(),
            role: join.role.clone(),
            invite: join.invite,
        };
        self.record(fact, now, effects);
        if let Some(state) = &join.state {
            let fact = SessionFact::StateUpdated { participant: join.participant, state: state.clone() };
            self.record(fact, now, effects);
        }
    }

    /// Closes the old socket of a resuming client, and the oldest one of a participant that holds too many.
    fn replace_surplus(&mut self, join: &Join, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(participant) = self.participants.get(&join.participant) else { return };
        let resumed = join.resumed.filter(|old| participant.connection(*old).is_some());
        let surplus = participant.connections.len() >= self.policy.connections_per_participant_max;
        let oldest = || participant.connections.first().map(|connection| connection.id).filter(|_| surplus);
        if let Some(connection) = resumed.or_else(oldest) {
            let member = Member { participant: join.participant, connection };
            self.begin_close(member, CloseReason::Replaced, now, effects);
        }
    }

    fn open(&mut self, join: Join, now: Timestamp, effects: &mut Vec<Effect>) {
        if !planted!("return_does_not_stop_the_grace") {
            self.disarm_grace_timer(join.participant);
        }
        let Some(participant) = self.participants.get_mut(&join.participant) else { return };
        participant.gone_at = None;
        participant.connections.push(Connection {
            id: join.connection,
            connected_at: now,
            role: join.role.clone(),
            invite: join.invite,
            token_expires_at: join.token_expires_at,
            clock: join.clock,
        });
        let fact = SessionFact::ConnectionOpened {
            participant: join.participant,
            connection: join.connection,
            role: join.role,
            invite: join.invite,
            resumed: join.resumed,
        };
        self.record(fact, now, effects);
        self.settle_status(join.participant, now, effects);
        if let Some(expires_at) = join.token_expires_at {
            self.arm(expires_at, TimerKey::Token(join.participant));
        }
    }

    fn deliver_joined(&mut self, member: Member, now: Timestamp, effects: &mut Vec<Effect>) {
        // The join itself is the latest activity.
        let (ends_at, _) = self.ends_after(now);
        let session = SessionView {
            session: self.spec.session,
            title: self.spec.title.clone(),
            created_at: self.spec.created_at,
            ends_at,
        };
        let snapshot = self.snapshot_for(Some(member.participant), now);
        let Some(participant) = self.participants.get(&member.participant) else { return };
        let joined = Joined {
            participant: member.participant,
            connection: member.connection,
            identity: participant.identity.clone(),
            role: participant.role.clone(),
            session,
            snapshot,
        };
        let event = Event::Joined(Box::new(joined));
        effects.push(Effect::Deliver { to: Recipients::One(member.connection), event });
    }

    /// Who comes after everybody was warned has to know it too.
    fn deliver_standing_warning(&self, member: Member, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(Warned { cause, ends_at, .. }) = self.warned {
            let event = Event::Warning { cause, ends_at, in_time: ends_at.since(now) };
            effects.push(Effect::Deliver { to: Recipients::One(member.connection), event });
        }
    }

    /// Tells a socket to go and takes it out of presence at once. Its span is recorded when the peer has answered or
    /// has failed to.
    pub(super) fn begin_close(
        &mut self,
        member: Member,
        reason: CloseReason,
        at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(connection) = self.take_connection(member) else { return };
        let closed_at = at.max(connection.connected_at);
        connection.clock.close_at(closed_at);
        let closing = Closing {
            participant: member.participant,
            connected_at: connection.connected_at,
            closed_at,
            reason: reason.leave_reason(),
            clock: connection.clock,
        };
        self.closing.insert(member.connection, closing);
        effects.push(Effect::Close { connection: member.connection, reason });
    }

    /// Takes a connection out of presence, with its timer. What its clock saw last goes to those who stay: an activity
    /// that no command brought must not be forgotten with the socket.
    fn take_connection(&mut self, member: Member) -> Result<Connection, Refusal> {
        let participant = self.participants.get_mut(&member.participant).ok_or(Refusal::ParticipantUnknown)?;
        let index = participant.connections.iter().position(|connection| connection.id == member.connection);
        let connection = participant.connections.remove(index.ok_or(Refusal::ConnectionUnknown)?);
        participant.last_seen_at = participant.last_seen_at.max(connection.clock.evidence_at());
        self.last_activity_at = self.last_activity_at.max(connection.clock.activity_at());
        if let Some(expires_at) = connection.token_expires_at {
            self.disarm(expires_at, TimerKey::Token(member.participant));
        }
        self.touch(member.participant);
        Ok(connection)
    }

    pub(super) fn closed(
        &mut self,
        member: Member,
        reason: LeaveReason,
        proof: CloseProof,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if let Some(closing) = self.closing.remove(&member.connection) {
            self.record_close(member, &closing, proof, closing.closed_at, effects);
            return Ok(());
        }
        let connection = self.take_connection(member)?;
        let grace = if connection.clock.is_hidden() { self.policy.grace_hidden } else { self.policy.grace };
        let closing = Closing {
            participant: member.participant,
            connected_at: connection.connected_at,
            closed_at: now,
            reason,
            clock: connection.clock,
        };
        self.record_close(member, &closing, proof, now, effects);
        if reason == LeaveReason::Left {
            let by = Actor::Participant(member.participant);
            self.leave_if_alone(member.participant, reason, by, now, effects);
        } else {
            self.start_grace(member.participant, reason, grace, now);
            self.settle_status(member.participant, now, effects);
        }
        Ok(())
    }

    /// Without a connection a participant is kept for a while before the others hear that it left.
    pub(super) fn start_grace(&mut self, id: ParticipantId, reason: LeaveReason, grace: Duration, now: Timestamp) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if participant.connections.is_empty() {
            participant.gone_at = Some(now);
            participant.gone_reason = reason;
            participant.grace = grace;
            self.arm(now + grace, TimerKey::Grace(id));
        }
    }

    fn disarm_grace_timer(&mut self, id: ParticipantId) {
        let participant = self.participants.get(&id);
        if let Some(at) = participant.and_then(|participant| participant.grace_ends_at()) {
            self.disarm(at, TimerKey::Grace(id));
        }
    }

    /// A span ends at evidence: where the peer proved to be alive up to the close it is the close, else the last frame.
    fn record_close(
        &self,
        member: Member,
        closing: &Closing,
        proof: CloseProof,
        closed_at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let evidence_at = closing.clock.evidence_at().max(closing.connected_at);
        let end = match proof {
            CloseProof::Observed => closed_at,
            CloseProof::Silent if planted!("span_ends_at_detection") => closed_at,
            CloseProof::Silent if planted!("grace_is_billed") => evidence_at.min(closed_at) + self.policy.grace,
            CloseProof::Silent => evidence_at.min(closed_at),
        }
        .max(closing.connected_at);
        let fact = SessionFact::ConnectionClosed {
            participant: closing.participant,
            connection: member.connection,
            connected_at: closing.connected_at,
            reason: closing.reason,
            uncertainty_us: closed_at.since(end).as_micros() as i64,
        };
        self.record(fact, end, effects);
    }

    /// Takes a participant out for good; its connections must already be closing.
    pub(super) fn remove_participant(
        &mut self,
        id: ParticipantId,
        reason: LeaveReason,
        by: Actor,
        at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.touch(id);
        self.disarm_grace_timer(id);
        self.disarm_away_timer(id);
        if self.participants.remove(&id).is_none() {
            return;
        }
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.left = Some(reason);
        }
        self.record(SessionFact::ParticipantLeft { participant: id, reason, by }, at, effects);
    }

    pub(super) fn send_snapshot(
        &mut self,
        member: Member,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.role_of(member).ok_or(Refusal::ConnectionUnknown)?;
        let event = Event::Snapshot(self.snapshot(now));
        effects.push(Effect::Deliver { to: Recipients::One(member.connection), event });
        Ok(())
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let mut members = Vec::new();
        for (id, participant) in &self.participants {
            let of = |connection: &Connection| Member { participant: *id, connection: connection.id };
            members.extend(participant.connections.iter().map(of));
        }
        members
    }
}
