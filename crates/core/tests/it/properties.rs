//! Random histories: the session must do what the naive model does, however it is driven.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rollcall_core::{
    Actor, CloseProof, Command, ConnectionClock, ConnectionId, Effect, Event, Fact, InviteId, Join, LeaveReason,
    Member, ParticipantId, ParticipantView, PresencePolicy, Recipients, Refusal, RestoredParticipant, Role, Session,
    SessionEndReason, SessionFact, SessionSpec, Snapshot, Status, Timestamp,
};
use uuid::Uuid;

use crate::model::{self, Model, insert_numbered};
use crate::script::{connection_name, describe_fact, member, plain_spec};

/// Diffs are collected for less than the half second at which readers are compared.
const WINDOW: Duration = Duration::from_millis(400);

#[derive(Debug, Clone)]
enum Step {
    Wait { seconds: i64 },
    Join { participant: usize, invite: u128, token_s: Option<i64>, resumes: Option<usize> },
    Ping { pick: usize },
    Act { pick: usize },
    Update { pick: usize, state: u8 },
    Hide { pick: usize },
    Snapshot { pick: usize },
    Closed { pick: usize, reason: LeaveReason, proof: CloseProof },
    Kick { participant: usize },
    Revoke { invite: u128 },
    Freeze,
    Thaw,
    End,
    Extend { seconds: i64 },
    Recover,
}

