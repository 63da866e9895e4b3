//! A session driven through a random history, with its sockets, its readers, and checks that need no model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{
    Actor, CloseProof, Command, ConnectionClock, ConnectionId, Effect, Event, Fact, InviteId, Join, LeaveReason,
    Member, ParticipantId, ParticipantView, PresencePolicy, Recipients, Refusal, Role, Session, SessionEndReason,
    SessionFact, SessionSpec, Snapshot, Timestamp,
};
use uuid::Uuid;

use crate::describe::{connection_name, describe_fact};
use crate::model::{self, insert_numbered};
use crate::script::{member, plain_spec};
use crate::steps::{Step, at, earlier, letter, picked_name};

/// Diffs are collected for less than the half second at which readers are compared.
pub const WINDOW: Duration = Duration::from_millis(400);

/// How the timer task behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ticks {
    /// Exactly at `next_deadline`.
    Punctual,
    /// At every half second, needed or not, and at every deadline.
    Dense,
    /// Only when a command comes.
    Late,
}

/// A session, its sockets and its readers.
pub struct Driver {
    pub session: Session,
    ticks: Ticks,
    pub now: Timestamp,
    names: Vec<String>,
    joins: BTreeMap<char, u32>,
    clocks: BTreeMap<String, (Member, Arc<ConnectionClock>)>,
    /// Connections that the session has opened and not yet recorded as closed, with when the close was decided.
    spans: BTreeMap<ConnectionId, Span>,
    readers: BTreeMap<ConnectionId, Reader>,
    pub records: BTreeSet<(i64, String)>,
    pub warnings: Vec<(Timestamp, String)>,
    pub ends: usize,
    seq: u64,
}

pub struct Span {
    connected_at: Timestamp,
    decided_at: Option<Timestamp>,
    closed: bool,
}

/// What a client knows: a snapshot and every diff since.
pub struct Reader {
    seq: u64,
    views: BTreeMap<ParticipantId, ParticipantView>,
}

impl Reader {
    fn new(snapshot: &Snapshot) -> Self {
        let views = snapshot.participants.iter().map(|view| (view.participant, view.clone())).collect();
        Self { seq: snapshot.seq, views }
    }

    fn apply(&mut self, diff: &rollcall_core::PresenceDiff) {
        assert_eq!(diff.seq, self.seq + 1, "a gap in the diffs");
        self.seq = diff.seq;
        // Twice, because a client may see a diff again.
        for _ in 0..2 {
            for view in diff.joins.iter().chain(&diff.updates) {
                self.views.insert(view.participant, view.clone());
            }
            for (id, _) in &diff.leaves {
                self.views.remove(id);
            }
        }
    }

    /// Evidence moves without a diff, so it is not compared.
    fn people(&self) -> Vec<ParticipantView> {
        let unseen = |view: &ParticipantView| ParticipantView { last_seen_at: Timestamp::ZERO, ..view.clone() };
        self.views.values().map(unseen).collect()
    }
}

impl Driver {
    pub fn new(ticks: Ticks, window: Duration) -> Self {
        let policy = PresencePolicy {
            grace: Duration::from_secs(model::GRACE_S as u64),
            grace_hidden: Duration::from_secs(model::GRACE_HIDDEN_S as u64),
            away_after: Duration::from_secs(model::AWAY_AFTER_S as u64),
            connections_per_participant_max: model::CONNECTIONS_MAX,
            diff_windows: vec![(usize::MAX, window)],
        };
        let spec = SessionSpec {
            idle_timeout: Duration::from_secs(model::IDLE_TIMEOUT_S as u64),
            expires_at: Some(at(model::MAX_DURATION_S)),
            participants_max: Some(model::PARTICIPANTS_MAX as u32),
            warn_before: vec![Duration::from_secs(20), Duration::from_secs(5)],
            ..plain_spec()
        };
        Self {
            session: Session::new(spec, Arc::new(policy), Timestamp::ZERO),
            ticks,
            now: Timestamp::ZERO,
            names: Vec::new(),
            joins: BTreeMap::new(),
            clocks: BTreeMap::new(),
            spans: BTreeMap::new(),
            readers: BTreeMap::new(),
            records: BTreeSet::new(),
            warnings: Vec::new(),
            ends: 0,
            seq: 0,
        }
    }

