//! The state machine of one session. All change goes through [`Session::apply`].
//!
//! Reading order: this file (state, commands, effects), [`membership`] (join and leave), [`status`] (active or away, the
//! app's state), [`timers`] (everything that happens because time passed), [`ending`] (end, kick, revoke, recover),
//! [`restart`] (drain, restore), [`broadcast`] (diffs and snapshots).

mod broadcast;
mod deadlines;
mod ending;
mod membership;
mod restart;
mod status;
mod timers;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use types::{
    CloseProof, CloseReason, Command, CrashedConnection, Effect, Event, Join, Joined, Member, PresencePolicy,
    Recipients, RestoredParticipant, SessionSpec, SessionView, Testimony,
};

use crate::connection::ConnectionClock;
use crate::ids::{ConnectionId, InviteId, ParticipantId};
use crate::planted;
use crate::record::{Fact, Record, SessionFact};
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::words::{LeaveReason, Role, SessionEndReason, Status, WarningCause};

use deadlines::{Deadlines, TimerKey};

/// One session while at least this node cares about it.
#[derive(Debug)]
pub struct Session {
    spec: SessionSpec,
    policy: Arc<PresencePolicy>,
    state: State,
    /// While an end is being written to Postgres: joins wait and no deadline fires.
    frozen: bool,
    /// The server stops: nobody comes in, nothing fires and nobody is left to be told, for good.
    drained: bool,
    /// Whether anybody ever joined; an end without is `abandoned`.
    started: bool,
    last_activity_at: Timestamp,
    /// Boxed: a tree reserves places for eleven, and most rooms are smaller.
    participants: BTreeMap<ParticipantId, Box<Participant>>,
    /// Connections told to go, whose span waits for the peer's answer to be proven.
    closing: BTreeMap<ConnectionId, Closing>,
    kicked: BTreeSet<ParticipantId>,
    seq: u64,
    pending: BTreeMap<ParticipantId, broadcast::Pending>,
    /// When the pending changes go out.
    diff_due_at: Option<Timestamp>,
    warned: Option<Warned>,
    /// When the standing look at the session's end is due.
    session_timer_at: Option<Timestamp>,
    /// Whoever goes takes its entries along, so there are at most two for the session, one per participant and one per
    /// connection, however often people come and go.
    deadlines: Deadlines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Ended { reason: SessionEndReason, at: Timestamp },
}

#[derive(Debug)]
struct Participant {
    identity: Arc<str>,
    verified: bool,
    name: Option<Arc<str>>,
    role: Role,
    state: Option<Arc<str>>,
    /// What was last recorded and dirtied; see [`Participant::observe`] for what it should be.
    status: Status,
    joined_at: Timestamp,
    /// Kept for the time without a connection.
    last_seen_at: Timestamp,
    connections: Vec<Connection>,
    /// Set while no connection is open.
    gone_at: Option<Timestamp>,
    /// Why the last connection closed; becomes the leave reason when the grace period runs out.
    gone_reason: LeaveReason,
    grace: Duration,
    /// When the standing look at away is due, while the status is active.
    away_timer_at: Option<Timestamp>,
    /// After a crash: the connection that was open then, until when it may be believed, and where its span ends now.
    crashed: Option<Box<CrashedConnection>>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    connected_at: Timestamp,
    role: Role,
    invite: Option<InviteId>,
    token_expires_at: Option<Timestamp>,
    clock: Arc<ConnectionClock>,
}

#[derive(Debug)]
struct Closing {
    participant: ParticipantId,
    connected_at: Timestamp,
    /// When the server decided that the connection ends: the latest instant its span may reach.
    closed_at: Timestamp,
    reason: LeaveReason,
    clock: Arc<ConnectionClock>,
}

/// Warnings already sent for one end instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Warned {
    cause: WarningCause,
    ends_at: Timestamp,
    lead: Duration,
}

impl Session {
    /// A session as it stands in the database. `now` only arms the timers.
    pub fn new(spec: SessionSpec, policy: Arc<PresencePolicy>, now: Timestamp) -> Self {
        let mut session = Self {
            state: State::Active,
            frozen: false,
            drained: false,
            started: spec.started,
            last_activity_at: spec.last_activity_at,
            participants: BTreeMap::new(),
            closing: BTreeMap::new(),
            kicked: spec.kicked.iter().copied().collect(),
            seq: 0,
            pending: BTreeMap::new(),
            diff_due_at: None,
            warned: None,
            session_timer_at: None,
            deadlines: Deadlines::default(),
            spec,
            policy,
        };
        session.arm_session_timer(now);
        session
    }

