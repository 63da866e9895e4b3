//! A node without sockets: real sessions, a real journal, and no timing but that of the history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rollcall::ledger::{Journal, JournalReader, JournalStorage};
use rollcall::store::LoadedSession;
use rollcall_core::{
    Command, ConnectionClock, ConnectionId, Effect, Epoch, Fact, Heard, Member, PresencePolicy, Record, Session,
    SessionId, Timestamp,
};

/// A connection that was opened in this life of the node.
pub struct Opened {
    pub session: SessionId,
    pub member: Member,
    pub clock: Arc<ConnectionClock>,
    /// What the marks have said of it.
    marked: (Timestamp, Timestamp),
}

pub struct Node {
    pub name: String,
    pub epoch: Epoch,
    pub sessions: BTreeMap<SessionId, Session>,
    pub opened: Vec<Opened>,
    /// Numbered, but not yet durable.
    unwritten: Vec<Record>,
    /// What the journal holds, by epoch, each from its first record.
    pub written: BTreeMap<Epoch, Vec<Record>>,
    /// What it held of the epochs that are over.
    pub over: BTreeMap<Epoch, Vec<Record>>,
    pub journal: Journal,
    pub reader: JournalReader,
    _folder: tempfile::TempDir,
}

impl Node {
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("journal");
        let reader = journal.reader().expect("reader");
        Self {
            name: name.to_owned(),
            epoch: Epoch(0),
            sessions: BTreeMap::new(),
            opened: Vec::new(),
            unwritten: Vec::new(),
            written: BTreeMap::new(),
            over: BTreeMap::new(),
            journal,
            reader,
            _folder: folder,
        }
    }

    /// A new life: what was in memory is gone.
    pub fn start(&mut self, epoch: Epoch, loaded: Vec<LoadedSession>, now: Timestamp) {
        self.epoch = epoch;
        self.sessions.clear();
        self.opened.clear();
        self.unwritten.clear();
        loaded.into_iter().for_each(|loaded| self.adopt(loaded, now));
    }

    pub fn adopt(&mut self, loaded: LoadedSession, now: Timestamp) {
        if loaded.ended.is_some() {
            return;
        }
        let mut spec = loaded.spec;
        let policy = policy();
        if !loaded.restored.is_empty() {
            spec.hold_until = spec.hold_until.max(now + policy.grace_hidden);
        }
        let mut session = Session::new(spec.clone(), Arc::new(policy), now);
        session.restore(loaded.restored, now);
        self.sessions.insert(spec.session, session);
    }

    pub fn apply(&mut self, session: SessionId, command: Command, now: Timestamp) {
        let Some(live) = self.sessions.get_mut(&session) else { return };
        let mut effects = Vec::new();
        // Refusals are part of the histories.
        live.apply(command, now, &mut effects).ok();
        for effect in effects {
            match effect {
                Effect::Record(record) => self.unwritten.push(record),
                Effect::Deliver { .. } | Effect::Close { .. } => {}
            }
        }
    }

    /// A recovered epoch leaves the journal.
    pub fn forget(&mut self) {
        self.over.append(&mut self.written);
    }

    pub fn tick_until(&mut self, until: Timestamp) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            while let Some(at) = self.sessions.get(&session).and_then(Session::next_deadline)
                && at <= until
            {
                self.apply(session, Command::Tick, at);
            }
        }
    }

    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId { epoch: self.epoch, counter: self.opened.len() as i64 + 1 }
    }

    pub fn note_opened(&mut self, session: SessionId, member: Member, clock: Arc<ConnectionClock>) {
        let marked = (clock.evidence_at(), clock.activity_at());
        self.opened.push(Opened { session, member, clock, marked });
    }

    pub fn mark(&mut self, now: Timestamp) {
        let mut heard = Vec::new();
        for opened in &mut self.opened {
            let (evidence_at, activity_at) = (opened.clock.evidence_at(), opened.clock.activity_at());
            if evidence_at != opened.marked.0 {
                let activity_at = (activity_at != opened.marked.1).then_some(activity_at);
                opened.marked = (evidence_at, activity_at.unwrap_or(opened.marked.1));
                heard.push(Heard { counter: opened.member.connection.counter, evidence_at, activity_at });
            }
        }
        self.unwritten.push(Record { at: now, fact: Fact::EvidenceMark { heard } });
    }

    /// What waits in memory becomes durable.
    pub fn write(&mut self) {
        let written = self.written.entry(self.epoch).or_default();
        let bodies = self.unwritten.iter().map(|record| serde_json::to_vec(record).expect("plain data"));
        let entries: Vec<_> = (written.len() as i64 + 1..).zip(bodies).collect();
        let entries = entries.iter().map(|(seq, body)| (*seq, body.as_slice()));
        self.journal.append(self.epoch, entries).expect("appended");
        written.append(&mut self.unwritten);
    }
}

pub fn policy() -> PresencePolicy {
    PresencePolicy {
        grace: Duration::from_secs(15),
        grace_hidden: Duration::from_secs(75),
        away_after: Duration::from_secs(60),
        connections_per_participant_max: 2,
        diff_windows: Vec::new(),
    }
}
