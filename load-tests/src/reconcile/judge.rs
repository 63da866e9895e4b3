//! The oracle: compares the ledger with the truth. It knows nothing of how the server works, only what it promises:
//! nothing acknowledged is lost, nothing counts twice, nobody is billed for time they were not proven to be there, and
//! what may be missing is bounded and printed on the bill.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::books::{Bill, Span, Statement, Trail};
use super::cover::{Cover, Stretch};
use super::reasons::{self, Rules};
use super::truth::{BootEndKind, ConnectionTruth, End, Truth};

/// What can be wrong with a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Time is billed at which the connection cannot have been there.
    OverBilled,
    /// An acknowledged connection is not in the ledger.
    Lost,
    /// A connection is in the ledger twice, or opened and closed another number of times than once.
    Doubled,
    /// A span that nobody can have caused, or that stands under the wrong name.
    Unexplained,
    /// Proven time is missing, and the uncertainty does not say so.
    UnderBilled,
    /// Time at which the client was there is missing, and the uncertainty is too small for it.
    UncertaintyTooSmall,
    /// `get_session_billing_data()` and the spans do not agree.
    BillDiffers,
    WrongReason,
    /// A span without an end, although everybody is gone.
    StillOpen,
    /// A session did not end exactly once.
    SessionEnd,
    /// The numbers of an epoch have a gap or a double, or Postgres refused a record.
    NotDense,
    /// A bill was complete up to an instant, and changed for the time before it.
    NotFinal,
    /// The server lost a connection that nobody ended.
    Dropped,
    /// The clocks of server and harness differ, so that nothing can be said to the microsecond.
    ClockOff,
    /// `migrations/verify.sql` found something.
    Verify,
}

/// Identifies a participant: session and participant id.
pub type Who = (String, String);

#[derive(Debug, Clone)]
pub struct Violation {
    pub fault: Fault,
    pub who: Option<Who>,
    pub micros: i64,
    pub words: String,
}

/// What a run was about, for the figures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    pub participants: usize,
    pub connections: usize,
    pub acknowledged: usize,
    pub crash_spans: usize,
    pub over_us: i64,
    pub under_us: i64,
    pub billed_us: i64,
    /// The union of what the connections were at least and at most.
    pub at_least_us: i64,
    pub at_most_us: i64,
    pub overlap_us: i64,
    pub uncertainty_us: i64,
    pub uncertainty_max_us: i64,
    /// The most by which a connection's true end was later than its billed one.
    pub missing_max_us: i64,
    /// The most by which the true end of a crashed connection was later than its uncertainty says: how late a mark was.
    pub mark_late_us: i64,
}

#[derive(Debug, Default)]
pub struct Judgement {
    pub violations: Vec<Violation>,
    pub tally: Tally,
}

/// All there is about one participant.
#[derive(Debug, Default)]
struct File<'a> {
    at_least: Vec<Stretch>,
    at_most: Vec<Stretch>,
    spans: Vec<&'a Span>,
}

struct Judge<'a> {
    truth: &'a Truth,
    statement: &'a Statement,
    rules: &'a Rules,
    files: BTreeMap<Who, File<'a>>,
    judgement: Judgement,
}

/// Compares. The order of the violations is that of the checks.
pub fn judge(truth: &Truth, statement: &Statement, rules: &Rules) -> Judgement {
    let mut judge = Judge { truth, statement, rules, files: BTreeMap::new(), judgement: Judgement::default() };
    judge.connections();
    judge.strangers();
    judge.participants();
    judge.sessions();
    judge.numbers();
    judge.judgement
}

impl<'a> Judge<'a> {
    /// Every acknowledged connection is in the ledger once, and its span lies between the bounds.
    fn connections(&mut self) {
        let spans: HashMap<_, _> = self.statement.spans.iter().map(|span| (span.connection.as_str(), span)).collect();
        let trails: HashMap<_, _> = self.statement.trails.iter().map(|one| (one.connection.as_str(), one)).collect();
        if spans.len() != self.statement.spans.len() {
            let doubled = self.statement.spans.len() - spans.len();
            self.blame(Fault::Doubled, None, 0, format!("{doubled} spans stand under the id of another one"));
        }
        for connection in &self.truth.connections {
            self.judgement.tally.connections += 1;
            let Some(joined) = &connection.joined else { continue };
            self.judgement.tally.acknowledged += 1;
            let who = (connection.session.clone(), joined.participant.clone());
            self.bounds(&who, connection, joined.at);
            let Some(span) = spans.get(joined.connection.as_str()) else {
                let words = format!("connection {} was acknowledged and has no span", joined.connection);
                self.blame(Fault::Lost, Some(who), connection.heard_until - joined.at, words);
                continue;
            };
            self.trail(&who, joined.connection.as_str(), trails.get(joined.connection.as_str()).copied());
            if (span.session.as_str(), span.participant.as_str()) != (who.0.as_str(), who.1.as_str()) {
                let words =
                    format!("connection {} stands under {} in {}", span.connection, span.participant, span.session);
                self.blame(Fault::Unexplained, Some(who), 0, words);
                continue;
            }
            self.span(who, connection, joined.at, span);
        }
    }