    pub fn step(&mut self, step: &Step) {
        if self.ticks == Ticks::Late {
            // A frame alone does not come to the session, and what was due before it must not see it.
            self.apply(Command::Tick);
        }
        match step {
            Step::Wait { seconds } => self.wait(*seconds),
            Step::Join { participant, invite, token_s, resumes } => {
                self.join(*participant, *invite, *token_s, *resumes);
            }
            Step::Closed { pick, reason, proof } => {
                if let Some((member, clock)) = self.picked(*pick) {
                    if *proof == CloseProof::Observed {
                        clock.hear(self.now);
                    }
                    self.apply(Command::Closed { member, reason: *reason, proof: *proof });
                }
            }
            Step::Ping { pick }
            | Step::Act { pick }
            | Step::Update { pick, .. }
            | Step::Hide { pick }
            | Step::Snapshot { pick } => {
                if let Some((member, clock)) = self.picked(*pick) {
                    clock.hear(self.now);
                    self.frame(step, member, &clock);
                }
            }
            Step::Kick { participant } => {
                let participant = member(&letter(*participant).to_string()).participant;
                self.apply(Command::Kick { participant, by: Actor::Operator });
            }
            Step::Revoke { invite } => self.apply(Command::RevokeInvite { invite: InviteId(Uuid::from_u128(*invite)) }),
            Step::Freeze => self.apply(Command::Freeze),
            Step::Thaw => self.apply(Command::Thaw),
            Step::End => self.apply(Command::End {
                reason: SessionEndReason::Completed,
                by: Actor::Operator,
                at: self.now,
                recorded: false,
            }),
            Step::Extend { seconds } => {
                let (hold_until, expires_at) = self.session.extended_by(Duration::from_secs(*seconds as u64));
                self.apply(Command::Hold { hold_until, expires_at });
            }
            Step::Recover => self.apply(Command::Recover { expires_at: None }),
        }
    }

    fn frame(&mut self, step: &Step, member: Member, clock: &ConnectionClock) {
        match step {
            Step::Act { .. } if clock.act(self.now) => self.apply(Command::Activity { member }),
            Step::Update { state, .. } => self.apply(Command::Update { member, state: state.to_string().into() }),
            Step::Hide { .. } => self.apply(Command::Hide { member }),
            Step::Snapshot { .. } => self.apply(Command::Snapshot { member }),
            _ => {}
        }
    }

    /// Ends half a second before the next step, so that readers can be compared with nothing pending, and then there.
    fn wait(&mut self, seconds: i64) {
        let until = self.now + Duration::from_secs(seconds as u64);
        let before = until - Duration::from_millis(500);
        self.pass(before);
        self.compare_readers();
        self.pass(until);
    }

    fn pass(&mut self, until: Timestamp) {
        if self.ticks == Ticks::Dense {
            while self.now + Duration::from_millis(500) < until {
                self.tick_until(self.now + Duration::from_millis(500));
                self.apply(Command::Tick);
            }
        }
        if self.ticks != Ticks::Late {
            self.tick_until(until);
        }
        self.now = until;
    }

    fn tick_until(&mut self, until: Timestamp) {
        while let Some(at) = self.session.next_deadline().filter(|at| *at <= until) {
            assert!(at >= self.now, "a deadline was left behind");
            self.now = at;
            self.apply(Command::Tick);
            assert!(self.session.next_deadline().is_none_or(|next| next > at), "a tick did not settle its deadline");
        }
        self.now = until;
    }

    fn join(&mut self, participant: usize, invite: u128, token_s: Option<i64>, resumes: Option<usize>) {
        let name = self.next_name(participant);
        let clock = Arc::new(ConnectionClock::new(self.now));
        let member = member(&name);
        let resumed = resumes.and_then(|pick| earlier(&self.names, letter(participant), pick));
        self.apply(Command::Join(Box::new(Join {
            connection: member.connection,
            participant: member.participant,
            identity: letter(participant).to_string().into(),
            verified: true,
            name: None,
            role: Role::guest(),
            state: None,
            invite: Some(InviteId(Uuid::from_u128(invite))),
            token_expires_at: token_s.map(|valid_s| self.now + Duration::from_secs(valid_s as u64)),
            resumed: resumed.map(|old| self::member(&old).connection),
            testimony: None,
            clock: clock.clone(),
        })));
        if self.spans.contains_key(&member.connection) {
            self.clocks.insert(name.clone(), (member, clock));
            self.names.push(name);
        }
    }

    fn next_name(&mut self, participant: usize) -> String {
        let letter = letter(participant);
        let number = self.joins.entry(letter).or_default();
        *number += 1;
        if *number == 1 { letter.to_string() } else { format!("{letter}{number}") }
    }

