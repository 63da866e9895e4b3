//! A naive model of one session: it lives second by second, has no timers, and looks at every rule every second. It is
//! the reference for the random histories in `properties`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rollcall_core::{LeaveReason, Status};

pub const GRACE_S: i64 = 15;
pub const GRACE_HIDDEN_S: i64 = 40;
pub const AWAY_AFTER_S: i64 = 30;
pub const IDLE_TIMEOUT_S: i64 = 60;
pub const MAX_DURATION_S: i64 = 300;
pub const CONNECTIONS_MAX: usize = 3;
pub const PARTICIPANTS_MAX: usize = 3;

/// Connections have numbers; their participant is a letter, as in scripts.
pub struct Model {
    pub now_s: i64,
    pub participants: BTreeMap<char, Participant>,
    pub ended: bool,
    pub frozen: bool,
    /// Every record but warnings, with its instant.
    pub records: BTreeSet<(i64, String)>,
    closing: BTreeMap<String, (Connection, i64, LeaveReason)>,
    /// The last second whose deadlines were looked at; stands still while frozen.
    settled_s: i64,
    started: bool,
    last_activity_s: i64,
    hold_until_s: i64,
    expires_at_s: Option<i64>,
    kicked: BTreeSet<char>,
}

pub struct Participant {
    pub status: Status,
    pub connections: Vec<Connection>,
    state: Option<String>,
    gone: Option<(i64, LeaveReason, i64)>,
}

pub struct Connection {
    pub name: String,
    connected_s: i64,
    evidence_s: i64,
    activity_s: i64,
    hidden: bool,
    invite: u128,
    token_expires_s: Option<i64>,
}

impl Model {
    pub fn new() -> Self {
        Self {
            now_s: 0,
            participants: BTreeMap::new(),
            ended: false,
            frozen: false,
            records: BTreeSet::new(),
            closing: BTreeMap::new(),
            settled_s: 0,
            started: false,
            last_activity_s: 0,
            hold_until_s: 0,
            expires_at_s: Some(MAX_DURATION_S),
            kicked: BTreeSet::new(),
        }
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now_s += seconds;
        self.settle_deadlines();
    }

    fn settle_deadlines(&mut self) {
        while !self.frozen && self.settled_s < self.now_s {
            self.settled_s += 1;
            self.one_second(self.settled_s);
        }
    }

    fn one_second(&mut self, at: i64) {
        if self.ended {
            return;
        }
        let (ends_at, is_hard) = self.ends_at();
        if ends_at <= at {
            assert_eq!(ends_at, at, "the end was missed");
            let reason = match (self.started, is_hard) {
                (false, _) => "abandoned",
                (true, true) => "max_duration",
                (true, false) => "idle",
            };
            return self.finish(reason, "server", at);
        }
        for id in self.ids() {
            if let Some((gone_s, reason, grace_s)) = self.participants[&id].gone
                && gone_s + grace_s == at
            {
                self.participants.remove(&id);
                self.record(at, format!("participant_left {id} {reason} by server"));
            }
        }
        for id in self.ids() {
            // Only away comes by time alone.
            if self.participants[&id].status == Status::Active {
                self.settle_status(id, at);
            }
        }
        for id in self.ids() {
            let expired = |connection: &Connection| connection.token_expires_s == Some(at);
            self.close_where(id, expired, LeaveReason::TokenExpired, at, true);
        }
    }

    pub fn ends_at(&self) -> (i64, bool) {
        let connections = self.participants.values().flat_map(|participant| &participant.connections);
        let activity = connections.map(|connection| connection.activity_s).fold(self.last_activity_s, i64::max);
        let idle = (activity + IDLE_TIMEOUT_S).max(self.hold_until_s);
        match self.expires_at_s {
            Some(hard) if hard <= idle => (hard, true),
            _ => (idle, false),
        }
    }

