//! The bill: never more than the truth, and what is missing is printed.

use std::time::Duration;

use rollcall_core::{ConnectionId, LeaveReason, SessionFact, Timestamp};

use super::{Case, Findings};
use crate::model::rows::{Event, SpanRow};
use crate::plan::Limits;
use crate::truth::{Attempt, Wish};

/// What reading a flood at the permitted rate may hold up.
const FLOOD_READ_MAX: Duration = Duration::from_secs(12);

/// A join that took this long may have let frames wait in the socket.
const LONG_JOIN: Duration = Duration::from_secs(1);
/// So long a socket that seems empty may still have something in it.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);

/// Returns how many findings a stated limit excuses.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) -> u64 {
    let mut excused = 0;
    for (id, span) in &case.books.spans {
        let Some((_, reason)) = span.end else {
            findings.push(("open spans", format!("{id} is open although every epoch is over: {span:?}")));
            continue;
        };
        let joined = case.truth.attempts.iter().find(|attempt| is_of(attempt, *id));
        match joined {
            // A client's testimony is in time of the process that it comes back to, and no clock runs through both.
            Some(_) if is_amended(case, *id) && case.world.plan.faults.clock_steps => excused += 1,
            Some(attempt) => {
                check_over(case, (*id, span), attempt, findings);
                excused += u64::from(!check_marked(case, (*id, span), attempt, findings));
                excused += u64::from(!check_missing(case, (*id, span), attempt, findings));
                check_reason(case, (*id, span), reason, attempt, findings);
            }
            None => check_unseen(case, (*id, span), findings),
        }
    }
    excused
}

fn is_of(attempt: &Attempt, id: ConnectionId) -> bool {
    attempt.joined.is_some_and(|joined| joined.connection == id)
}

/// The span in true time.
fn interval(case: &Case<'_>, id: ConnectionId, span: &SpanRow) -> (Timestamp, Timestamp) {
    let (from, until) = span.interval();
    (case.truth.true_time(id.epoch, from), case.truth.true_time(id.epoch, until))
}

fn is_amended(case: &Case<'_>, id: ConnectionId) -> bool {
    case.books.audit.iter().any(|row| {
        matches!(&row.event, Event::Recorded { fact: SessionFact::ConnectionCloseAmended { connection, .. }, .. }
            if *connection == id)
    })
}

/// The latest instant that a bill may reach: the last byte of the client that reached the server. After a crash the
/// client's own word counts: when it saw its socket end.
fn proven_until(case: &Case<'_>, id: ConnectionId, attempt: &Attempt) -> Timestamp {
    let heard = attempt.link.last_heard();
    let heard = if attempt.flooded { heard + FLOOD_READ_MAX } else { heard };
    if is_amended(case, id) { heard.max(attempt.over_at.unwrap_or(heard)) } else { heard }
}

/// Nobody is billed for time they were not proven to be there.
fn check_over(case: &Case<'_>, (id, span): (ConnectionId, &SpanRow), attempt: &Attempt, findings: &mut Findings) {
    let (from, until) = interval(case, id, span);
    let limit = proven_until(case, id, attempt);
    if from < attempt.opened_at {
        findings.push(("never over", format!("{id} begins at {from:?}, its socket opened at {:?}", attempt.opened_at)));
    }
    // An empty span bills nothing, and one that the client never proved itself on ends where it begins.
    if until > limit && until > from {
        let over = until.since(limit);
        findings.push(("never over", format!("{id} is billed until {until:?}, {over:?} after {limit:?}: {span:?}")));
    }
    if until < from {
        findings.push(("never over", format!("{id} ends before it begins: {span:?}")));
    }
}

