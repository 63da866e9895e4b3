//! Who may be in a room: no more than it holds, nobody after its end or while the server stops, and nobody by a token that
//! was tampered with; and nobody is taken for gone because the server was.

use std::collections::BTreeSet;

use rollcall_core::{ParticipantId, SessionEndReason, SessionFact, SessionId};

use super::{Case, Findings};
use crate::model::rows::{AuditRow, Event};
use crate::people::FORGED_PARTICIPANT;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    check_stopping(case, findings);
    if case.books.spans.values().any(|span| span.participant == FORGED_PARTICIPANT) {
        findings.push(("forged token", "a resume token with a changed body let somebody in".to_owned()));
    }
    if case.truth.restores > 0 {
        // Postgres has forgotten ends and joins that happened.
        return;
    }
    for session in case.truth.sessions.keys() {
        let trail: Vec<_> = case.books.audit.iter().filter(|row| row.session == *session).collect();
        check_capacity(case, &trail, findings);
        check_restarts(case, *session, findings);
        check_one_record(&trail, findings);
        // Of an end whose commit was not answered the node learns by the feed.
        let faults = &case.world.plan.faults;
        let hears_of_ends = faults.store_fails_after + faults.store_hangs + faults.outage == 0;
        if hears_of_ends && !faults.clock_steps {
            check_after_end(&trail, findings);
        }
    }
}

fn fact(row: &AuditRow) -> Option<&SessionFact> {
    match &row.event {
        Event::Recorded { fact, .. } => Some(fact),
        Event::Decided { .. } => None,
    }
}

/// Ended by the control plane, which tells the node; the clean-up does not.
fn is_decided_end(row: &AuditRow) -> bool {
    matches!(&row.event, Event::Decided { event_type: "session_ended", metadata, .. } if metadata["source"] != "cleanup")
}

fn is_recorded_end(row: &AuditRow) -> bool {
    matches!(row.event, Event::Recorded { fact: SessionFact::SessionEnded { .. }, superseded: false })
}

/// Follows who is present through a trail, in the order of writing.
fn follow(present: &mut BTreeSet<ParticipantId>, row: &AuditRow) {
    match fact(row) {
        Some(SessionFact::ParticipantJoined { participant, .. }) => drop(present.insert(*participant)),
        Some(SessionFact::ParticipantLeft { participant, .. }) => drop(present.remove(participant)),
        None if row.event.event_type() == "session_ended" => present.clear(),
        _ => {}
    }
}

fn check_capacity(case: &Case<'_>, trail: &[&AuditRow], findings: &mut Findings) {
    let Some(max) = case.world.plan.limits.participants_max else { return };
    let mut present = BTreeSet::new();
    for row in trail {
        follow(&mut present, row);
        if present.len() > max as usize {
            findings.push(("room", format!("{} are in where {max} may be: {row:?}", present.len())));
            return;
        }
    }
}

/// A server that stops lets nobody in.
fn check_stopping(case: &Case<'_>, findings: &mut Findings) {
    let opened = case.books.audit.iter().filter(|row| matches!(fact(row), Some(SessionFact::ConnectionOpened { .. })));
    for row in opened {
        let boot = case.truth.boot_of.get(&row.epoch).and_then(|boot| case.truth.boots.get(boot));
        let stopping_at = boot.and_then(|boot| boot.stopping_at);
        if stopping_at.is_some_and(|stopping_at| case.truth.true_time(row.epoch, row.at) > stopping_at) {
            findings.push(("stopping", format!("somebody came in after {stopping_at:?}: {row:?}")));
        }
    }
}

/// Nobody comes in after the end, unless the session was taken back: after one that the control plane decided by the clock,
/// after one that the node recorded by its own order.
fn check_after_end(trail: &[&AuditRow], findings: &mut Findings) {
    for end in trail.iter().filter(|row| is_decided_end(row) || is_recorded_end(row)) {
        let is_later = |row: &&&AuditRow| match end.event {
            Event::Decided { .. } => row.at > end.at,
            Event::Recorded { .. } => row.epoch == end.epoch && row.seq > end.seq,
        };
        let opened = trail.iter().filter(|row| matches!(fact(row), Some(SessionFact::ConnectionOpened { .. })));
        for row in opened.filter(is_later) {
            let is_recovered = trail.iter().any(|other| {
                other.event.event_type() == "session_recovered" && other.at >= end.at && other.at <= row.at
            });
            if !is_recovered {
                findings.push(("room", format!("somebody came in after the end at {:?}: {row:?}", end.at)));
                return;
            }
        }
    }
}

/// An end that Postgres has is not recorded by the node as well.
fn check_one_record(trail: &[&AuditRow], findings: &mut Findings) {
    let superseded = trail.iter().filter(|row| matches!(row.event, Event::Recorded { superseded: true, .. }));
    for row in superseded {
        if trail.iter().any(|other| is_decided_end(other) && other.at == row.at) {
            findings.push(("ends once", format!("the end of the control plane was recorded again: {row:?}")));
        }
    }
}

/// While the server was down nobody could be active: who was inside gets the grace to come back before the session ends
/// as idle.
fn check_restarts(case: &Case<'_>, session: SessionId, findings: &mut Findings) {
    for (epoch, node) in &case.books.epochs {
        let is_of_epoch = |row: &&AuditRow| row.epoch == *epoch;
        let idle_end = case.books.audit.iter().filter(is_of_epoch).find(|row| {
            let is_idle = matches!(
                row.event,
                Event::Recorded {
                    fact: SessionFact::SessionEnded { reason: SessionEndReason::Idle, .. },
                    superseded: false
                }
            );
            is_idle && row.session == session
        });
        let Some(end) = idle_end else { continue };
        let mut present = BTreeSet::new();
        let before = case.books.audit.iter().take_while(|row| !is_of_epoch(row));
        before.filter(|row| row.session == session).for_each(|row| follow(&mut present, row));
        let was_taken_back = case.books.audit.iter().any(|row| {
            row.session == session && row.event.event_type() == "session_recovered" && row.at >= node.started_at
        });
        let held_until = node.started_at + case.world.plan.policy.grace_hidden;
        if !present.is_empty() && !was_taken_back && end.at < held_until {
            findings.push(("grace at restart", format!("{session} ended at {:?}, before {held_until:?}", end.at)));
        }
    }
}