    pub fn join(&mut self, id: char, name: &str, invite: u128, token_s: Option<i64>, resumed: Option<&str>) -> bool {
        let now = self.now_s;
        let is_full = self.participants.len() >= PARTICIPANTS_MAX && !self.participants.contains_key(&id);
        if self.ended || self.frozen || is_full || self.kicked.contains(&id) {
            return false;
        }
        if !self.started {
            self.started = true;
            self.record(now, "session_started".to_owned());
        }
        if let Entry::Vacant(place) = self.participants.entry(id) {
            place.insert(Participant { status: Status::Active, connections: Vec::new(), state: None, gone: None });
            self.record(now, format!("participant_joined {id} guest"));
        }
        let open = &self.participants[&id].connections;
        let oldest = open.first().filter(|_| open.len() >= CONNECTIONS_MAX);
        let old = open.iter().find(|connection| Some(&*connection.name) == resumed).or(oldest);
        if let Some(old) = old.map(|connection| connection.name.clone()) {
            self.begin_close(&old, LeaveReason::Replaced, now);
        }
        let participant = self.participants.get_mut(&id).expect("present");
        participant.gone = None;
        participant.connections.push(Connection {
            name: name.to_owned(),
            connected_s: now,
            evidence_s: now,
            activity_s: now,
            hidden: false,
            invite,
            token_expires_s: token_s.map(|valid_s| now + valid_s),
        });
        let resumed = resumed.map_or(String::new(), |old| format!(" resumed {old}"));
        self.record(now, format!("connection_opened {name}{resumed}"));
        self.settle_status(id, now);
        true
    }

    /// A frame of any kind.
    pub fn hear(&mut self, name: &str) {
        let now = self.now_s;
        if let Some((_, connection)) = self.find(name) {
            connection.evidence_s = now;
        } else if let Some((connection, _, _)) = self.closing.get_mut(name) {
            connection.evidence_s = now;
        }
    }

    pub fn act(&mut self, name: &str) {
        let now = self.now_s;
        let Some((id, connection)) = self.find(name) else { return };
        connection.activity_s = now;
        connection.hidden = false;
        self.settle_status(id, now);
    }

    pub fn update(&mut self, name: &str, state: &str) {
        let now = self.now_s;
        let Some((id, _)) = self.find(name) else { return };
        let participant = self.participants.get_mut(&id).expect("present");
        if participant.state.as_deref() != Some(state) {
            participant.state = Some(state.to_owned());
            self.record(now, format!("state_updated {id} {state}"));
        }
        self.act(name);
    }

    pub fn hide(&mut self, name: &str) {
        let now = self.now_s;
        let Some((id, connection)) = self.find(name) else { return };
        connection.hidden = true;
        self.settle_status(id, now);
    }

    pub fn closed(&mut self, name: &str, reason: LeaveReason, is_observed: bool) {
        let now = self.now_s;
        if let Some((connection, closed_s, reason)) = self.closing.remove(name) {
            return self.record_close(&connection, closed_s, reason, is_observed);
        }
        let Some(connection) = self.take(name) else { return };
        self.record_close(&connection, now, reason, is_observed);
        let id = owner(name);
        let participant = self.participants.get_mut(&id).expect("present");
        if participant.connections.is_empty() && reason == LeaveReason::Left {
            self.participants.remove(&id);
            self.record(now, format!("participant_left {id} left by {id}"));
            return;
        }
        if participant.connections.is_empty() {
            participant.gone = Some((now, reason, if connection.hidden { GRACE_HIDDEN_S } else { GRACE_S }));
        }
        self.settle_status(id, now);
    }

    pub fn kick(&mut self, id: char) {
        if self.ended || !self.participants.contains_key(&id) {
            return;
        }
        self.kicked.insert(id);
        self.close_where(id, |_| true, LeaveReason::Kicked, self.now_s, false);
        self.participants.remove(&id);
        self.record(self.now_s, format!("participant_left {id} kicked by operator"));
    }

    pub fn revoke(&mut self, invite: u128) {
        for id in self.ids() {
            let by_invite = |connection: &Connection| connection.invite == invite;
            self.close_where(id, by_invite, LeaveReason::InviteRevoked, self.now_s, true);
        }
    }

    pub fn freeze(&mut self) {
        self.frozen |= !self.ended;
    }

    pub fn thaw(&mut self) {
        self.frozen = false;
        self.settle_deadlines();
    }

    pub fn end(&mut self) {
        if !self.ended {
            self.finish("completed", "operator", self.now_s);
        }
    }