    fn trail(&mut self, who: &Who, connection: &str, trail: Option<&Trail>) {
        let (opened, closed) = trail.map_or((0, 0), |trail| (trail.opened, trail.closed));
        if (opened, closed) != (1, 1) {
            let words = format!("connection {connection} was opened {opened} and closed {closed} times");
            self.blame(Fault::Doubled, Some(who.clone()), 0, words);
        }
    }

    /// What the connection was at least and at most, for the sets of its participant.
    fn bounds(&mut self, who: &Who, connection: &ConnectionTruth, joined_at: i64) {
        let ordered_at = reasons::ordered_out_at(self.truth, self.statement, connection);
        let file = self.files.entry(who.clone()).or_default();
        file.at_least.push(Stretch::new(joined_at, connection.heard_until.min(ordered_at)));
        file.at_most.push(Stretch::new(connection.join_sent, connection.gone_at));
    }

    fn span(&mut self, who: Who, connection: &ConnectionTruth, joined_at: i64, span: &'a Span) {
        let crashed = span.end_reason.as_deref() == Some("node_crash");
        // A client that testifies vouches for itself until then.
        let testified = connection.testified_until.filter(|_| crashed).unwrap_or(i64::MIN);
        let at_most = Stretch::new(connection.join_sent, connection.gone_at.max(testified));
        let ordered_at = reasons::ordered_out_at(self.truth, self.statement, connection);
        let at_least = Stretch::new(joined_at, connection.heard_until.min(ordered_at));
        let file = self.files.entry(who.clone()).or_default();
        file.at_most.push(at_most);
        file.spans.push(span);
        self.judgement.tally.crash_spans += usize::from(crashed);

        let Some(end) = span.disconnected_at else {
            let words = format!("connection {} has no end", span.connection);
            return self.blame(Fault::StillOpen, Some(who), 0, words);
        };
        let early = at_most.from - span.connected_at;
        let late = end - at_most.until;
        for (micros, what) in [(early, "begins before the join was sent"), (late, "ends after the client was gone")] {
            if micros > 0 {
                let words = format!("the span of {} {what} ({:?})", span.connection, connection.end);
                self.blame(Fault::OverBilled, Some(who.clone()), micros, words);
            }
        }
        let billed = Cover::of([Stretch::new(span.connected_at, end)]);
        let missing = Cover::of([at_least]).minus(&billed).micros();
        if missing > if crashed { span.uncertainty_us + self.rules.mark_late_us } else { 0 } {
            let words = format!(
                "the span of {} ({}) lacks proven time; its uncertainty is {} us ({:?})",
                span.connection,
                span.end_reason.as_deref().unwrap_or("?"),
                span.uncertainty_us,
                connection.end
            );
            self.blame(Fault::UnderBilled, Some(who.clone()), missing, words);
        }
        self.uncertainty(&who, connection, span, end, ordered_at);
        self.reason(who, connection, span);
    }

    /// Whatever the server could not know of, the uncertainty is to cover.
    fn uncertainty(&mut self, who: &Who, connection: &ConnectionTruth, span: &Span, end: i64, ordered_at: i64) {
        let there_until = match connection.end {
            End::Lost => match self.killed_during(connection) {
                Some(killed_at) => killed_at.max(connection.there_until),
                None => connection.there_until,
            },
            _ => connection.there_until,
        };
        let missing = there_until.min(ordered_at) - end;
        self.judgement.tally.missing_max_us = self.judgement.tally.missing_max_us.max(missing);
        let crashed = span.end_reason.as_deref() == Some("node_crash");
        if crashed {
            self.judgement.tally.mark_late_us = self.judgement.tally.mark_late_us.max(missing - span.uncertainty_us);
        }
        let beyond = missing - span.uncertainty_us - if crashed { self.rules.mark_late_us } else { 0 };
        if missing > 0 && beyond > 0 {
            let words = format!(
                "the client of {} ({}) was there {missing} us longer than billed; its uncertainty is {} us ({:?})",
                span.connection,
                span.end_reason.as_deref().unwrap_or("?"),
                span.uncertainty_us,
                connection.end
            );
            self.blame(Fault::UncertaintyTooSmall, Some(who.clone()), beyond, words);
        }
    }

