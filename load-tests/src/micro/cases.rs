//! The cases: what the server does for each join, update, ping and deadline, without sockets, ledger and database. Each is
//! built once and then repeated, and every repetition does the same work.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{
    CloseProof, Command, ConnectionClock, ConnectionId, Effect, Epoch, Join, LeaveReason, Member, ParticipantId,
    PresencePolicy, Role, Session, SessionSpec, Timestamp,
};
use rollcall_protocol::client::ClientMessage;
use rollcall_protocol::server::{Participant, ServerMessage};
use uuid::Uuid;

/// Longer than any case runs, in the time of the case.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Time between two repetitions, in which every window of coalescing ends.
const STEP: Duration = Duration::from_secs(1);

const TIMERS: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Case {
    pub name: &'static str,
    pub what: &'static str,
    /// Repetitions between the two counts.
    pub repetitions: usize,
    pub build: fn() -> Box<dyn FnMut()>,
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "churn-10",
        what: "a join and a leave in a room of 10, diffs and snapshot made",
        repetitions: 500,
        build: || churn(10),
    },
    Case { name: "churn-1000", what: "the same in a room of 1,000", repetitions: 20, build: || churn(1_000) },
    Case {
        name: "update-10",
        what: "a state update and its diff in a room of 10",
        repetitions: 500,
        build: || update(10),
    },
    Case { name: "update-1000", what: "the same in a room of 1,000", repetitions: 50, build: || update(1_000) },
    Case {
        name: "diff-encode",
        what: "a diff with 10 joins as a frame, once for a room of any size",
        repetitions: 500,
        build: || encode(10, false),
    },
    Case {
        name: "snapshot-encode",
        what: "a list of 1,000 as a frame",
        repetitions: 20,
        build: || encode(1_000, true),
    },
    Case { name: "ping-read", what: "a ping frame decoded", repetitions: 5_000, build: ping_read },
    Case { name: "pong-encode", what: "a pong frame by serde", repetitions: 5_000, build: pong_encode },
    Case { name: "ping-evidence", what: "what a ping leaves behind", repetitions: 5_000, build: ping_evidence },
    Case {
        name: "timer",
        what: "the first deadline of 1,000,000 taken and armed again, in a queue as the server's",
        repetitions: 1_000,
        build: timer,
    },
];

/// A room of clients that stay, and a clock.
struct Room {
    session: Session,
    now: Timestamp,
    effects: Vec<Effect>,
    connections: i64,
}

impl Room {
    fn new(members: usize) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        // Nobody becomes away and nothing ends, so that repetitions stay alike.
        let policy = PresencePolicy { away_after: NEVER, ..PresencePolicy::default() };
        let spec = SessionSpec {
            tenant: Uuid::from_u128(1).into(),
            session: Uuid::from_u128(2).into(),
            title: None,
            created_at: now,
            idle_timeout: NEVER,
            expires_at: None,
            hold_until: now,
            participants_max: None,
            warn_before: Vec::new(),
            started: true,
            last_activity_at: now,
            kicked: Vec::new(),
        };
        let session = Session::new(spec, Arc::new(policy), now);
        let mut room = Self { session, now, effects: Vec::new(), connections: 0 };
        for member in 0..members {
            room.join(member);
        }
        room.settle();
        room
    }

    fn join(&mut self, member: usize) -> Member {
        self.connections += 1;
        let connection = ConnectionId { epoch: Epoch(1), counter: self.connections };
        let join = Join {
            connection,
            participant: participant(member),
            identity: identity(member).into(),
            verified: true,
            name: None,
            role: Role::guest(),
            state: None,
            invite: None,
            token_expires_at: None,
            resumed: None,
            testimony: None,
            clock: Arc::new(ConnectionClock::new(self.now)),
        };
        self.apply(Command::Join(Box::new(join)));
        Member { participant: participant(member), connection }
    }

    fn apply(&mut self, command: Command) {
        self.session.apply(command, self.now, &mut self.effects).expect("cases do what is allowed");
    }

    /// Time passes until all diffs are out.
    fn settle(&mut self) {
        self.now = self.now + STEP;
        self.apply(Command::Tick);
        black_box(&self.effects);
        self.effects.clear();
    }
}