/// After a crash all that was heard up to the marks before it is billed, not only excused. Returns false where a stated limit
/// excuses it.
fn check_marked(
    case: &Case<'_>,
    (id, span): (ConnectionId, &SpanRow),
    attempt: &Attempt,
    findings: &mut Findings,
) -> bool {
    let (limits, boot) = (&case.world.plan.limits, &case.truth.boots[&attempt.boot]);
    let crashed = matches!(span.end, Some((_, LeaveReason::NodeCrash)));
    let Some(marks_until) = boot.stopping_at.or(boot.ended_at).min(boot.ended_at) else { return true };
    let is_troubled = !case.truth.disk_troubles.is_empty() || case.world.plan.faults.sync_failure > 0;
    if !crashed || is_troubled || attempt.flooded || limits.journal_bytes_max < 1 << 20 {
        return true;
    }
    let heard = attempt.link.last_heard();
    let marked_until = marks_until - limits.mark_interval * 2 - limits.sync_max * 4;
    let (_, until) = interval(case, id, span);
    if heard > marked_until || until >= heard {
        return true;
    }
    if may_have_waited(limits, attempt, heard) {
        return false;
    }
    findings.push(("evidence is kept", format!("{id} was heard until {heard:?}, crash at {marks_until:?}: {span:?}")));
    true
}

/// After a join that took long, what came meanwhile and what comes first is taken as possibly as old as the join: see `A ping`
/// in docs/ARCHITECTURE.md. The first frame after that time shows that nothing waits any more, and the next one counts.
fn may_have_waited(limits: &Limits, attempt: &Attempt, heard: Timestamp) -> bool {
    let (Some(asked_at), Some(joined)) = (attempt.asked_at, attempt.joined) else { return false };
    let settled_at = joined.at + ANNOUNCED_AFTER + limits.ping_interval + limits.latency_max * 2;
    joined.at.since(asked_at) >= LONG_JOIN && heard <= settled_at
}

/// What a bill does not have is within the uncertainty that it prints. Returns false where a stated limit excuses it.
fn check_missing(
    case: &Case<'_>,
    (id, span): (ConnectionId, &SpanRow),
    attempt: &Attempt,
    findings: &mut Findings,
) -> bool {
    let (_, until) = interval(case, id, span);
    let boot = &case.truth.boots[&attempt.boot];
    let ends = [attempt.over_at, attempt.cut_at, attempt.closed.map(|(_, at)| at), boot.ended_at];
    let decided_at = decided_at(case, span, attempt);
    let there_until = ends.into_iter().flatten().fold(decided_at, Timestamp::min);
    // Decisions of the server reach the peer later than they are made.
    let limits = &case.world.plan.limits;
    let transit = limits.latency_max * 2 + Duration::from_millis(1);
    let reached = until + Duration::from_micros(span.uncertainty_us as u64) + transit;
    if reached >= there_until || attempt.stopped_reading || attempt.flooded {
        return true;
    }
    let what = || format!("{id} was there until {there_until:?}, {:?} more than: {span:?}", there_until.since(reached));
    match span.end.map(|(_, reason)| reason) {
        // The end of a session is a deadline, however late somebody looks at it.
        Some(LeaveReason::SessionEnded) if case.truth.restores > 0 || is_end_of_session(case, span) => return true,
        // Marks come late while the disk does not sync, or the journal has no room for them.
        Some(LeaveReason::NodeCrash) => {
            let sync = limits.sync_max * 4;
            if reached + sync >= there_until {
                return true;
            }
            if case.truth.is_disk_troubled(until, there_until) || limits.journal_bytes_max < 1 << 20 {
                return false;
            }
        }
        _ => {}
    }
    findings.push(("missing is printed", what()));
    true
}

