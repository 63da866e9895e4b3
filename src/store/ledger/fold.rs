//! What a batch of records comes to, table by table. Pure: the order of the records is resolved here, so that Postgres
//! gets each row once, sorted by key, however often the batch touches it.
//!
//! **Law** (a property test holds it): a batch applied at once leaves the same rows as its records applied one by one.

use std::collections::{BTreeMap, HashMap};

use rollcall_core::{
    ConnectionId, Epoch, Fact, Heard, InviteId, LeaveReason, ParticipantId, Record, Role, SessionEndReason,
    SessionFact, SessionId, Status, TenantId, Timestamp,
};

use crate::store::mapping::{storable_json, storable_text};

pub type Person = (SessionId, ParticipantId);

#[derive(Debug, Default)]
pub struct Folded {
    pub sessions: BTreeMap<SessionId, SessionFold>,
    pub participants: BTreeMap<Person, ParticipantFold>,
    /// Names given; personal data.
    pub names: BTreeMap<Person, NameFold>,
    /// First use of each invite by each participant, with the position of its record: where an invite is limited, the first
    /// uses count.
    pub uses: BTreeMap<(InviteId, ParticipantId), (usize, Timestamp)>,
    /// Connections that opened in this batch; they may have closed in it as well.
    pub opened: BTreeMap<ConnectionId, SpanFold>,
    /// Ends of connections that opened in an earlier batch.
    pub closed: BTreeMap<ConnectionId, SpanEnd>,
    /// Amended ends of crashed connections of an earlier batch.
    pub amended: BTreeMap<ConnectionId, Amendment>,
    /// By connection counter in the epoch of the batch; connections opened in this batch are not in it.
    pub heard: BTreeMap<i64, Heard>,
    /// `(seq, at, connections)` of the evidence marks.
    pub marks: Vec<(i64, Timestamp, i32)>,
    /// Up to here everything heard is in this batch or before it.
    pub attested_until: Option<Timestamp>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct SessionFold {
    pub seen_at: Option<Timestamp>,
    pub activity_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    /// The first end in the batch, with the position of its record; a later one can only be superseded.
    pub ended: Option<(usize, Timestamp, SessionEndReason)>,
}

#[derive(Debug, Default)]
pub struct ParticipantFold {
    pub arrived: Option<Arrival>,
    /// What came after the arrival, if there was one.
    pub status: Option<Status>,
    pub left: Option<(Timestamp, LeaveReason)>,
    pub state: Option<String>,
    pub kicked_at: Option<Timestamp>,
    pub seen_at: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Arrival {
    pub tenant: TenantId,
    pub identity: String,
    pub verified: bool,
    pub role: Role,
    pub invite: Option<InviteId>,
    pub first_at: Timestamp,
    pub at: Timestamp,
}

#[derive(Debug)]
pub struct NameFold {
    pub tenant: TenantId,
    pub name: String,
    pub at: Timestamp,
}

#[derive(Debug)]
pub struct SpanFold {
    pub session: SessionId,
    pub tenant: TenantId,
    pub participant: ParticipantId,
    pub role: Role,
    pub invite: Option<InviteId>,
    pub resumed: Option<ConnectionId>,
    pub connected_at: Timestamp,
    pub evidence_at: Timestamp,
    pub end: Option<SpanEnd>,
}

#[derive(Debug, Clone, Copy)]
pub struct SpanEnd {
    pub at: Timestamp,
    pub reason: LeaveReason,
    pub uncertainty_us: i64,
}

#[derive(Debug, Clone, Copy)]
pub struct Amendment {
    pub at: Timestamp,
    pub uncertainty_us: i64,
}

/// Events that time or the server brings about. They prove nobody's presence, so they do not count as "seen". The SQL
/// function `rollcall.is_passive_event` has the same list.
pub fn is_passive(fact: &SessionFact) -> bool {
    matches!(
        fact,
        SessionFact::SessionEnded { .. }
            | SessionFact::SessionWarned { .. }
            | SessionFact::ParticipantLeft { .. }
            | SessionFact::PresenceChanged { .. }
            | SessionFact::InviteExpired { .. }
    )
}

/// Folds records of one epoch; `first_seq` is the number of the first.
pub fn fold(epoch: Epoch, first_seq: i64, records: &[Record]) -> Folded {
    let mut folded = Folded::default();
    let mut heard: HashMap<i64, Heard> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        match &record.fact {
            Fact::Session { tenant, session, fact } => {
                folded.session_fact(index, record.at, *tenant, *session, fact);
            }
            Fact::EvidenceMark { heard: lines } => {
                folded.attested_until = folded.attested_until.max(Some(record.at));
                let connections = i32::try_from(lines.len()).unwrap_or(i32::MAX);
                folded.marks.push((first_seq + index as i64, record.at, connections));
                for line in lines {
                    heard.entry(line.counter).and_modify(|known| join_heard(known, line)).or_insert(*line);
                }
            }
        }
    }
    for (counter, line) in heard {
        match folded.opened.get_mut(&ConnectionId { epoch, counter }) {
            Some(span) => {
                span.evidence_at = span.evidence_at.max(line.evidence_at);
                let person = (span.session, span.participant);
                folded.see(person, &line);
            }
            None => {
                folded.heard.insert(counter, line);
            }
        }
    }
    folded
}

fn join_heard(known: &mut Heard, line: &Heard) {
    known.evidence_at = known.evidence_at.max(line.evidence_at);
    known.activity_at = known.activity_at.max(line.activity_at);
}

impl Folded {
    /// Counts one line of a mark for the person who holds the connection.
    fn see(&mut self, person: Person, line: &Heard) {
        let session = self.sessions.entry(person.0).or_default();
        session.seen_at = session.seen_at.max(Some(line.evidence_at));
        session.activity_at = session.activity_at.max(line.activity_at);
        let participant = self.participants.entry(person).or_default();
        participant.seen_at = participant.seen_at.max(Some(line.evidence_at));
    }

