//! The core alone: how long the state machines of many sessions take to end, all of them in one go. It bounds from below
//! how late the last of a herd must be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{Command, Effect, Fact, PresencePolicy, Session, SessionFact, SessionSpec, Timestamp};

use crate::clock;

pub struct CoreExpiry {
    pub us_per_session: f64,
    /// Sessions that had ended a microsecond before their deadline.
    pub early: usize,
    /// Sessions that had not ended at their deadline, or as of another instant.
    pub inexact: usize,
}

const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Sessions end one millisecond after each other, so that deadlines differ as they do in life.
const STEP: Duration = Duration::from_millis(1);

pub fn run(count: usize) -> CoreExpiry {
    let policy = Arc::new(PresencePolicy::default());
    let created_at = Timestamp::from_millis(1_000_000);
    let mut sessions: Vec<_> = (0..count).map(|index| session(index, created_at, &policy)).collect();
    let mut queue: BinaryHeap<_> = sessions
        .iter()
        .enumerate()
        .filter_map(|(index, session)| Some(Reverse((session.next_deadline()?, index))))
        .collect();
    let (mut early, mut inexact) = (count - queue.len(), 0);
    let mut effects = Vec::new();
    let started_at = clock::now();
    while let Some(Reverse((at, index))) = queue.pop() {
        let session = &mut sessions[index];
        early += usize::from(tick(session, at - Duration::from_micros(1), &mut effects));
        let ended = tick(session, at, &mut effects);
        if !ended {
            match session.next_deadline() {
                Some(next) => queue.push(Reverse((next, index))),
                None => inexact += 1,
            }
            continue;
        }
        let end = created_at + IDLE_TIMEOUT + STEP * index as u32;
        inexact += usize::from(!effects.iter().any(|effect| is_end_at(effect, end)));
    }
    let took_us = clock::micros_between(started_at, clock::now());
    CoreExpiry { us_per_session: took_us as f64 / count as f64, early, inexact }
}

/// Returns whether the session has ended.
fn tick(session: &mut Session, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
    effects.clear();
    // A tick is never refused; if it were, the session would count as not ended.
    session.apply(Command::Tick, now, effects).is_ok() && session.ended().is_some()
}

fn is_end_at(effect: &Effect, end: Timestamp) -> bool {
    let Effect::Record(record) = effect else { return false };
    record.at == end && matches!(&record.fact, Fact::Session { fact: SessionFact::SessionEnded { .. }, .. })
}

fn session(index: usize, created_at: Timestamp, policy: &Arc<PresencePolicy>) -> Session {
    let spec = SessionSpec {
        tenant: uuid::Uuid::from_u128(1).into(),
        session: uuid::Uuid::from_u128(index as u128 + 2).into(),
        title: None,
        created_at,
        idle_timeout: IDLE_TIMEOUT + STEP * index as u32,
        expires_at: None,
        hold_until: created_at,
        participants_max: None,
        warn_before: Vec::new(),
        started: true,
        last_activity_at: created_at,
        kicked: Vec::new(),
    };
    Session::new(spec, policy.clone(), created_at)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sessions_end_at_their_deadline_and_not_before() {
        let found = super::run(50);
        assert_eq!((found.early, found.inexact), (0, 0));
    }
}