    /// Carries out one command. Deadlines that lie before `now` are settled first, so a command never meets a state
    /// that should already be over, however late the timer task is.
    ///
    /// # Errors
    /// A [`Refusal`] changes nothing but the settled deadlines, whose effects are in `effects` all the same.
    pub fn apply(&mut self, command: Command, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.run_timers(now, effects);
        let outcome = match command {
            Command::Tick => Ok(()),
            Command::Join(join) => self.join(*join, now, effects),
            Command::Update { member, state } => self.update(member, state, now, effects),
            Command::Activity { member } => self.activity(member, now, effects),
            Command::Hide { member } => self.hide(member, now, effects),
            Command::Closed { member, reason, proof } => self.closed(member, reason, proof, now, effects),
            Command::Snapshot { member } => self.send_snapshot(member, now, effects),
            Command::Drain => self.drain(now, effects),
            Command::Kick { participant, by } => self.kick(participant, by, now, effects),
            Command::RevokeInvite { invite } => self.revoke_invite(invite, now, effects),
            Command::Freeze => self.freeze(),
            Command::Thaw => self.thaw(now, effects),
            Command::End { reason, by, at, recorded } => self.end(reason, by, at.min(now), recorded, effects),
            Command::Hold { hold_until, expires_at } => self.hold(hold_until, expires_at, now, effects),
            Command::Configure(spec) => self.configure(*spec, now, effects),
            Command::Recover { expires_at } => self.recover(expires_at, now),
        };
        self.flush_presence_if_due(now, effects);
        outcome
    }

    /// The next instant at which time alone changes something; the shell dispatches [`Command::Tick`] then. `None` once
    /// nothing can happen any more.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.stands_still() {
            return None;
        }
        self.deadlines.first().map(|(at, _)| at)
    }

    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    pub fn ended(&self) -> Option<(SessionEndReason, Timestamp)> {
        match self.state {
            State::Active => None,
            State::Ended { reason, at } => Some((reason, at)),
        }
    }

    /// Whether the shell may forget this session: it has ended and every span is closed.
    pub fn is_finished(&self) -> bool {
        self.ended().is_some() && self.closing.is_empty()
    }

    /// When the session will end if nobody is active from now on, and why.
    pub fn ends_at(&self) -> (Timestamp, WarningCause) {
        self.ends_after(self.latest_activity())
    }

    /// When the session will end if the latest activity was at this instant.
    fn ends_after(&self, activity_at: Timestamp) -> (Timestamp, WarningCause) {
        let idle = (activity_at + self.spec.idle_timeout).max(self.spec.hold_until);
        match self.spec.expires_at {
            Some(expires_at) if expires_at <= idle => (expires_at, WarningCause::MaxDuration),
            _ => (idle, WarningCause::Idle),
        }
    }

    pub fn last_activity_at(&self) -> Timestamp {
        self.latest_activity()
    }

    /// Participants present, those in their grace period included.
    pub fn participants_present(&self) -> usize {
        self.participants.len()
    }

    pub fn connections_open(&self) -> usize {
        self.participants.values().map(|participant| participant.connections.len()).sum()
    }

    pub fn is_present(&self, participant: ParticipantId) -> bool {
        self.participants.contains_key(&participant)
    }

    /// The role under which a connection may act.
    pub fn role_of(&self, member: Member) -> Option<&Role> {
        let participant = self.participants.get(&member.participant)?;
        participant.connection(member.connection).map(|connection| &connection.role)
    }

    fn latest_activity(&self) -> Timestamp {
        if planted!("idle_end_ignores_pings") {
            return self.last_activity_at;
        }
        let connections = self.participants.values().flat_map(|participant| &participant.connections);
        connections.map(|connection| connection.clock.activity_at()).fold(self.last_activity_at, Timestamp::max)
    }

    /// Whether no deadline fires and nobody is let in at the moment.
    fn stands_still(&self) -> bool {
        self.frozen || self.drained
    }

    fn require_active(&self) -> Result<(), Refusal> {
        match self.state {
            State::Active => Ok(()),
            State::Ended { reason, .. } => Err(Refusal::SessionEnded(reason)),
        }
    }

    fn record(&self, fact: SessionFact, at: Timestamp, effects: &mut Vec<Effect>) {
        let fact = Fact::Session { tenant: self.spec.tenant, session: self.spec.session, fact };
        effects.push(Effect::Record(Record { at, fact }));
    }

    fn arm(&mut self, at: Timestamp, key: TimerKey) {
        self.deadlines.arm(at, key);
    }

    fn disarm(&mut self, at: Timestamp, key: TimerKey) {
        self.deadlines.disarm(at, key);
    }
}

impl Participant {
    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    /// The status as the facts have it at `now`.
    fn observe(&self, now: Timestamp, away_after: Duration) -> Status {
        if self.connections.is_empty() {
            return Status::Reconnecting;
        }
        if self.active_until(away_after).is_some_and(|until| until > now) { Status::Active } else { Status::Away }
    }

    /// When the person counts as away if nothing more is heard of it; `None` where no page is visible.
    fn active_until(&self, away_after: Duration) -> Option<Timestamp> {
        let visible = self.connections.iter().filter(|connection| !connection.clock.is_hidden());
        visible.map(|connection| connection.clock.activity_at() + away_after).max()
    }

    /// When the leave is announced if nobody comes back.
    fn grace_ends_at(&self) -> Option<Timestamp> {
        self.gone_at.map(|gone_at| gone_at + self.grace)
    }

    fn last_seen_at(&self) -> Timestamp {
        let evidence = self.connections.iter().map(|connection| connection.clock.evidence_at());
        evidence.fold(self.last_seen_at, Timestamp::max)
    }
}
