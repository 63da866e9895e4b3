//! Sessions: each end is one, has one reason, and an idle one comes only after real silence.

use std::collections::BTreeMap;

use rollcall_core::{SessionEndReason, SessionFact, SessionId, Timestamp};

use super::{Case, Findings};
use crate::model::rows::{AuditRow, Event};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    for session in case.truth.sessions.keys() {
        check_turns(case, *session, findings);
        if !case.world.plan.faults.clock_steps && case.truth.restores == 0 {
            check_idle_ends(case, *session, findings);
        }
    }
    check_told(case, findings);
    check_told_why(case, findings);
}

/// The reason of a row that ended its session.
fn end_of(row: &AuditRow) -> Option<SessionEndReason> {
    match &row.event {
        Event::Recorded { fact: SessionFact::SessionEnded { reason, .. }, superseded: false } => Some(*reason),
        Event::Decided { event_type: "session_ended", metadata, .. } => metadata["reason"].as_str()?.parse().ok(),
        _ => None,
    }
}

/// In the order of writing: ended, recovered, ended, recovered …, and the row agrees with the last of them.
fn check_turns(case: &Case<'_>, session: SessionId, findings: &mut Findings) {
    let mut has_ended = false;
    for row in case.books.audit.iter().filter(|row| row.session == session) {
        let is_end = end_of(row).is_some();
        if is_end && has_ended {
            findings.push(("ends once", format!("{session} ended a second time: {row:?}")));
        }
        has_ended = (has_ended || is_end) && row.event.event_type() != "session_recovered";
    }
    let is_active = case.books.sessions.get(&session).map(|row| row.is_active());
    if is_active != Some(!has_ended) {
        findings.push(("ends once", format!("{session} is active: {is_active:?}, its trail says ended: {has_ended}")));
    }
}

/// Somebody who was in and active keeps a session alive for the whole idle timeout.
fn check_idle_ends(case: &Case<'_>, session: SessionId, findings: &mut Findings) {
    let ends = case.books.audit.iter().filter(|row| row.session == session);
    let idle_ends = ends.filter(|row| end_of(row) == Some(SessionEndReason::Idle));
    let limits = &case.world.plan.limits;
    for row in idle_ends {
        for attempt in case.truth.attempts.iter().filter(|attempt| attempt.session == session && !attempt.flooded) {
            let Some(span) = attempt.joined.and_then(|joined| case.books.spans.get(&joined.connection)) else {
                continue;
            };
            let boot = &case.truth.boots[&attempt.boot];
            let in_until = span.end.map_or(Timestamp::NEVER, |(at, _)| at);
            // What the last mark did not carry is lost with a crash; marks come late while the disk does not sync.
            let lost_from = if boot.is_clean {
                Timestamp::NEVER
            } else {
                let crashed_at = boot.ended_at.unwrap_or(Timestamp::NEVER);
                crashed_at - limits.mark_interval * 2 - limits.sync_max * 4
            };
            let counts = |at: &&Timestamp| **at < row.at && **at <= in_until && **at < lost_from;
            let last = attempt.activities.iter().filter(counts).max();
            if let Some(last) = last
                && *last + limits.idle_timeout > row.at
                && !case.truth.is_disk_troubled(*last, row.at)
            {
                let what = format!("{session} ended as idle at {:?}, active at {last:?}: {:?}", row.at, attempt.joined);
                findings.push(("idle means silence", what));
            }
        }
    }
}

/// Whoever was told that the session has ended finds that end in the books, unless the node died with it.
fn check_told(case: &Case<'_>, findings: &mut Findings) {
    let mut ends: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
    for row in &case.books.audit {
        match &row.event {
            Event::Recorded { fact: SessionFact::SessionEnded { reason, .. }, .. } => {
                ends.entry(row.session).or_default().push(reason.to_string());
            }
            _ => {
                let reason = end_of(row).map(|reason| reason.to_string());
                ends.entry(row.session).or_default().extend(reason);
            }
        }
    }
    for attempt in &case.truth.attempts {
        let Some(told) = &attempt.ended else { continue };
        let known = ends.get(&attempt.session).is_some_and(|ends| ends.contains(told));
        if !known && case.truth.boots[&attempt.boot].is_clean && case.truth.restores == 0 {
            findings.push(("ends are true", format!("{:?} was told `{told}`, which is in no book", attempt.joined)));
        }
    }
}

/// Whoever reads is told why they have to go, by a server that goes on.
fn check_told_why(case: &Case<'_>, findings: &mut Findings) {
    for attempt in &case.truth.attempts {
        let (Some(joined), Some(dropped_at), None) = (attempt.joined, attempt.dropped_at, attempt.closed) else {
            continue;
        };
        let has_gone = attempt.leave_said_at.or(attempt.close_said_at).or(attempt.cut_at).is_some();
        let goes_on = case.truth.boots[&attempt.boot].ended_at.is_none_or(|at| at > dropped_at);
        if goes_on && !has_gone && !attempt.stopped_reading {
            let what = format!(
                "{joined:?} was dropped at {dropped_at:?} without a word, as {:?}",
                case.books.spans.get(&joined.connection).map(|span| span.end)
            );
            findings.push(("told why", what));
        }
    }
}