    /// Moves the deadlines as `extended_by` does; the new end is now at the earliest.
    pub fn extend(&mut self, by_s: i64) {
        if self.ended {
            return;
        }
        let target = self.ends_at().0 + by_s;
        self.hold_until_s = target.max(self.now_s);
        self.expires_at_s = self.expires_at_s.map(|hard| hard.max(target).max(self.now_s));
        if self.ends_at().0 == self.now_s && !self.frozen {
            let reason = if self.ends_at().1 { "max_duration" } else { "idle" };
            self.finish(if self.started { reason } else { "abandoned" }, "server", self.now_s);
        }
    }

    /// Whether the session had ended.
    pub fn recover(&mut self) -> bool {
        if !self.ended {
            return false;
        }
        self.ended = false;
        self.last_activity_s = self.now_s;
        self.hold_until_s = self.now_s;
        self.expires_at_s = None;
        true
    }

    fn finish(&mut self, reason: &str, by: &str, at: i64) {
        self.ended = true;
        self.frozen = false;
        self.settled_s = self.now_s;
        self.record(at, format!("session_ended {reason} by {by}"));
        for id in self.ids() {
            self.close_where(id, |_| true, LeaveReason::SessionEnded, at, false);
            self.record(at, format!("participant_left {id} session_ended by server"));
        }
        self.participants.clear();
    }

    fn close_where(
        &mut self,
        id: char,
        wanted: impl Fn(&Connection) -> bool,
        reason: LeaveReason,
        at: i64,
        leaves_if_alone: bool,
    ) {
        let open = self.participants[&id].connections.iter();
        let names: Vec<_> = open.filter(|connection| wanted(connection)).map(|one| one.name.clone()).collect();
        for name in &names {
            self.begin_close(name, reason, at);
        }
        if names.is_empty() || !leaves_if_alone {
            return;
        }
        if self.participants[&id].connections.is_empty() {
            self.participants.remove(&id);
            self.record(at, format!("participant_left {id} {reason} by server"));
        } else {
            self.settle_status(id, at);
        }
    }

    fn begin_close(&mut self, name: &str, reason: LeaveReason, at: i64) {
        let connection = self.take(name).expect("open");
        let closed_s = at.max(connection.connected_s);
        self.closing.insert(name.to_owned(), (connection, closed_s, reason));
    }

    fn record_close(&mut self, connection: &Connection, closed_s: i64, reason: LeaveReason, is_observed: bool) {
        let end = if is_observed { closed_s } else { connection.evidence_s.min(closed_s) };
        let unsure = if end == closed_s { String::new() } else { format!(" unsure {}s", closed_s - end) };
        let Connection { name, connected_s, .. } = connection;
        self.record(end, format!("connection_closed {name} [{connected_s}s, {end}s) {reason}{unsure}"));
    }

    fn settle_status(&mut self, id: char, at: i64) {
        let participant = self.participants.get_mut(&id).expect("present");
        let is_here = |connection: &Connection| !connection.hidden && connection.activity_s + AWAY_AFTER_S > at;
        let status = match &participant.connections {
            none if none.is_empty() => Status::Reconnecting,
            some if some.iter().any(is_here) => Status::Active,
            _ => Status::Away,
        };
        if status != participant.status {
            participant.status = status;
            self.record(at, format!("presence_changed {id} {status}"));
        }
    }

    fn find(&mut self, name: &str) -> Option<(char, &mut Connection)> {
        let id = owner(name);
        let participant = self.participants.get_mut(&id)?;
        Some((id, participant.connections.iter_mut().find(|connection| connection.name == name)?))
    }

    fn take(&mut self, name: &str) -> Option<Connection> {
        let connections = &mut self.participants.get_mut(&owner(name))?.connections;
        let index = connections.iter().position(|connection| connection.name == name)?;
        let connection = connections.remove(index);
        self.last_activity_s = self.last_activity_s.max(connection.activity_s);
        Some(connection)
    }

    fn ids(&self) -> Vec<char> {
        self.participants.keys().copied().collect()
    }

    /// Records of one instant have no order here. Two equal ones in one instant need a participant that does the same
    /// thing twice; the number tells them apart.
    fn record(&mut self, at: i64, text: String) {
        insert_numbered(&mut self.records, at, text);
    }
}

pub fn insert_numbered(records: &mut BTreeSet<(i64, String)>, at: i64, text: String) {
    let mut numbered = text.clone();
    let mut number = 1;
    while !records.insert((at, numbered.clone())) {
        number += 1;
        numbered = format!("{text} #{number}");
    }
}

fn owner(name: &str) -> char {
    name.chars().next().expect("a name")
}