/// How the timer task behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ticks {
    /// Exactly at `next_deadline`.
    Punctual,
    /// At every half second, needed or not, and at every deadline.
    Dense,
    /// Only when a command comes.
    Late,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pick = 0..12_usize;
    let reason = prop_oneof![
        Just((LeaveReason::Left, CloseProof::Observed)),
        Just((LeaveReason::Closed, CloseProof::Observed)),
        Just((LeaveReason::Closed, CloseProof::Observed)),
        Just((LeaveReason::LivenessTimeout, CloseProof::Silent)),
        Just((LeaveReason::SlowConsumer, CloseProof::Silent)),
    ];
    let step = prop_oneof![
        8 => (1..25_i64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (25..70_i64).prop_map(|seconds| Step::Wait { seconds }),
        8 => (0..4_usize, 1..3_u128, proptest::option::weighted(0.3, 1..90_i64), proptest::option::weighted(0.4, 0..6_usize))
            .prop_map(|(participant, invite, token_s, resumes)| Step::Join { participant, invite, token_s, resumes }),
        3 => pick.clone().prop_map(|pick| Step::Ping { pick }),
        6 => pick.clone().prop_map(|pick| Step::Act { pick }),
        2 => (pick.clone(), 0..3_u8).prop_map(|(pick, state)| Step::Update { pick, state }),
        3 => pick.clone().prop_map(|pick| Step::Hide { pick }),
        1 => pick.clone().prop_map(|pick| Step::Snapshot { pick }),
        6 => (pick, reason).prop_map(|(pick, (reason, proof))| Step::Closed { pick, reason, proof }),
        1 => (0..4_usize).prop_map(|participant| Step::Kick { participant }),
        1 => (1..3_u128).prop_map(|invite| Step::Revoke { invite }),
        1 => Just(Step::Freeze),
        2 => Just(Step::Thaw),
        1 => Just(Step::End),
        1 => (0..50_i64).prop_map(|seconds| Step::Extend { seconds }),
        2 => Just(Step::Recover),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A session, its sockets and its readers.
struct Driver {
    session: Session,
    ticks: Ticks,
    now: Timestamp,
    names: Vec<String>,
    joins: BTreeMap<char, u32>,
    clocks: BTreeMap<String, (Member, Arc<ConnectionClock>)>,
    /// Connections that the session has opened and not yet recorded as closed, with when the close was decided.
    spans: BTreeMap<ConnectionId, Span>,
    readers: BTreeMap<ConnectionId, Reader>,
    records: BTreeSet<(i64, String)>,
    warnings: Vec<(Timestamp, String)>,
    ends: usize,
    seq: u64,
}

struct Span {
    connected_at: Timestamp,
    decided_at: Option<Timestamp>,
    closed: bool,
}

/// What a client knows: a snapshot and every diff since.
struct Reader {
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
    fn new(ticks: Ticks, window: Duration) -> Self {
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

    fn step(&mut self, step: &Step) {
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
            closed_ago: None,
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

    fn apply(&mut self, command: Command) {
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
    fn finish(&mut self) {
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

fn model_step(model: &mut Model, names: &mut Vec<String>, joins: &mut BTreeMap<char, u32>, step: &Step) {
    let picked = |pick: &usize| picked_name(names, *pick).cloned();
    match step {
        Step::Wait { seconds } => model.wait(*seconds),
        Step::Join { participant, invite, token_s, resumes } => {
            let id = letter(*participant);
            let number = joins.entry(id).or_default();
            *number += 1;
            let name = if *number == 1 { id.to_string() } else { format!("{id}{number}") };
            let resumed = resumes.and_then(|pick| earlier(names, id, pick));
            if model.join(id, &name, *invite, *token_s, resumed.as_deref()) {
                names.push(name);
            }
        }
        Step::Ping { pick } | Step::Snapshot { pick } => {
            picked(pick).inspect(|name| model.hear(name));
        }
        Step::Act { pick } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.act(name);
            });
        }
        Step::Update { pick, state } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.update(name, &state.to_string());
            });
        }
        Step::Hide { pick } => {
            picked(pick).inspect(|name| {
                model.hear(name);
                model.hide(name);
            });
        }
        Step::Closed { pick, reason, proof } => {
            picked(pick).inspect(|name| model.closed(name, *reason, *proof == CloseProof::Observed));
        }
        Step::Kick { participant } => model.kick(letter(*participant)),
        Step::Revoke { invite } => model.revoke(*invite),
        Step::Freeze => model.freeze(),
        Step::Thaw => model.thaw(),
        Step::End => model.end(),
        Step::Extend { seconds } => model.extend(*seconds),
        Step::Recover => {
            model.recover();
        }
    }
}

fn compare_people(driver: &Driver, model: &Model) {
    assert_eq!(driver.session.ended().is_some(), model.ended);
    if !model.ended {
        assert_eq!(driver.session.ends_at().0, at(model.ends_at().0), "the end of the session");
    }
    let shown = driver.session.snapshot(driver.now).participants;
    let shown: Vec<_> = shown.iter().map(|view| (&*view.identity, view.status, view.connections as usize)).collect();
    let expected: Vec<_> =
        model.participants.iter().map(|(id, one)| (id.to_string(), one.status, one.connections.len())).collect();
    let expected: Vec<_> = expected.iter().map(|(id, status, count)| (&**id, *status, *count)).collect();
    assert_eq!(shown, expected);
}

fn letter(participant: usize) -> char {
    ['a', 'b', 'c', 'd'][participant]
}

fn picked_name(names: &[String], pick: usize) -> Option<&String> {
    names.iter().rev().nth(pick)
}

fn earlier(names: &[String], id: char, pick: usize) -> Option<String> {
    names.iter().rev().filter(|name| name.starts_with(id)).nth(pick).cloned()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn run(steps: &[Step], ticks: Ticks, window: Duration) -> Driver {
    let mut driver = Driver::new(ticks, window);
    steps.iter().for_each(|step| driver.step(step));
    driver.finish();
    driver
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Same people after every step, same records at the end, one end per active period.
    #[test]
    fn session_does_what_the_model_does(steps in steps()) {
        let mut driver = Driver::new(Ticks::Punctual, Duration::ZERO);
        let mut model = Model::new();
        let (mut names, mut joins) = (Vec::new(), BTreeMap::new());
        let mut periods = 1;
        for step in &steps {
            periods += usize::from(matches!(step, Step::Recover) && model.ended);
            driver.step(step);
            model_step(&mut model, &mut names, &mut joins, step);
            compare_people(&driver, &model);
        }
        driver.finish();
        model.thaw();
        model.end();
        for name in &names {
            model.closed(name, LeaveReason::Closed, true);
        }
        prop_assert_eq!(&driver.records, &model.records);
        prop_assert_eq!(driver.ends, periods);
    }

    /// `next_deadline` names every instant at which time alone changes something, and a late look changes nothing that
    /// is recorded. Warnings are dated to their sending, so only punctual ones are the same.
    #[test]
    fn ticks_do_not_matter(steps in steps(), is_windowed: bool) {
        let window = if is_windowed { WINDOW } else { Duration::ZERO };
        let punctual = run(&steps, Ticks::Punctual, window);
        let dense = run(&steps, Ticks::Dense, window);
        prop_assert_eq!(&punctual.records, &dense.records);
        prop_assert_eq!(&punctual.warnings, &dense.warnings);
        let late = run(&steps, Ticks::Late, window);
        prop_assert_eq!(&punctual.records, &late.records);
    }

    /// After a drain the same people are there, and who does not return leaves when the grace is over.
    #[test]
    fn restored_session_has_the_same_people(steps in steps(), down_s in 0..30_i64) {
        let mut driver = Driver::new(Ticks::Punctual, WINDOW);
        steps.iter().for_each(|step| driver.step(step));
        if driver.session.ended().is_some() {
            return Ok(());
        }
        driver.apply(Command::Drain);
        let people = driver.session.snapshot(driver.now).participants;
        prop_assert!(people.iter().all(|view| view.status == Status::Reconnecting && view.connections == 0));
        let restart = driver.now + Duration::from_secs(down_s as u64);
        let spec = SessionSpec { hold_until: restart + Duration::from_secs(1000), expires_at: None, ..driver.session.spec().clone() };
        let mut session = Session::new(spec, Arc::new(PresencePolicy::default()), restart);
        session.restore(people.iter().map(restored).collect(), restart);
        let shown = session.snapshot(driver.now).participants;
        prop_assert_eq!(&shown, &people);
        let over_at = restart + PresencePolicy::default().grace_hidden;
        let mut effects = Vec::new();
        prop_assert_eq!(session.apply(Command::Tick, over_at - Duration::from_micros(1), &mut effects), Ok(()));
        prop_assert!(effects.is_empty());
        prop_assert_eq!(session.apply(Command::Tick, over_at, &mut effects), Ok(()));
        prop_assert!(session.snapshot(over_at).participants.is_empty());
    }
}

fn restored(view: &ParticipantView) -> RestoredParticipant {
    RestoredParticipant {
        participant: view.participant,
        identity: view.identity.clone(),
        verified: view.verified,
        name: view.name.clone(),
        role: view.role.clone(),
        state: view.state.clone(),
        joined_at: view.joined_at,
        last_seen_at: view.last_seen_at,
        reason: LeaveReason::ServerDrain,
        crashed: None,
    }
}