    fn reason(&mut self, who: Who, connection: &ConnectionTruth, span: &Span) {
        let allowed = reasons::allowed(self.truth, self.statement, self.rules, connection);
        let reason = span.end_reason.as_deref().unwrap_or("?");
        if !allowed.contains(&reason) {
            let words = format!("{} ended as {reason}; {:?} allows {allowed:?}", span.connection, connection.end);
            self.blame(Fault::WrongReason, Some(who.clone()), 0, words);
        }
        let stopped = |boot: &super::truth::Boot| {
            boot.end.is_some_and(|end| end.at <= connection.gone_at && end.gone_at >= connection.join_sent)
        };
        if connection.end == End::Lost && !self.truth.boots.iter().any(stopped) {
            let words = format!("{} was dropped without a word by a server that ran ({reason})", span.connection);
            self.blame(Fault::Dropped, Some(who), 0, words);
        }
    }

    fn killed_during(&self, connection: &ConnectionTruth) -> Option<i64> {
        let ends = self.truth.boots.iter().filter_map(|boot| boot.end);
        let mut kills = ends.filter(|end| {
            end.kind == BootEndKind::Killed && end.at <= connection.gone_at && end.gone_at >= connection.join_sent
        });
        kills.next().map(|end| end.at)
    }

    /// Spans of connections that no client knows: a join whose answer was lost explains one each.
    fn strangers(&mut self) {
        let known: HashSet<_> = self
            .truth
            .connections
            .iter()
            .filter_map(|one| one.joined.as_ref().map(|joined| &joined.connection))
            .collect();
        let identities: HashMap<Who, &str> = self
            .truth
            .connections
            .iter()
            .filter_map(|one| {
                Some(((one.session.clone(), one.joined.as_ref()?.participant.clone()), one.identity.as_str()))
            })
            .collect();
        let mut unanswered: Vec<_> = self.truth.connections.iter().filter(|one| may_be_in_the_ledger(one)).collect();
        unanswered.sort_by_key(|one| one.gone_at);
        for span in self.statement.spans.iter().filter(|span| !known.contains(&span.connection)) {
            let who = (span.session.clone(), span.participant.clone());
            let end = span.disconnected_at.unwrap_or(i64::MAX);
            let explains = |one: &&ConnectionTruth| {
                one.session == span.session
                    && identities.get(&who).is_none_or(|identity| *identity == one.identity)
                    && one.join_sent <= span.connected_at
                    && end <= one.gone_at
            };
            let file = self.files.entry(who.clone()).or_default();
            file.spans.push(span);
            match unanswered.iter().position(explains) {
                Some(index) => {
                    let one = unanswered.remove(index);
                    file.at_most.push(Stretch::new(one.join_sent, one.gone_at));
                }
                None => {
                    let words = format!("nobody can have caused connection {}", span.connection);
                    self.blame(Fault::Unexplained, Some(who), end.saturating_sub(span.connected_at), words);
                }
            }
        }
    }