fn participant(member: usize) -> ParticipantId {
    Uuid::from_u128(member as u128 + 100).into()
}

fn identity(member: usize) -> String {
    format!("person-{member}")
}

fn churn(members: usize) -> Box<dyn FnMut()> {
    let mut room = Room::new(members);
    Box::new(move || {
        let member = room.join(members);
        room.settle();
        room.apply(Command::Closed { member, reason: LeaveReason::Left, proof: CloseProof::Observed });
        room.settle();
    })
}

fn update(members: usize) -> Box<dyn FnMut()> {
    let mut room = Room::new(members);
    let member = Member { participant: participant(0), connection: ConnectionId { epoch: Epoch(1), counter: 1 } };
    let mut round = 1_000_000_u64;
    Box::new(move || {
        round += 1;
        room.apply(Command::Update { member, state: format!(r#"{{"moved_at":{round}}}"#).into() });
        room.settle();
    })
}

fn encode(people: usize, is_snapshot: bool) -> Box<dyn FnMut()> {
    let identities: Vec<String> = (0..people).map(identity).collect();
    Box::new(move || {
        let people = identities.iter().enumerate().map(|(member, identity)| person(member, identity)).collect();
        let message = if is_snapshot {
            ServerMessage::Snapshot { seq: 7, participants: people }
        } else {
            ServerMessage::Presence { seq: 7, joins: people, updates: Vec::new(), leaves: Vec::new() }
        };
        black_box(serde_json::to_vec(&message).expect("frames can be encoded"));
    })
}

fn person(member: usize, identity: &str) -> Participant<'_> {
    Participant {
        participant_id: participant(member).to_string(),
        identity,
        verified: true,
        name: None,
        role: "guest",
        status: "active",
        state: None,
        connections: 1,
        joined_at: "2026-01-01T00:00:00.000000Z".to_owned(),
        last_seen_at: "2026-01-01T00:00:00.000000Z".to_owned(),
    }
}

fn ping_read() -> Box<dyn FnMut()> {
    Box::new(|| {
        let message = ClientMessage::decode(black_box(r#"{"type":"ping","id":1234567,"active":true}"#));
        black_box(message.is_ok());
    })
}

fn pong_encode() -> Box<dyn FnMut()> {
    let id = serde_json::value::RawValue::from_string("1234567".to_owned()).expect("a number");
    Box::new(move || {
        let server_time = black_box("2026-01-01T00:00:00.000000Z").to_owned();
        let message = ServerMessage::Pong { id: Some(&id), server_time };
        black_box(serde_json::to_vec(&message).expect("frames can be encoded"));
    })
}

fn ping_evidence() -> Box<dyn FnMut()> {
    let mut now = Timestamp::from_millis(1_000_000);
    let clock = ConnectionClock::new(now);
    Box::new(move || {
        now = now + STEP;
        black_box(&clock).hear(now);
    })
}

fn timer() -> Box<dyn FnMut()> {
    let start = Timestamp::from_millis(1_000_000);
    // Deadlines spread over an hour in an order that is not theirs.
    let spread = |index: usize| Duration::from_micros((index as u64).wrapping_mul(2_654_435_761) % 3_600_000_000);
    let mut queue: BinaryHeap<Reverse<(Timestamp, Uuid)>> =
        (0..TIMERS).map(|index| Reverse((start + spread(index), Uuid::from_u128(index as u128)))).collect();
    Box::new(move || {
        if let Some(Reverse((at, key))) = queue.pop() {
            queue.push(Reverse((at + Duration::from_secs(3_600), key)));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_and_a_leave_put_the_room_back() {
        let mut room = Room::new(10);
        let member = room.join(10);
        assert_eq!(room.session.participants_present(), 11);
        assert!(room.effects.iter().any(|effect| matches!(effect, Effect::Deliver { .. })), "{:?}", room.effects);
        room.settle();
        room.apply(Command::Closed { member, reason: LeaveReason::Left, proof: CloseProof::Observed });
        room.settle();
        assert_eq!(room.session.participants_present(), 10);
        assert!(room.effects.is_empty());
    }

    #[test]
    fn every_case_but_the_timers_runs() {
        for case in CASES.iter().filter(|case| case.name != "timer") {
            let mut repeat = (case.build)();
            repeat();
            repeat();
        }
    }
}
