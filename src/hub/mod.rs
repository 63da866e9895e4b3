//! Live state: the sessions of this node, their members' outboxes, timers, invites, and the evidence of connections.
//!
//! Every change goes [`Hub::apply`] → `Session::apply` → [`effects`]. The hub never sees SQL or sockets: records go to the
//! ledger, events into outboxes that the socket's task drains.
//!
//! **Invariant:** no map guard lives across an await; guards never leave [`sessions`].

mod effects;
mod evidence;
mod frame;
mod invites;
mod outbox;
mod sessions;
mod timers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use dashmap::DashMap;
use rollcall_core::{
    Command, ConnectionClock, ConnectionId, PresencePolicy, Refusal, Session, SessionId, Snapshot, Timestamp, planted,
};

pub use effects::Applied;
pub use evidence::run_marks;
pub use frame::Frame;
pub use invites::{InviteEntry, InviteProblem, Invites};
pub use outbox::{Farewell, Outbox, Outgoing, Taken};
pub use timers::run_timers;

use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerBroken};
use crate::store::LoadedSession;
use evidence::EvidenceRegistry;
use sessions::{Entry, Sessions};
use timers::{TimerKey, Timers};

/// Limits of the live state.
#[derive(Debug, Clone)]
pub struct HubLimits {
    /// Sessions kept live. At the limit sessions nobody is in are left to the clean-up, and joins to further ones are
    /// refused as overloaded.
    pub sessions_live_max: usize,
    /// Invites kept in memory. Beyond it an invite is looked up in Postgres when it is used.
    pub invites_live_max: usize,
    /// Bytes that may wait for one socket; see [`Outbox`].
    pub outbox_bytes_max: usize,
}

