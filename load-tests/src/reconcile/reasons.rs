//! Why a connection may have ended, by what is known from outside.

use super::books::Statement;
use super::truth::{BootEndKind, ConnectionTruth, End, Incident, Truth};

/// What the server was told about time, and what it states about its own precision.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How far the clocks of two processes of one machine may seem apart.
    pub clock_tolerance_us: i64,
    /// How much later than its interval an evidence mark may be durable.
    pub mark_late_us: i64,
    /// So long after a standstill the next mark is durable, or a kill finds that there is none.
    pub marked_after_us: i64,
    /// So long after a standstill each of the server's threads has noticed it.
    pub noticed_within_us: i64,
    /// How long a silent connection is held before the server gives it up.
    pub dead_after_us: i64,
    /// How long a close may take to be durable: after a crash before that, it counts as never seen.
    pub close_durable_us: i64,
}

/// The earliest instant at which something from outside may have ended the connection: from there on its frames prove
/// nothing. Never, when nothing did.
pub fn ordered_out_at(truth: &Truth, statement: &Statement, connection: &ConnectionTruth) -> i64 {
    let orders =
        truth.orders.iter().filter(|order| order.until >= connection.join_sent && order.scope.covers(connection));
    let drains = truth.boots.iter().filter_map(|boot| boot.end);
    let drains = drains.filter(|end| end.kind == BootEndKind::Terminated && end.gone_at >= connection.join_sent);
    let ends = statement.ends_of(&connection.session).filter(|at| *at >= connection.join_sent);
    let instants = orders.map(|order| order.at).chain(drains.map(|end| end.at)).chain(ends);
    instants.min().unwrap_or(i64::MAX)
}

/// The faults during which the connection was there for the server, in its own eyes or in those of its client.
pub fn faults_during<'a>(
    truth: &'a Truth,
    rules: &Rules,
    connection: &'a ConnectionTruth,
) -> impl Iterator<Item = &'a Incident> {
    faults_until(truth, rules, connection, known_by(rules, connection))
}

/// When a server that runs knows that the connection is over.
fn known_by(rules: &Rules, connection: &ConnectionTruth) -> i64 {
    connection.gone_at + if connection.end == End::Hole { rules.dead_after_us } else { 0 }
}

/// The same for an end that is known by then. A fault that keeps the server from noticing it leads over into the next.
fn faults_until<'a>(
    truth: &'a Truth,
    rules: &Rules,
    connection: &'a ConnectionTruth,
    mut known_by: i64,
) -> impl Iterator<Item = &'a Incident> {
    let dead_after_us = rules.dead_after_us;
    truth.incidents.iter().filter(move |one| {
        let meets = one.at <= known_by && one.until >= connection.join_sent;
        if meets && one.kind.silences() {
            known_by = known_by.max(one.until + dead_after_us);
        }
        meets
    })
}

/// The reasons that a ledger may truthfully give for the end of this connection.
pub fn allowed(truth: &Truth, statement: &Statement, rules: &Rules, connection: &ConnectionTruth) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    reasons.extend(match connection.end {
        End::ByServer(code) => by_code(code),
        // It may have said goodbye and been heard before it lost the server.
        End::Lost => connection.asked.and_then(of_its_own),
        end => of_its_own(end),
    });
    // Until then something else may have ended it first in the eyes of the server.
    let recorded_by = known_by(rules, connection) + rules.close_durable_us;
    let silencing = faults_until(truth, rules, connection, recorded_by).filter(|one| one.kind.silences());
    let silent_until = silencing.map(|one| one.until).max();
    let until = match connection.end {
        // The goodbye says that the leave is durable.
        End::Left => connection.gone_at,
        // What the client did reached the server late or never.
        _ if silent_until.is_some() => {
            reasons.extend(["liveness_timeout", "closed"]);
            let known_by = silent_until.unwrap_or(connection.gone_at).max(connection.gone_at);
            known_by + rules.dead_after_us + rules.close_durable_us
        }
        _ => recorded_by,
    };
    let orders = truth.orders.iter().filter(|order| order.at <= until && order.until >= connection.join_sent);
    reasons.extend(orders.filter(|order| order.scope.covers(connection)).map(|order| order.reason));
    let ended = |at: i64| (connection.join_sent..=until).contains(&at);
    if statement.ends_of(&connection.session).any(ended) {
        reasons.push("session_ended");
    }
    for end in truth.boots.iter().filter_map(|boot| boot.end) {
        if end.at > until || end.gone_at < connection.join_sent || connection.end == End::Left {
            continue;
        }
        // An epoch whose end could not be written is taken up by the next start like one that crashed.
        reasons.push("node_crash");
        if end.kind == BootEndKind::Terminated {
            reasons.push("server_drain");
        }
    }
    reasons
}

fn of_its_own(end: End) -> Option<&'static str> {
    match end {
        End::Closed | End::Finished | End::Reset => Some("closed"),
        End::Hole => Some("liveness_timeout"),
        End::Left => Some("left"),
        End::ByServer(_) | End::Lost | End::Refused(_) => None,
    }
}

fn by_code(code: u16) -> Option<&'static str> {
    match code {
        4000 => Some("session_ended"),
        4001 => Some("kicked"),
        4003 => Some("invite_revoked"),
        4010 => Some("replaced"),
        4100 => Some("token_expired"),
        4200 => Some("server_drain"),
        4201 => Some("liveness_timeout"),
        4202 => Some("slow_consumer"),
        _ => None,
    }
}
