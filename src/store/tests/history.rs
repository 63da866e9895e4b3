//! Random histories as the state machine could have recorded them.

use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{
    Actor, ConnectionId, Epoch, Fact, Heard, LeaveReason, ParticipantId, Record, Role, SessionEndReason, SessionFact,
    SessionId, Status, TenantId, Timestamp,
};
use uuid::Uuid;

/// Index of the session, index of the person.
type Who = (usize, usize);

pub struct History {
    pub tenant: TenantId,
    pub sessions: Vec<SessionId>,
    pub epoch: Epoch,
    pub now: Timestamp,
    pub records: Vec<Record>,
    started: Vec<bool>,
    /// With the open connections of each person present.
    present: Vec<(Who, Vec<(i64, Timestamp)>)>,
    counter: i64,
}

impl History {
    pub fn new(tenant: TenantId, sessions: Vec<SessionId>, epoch: Epoch, now: Timestamp) -> Self {
        let started = vec![false; sessions.len()];
        Self { tenant, sessions, epoch, now, records: vec![], started, present: vec![], counter: 0 }
    }

    /// One step; `choice` selects what happens and to whom.
    pub fn step(&mut self, choice: u32) {
        self.now = self.now + Duration::from_micros(u64::from(choice % 997) * 1_003);
        let session = (choice as usize / 7) % self.sessions.len();
        let person = (choice as usize / 31) % 3;
        match choice % 13 {
            0..=3 => self.join(session, person),
            4 | 5 => self.close(choice as usize, LeaveReason::Closed),
            6 => self.close(choice as usize, LeaveReason::NodeCrash),
            7 => self
                .leave(choice as usize, if choice.is_multiple_of(2) { LeaveReason::Left } else { LeaveReason::Kicked }),
            8 => self.update(choice as usize),
            9 => self.presence(choice as usize),
            10 | 11 => self.mark(choice as usize),
            _ => self.end(session),
        }
    }

    pub fn participant(&self, session: usize, person: usize) -> ParticipantId {
        let seed = self.sessions[session].0.as_u128() ^ (person as u128 + 1);
        ParticipantId(Uuid::from_u128(seed))
    }

    pub fn join(&mut self, session: usize, person: usize) {
        if !std::mem::replace(&mut self.started[session], true) {
            self.record(session, self.now, SessionFact::SessionStarted);
        }
        let participant = self.participant(session, person);
        let key = (session, person);
        if !self.present.iter().any(|(who, _)| *who == key) {
            self.present.push((key, vec![]));
            let fact = SessionFact::ParticipantJoined {
                participant,
                identity: format!("person-{person}").into(),
                verified: true,
                name: (self.counter % 2 == 0).then(|| format!("Name {}", self.counter).into()),
                role: if self.counter % 3 == 0 { Role::host() } else { Role::guest() },
                invite: None,
            };
            self.record(session, self.now, fact);
        }
        self.counter += 1;
        let fact = SessionFact::ConnectionOpened {
            participant,
            connection: ConnectionId { epoch: self.epoch, counter: self.counter },
            role: Role::guest(),
            invite: None,
            resumed: None,
        };
        self.record(session, self.now, fact);
        let (counter, now) = (self.counter, self.now);
        if let Some((_, connections)) = self.present.iter_mut().find(|(who, _)| *who == key) {
            connections.push((counter, now));
        }
    }

    pub fn close(&mut self, choice: usize, reason: LeaveReason) {
        let Some(index) = self.pick(choice) else { return };
        let ((session, person), connections) = &mut self.present[index];
        let Some((counter, connected_at)) = connections.pop() else { return };
        let (session, person) = (*session, *person);
        let participant = self.participant(session, person);
        let connection = ConnectionId { epoch: self.epoch, counter };
        let uncertainty_us = 5_000;
        let fact = SessionFact::ConnectionClosed { participant, connection, connected_at, reason, uncertainty_us };
        self.record(session, self.now, fact);
        if reason == LeaveReason::NodeCrash && choice.is_multiple_of(2) {
            let amended = self.now + Duration::from_micros(2_000);
            let fact = SessionFact::ConnectionCloseAmended { participant, connection, uncertainty_us: 3_000 };
            self.record(session, amended, fact);
        }
    }

    pub fn leave(&mut self, choice: usize, reason: LeaveReason) {
        let Some(index) = self.pick(choice) else { return };
        while !self.present[index].1.is_empty() {
            self.close(index, LeaveReason::Closed);
        }
        let ((session, person), _) = self.present.remove(index);
        let participant = self.participant(session, person);
        self.record(session, self.now, SessionFact::ParticipantLeft { participant, reason, by: Actor::Server });
    }

    fn update(&mut self, choice: usize) {
        let Some(index) = self.pick(choice) else { return };
        let (session, person) = self.present[index].0;
        let participant = self.participant(session, person);
        let state: Arc<str> = format!(r#"{{"hand":{choice},"nul":"a\u0000"}}"#).into();
        self.record(session, self.now, SessionFact::StateUpdated { participant, state });
    }

    fn presence(&mut self, choice: usize) {
        let Some(index) = self.pick(choice) else { return };
        let (session, person) = self.present[index].0;
        let participant = self.participant(session, person);
        let status = [Status::Active, Status::Away, Status::Reconnecting][choice / 13 % 3];
        self.record(session, self.now, SessionFact::PresenceChanged { participant, status });
    }

    pub fn mark(&mut self, choice: usize) {
        let open = self.present.iter().flat_map(|(_, connections)| connections);
        let heard = open
            .enumerate()
            .filter(|(place, _)| (choice >> (place % 16)) & 1 == 0)
            .map(|(place, (counter, connected_at))| Heard {
                counter: *counter,
                evidence_at: self.now,
                activity_at: (place % 2 == 0).then_some((*connected_at).max(self.now)),
            })
            .collect();
        self.records.push(Record { at: self.now, fact: Fact::EvidenceMark { heard } });
    }

    pub fn end(&mut self, session: usize) {
        // Also of a session that has ended: the control plane may have been faster.
        let fact = SessionFact::SessionEnded { reason: SessionEndReason::Idle, by: Actor::Server };
        self.record(session, self.now, fact);
    }

    fn pick(&self, choice: usize) -> Option<usize> {
        (!self.present.is_empty()).then(|| choice % self.present.len())
    }

    fn record(&mut self, session: usize, at: Timestamp, fact: SessionFact) {
        let fact = Fact::Session { tenant: self.tenant, session: self.sessions[session], fact };
        self.records.push(Record { at, fact });
    }
}