    /// As sets of time: what is billed is a part of what was possible, and contains what was proven.
    fn participants(&mut self) {
        let mut bills: HashMap<Who, &Bill> =
            self.statement.bills.iter().map(|bill| ((bill.session.clone(), bill.participant.clone()), bill)).collect();
        let files = std::mem::take(&mut self.files);
        for (who, file) in &files {
            let stretches = file
                .spans
                .iter()
                .map(|span| Stretch::new(span.connected_at, span.disconnected_at.unwrap_or(span.connected_at)));
            let (spans, at_most) = (Cover::of(stretches.clone()), Cover::of(file.at_most.iter().copied()));
            let at_least = Cover::of(file.at_least.iter().copied());
            let over = spans.minus(&at_most);
            if over.micros() > 0 {
                let words = format!("billed while nobody can have been there: {:?}", over.stretches());
                self.blame(Fault::OverBilled, Some(who.clone()), over.micros(), words);
            }
            let uncertainty_us: i64 = file.spans.iter().map(|span| span.uncertainty_us).sum();
            let under = at_least.minus(&spans);
            let crashes =
                file.spans.iter().filter(|span| span.end_reason.as_deref() == Some("node_crash")).count() as i64;
            let beyond = under.micros() - uncertainty_us - crashes * self.rules.mark_late_us;
            if beyond > 0 {
                let words = format!("proven and not billed, uncertainty {uncertainty_us} us: {:?}", under.stretches());
                self.blame(Fault::UnderBilled, Some(who.clone()), beyond, words);
            }
            let connected_us = stretches.map(Stretch::micros).sum();
            let expected = Bill {
                session: who.0.clone(),
                participant: who.1.clone(),
                connections: file.spans.len() as i64,
                connected_us,
                billable_us: spans.micros(),
                overlap_us: connected_us - spans.micros(),
                uncertainty_us,
                is_open: false,
            };
            match bills.remove(who) {
                None => self.blame(Fault::Lost, Some(who.clone()), spans.micros(), "no bill".to_owned()),
                Some(bill) => {
                    self.bill(who, bill, &expected, &at_most);
                    let tally = &mut self.judgement.tally;
                    tally.participants += 1;
                    tally.billed_us += bill.billable_us;
                    tally.overlap_us += bill.overlap_us;
                    tally.uncertainty_us += bill.uncertainty_us;
                    tally.uncertainty_max_us = tally.uncertainty_max_us.max(bill.uncertainty_us);
                    tally.at_least_us += at_least.micros();
                    tally.at_most_us += at_most.micros();
                    tally.under_us += under.micros();
                }
            }
        }
        for (who, bill) in bills {
            self.blame(Fault::Unexplained, Some(who), bill.billable_us, "a bill without spans".to_owned());
        }
        self.judgement.tally.over_us =
            self.judgement.violations.iter().filter(|one| one.fault == Fault::OverBilled).map(|one| one.micros).sum();
    }

    fn bill(&mut self, who: &Who, bill: &Bill, expected: &Bill, at_most: &Cover) {
        if bill.is_open {
            self.blame(Fault::StillOpen, Some(who.clone()), 0, "the bill is open".to_owned());
        } else if bill != expected {
            let words = format!("the bill says {bill:?}, the spans say {expected:?}");
            self.blame(Fault::BillDiffers, Some(who.clone()), (bill.billable_us - expected.billable_us).abs(), words);
        }
        let over = bill.billable_us - at_most.micros();
        if over > 0 {
            let words = format!("{} us billed, {} us possible", bill.billable_us, at_most.micros());
            self.blame(Fault::OverBilled, Some(who.clone()), over, words);
        }
    }

    fn sessions(&mut self) {
        let status: HashMap<_, _> =
            self.statement.sessions.iter().map(|row| (row.session.as_str(), row.status.as_str())).collect();
        let mut ends: HashMap<&str, usize> = HashMap::new();
        for end in &self.statement.ends {
            *ends.entry(end.session.as_str()).or_default() += 1;
        }
        for session in &self.truth.sessions {
            let (status, ends) = (status.get(session.as_str()), ends.get(session.as_str()).copied().unwrap_or(0));
            if status != Some(&"ended") || ends != 1 {
                let words = format!("session {session} is {status:?} and ended {ends} times");
                self.blame(Fault::SessionEnd, None, 0, words);
            }
        }
    }

    fn numbers(&mut self) {
        for words in &self.statement.not_dense {
            self.blame(Fault::NotDense, None, 0, words.clone());
        }
        if self.statement.refused > 0 {
            self.blame(Fault::NotDense, None, 0, format!("Postgres refused {} records", self.statement.refused));
        }
        if self.truth.clock_off_us > self.rules.clock_tolerance_us {
            let words = format!("the server's clock was {} us off", self.truth.clock_off_us);
            self.blame(Fault::ClockOff, None, self.truth.clock_off_us, words);
        }
    }

    fn blame(&mut self, fault: Fault, who: Option<Who>, micros: i64, words: String) {
        self.judgement.violations.push(Violation { fault, who, micros, words });
    }
}

/// A join without an answer may have been recorded; one that was refused for good must not be.
fn may_be_in_the_ledger(connection: &ConnectionTruth) -> bool {
    connection.joined.is_none() && !matches!(connection.end, End::Refused(code) if code < 4200)
}
