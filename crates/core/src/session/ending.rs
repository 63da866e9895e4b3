//! Ends: of a session, of a participant's stay, of an invite's effect; and the way back.

use super::{CloseReason, Connection, Effect, Event, Member, Recipients, Session, SessionSpec, State};
use crate::ids::{InviteId, ParticipantId};
use crate::planted;
use crate::record::SessionFact;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, SessionEndReason};

impl Session {
    pub(super) fn end(
        &mut self,
        reason: SessionEndReason,
        by: Actor,
        at: Timestamp,
        recorded: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        self.finish(reason, by, at, recorded, effects);
        Ok(())
    }

    /// Everybody is told, nobody stays. `at` is the logical end; no span reaches beyond it.
    pub(super) fn finish(
        &mut self,
        reason: SessionEndReason,
        by: Actor,
        at: Timestamp,
        recorded: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.state = State::Ended { reason, at };
        self.frozen = false;
        if !recorded || planted!("end_recorded_twice") {
            self.record(SessionFact::SessionEnded { reason, by }, at, effects);
        }
        effects.push(Effect::Deliver { to: Recipients::All, event: Event::Ended { reason } });
        for member in self.members() {
            self.begin_close(member, CloseReason::SessionEnded, at, effects);
        }
        let ids: Vec<_> = self.participants.keys().copied().collect();
        for id in ids {
            self.remove_participant(id, LeaveReason::SessionEnded, Actor::Server, at, effects);
        }
        self.pending.clear();
        self.diff_due_at = None;
        self.deadlines.clear();
        self.session_timer_at = None;
        self.warned = None;
    }

    pub(super) fn kick(
        &mut self,
        id: ParticipantId,
        by: Actor,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        if !self.participants.contains_key(&id) {
            return Err(Refusal::ParticipantUnknown);
        }
        self.kicked.insert(id);
        self.close_where(id, CloseReason::Kicked, now, effects, |_| true);
        self.remove_participant(id, LeaveReason::Kicked, by, now, effects);
        Ok(())
    }

    /// Closes the connections that came by this invite. Who is also here by another way stays.
    pub(super) fn revoke_invite(
        &mut self,
        invite: InviteId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        if planted!("revoke_closes_nobody") {
            return Ok(());
        }
        let ids: Vec<_> = self.participants.keys().copied().collect();
        for id in ids {
            let closed = self.close_where(id, CloseReason::InviteRevoked, now, effects, |connection| {
                connection.invite == Some(invite)
            });
            if closed > 0 {
                self.leave_if_alone(id, LeaveReason::InviteRevoked, Actor::Server, now, effects);
            }
        }
        Ok(())
    }

    pub(super) fn close_where(
        &mut self,
        id: ParticipantId,
        reason: CloseReason,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        wanted: impl Fn(&Connection) -> bool,
    ) -> usize {
        let Some(participant) = self.participants.get(&id) else { return 0 };
        let connections = participant.connections.iter().filter(|connection| wanted(connection));
        let tabs_max = if planted!("kick_leaves_second_tab") { 1 } else { usize::MAX };
        let members: Vec<_> = connections
            .map(|connection| Member { participant: id, connection: connection.id })
            .take(tabs_max)
            .collect();
        for member in &members {
            self.begin_close(*member, reason, now, effects);
        }
        members.len()
    }

    /// After connections of a participant were closed for a final reason: gone at once if none is left.
    pub(super) fn leave_if_alone(
        &mut self,
        id: ParticipantId,
        reason: LeaveReason,
        by: Actor,
        at: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let alone = self.participants.get(&id).is_some_and(|participant| participant.connections.is_empty());
        if alone || planted!("one_tab_leaves_for_all") {
            self.remove_participant(id, reason, by, at, effects);
        } else {
            self.settle_status(id, at, effects);
        }
    }

    pub(super) fn freeze(&mut self) -> Result<(), Refusal> {
        self.require_active()?;
        if self.stands_still() {
            return Err(Refusal::SessionEnding);
        }
        self.frozen = true;
        Ok(())
    }

    pub(super) fn thaw(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.frozen = false;
        self.run_timers(now, effects);
        // Activity and changed deadlines were only noted while the end was being written.
        self.review_end(now, effects);
        Ok(())
    }

    pub(super) fn hold(
        &mut self,
        hold_until: Timestamp,
        expires_at: Option<Timestamp>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        self.spec.hold_until = hold_until;
        self.spec.expires_at = expires_at;
        self.end_not_before(now);
        self.warned = None;
        self.set_attention_of_all();
        let (ends_at, _) = self.ends_at();
        effects.push(Effect::Deliver { to: Recipients::All, event: Event::Extended { ends_at } });
        self.review_end(now, effects);
        Ok(())
    }

    /// Where `by` moves the end of the session: `(hold_until, expires_at)` for [`super::Command::Hold`].
    pub fn extended_by(&self, by: std::time::Duration) -> (Timestamp, Option<Timestamp>) {
        let (ends_at, _) = self.ends_at();
        let target = ends_at + by;
        (target, self.spec.expires_at.map(|expires_at| expires_at.max(target)))
    }

    pub(super) fn configure(
        &mut self,
        spec: SessionSpec,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.require_active()?;
        // Whoever was removed while absent is known to the control plane alone; nobody is ever let back in by a change.
        self.kicked.extend(spec.kicked.iter().copied());
        // It may have come in while its removal was being written.
        for id in spec.kicked.iter().filter(|id| self.participants.contains_key(id)).copied().collect::<Vec<_>>() {
            self.kick(id, Actor::Operator, now, effects)?;
        }
        // Only [`Command::Hold`] takes a hold back: after a restart memory holds a session for its people for longer than the
        // database says.
        let hold_until = spec.hold_until.max(self.spec.hold_until);
        self.spec = SessionSpec { hold_until, ..spec };
        self.end_not_before(now);
        self.review_end(now, effects);
        Ok(())
    }

    /// A change of the deadlines ends the session at the earliest now: it must not take back time already served.
    fn end_not_before(&mut self, now: Timestamp) {
        let (ends_at, _) = self.ends_at();
        if ends_at < now {
            self.spec.hold_until = self.spec.hold_until.max(now);
            self.spec.expires_at = self.spec.expires_at.map(|expires_at| expires_at.max(now));
        }
    }

    /// The same session again, with the same ids. Its people come back by themselves.
    pub(super) fn recover(&mut self, expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
        if self.state == State::Active {
            return Err(Refusal::SessionActive);
        }
        self.state = State::Active;
        self.frozen = false;
        self.last_activity_at = now;
        self.spec.hold_until = now;
        self.spec.expires_at = expires_at;
        self.end_not_before(now);
        self.arm_session_timer(now);
        Ok(())
    }
}
