//! The safety net: sessions that are over and that no node ends.

use std::time::Duration;

use rollcall::store::EpochState;
use rollcall_core::{Actor, LeaveReason, SessionEndReason, SessionId, Timestamp};
use serde_json::json;

use super::Model;
use super::rows::{Presence, SessionRow};

/// What a call of the clean-up asks for, and what it knows of the database.
#[derive(Debug, Clone, Copy)]
pub struct CleanUp {
    /// How long after the last activity a session is left alone at least.
    pub inactivity: Duration,
    pub sessions_max: usize,
    /// How long past its lease a node is waited for.
    pub lost_after: Duration,
    /// Since when the database is up: after an outage all leases look old.
    pub up_since: Timestamp,
}

impl Model {
    /// Ends what is over by its own deadline, as far as every node has attested. Returns the sessions, by id.
    pub fn clean_up(&mut self, request: CleanUp, now: Timestamp) -> Vec<SessionId> {
        let due = self.due(request, now);
        for (session, at, reason) in &due {
            self.clean_up_one(*session, *at, *reason);
        }
        due.into_iter().map(|(session, ..)| session).collect()
    }

    /// The sessions that a clean-up ends now, with when and why.
    pub fn due(&self, request: CleanUp, now: Timestamp) -> Vec<(SessionId, Timestamp, SessionEndReason)> {
        let attested = self.attested_by_all(request, now);
        let due = self
            .sessions
            .iter()
            .filter(|(_, row)| row.is_active() && is_over(row, request.inactivity, now) && row.deadline() <= attested);
        due.map(|(id, row)| (*id, row.deadline(), end_reason(row))).take(request.sessions_max).collect()
    }

    fn attested_by_all(&self, request: CleanUp, now: Timestamp) -> Timestamp {
        let long_ago = now - request.lost_after;
        let is_awaited = |lease_until: Timestamp| lease_until >= long_ago || request.up_since >= long_ago;
        let active = self.epochs.values().filter(|row| row.state == EpochState::Active && is_awaited(row.lease_until));
        active.map(|row| row.attested_until).min().unwrap_or(Timestamp::NEVER)
    }

    fn clean_up_one(&mut self, session: SessionId, at: Timestamp, reason: SessionEndReason) {
        let Some(row) = self.sessions.get_mut(&session) else { return };
        row.ended = Some((at, reason));
        row.version += 1;
        let tenant = row.tenant;
        self.leave_all(session, at);
        let mut spans_closed = 0;
        for span in self.spans.values_mut().filter(|span| span.session == session && span.end.is_none()) {
            // At evidence, never at the end of the session.
            let end = span.last_evidence_at.min(at).max(span.connected_at);
            span.end = Some((end, LeaveReason::SessionEnded));
            span.uncertainty_us = at.since(end).as_micros() as i64;
            spans_closed += 1;
        }
        let metadata = json!({ "reason": reason.as_str(), "source": "cleanup", "spans_closed": spans_closed });
        self.decide(at, (tenant, session), None, "session_ended", &Actor::Server, metadata);
    }

    /// Everybody who is shown as present is gone.
    pub(super) fn leave_all(&mut self, session: SessionId, at: Timestamp) {
        for (_, row) in self.participants.iter_mut().filter(|((of, _), _)| *of == session) {
            if let Presence::Here(_) = row.presence {
                row.presence = Presence::Left(at.max(row.joined_at), LeaveReason::SessionEnded);
            }
        }
    }
}

/// By its hard end, or idle for as long as was asked for at least.
fn is_over(row: &SessionRow, inactivity: Duration, now: Timestamp) -> bool {
    let patience = inactivity.max(row.idle_timeout);
    let idle_at = (row.last_activity_at + patience).max(row.hold_until);
    idle_at <= now || row.expires_at.is_some_and(|expires_at| expires_at <= now)
}

fn end_reason(row: &SessionRow) -> SessionEndReason {
    match row.expires_at {
        _ if row.started_at.is_none() => SessionEndReason::Abandoned,
        Some(expires_at) if expires_at <= row.idle_at() => SessionEndReason::MaxDuration,
        _ => SessionEndReason::Idle,
    }
}