/// Cheap handle to the live state of this node.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    ledger: Ledger,
    policy: Arc<PresencePolicy>,
    limits: HubLimits,
    sessions: Sessions,
    invites: Invites,
    /// Sessions that ended and left memory, with the number of their last record: until Postgres has that, it still calls
    /// them active.
    over: DashMap<SessionId, i64>,
    timers: Timers,
    evidence: EvidenceRegistry,
    next_connection: AtomicI64,
    draining: AtomicBool,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    #[error("the session is not live on this node")]
    NotLive,
    #[error("the session refused the command")]
    Refused(#[from] Refusal),
    #[error("the server is stopping")]
    Draining,
    #[error("the ledger is broken")]
    Ledger(#[from] LedgerBroken),
    #[error("this node has as many live sessions as it may")]
    SessionsFull,
}

impl Hub {
    pub fn new(clock: Clock, ledger: Ledger, policy: PresencePolicy, limits: HubLimits) -> Self {
        let inner = Inner {
            clock,
            ledger,
            policy: Arc::new(policy),
            sessions: Sessions::default(),
            invites: Invites::new(limits.invites_live_max),
            limits,
            over: DashMap::new(),
            timers: Timers::default(),
            evidence: EvidenceRegistry::default(),
            next_connection: AtomicI64::new(1),
            draining: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    pub fn invites(&self) -> &Invites {
        &self.inner.invites
    }

    /// Makes a session live that Postgres has. One that is live already stays as it is, unless it has ended and the
    /// database says that it was recovered.
    ///
    /// # Errors
    /// [`DispatchError::SessionsFull`] at the limit of live sessions.
    pub fn adopt(&self, loaded: LoadedSession) -> Result<(), DispatchError> {
        let id = loaded.spec.session;
        if loaded.ended.is_some() {
            return Ok(());
        }
        let stale = |entry: &Entry| entry.session.is_finished();
        self.inner.sessions.remove_if(id, stale);
        if self.inner.sessions.len() >= self.inner.limits.sessions_live_max && !self.inner.sessions.contains(id) {
            return Err(DispatchError::SessionsFull);
        }
        let now = self.now();
        let mut spec = loaded.spec;
        if !loaded.restored.is_empty() && !planted!("restart_gives_no_grace") {
            // While the server was down nobody could be active: those who were inside get their grace to come back.
            spec.hold_until = spec.hold_until.max(now + self.inner.policy.grace_hidden);
        }
        let mut session = Session::new(spec, self.inner.policy.clone(), now);
        session.restore(loaded.restored, now);
        let entry = Entry::new(session, loaded.identity_salt.into());
        self.inner.sessions.insert_if_absent(id, entry);
        self.inner.sessions.with(id, |entry| self.rearm(id, entry));
        Ok(())
    }

    /// Whether the session has ended here and Postgres does not know yet: what Postgres says of it is out of date.
    pub fn is_over(&self, session: SessionId) -> bool {
        if planted!("ended_session_comes_back") {
            return false;
        }
        let last_seq = self.inner.over.get(&session).map(|seq| *seq);
        last_seq.is_some_and(|last_seq| self.inner.ledger.status().applied_seq < last_seq)
    }

    pub fn is_live(&self, session: SessionId) -> bool {
        self.inner.sessions.contains(session)
    }

    /// Carries out a command; its records are numbered when this returns, see [`Applied::receipt`] for durability.
    ///
    /// # Errors
    /// The session is not live here, or it refused.
    pub fn apply(&self, session: SessionId, command: Command) -> Result<Applied, DispatchError> {
        self.apply_with(session, command, None)
    }

    /// The same for a join: `outbox` becomes the joiner's when the session lets it in.
    ///
    /// # Errors
    /// The session is not live here, or it refused.
    pub fn join(
        &self,
        session: SessionId,
        join: rollcall_core::Join,
        outbox: Arc<Outbox>,
    ) -> Result<Applied, DispatchError> {
        let (connection, clock) = (join.connection, join.clock.clone());
        let applied = self.apply_with(session, Command::Join(Box::new(join)), Some(outbox))?;
        self.inner.evidence.register(connection.counter, clock);
        Ok(applied)
    }

    /// Carries out a command and waits until its records are durable.
    ///
    /// # Errors
    /// As [`Hub::apply`], or the ledger is broken.
    pub async fn dispatch(&self, session: SessionId, command: Command) -> Result<(), DispatchError> {
        let applied = self.apply(session, command)?;
        Ok(applied.receipt.durable().await?)
    }

    fn apply_with(
        &self,
        id: SessionId,
        command: Command,
        mut joiner: Option<Arc<Outbox>>,
    ) -> Result<Applied, DispatchError> {
        let closed = match &command {
            Command::Closed { member, .. } => Some(member.connection),
            _ => None,
        };
        let outcome = self.inner.sessions.with(id, |entry| {
            if let Some(connection) = closed {
                entry.outboxes.remove(&connection.counter);
            }
            // Looked at inside the guard: the drain sets the flag before it walks the sessions, so none is missed.
            if matches!(command, Command::Join(_)) && self.is_draining() && !planted!("drain_lets_joins_in") {
                return (Err(DispatchError::Draining), false);
            }
            // Time is read inside the guard: commands of one session see it in the order in which they are applied.
            let now = self.now();
            let mut effects = Vec::new();
            let outcome = entry.session.apply(command, now, &mut effects);
            let applied = effects::execute(entry, effects, &mut joiner, &self.inner.ledger);
            self.rearm(id, entry);
            let finished = entry.session.is_finished();
            if finished {
                // Before the entry goes, so that nobody ever finds neither.
                self.inner.over.insert(id, self.inner.ledger.status().appended_seq);
            }
            (outcome.map(|()| applied).map_err(DispatchError::Refused), finished)
        });
        let (outcome, finished) = outcome.ok_or(DispatchError::NotLive)?;
        if finished {
            self.inner.sessions.remove_if(id, |entry| entry.session.is_finished());
            self.inner.invites.forget_session(id);
        }
        outcome
    }

    /// Reads a live session.
    pub fn read<R>(&self, session: SessionId, read: impl FnOnce(&Session) -> R) -> Option<R> {
        self.inner.sessions.with(session, |entry| read(&entry.session))
    }

    /// The salt from which participant ids of a live session are derived.
    pub fn identity_salt(&self, session: SessionId) -> Option<Arc<[u8]>> {
        self.inner.sessions.with(session, |entry| entry.identity_salt.clone())
    }

    pub fn presence(&self, session: SessionId) -> Option<Snapshot> {
        let now = self.now();
        self.read(session, |session| session.snapshot(now))
    }

    /// Makes an invite known, so that its use needs no database, and arms its expiry. One that expired at or before
    /// `settled_until` has its expiry on record already.
    pub fn remember_invite(&self, entry: InviteEntry, settled_until: Timestamp) {
        let (invite, expires_at, revoked) = (entry.invite, entry.expires_at, entry.revoked);
        if self.inner.invites.insert(entry) && !revoked && expires_at > settled_until {
            self.inner.timers.arm(expires_at, TimerKey::Invite(invite));
        }
    }

    /// A fresh connection id of this epoch with its clock.
    pub fn open_connection(&self) -> (ConnectionId, Arc<ConnectionClock>) {
        let counter = self.inner.next_connection.fetch_add(1, Relaxed);
        let id = ConnectionId { epoch: self.inner.ledger.epoch(), counter };
        (id, Arc::new(ConnectionClock::new(self.now())))
    }

    /// A connection is closed and recorded: its evidence is of no interest any more.
    pub fn forget_connection(&self, connection: ConnectionId) {
        self.inner.evidence.remove(connection.counter);
    }

    /// Appends the evidence mark of this moment.
    pub fn mark_evidence(&self) {
        let applied_seq = self.inner.ledger.status().applied_seq;
        self.inner.over.retain(|_, last_seq| applied_seq < *last_seq);
        // The next mark says the same and more.
        if !self.inner.ledger.takes_marks() {
            return;
        }
        let mark = self.inner.evidence.mark(self.now());
        let receipt = self.inner.ledger.append(std::slice::from_ref(&mark));
        drop(receipt);
    }

    /// Closes every connection for a restart and lets nobody in any more.
    pub fn drain(&self) {
        self.inner.draining.store(true, Relaxed);
        for session in self.inner.sessions.ids() {
            // A session that went away meanwhile needs no draining.
            if let Ok(applied) = self.apply(session, Command::Drain) {
                drop(applied);
            }
        }
    }

    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Relaxed)
    }

    pub fn session_ids(&self) -> Vec<SessionId> {
        self.inner.sessions.ids()
    }

    pub fn sessions_live(&self) -> usize {
        self.inner.sessions.len()
    }

    pub fn connections_open(&self) -> usize {
        self.inner.evidence.len()
    }

    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(self.inner.limits.outbox_bytes_max))
    }

    fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Arms the timer of a session when its next deadline is earlier than what is armed. Later ones are found when the
    /// armed one fires.
    fn rearm(&self, id: SessionId, entry: &mut Entry) {
        let Some(deadline) = entry.session.next_deadline() else { return };
        if entry.armed.last().is_none_or(|next| deadline < *next) {
            entry.armed.push(deadline);
            self.inner.timers.arm(deadline, TimerKey::Session(id));
        }
    }

    /// A timer of this session fired.
    fn tick(&self, id: SessionId, fired_at: Timestamp) {
        self.inner.sessions.with(id, |entry| {
            if entry.armed.last() == Some(&fired_at) && !planted!("fired_timer_still_counts") {
                entry.armed.pop();
            }
        });
        // A session that is gone has nothing due.
        if let Ok(applied) = self.apply(id, Command::Tick) {
            drop(applied);
        }
    }
}
