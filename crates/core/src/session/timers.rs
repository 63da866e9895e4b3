//! What happens because time passed. Timers are lazy: nothing re-arms them while people are active; when one fires it
//! looks at the facts and either acts or moves on to the instant the facts now give.

use super::deadlines::TimerKey;
use super::{CloseReason, Connection, Effect, Event, Recipients, Session, State, Warned};
use crate::ids::ParticipantId;
use crate::planted;
use crate::record::SessionFact;
use crate::time::Timestamp;
use crate::words::{Actor, LeaveReason, SessionEndReason, Status, WarningCause};

impl Session {
    /// Fires what is due, in the order in which it became due and as of the instant at which it became due: a late tick
    /// must leave the same ledger as a punctual one.
    pub(super) fn run_timers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while !self.stands_still()
            && let Some((at, key)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            match key {
                TimerKey::Presence => self.flush_presence_if_due(now, effects),
                TimerKey::Session => self.session_due(at, now, effects),
                TimerKey::Grace(participant) => self.grace_over(participant, at, effects),
                TimerKey::Away(participant) => self.away_due(participant, at, effects),
                TimerKey::Token(participant) => self.token_expired(participant, at, effects),
            }
        }
    }

    fn session_due(&mut self, at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        self.session_timer_at = None;
        let (ends_at, _) = self.ends_at();
        if at < ends_at && ends_at <= now {
            // Too late to warn, and too early to end: what became due before the end goes first.
            self.session_timer_at = Some(ends_at);
            self.arm(ends_at, TimerKey::Session);
            return;
        }
        self.review_end(now, effects);
    }

    /// Ends the session if its end has come, else sends the warning that is due and arms the next look.
    pub(super) fn review_end(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.state != State::Active || self.stands_still() {
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
            self.withdraw_warning(ends_at, effects);
        }
        self.warn_if_due(ends_at, cause, now, effects);
        if !planted!("look_is_not_repeated") {
            self.arm_session_timer(now);
        }
    }

    fn warn_if_due(&mut self, ends_at: Timestamp, cause: WarningCause, now: Timestamp, effects: &mut Vec<Effect>) {
        let already = self.warned.map(|warned| warned.lead);
        let due = self.leads(cause).filter(|lead| ends_at - *lead <= now).min();
        let Some(lead) = due.filter(|lead| already.is_none_or(|sent| *lead < sent)) else { return };
        self.warned = Some(Warned { cause, ends_at, lead });
        self.record(SessionFact::SessionWarned { cause, ends_at }, now, effects);
        let event = Event::Warning { cause, ends_at, in_time: ends_at.since(now) };
        effects.push(Effect::Deliver { to: Recipients::All, event });
        self.set_attention_of_all();
    }

    fn withdraw_warning(&mut self, ends_at: Timestamp, effects: &mut Vec<Effect>) {
        self.warned = None;
        effects.push(Effect::Deliver { to: Recipients::All, event: Event::Extended { ends_at } });
        self.set_attention_of_all();
    }

    /// Whether activity must come as a command, because it withdraws a warning. Nobody's activity moves a hard end.
    pub(super) fn is_idle_warned(&self) -> bool {
        self.warned.is_some_and(|warned| warned.cause == WarningCause::Idle)
    }

    pub(super) fn set_attention_of_all(&self) {
        let warned = self.is_idle_warned();
        for participant in self.participants.values() {
            for connection in &participant.connections {
                connection.clock.set_attention(warned || participant.status == Status::Away);
            }
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
            if let Some(later) = self.session_timer_at.replace(at) {
                self.disarm(later, TimerKey::Session);
            }
            self.arm(at, TimerKey::Session);
        }
    }

    fn leads(&self, cause: WarningCause) -> impl Iterator<Item = std::time::Duration> + '_ {
        // A lead as long as the idle timeout would warn a session in which somebody was active this very moment.
        let is_sensible =
            move |lead: &std::time::Duration| cause == WarningCause::MaxDuration || *lead < self.spec.idle_timeout;
        self.spec.warn_before.iter().copied().filter(is_sensible)
    }

    fn grace_over(&mut self, id: ParticipantId, at: Timestamp, effects: &mut Vec<Effect>) {
        let Some(participant) = self.participants.get(&id) else { return };
        let reason = participant.gone_reason;
        self.remove_participant(id, reason, Actor::Server, at, effects);
    }

    fn away_due(&mut self, id: ParticipantId, at: Timestamp, effects: &mut Vec<Effect>) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        participant.away_timer_at = None;
        self.settle_status(id, at, effects);
    }

    /// Arms the look at away for the instant at which the person will count as away, unless an earlier look stands: that
    /// one will move itself on.
    pub(super) fn arm_away_timer(&mut self, id: ParticipantId) {
        let away_after = self.policy.away_after;
        let Some(participant) = self.participants.get_mut(&id) else { return };
        let Some(at) = participant.active_until(away_after) else { return };
        if participant.away_timer_at.is_none_or(|armed| at < armed) {
            if let Some(later) = participant.away_timer_at.replace(at) {
                self.disarm(later, TimerKey::Away(id));
            }
            self.arm(at, TimerKey::Away(id));
        }
    }

    pub(super) fn disarm_away_timer(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else { return };
        if let Some(at) = participant.away_timer_at.take() {
            self.disarm(at, TimerKey::Away(id));
        }
    }

    /// Closes together what expires together: between two closes of one instant nobody is away.
    fn token_expired(&mut self, participant: ParticipantId, at: Timestamp, effects: &mut Vec<Effect>) {
        let is_over = |connection: &Connection| connection.token_expires_at.is_some_and(|expires_at| expires_at <= at);
        self.close_where(participant, CloseReason::TokenExpired, at, effects, is_over);
        self.leave_if_alone(participant, LeaveReason::TokenExpired, Actor::Server, at, effects);
    }
}
