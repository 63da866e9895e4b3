//! Connection by connection: each is there once, its span lies between its bounds, and its reason is right.

use std::collections::{HashMap, HashSet};

use super::super::books::{Span, Trail};
use super::super::cover::{Cover, Stretch};
use super::super::faults::FaultKind;
use super::super::reasons;
use super::super::truth::{Boot, BootEndKind, ConnectionTruth, End, Incident};
use super::{Fault, Judge, Who};

/// How long after a network has healed what it held back may be on its way: the pause between two attempts to send it doubles.
const SENT_AGAIN_US: i64 = 1_000_000;

impl<'a> Judge<'a> {
    /// Every acknowledged connection is in the ledger once, and its span lies between the bounds.
    pub(super) fn connections(&mut self) {
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
        let unmarked_us = if crashed { self.mark_late_us(connection) } else { 0 };
        let file = self.files.entry(who.clone()).or_default();
        file.at_most.push(at_most);
        file.spans.push(span);
        file.excused_us += unmarked_us;
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
        let explained = match (crashed, self.may_be_read_late(connection)) {
            (true, _) => span.uncertainty_us + self.mark_late_us(connection),
            // What waited for the server proves the time before that, and the uncertainty has the rest.
            (false, true) => span.uncertainty_us,
            (false, false) => 0,
        };
        if missing > explained {
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
        let crashed = span.end_reason.as_deref() == Some("node_crash");
        // Of whom a kill took the connection, unless they had said goodbye and the server had heard it.
        let killed_at = self.killed_between(connection.join_sent, connection.gone_at);
        let killed_at = killed_at.filter(|_| crashed && connection.end == End::Lost);
        let there_until = connection.there_until.max(killed_at.unwrap_or(i64::MIN));
        // Nor was its network working from where packets were lost, if that is what ended it: then, or when what was held back,
        // its goodbye among it, was sent again.
        let lost_at = reasons::faults_during(self.truth, self.rules, connection)
            .filter(|one| one.kind.needs_network() && one.until + SENT_AGAIN_US >= end)
            .map(|one| one.at)
            .min();
        let missing = there_until.min(ordered_at).min(lost_at.unwrap_or(i64::MAX)) - end;
        if matches!(connection.end, End::Closed | End::Finished | End::Left) {
            self.judgement.tally.way_max_us = self.judgement.tally.way_max_us.max(end - connection.there_until);
        }
        if crashed && self.mark_late_us(connection) == self.rules.mark_late_us {
            self.judgement.tally.mark_late_us = self.judgement.tally.mark_late_us.max(missing - span.uncertainty_us);
        }
        let beyond = missing - span.uncertainty_us - if crashed { self.mark_late_us(connection) } else { 0 };
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
        let stopped = |boot: &Boot| {
            boot.end.is_some_and(|end| end.at <= connection.gone_at && end.gone_at >= connection.join_sent)
        };
        let is_silenced = self.meets(connection, FaultKind::silences);
        if connection.end == End::Lost && !is_silenced && !self.truth.boots.iter().any(stopped) {
            let words = format!("{} was dropped without a word by a server that ran ({reason})", span.connection);
            self.blame(Fault::Dropped, Some(who), 0, words);
        }
    }

    /// How late the last mark before a crash may be. A server that stood still, or whose journal had no space, right before
    /// it was killed has left none since; that is stated as not covered (docs/GUARANTEES.md, G14).
    fn mark_late_us(&self, connection: &ConnectionTruth) -> i64 {
        let held_up =
            || reasons::faults_during(self.truth, self.rules, connection).filter(|one: &&Incident| one.kind.holds_up());
        // The client may have gone before the kill, and the server, held up as it was, did not know.
        let unknown_until = held_up().map(|one| one.until).fold(connection.gone_at, i64::max);
        let killed_at = self.killed_between(connection.join_sent, unknown_until + self.rules.close_durable_us);
        let Some(killed_at) = killed_at else { return self.rules.mark_late_us };
        let unmarked =
            held_up().filter(|one| one.at <= killed_at && one.until + self.rules.marked_after_us >= killed_at);
        unmarked.map(|one| killed_at - one.at).max().unwrap_or(0) + self.rules.mark_late_us
    }

    /// Whether what the connection sent may have waited for a server that was held up. Its threads notice one after the other
    /// that they stood still, so one that joined in this moment is among them.
    fn may_be_read_late(&self, connection: &ConnectionTruth) -> bool {
        let since_us = connection.join_sent - self.rules.noticed_within_us;
        let just_before = |one: &Incident| one.kind.holds_up() && (since_us..connection.join_sent).contains(&one.until);
        self.meets(connection, FaultKind::holds_up) || self.truth.incidents.iter().any(just_before)
    }

    fn meets(&self, connection: &ConnectionTruth, is_such: fn(FaultKind) -> bool) -> bool {
        reasons::faults_during(self.truth, self.rules, connection).any(|one| is_such(one.kind))
    }

    fn killed_between(&self, from: i64, until: i64) -> Option<i64> {
        let mut ends = self.truth.boots.iter().filter_map(|boot| boot.end);
        let kill = ends.find(|end| end.kind == BootEndKind::Killed && end.at <= until && end.gone_at >= from);
        kill.map(|end| end.at)
    }

    /// Spans of connections that no client knows: a join whose answer was lost explains one each.
    pub(super) fn strangers(&mut self) {
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
                    // A join that was read after its client had gone is nothing in the bill.
                    && (end <= one.gone_at || end == span.connected_at)
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
}

/// A join without an answer may have been recorded; one that was refused for good must not be.
fn may_be_in_the_ledger(connection: &ConnectionTruth) -> bool {
    connection.joined.is_none() && !matches!(connection.end, End::Refused(code) if code < 4200)
}
