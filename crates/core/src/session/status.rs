//! What people do while they are in: the app's state, activity, hidden pages.

use std::sync::Arc;

use super::{Effect, Member, Session};
use crate::ids::ParticipantId;
use crate::record::SessionFact;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::words::Status;

impl Session {
    pub(super) fn update(
        &mut self,
        member: Member,
        state: Arc<str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let participant = self.participants.get_mut(&member.participant).ok_or(Refusal::ParticipantUnknown)?;
        let connection = participant.connection(member.connection).ok_or(Refusal::ConnectionUnknown)?;
        connection.clock.set_hidden(false);
        connection.clock.act(now);
        if participant.state.as_ref() != Some(&state) {
            participant.state = Some(state.clone());
            self.touch(member.participant);
            self.record(SessionFact::StateUpdated { participant: member.participant, state }, now, effects);
        }
        self.settle_status(member.participant, now, effects);
        self.note_activity(now, effects);
        Ok(())
    }

    pub(super) fn activity(
        &mut self,
        member: Member,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let participant = self.participants.get(&member.participant).ok_or(Refusal::ParticipantUnknown)?;
        let connection = participant.connection(member.connection).ok_or(Refusal::ConnectionUnknown)?;
        connection.clock.set_hidden(false);
        connection.clock.act(now);
        self.settle_status(member.participant, now, effects);
        self.note_activity(now, effects);
        Ok(())
    }

    pub(super) fn hide(&mut self, member: Member, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let participant = self.participants.get(&member.participant).ok_or(Refusal::ParticipantUnknown)?;
        let connection = participant.connection(member.connection).ok_or(Refusal::ConnectionUnknown)?;
        connection.clock.set_hidden(true);
        self.settle_status(member.participant, now, effects);
        Ok(())
    }

    /// Records and announces a change between active, away and reconnecting, and asks the clocks to report what would
    /// change it back.
    pub(super) fn settle_status(&mut self, id: ParticipantId, now: Timestamp, effects: &mut Vec<Effect>) {
        let away_after = self.policy.away_after;
        let warned = self.is_idle_warned();
        let Some(participant) = self.participants.get_mut(&id) else { return };
        let status = participant.observe(now, away_after);
        for connection in &participant.connections {
            connection.clock.set_attention(warned || status == Status::Away);
        }
        if participant.status != status {
            participant.status = status;
            self.touch(id);
            self.record(SessionFact::PresenceChanged { participant: id, status }, now, effects);
        }
        if status == Status::Active {
            self.arm_away_timer(id);
        } else {
            self.disarm_away_timer(id);
        }
    }

    /// Activity moves the idle deadline; whoever was warned is told that the end has moved.
    pub(super) fn note_activity(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.last_activity_at = self.last_activity_at.max(now);
        if self.is_idle_warned() {
            self.review_end(now, effects);
        }
    }
}
