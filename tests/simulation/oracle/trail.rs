//! The trail: nothing twice, nothing missing, and everything that was acknowledged is there.

use std::collections::BTreeMap;

use rollcall_core::{Epoch, LeaveReason};

use super::{Case, Findings};
use crate::model::CONTROL_EPOCH;
use crate::model::rows::Event;
use crate::truth::Wish;

/// The close code of a goodbye.
const NORMAL: u16 = 1000;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    check_sequence(case, findings);
    check_joins(case, findings);
    check_leaves(case, findings);
    check_decisions(case, findings);
    for (epoch, row) in &case.books.epochs {
        if row.state == rollcall::store::EpochState::Active {
            findings.push(("epochs", format!("epoch {epoch} was never brought to its end")));
        }
    }
}

/// Rows of the trail, marks and refused records together are dense.
fn check_sequence(case: &Case<'_>, findings: &mut Findings) {
    let mut numbers: BTreeMap<Epoch, Vec<i64>> = BTreeMap::new();
    let rows = case.books.audit.iter().map(|row| (row.epoch, row.seq));
    let marks = case.books.marks.iter().map(|row| (row.epoch, row.seq));
    let refused = case.books.refused.iter().map(|row| (row.epoch, row.seq));
    for (epoch, seq) in rows.chain(marks).chain(refused) {
        numbers.entry(epoch).or_default().push(seq);
    }
    for (epoch, mut numbers) in numbers {
        numbers.sort_unstable();
        let last = match case.books.epochs.get(&epoch) {
            Some(row) => row.applied_seq,
            None if epoch == CONTROL_EPOCH => case.books.control_seq,
            None => {
                findings.push(("sequence", format!("epoch {epoch} has records and no row")));
                continue;
            }
        };
        if !numbers.iter().copied().eq(1..=last) {
            findings.push(("sequence", format!("epoch {epoch} should have 1 to {last}, it has {numbers:?}")));
        }
    }
}

/// Whoever was told `joined` is in the books.
fn check_joins(case: &Case<'_>, findings: &mut Findings) {
    for attempt in &case.truth.attempts {
        let Some(joined) = attempt.joined else { continue };
        match case.books.spans.get(&joined.connection) {
            Some(span) if (span.session, span.participant) == (attempt.session, joined.participant) => {}
            found => findings.push(("acknowledged joins", format!("{joined:?} is in the books as {found:?}"))),
        }
    }
}

/// Whoever said `leave` and was told goodbye has left.
fn check_leaves(case: &Case<'_>, findings: &mut Findings) {
    for attempt in &case.truth.attempts {
        let (Some(joined), Some(_), Some((NORMAL, _))) = (attempt.joined, attempt.leave_said_at, attempt.closed) else {
            continue;
        };
        let reason = case.books.spans.get(&joined.connection).and_then(|span| span.end).map(|(_, reason)| reason);
        if reason != Some(LeaveReason::Left) {
            findings.push(("acknowledged leaves", format!("{joined:?} left and is in the books as {reason:?}")));
        }
    }
}

/// What the control plane granted is in the books, unless Postgres was put back to before it.
fn check_decisions(case: &Case<'_>, findings: &mut Findings) {
    for decision in case.truth.decisions.iter().filter(|decision| !decision.is_undone) {
        if decision.granted_at.is_none() {
            continue;
        }
        let holds = match decision.what {
            Wish::End(session) => has_event(case, "session_ended", |of| of == session),
            Wish::Extend(session) => has_event(case, "session_extended", |of| of == session),
            Wish::Recover(session) => has_event(case, "session_recovered", |of| of == session),
            Wish::Kick(session, participant) => {
                case.books.participants.get(&(session, participant)).is_some_and(|row| row.kicked_at.is_some())
            }
            Wish::Create(session, _) => case.books.sessions.contains_key(&session),
            Wish::Revoke(_, invite) => case.books.invites.get(&invite).is_some_and(|row| row.revoked_at.is_some()),
        };
        if !holds {
            findings.push(("acknowledged decisions", format!("{decision:?} is not in the books")));
        }
    }
}

fn has_event(case: &Case<'_>, event_type: &str, is_it: impl Fn(rollcall_core::SessionId) -> bool) -> bool {
    let decided = |event: &Event| matches!(event, Event::Decided { .. }) && event.event_type() == event_type;
    case.books.audit.iter().any(|row| is_it(row.session) && decided(&row.event))
}
