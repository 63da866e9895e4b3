//! What a session holds is bounded by who is there, and not by how often they came and went.

use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{
    CloseProof, Command, ConnectionClock, ConnectionId, Join, LeaveReason, Member, PresencePolicy, Role, Session,
    Timestamp,
};

use crate::script::{member, plain_spec};

/// Everything the session holds, timers included, is in its `Debug` text.
fn held_bytes(session: &Session) -> usize {
    format!("{session:?}").len()
}

/// `rounds` connections of three participants that live a millisecond each, closed in the given way.
fn flap(rounds: i64, reason: LeaveReason, is_hidden: bool) -> Session {
    let mut session = Session::new(plain_spec(), Arc::new(PresencePolicy::default()), Timestamp::ZERO);
    let mut effects = Vec::new();
    let mut open: Vec<Member> = Vec::new();
    for round in 0..rounds {
        let now = Timestamp::from_millis(1_000_000 + round);
        for member in open.drain(..) {
            if is_hidden {
                session.apply(Command::Hide { member }, now, &mut effects).expect("open");
            }
            let proof = CloseProof::Observed;
            session.apply(Command::Closed { member, reason, proof }, now, &mut effects).expect("open");
        }
        for letter in ["a", "b", "c"] {
            let Member { participant, connection } = member(letter);
            let connection = ConnectionId { counter: connection.counter + 1000 * round, ..connection };
            open.push(Member { participant, connection });
            let join = Join {
                connection,
                participant,
                identity: letter.into(),
                verified: true,
                name: None,
                role: Role::guest(),
                state: None,
                invite: None,
                token_expires_at: Some(now + Duration::from_secs(86_400)),
                resumed: None,
                testimony: None,
                clock: Arc::new(ConnectionClock::new(now)),
            };
            session.apply(Command::Join(Box::new(join)), now, &mut effects).expect("admitted");
        }
        effects.clear();
    }
    session
}

#[test]
fn flapping_leaves_nothing_behind() {
    for reason in [LeaveReason::Left, LeaveReason::Closed, LeaveReason::LivenessTimeout] {
        for is_hidden in [false, true] {
            let (few, many) = (flap(10, reason, is_hidden), flap(5_000, reason, is_hidden));
            // The numbers in the text have a few digits more; one stale timer alone would take a hundred bytes.
            let growth = held_bytes(&many).saturating_sub(held_bytes(&few));
            assert!(growth < 100, "{reason}, hidden {is_hidden}: {growth} bytes more after 5000 rounds");
        }
    }
}

#[test]
fn changed_deadlines_leave_nothing_behind() {
    let mut session = flap(1, LeaveReason::Left, false);
    let before = held_bytes(&session);
    let mut effects = Vec::new();
    let now = Timestamp::from_millis(1_000_001);
    for round in 0..1_000 {
        let expires_at = Some(now + Duration::from_secs(4_000 - round));
        session.apply(Command::Hold { hold_until: now, expires_at }, now, &mut effects).expect("active");
    }
    assert!(held_bytes(&session) < before + 100, "{before} bytes became {}", held_bytes(&session));
}