/// The earliest instant at which the server may have decided that the connection ends, where it did. The peer hears of it
/// later, and is not billed for the time in between.
fn decided_at(case: &Case<'_>, span: &SpanRow, attempt: &Attempt) -> Timestamp {
    let boot = &case.truth.boots[&attempt.boot];
    let wished = |is_it: &dyn Fn(Wish) -> bool| {
        let decisions = case.truth.decisions.iter().filter(|decision| is_it(decision.what));
        decisions.map(|decision| decision.asked_at).min()
    };
    let decided_at = match span.end.map(|(_, reason)| reason) {
        Some(LeaveReason::Left) => attempt.leave_said_at,
        Some(LeaveReason::Kicked) => wished(&|wish| matches!(wish, Wish::Kick(_, of) if of == span.participant)),
        Some(LeaveReason::InviteRevoked) => {
            wished(&|wish| matches!(wish, Wish::Revoke(_, of) if Some(of) == span.invite))
        }
        Some(LeaveReason::Replaced) => {
            // Whoever came in later may have asked earlier.
            let own = attempt.joined.map(|joined| joined.connection);
            let others = case.truth.attempts.iter().filter(|other| {
                other.session == attempt.session
                    && !std::ptr::eq(*other, attempt)
                    && other.joined.is_none_or(|joined| Some(joined.connection) > own)
            });
            others.filter_map(|other| other.asked_at.max(attempt.asked_at)).min()
        }
        Some(LeaveReason::ServerDrain | LeaveReason::NodeCrash) => boot.stopping_at,
        Some(LeaveReason::TokenExpired) => attempt.stay_until.map(|at| Timestamp(at.0 - boot.clock_error_us)),
        _ => None,
    };
    decided_at.unwrap_or(Timestamp::NEVER)
}

fn is_end_of_session(case: &Case<'_>, span: &SpanRow) -> bool {
    let end = span.end.map(|(at, _)| at + Duration::from_micros(span.uncertainty_us as u64));
    let ends = case.books.audit.iter().filter(|row| row.session == span.session);
    let mut ends = ends.filter(|row| row.event.event_type().starts_with("session_end"));
    // Who came in after an end that the node had not heard of is billed for nothing.
    ends.any(|row| Some(row.at) == end || (span.connected_at == span.proven_until() && row.at <= span.connected_at))
}

/// A connection that the client never heard of lies within some socket of the same session that it tried.
fn check_unseen(case: &Case<'_>, (id, span): (ConnectionId, &SpanRow), findings: &mut Findings) {
    let (from, until) = interval(case, id, span);
    let fits = from == until
        || case.truth.attempts.iter().any(|attempt| {
            attempt.joined.is_none()
                && attempt.session == span.session
                && case.truth.boot_of.get(&id.epoch) == Some(&attempt.boot)
                && attempt.opened_at <= from
                && until <= attempt.link.last_heard()
        });
    if !fits {
        findings.push(("never over", format!("{id} is nobody's: {span:?}")));
    }
}

/// The reason agrees with what happened.
fn check_reason(
    case: &Case<'_>,
    (id, span): (ConnectionId, &SpanRow),
    reason: LeaveReason,
    attempt: &Attempt,
    findings: &mut Findings,
) {
    let boot = &case.truth.boots[&attempt.boot];
    let participant = span.participant;
    let wished = |is_it: &dyn Fn(Wish) -> bool| case.truth.decisions.iter().any(|decision| is_it(decision.what));
    let is_plausible = match reason {
        LeaveReason::Left => attempt.leave_said_at.is_some(),
        LeaveReason::Closed => attempt.over_at.is_some() || attempt.flooded,
        LeaveReason::LivenessTimeout => attempt.cut_at.is_some() || attempt.stopped_reading || boot.loses_power,
        LeaveReason::Kicked => wished(&|wish| matches!(wish, Wish::Kick(_, of) if of == participant)),
        LeaveReason::SessionEnded => {
            let ended = |row: &&crate::model::rows::AuditRow| row.event.event_type().starts_with("session_end");
            case.truth.restores > 0 || case.books.audit.iter().filter(ended).any(|row| row.session == span.session)
        }
        LeaveReason::InviteRevoked => wished(&|wish| matches!(wish, Wish::Revoke(_, of) if Some(of) == span.invite)),
        LeaveReason::TokenExpired => attempt.stay_until.is_some(),
        LeaveReason::Replaced => case.truth.attempts.iter().any(|other| {
            other.joined.is_none_or(|joined| joined.participant == participant)
                && other.session == attempt.session
                && !is_of(other, id)
        }),
        LeaveReason::SlowConsumer => attempt.stopped_reading || attempt.cut_at.is_some(),
        LeaveReason::ServerDrain => boot.stopping_at.is_some(),
        LeaveReason::NodeCrash => boot.ended_at.is_some() && !boot.is_clean,
    };
    if !is_plausible {
        findings.push(("reasons", format!("{id} ended as {reason}, but: {attempt:?}")));
    }
}
