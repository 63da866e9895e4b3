//! The server stops and comes back: drain, restored participants, testimony after a crash.

use std::time::Duration;

use super::deadlines::TimerKey;
use super::{CloseReason, CrashedConnection, Effect, Participant, RestoredParticipant, Session, Testimony};
use crate::ids::ParticipantId;
use crate::planted;
use crate::record::SessionFact;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::words::{LeaveReason, Status};

/// A crashed connection is believed to have lived on to its epoch's last mark only if it was heard this shortly before:
/// a client that is not silent pings every 30 s, and 35 s is when the server itself starts to doubt.
const BELIEF_MAX: Duration = Duration::from_secs(35);

impl Session {
    /// Closes every connection for a restart. Participants stay: they will be restored as reconnecting.
    pub(super) fn drain(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let mut members = self.members();
        for member in &members {
            self.begin_close(*member, CloseReason::Restarting, now, effects);
        }
        members.dedup_by_key(|member| member.participant);
        for member in members {
            self.start_grace(member.participant, LeaveReason::ServerDrain, self.policy.grace_hidden, now);
            self.settle_status(member.participant, now, effects);
        }
        self.drained = true;
        self.pending.clear();
        Ok(())
    }

    /// Puts back participants that were present when the server stopped. They are shown as reconnecting from now on; who
    /// is back already stays as it is.
    pub fn restore(&mut self, restored: Vec<RestoredParticipant>, now: Timestamp) {
        for one in restored {
            if self.participants.contains_key(&one.participant) {
                continue;
            }
            let participant = Participant {
                identity: one.identity,
                verified: one.verified,
                name: one.name,
                role: one.role,
                state: one.state,
                status: Status::Reconnecting,
                joined_at: one.joined_at,
                last_seen_at: one.last_seen_at,
                connections: Vec::new(),
                // The grace counts from the restart: while the server was down nobody could come back.
                gone_at: Some(now),
                gone_reason: one.reason,
                // Browsers throttle hidden pages, and which pages were hidden is not known any more.
                grace: self.policy.grace_hidden,
                away_timer_at: None,
                crashed: one.crashed.map(Box::new),
            };
            self.arm(now + participant.grace, TimerKey::Grace(one.participant));
            self.participants.insert(one.participant, Box::new(participant));
        }
        self.started |= !self.participants.is_empty();
    }

    /// The client testifies when it saw its old socket close. That can only raise its own bill, so it is believed, up to
    /// the last instant at which the crashed node itself was alive. Only the earliest instant that its words allow is
    /// billed: the time that they were on their way must not be.
    pub(super) fn amend_crashed(
        &mut self,
        participant: ParticipantId,
        crashed: CrashedConnection,
        testimony: Testimony,
        effects: &mut Vec<Effect>,
    ) {
        let end = if planted!("testimony_is_not_bounded") {
            testimony.closed_before
        } else {
            testimony.closed_after.min(crashed.mark_at)
        };
        let doubtful = crashed.mark_at.since(crashed.disconnected_at) > BELIEF_MAX;
        if doubtful || end <= crashed.disconnected_at {
            return;
        }
        let possible_until = testimony.closed_before.min(crashed.possible_until);
        let uncertainty_us = possible_until.since(end).as_micros() as i64;
        let fact = SessionFact::ConnectionCloseAmended { participant, connection: crashed.connection, uncertainty_us };
        self.record(fact, end, effects);
    }
}