    fn session_fact(&mut self, index: usize, at: Timestamp, tenant: TenantId, session: SessionId, fact: &SessionFact) {
        let fold = self.sessions.entry(session).or_default();
        if !is_passive(fact) {
            fold.seen_at = fold.seen_at.max(Some(at));
            if let Some(participant) = fact.participant() {
                let participant = self.participants.entry((session, participant)).or_default();
                participant.seen_at = participant.seen_at.max(Some(at));
            }
        }
        match fact {
            SessionFact::SessionStarted => {
                fold.started_at.get_or_insert(at);
            }
            SessionFact::SessionEnded { reason, .. } => {
                fold.ended.get_or_insert((index, at, *reason));
            }
            SessionFact::ParticipantJoined { .. } => {
                fold.activity_at = fold.activity_at.max(Some(at));
                self.joined(index, at, tenant, session, fact);
            }
            SessionFact::ConnectionOpened { .. } => {
                fold.activity_at = fold.activity_at.max(Some(at));
                self.opened(at, tenant, session, fact);
            }
            SessionFact::StateUpdated { participant, state } => {
                fold.activity_at = fold.activity_at.max(Some(at));
                let participant = self.participants.entry((session, *participant)).or_default();
                // What jsonb cannot hold leaves the state as it was; the audit row says so.
                participant.state = storable_json(state).or(participant.state.take());
            }
            SessionFact::ConnectionClosed { connection, reason, uncertainty_us, .. } => {
                self.closed(*connection, SpanEnd { at, reason: *reason, uncertainty_us: (*uncertainty_us).max(0) });
            }
            SessionFact::ConnectionCloseAmended { connection, uncertainty_us, .. } => {
                self.amended(*connection, Amendment { at, uncertainty_us: (*uncertainty_us).max(0) });
            }
            SessionFact::PresenceChanged { participant, status } => {
                let participant = self.participants.entry((session, *participant)).or_default();
                if participant.left.is_none() {
                    participant.status = Some(*status);
                }
            }
            SessionFact::ParticipantLeft { participant, reason, .. } => {
                let participant = self.participants.entry((session, *participant)).or_default();
                participant.left.get_or_insert((at, *reason));
                if *reason == LeaveReason::Kicked {
                    participant.kicked_at.get_or_insert(at);
                }
            }
            SessionFact::SessionWarned { .. } | SessionFact::InviteExpired { .. } => {}
        }
    }

    fn joined(&mut self, index: usize, at: Timestamp, tenant: TenantId, session: SessionId, fact: &SessionFact) {
        let SessionFact::ParticipantJoined { participant, identity, verified, name, role, invite } = fact else {
            return;
        };
        let person = (session, *participant);
        if let Some(name) = name {
            self.names.insert(person, NameFold { tenant, name: storable_text(name), at });
        }
        if let Some(invite) = invite {
            self.uses.entry((*invite, *participant)).or_insert((index, at));
        }
        let fold = self.participants.entry(person).or_default();
        let first_at = fold.arrived.as_ref().map_or(at, |arrival| arrival.first_at);
        fold.arrived = Some(Arrival {
            tenant,
            identity: storable_text(identity),
            verified: *verified,
            role: role.clone(),
            invite: *invite,
            first_at,
            at,
        });
        fold.status = Some(Status::Active);
        fold.left = None;
        fold.state = None;
    }

    fn opened(&mut self, at: Timestamp, tenant: TenantId, session: SessionId, fact: &SessionFact) {
        let SessionFact::ConnectionOpened { participant, connection, role, invite, resumed } = fact else { return };
        self.opened.entry(*connection).or_insert_with(|| SpanFold {
            session,
            tenant,
            participant: *participant,
            role: role.clone(),
            invite: *invite,
            resumed: *resumed,
            connected_at: at,
            evidence_at: at,
            end: None,
        });
    }

    /// The first close of a connection counts.
    fn closed(&mut self, connection: ConnectionId, end: SpanEnd) {
        match self.opened.get_mut(&connection) {
            Some(span) => {
                if span.end.is_none() {
                    let end = SpanEnd { at: end.at.max(span.connected_at), ..end };
                    span.evidence_at = span.evidence_at.max(end.at);
                    span.end = Some(end);
                }
            }
            None => {
                self.closed.entry(connection).or_insert(end);
            }
        }
    }

    /// Only ever raises the end of a crashed connection.
    fn amended(&mut self, connection: ConnectionId, amendment: Amendment) {
        let Some(span) = self.opened.get_mut(&connection) else {
            let known = self.amended.entry(connection).or_insert(amendment);
            if amendment.at > known.at {
                *known = amendment;
            }
            return;
        };
        if let Some(end) = &mut span.end
            && end.reason == LeaveReason::NodeCrash
            && amendment.at > end.at
        {
            end.at = amendment.at;
            end.uncertainty_us = amendment.uncertainty_us;
            span.evidence_at = span.evidence_at.max(amendment.at);
        }
    }
}
