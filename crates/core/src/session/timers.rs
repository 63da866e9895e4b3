//! What happens because time passed. Timers are lazy: nothing re-arms them while people are active; when one fires it
//! looks at the facts and either acts or moves on to the instant the facts now give.

use std::cmp::Reverse;

use super::{CloseReason, Effect, Event, Member, Recipients, Session, State, Warned};
use crate::ids::ParticipantId;
use crate::record::SessionFact;
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, SessionEndReason, Status, WarningCause};

/// What a timer is about. An entry whose subject is gone is ignored when it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// The coalescing window of the presence diff is over.
    Presence,
    /// A warning or the end of the session may be due.
    Session,
    Grace(ParticipantId),
    Away(ParticipantId),
    Token(Member),
}

impl Session {
    /// Fires what is due, in the order in which it became due.
    pub(super) fn run_timers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while !self.frozen
            && let Some(Reverse((at, key))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.state != State::Active {
                continue;
            }
            match key {
                TimerKey::Presence => self.flush_presence_if_due(now, effects),
                TimerKey::Session if self.session_timer_at == Some(at) => {
                    self.session_timer_at = None;
                    self.review_end(now, effects);
                }
                TimerKey::Session => {}
                TimerKey::Grace(participant) => self.grace_over(participant, now, effects),
                TimerKey::Away(participant) => self.away_due(participant, at, now, effects),
                TimerKey::Token(member) => self.token_expired(member, now, effects),
            }
        }
    }

    /// Ends the session if its end has come, else sends the warning that is due and arms the next look.
    pub(super) fn review_end(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.state != State::Active {
            return;
        }
        let (ends_at, cause) = self.ends_at();
        if ends_at <= now {
            let reason = match cause {
                _ if !self.started => SessionEndReason::Abandoned,
                WarningCause::Idle => SessionEndReason::Idle,
                WarningCause::MaxDuration => SessionEndReason::MaxDuration,
            };
            // The logical end is the deadline: a late timer must not bill extra time.
            self.finish(reason, Actor::Server, ends_at, false, effects);
            return;
        }
        if self.warned.is_some_and(|warned| warned.ends_at != ends_at) {
            self.withdraw_warning(ends_at, now, effects);
        }
        self.warn_if_due(ends_at, cause, now, effects);
        self.arm_session_timer(now);
    }

    fn warn_if_due(&mut self, ends_at: Timestamp, cause: WarningCause, now: Timestamp, effects: &mut Vec<Effect>) {
        let already = self.warned.map(|warned| warned.lead);
        let due = self.leads(cause).filter(|lead| ends_at - *lead <= now).min();
        let Some(lead) = due.filter(|lead| already.is_none_or(|sent| *lead < sent)) else { return };
        self.warned = Some(Warned { ends_at, lead });
        self.record(SessionFact::SessionWarned { cause, ends_at }, now, effects);
        let event = Event::Warning { cause, ends_at, in_time: ends_at.since(now) };
        effects.push(Effect::Deliver { to: Recipients::All, event });
        self.set_attention_of_all(now, effects);
    }

    fn withdraw_warning(&mut self, ends_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        self.warned = None;
        effects.push(Effect::Deliver { to: Recipients::All, event: Event::Extended { ends_at } });
        self.set_attention_of_all(now, effects);
    }

    /// Activity must come as a command while a warning stands, so that it can be withdrawn at once.
    fn set_attention_of_all(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let ids: Vec<_> = self.participants.keys().copied().collect();
        for id in ids {
            self.settle_status(id, now, effects);
        }
    }

    pub(super) fn arm_session_timer(&mut self, now: Timestamp) {
        let (ends_at, cause) = self.ends_at();
        let already = self.warned.filter(|warned| warned.ends_at == ends_at).map(|warned| warned.lead);
        let next_warning = self
            .leads(cause)
            .filter(|lead| already.is_none_or(|sent| *lead < sent))
            .map(|lead| ends_at - lead)
            .filter(|at| *at > now)
            .min();
        let at = next_warning.unwrap_or(ends_at);
        if self.session_timer_at.is_none_or(|armed| at < armed) {
            self.session_timer_at = Some(at);
            self.arm(at, TimerKey::Session);
        }
    }

    fn leads(&self, cause: WarningCause) -> impl Iterator<Item = std::time::Duration> + '_ {
        // A lead as long as the idle timeout would warn a session in which somebody was active this very moment.
        let is_sensible =
            move |lead: &std::time::Duration| cause == WarningCause::MaxDuration || *lead < self.spec.idle_timeout;
        self.spec.warn_before.iter().copied().filter(is_sensible)
    }

    fn grace_over(&mut self, id: ParticipantId, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(participant) = self.participants.get(&id) else { return };
        let Some(gone_at) = participant.gone_at else { return };
        let over_at = gone_at + participant.grace;
        if over_at > now {
            // It came back and went again; the entry belongs to the earlier absence.
            return;
        }
        let reason = participant.gone_reason;
        self.remove_participant(id, reason, Actor::Server, over_at, effects);
    }

    fn away_due(&mut self, id: ParticipantId, at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let away_after = self.policy.away_after;
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if participant.away_timer_at != Some(at) {
            return;
        }
        participant.away_timer_at = None;
        if participant.status != Status::Active {
            return;
        }
        let latest = participant.connections.iter().map(|connection| connection.clock.activity_at()).max();
        match latest {
            Some(activity_at) if activity_at + away_after > now => self.arm_away_timer(id, activity_at + away_after),
            _ => self.settle_status(id, now, effects),
        }
    }

    /// Arms the look at away unless an earlier one stands: that one will move itself on.
    pub(super) fn arm_away_timer(&mut self, id: ParticipantId, at: Timestamp) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if participant.away_timer_at.is_none() {
            participant.away_timer_at = Some(at);
            self.arm(at, TimerKey::Away(id));
        }
    }

    fn token_expired(&mut self, member: Member, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(participant) = self.participants.get(&member.participant) else { return };
        let Some(connection) = participant.connection(member.connection) else { return };
        let expires_at = connection.token_expires_at.unwrap_or(now).min(now);
        self.begin_close(member, CloseReason::TokenExpired, expires_at, effects);
        self.leave_if_alone(member.participant, LeaveReason::TokenExpired, Actor::Server, expires_at, now, effects);
    }
}