    /// One of the latest connections, open or not.
    fn picked(&self, pick: usize) -> Option<(Member, Arc<ConnectionClock>)> {
        let name = picked_name(&self.names, pick)?;
        self.clocks.get(name).map(|(member, clock)| (*member, clock.clone()))
    }

    pub fn apply(&mut self, command: Command) {
        let mut effects = Vec::new();
        // Refusals are part of the histories; the model says which are right by what is recorded.
        let outcome = self.session.apply(command, self.now, &mut effects);
        assert_ne!(outcome, Err(Refusal::Forbidden));
        for effect in effects {
            self.take_effect(effect);
        }
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Record(record) => {
                let Fact::Session { fact, .. } = record.fact else { panic!("the core writes no marks") };
                self.take_fact(&fact, record.at);
            }
            Effect::Close { connection, .. } => {
                let span = self.spans.get_mut(&connection).expect("opened");
                assert_eq!(span.decided_at.replace(self.now), None, "closed twice");
                self.readers.remove(&connection);
            }
            Effect::Deliver { to: Recipients::One(connection), event } => match event {
                Event::Joined(joined) => {
                    assert_eq!(joined.connection, connection);
                    self.readers.insert(connection, Reader::new(&joined.snapshot));
                }
                Event::Snapshot(snapshot) => {
                    self.readers.insert(connection, Reader::new(&snapshot));
                }
                Event::Warning { ends_at, in_time, .. } => {
                    assert!(self.readers.contains_key(&connection), "warned before it was greeted");
                    assert_eq!(ends_at, self.now + in_time);
                    assert!(in_time > Duration::ZERO, "a session that is over warns nobody");
                }
                other => panic!("not for one: {other:?}"),
            },
            Effect::Deliver { to: Recipients::All, event } => {
                if let Event::Presence(diff) = event {
                    self.seq += 1;
                    assert_eq!(diff.seq, self.seq, "the numbers of the diffs are dense");
                    self.readers.values_mut().for_each(|reader| reader.apply(&diff));
                }
            }
        }
    }

    fn take_fact(&mut self, fact: &SessionFact, at: Timestamp) {
        assert!(at <= self.now, "a record from the future: {fact:?}");
        match fact {
            SessionFact::SessionWarned { .. } => {
                self.warnings.push((at, describe_fact(fact, at)));
                return;
            }
            SessionFact::SessionEnded { .. } => self.ends += 1,
            SessionFact::ConnectionOpened { connection, .. } => {
                let span = Span { connected_at: at, decided_at: None, closed: false };
                assert!(self.spans.insert(*connection, span).is_none(), "opened twice");
            }
            SessionFact::ConnectionClosed { connection, connected_at, uncertainty_us, .. } => {
                let span = self.spans.get_mut(connection).expect("opened");
                assert!(!span.closed, "closed twice");
                span.closed = true;
                assert_eq!(*connected_at, span.connected_at);
                assert!(at >= span.connected_at, "a span of negative length");
                let decided_at = span.decided_at.unwrap_or(self.now);
                assert!(at + Duration::from_micros(*uncertainty_us as u64) <= decided_at, "billed beyond the close");
                self.readers.remove(connection);
            }
            _ => {}
        }
        assert_eq!(at.0 % 1_000_000, 0, "everything happens on whole seconds here: {fact:?}");
        insert_numbered(&mut self.records, at.0 / 1_000_000, describe_fact(fact, at));
    }

    fn compare_readers(&self) {
        // While an end is being written, diffs may wait; a late timer task delays them too.
        if self.ticks == Ticks::Late || (self.session.ended().is_none() && self.session.next_deadline().is_none()) {
            return;
        }
        let now = Reader::new(&self.session.snapshot(self.now));
        for (connection, reader) in &self.readers {
            assert_eq!(reader.seq, now.seq);
            assert_eq!(reader.people(), now.people(), "what {} sees", connection_name(*connection));
        }
    }

    /// Everybody goes, and nothing stays open.
    pub fn finish(&mut self) {
        self.step(&Step::Thaw);
        self.step(&Step::End);
        for name in self.names.clone() {
            let member = self.clocks[&name].0;
            if !self.spans[&member.connection].closed {
                self.apply(Command::Closed { member, reason: LeaveReason::Closed, proof: CloseProof::Observed });
            }
        }
        assert!(self.spans.values().all(|span| span.closed), "a span is still open");
        assert!(self.session.is_finished());
        assert_eq!(self.session.next_deadline(), None);
    }
}
