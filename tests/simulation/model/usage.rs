//! What is billed: coverage, and how far it is complete.

use std::time::Duration;

use rollcall::store::EpochState;
use rollcall_core::{LeaveReason, ParticipantId, SessionId, Timestamp};

use super::Model;
use super::rows::SpanRow;

/// How long after the end of a crashed epoch its clients may still testify.
const RESUME_WINDOW: Duration = Duration::from_secs(120);

/// The bill of one participant in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub connections: usize,
    /// Sum over the connections.
    pub connected: Duration,
    /// Length of their union.
    pub billable: Duration,
    pub uncertainty_us: i64,
    pub is_open: bool,
}

impl Model {
    /// When a participant was there: the union of its spans, in order, none touching the next. `with_open`: the open ones
    /// up to their last evidence.
    pub fn coverage(
        &self,
        session: SessionId,
        participant: ParticipantId,
        with_open: bool,
    ) -> Vec<(Timestamp, Timestamp)> {
        let spans = self.spans_of(session, participant).filter(|span| with_open || span.end.is_some());
        union(spans.map(SpanRow::interval).collect())
    }

    pub fn usage(&self, session: SessionId, participant: ParticipantId, with_open: bool) -> Usage {
        let mut usage = Usage::default();
        for span in self.spans_of(session, participant).filter(|span| with_open || span.end.is_some()) {
            usage.connections += 1;
            let (from, to) = span.interval();
            usage.connected += to.since(from);
            usage.uncertainty_us += span.uncertainty_us;
            usage.is_open |= span.end.is_none();
        }
        let coverage = self.coverage(session, participant, with_open);
        usage.billable = coverage.iter().map(|(from, to)| to.since(*from)).sum();
        usage
    }

    /// Up to this instant all usage is in: not past what a node has to attest, what an open connection can still add or has
    /// too much since its session ended, or what a client may still testify after a crash.
    pub fn billing_watermark(&self, now: Timestamp) -> Timestamp {
        let attested = self.epochs.values().filter(|row| row.state == EpochState::Active).map(|row| row.attested_until);
        let known = attested.fold(now, Timestamp::min);
        let open = self.spans.values().filter(|span| span.end.is_none()).map(|span| {
            let session_end = self.sessions.get(&span.session).and_then(|session| session.ended);
            session_end.map_or(Timestamp::NEVER, |(at, _)| at).min(span.proven_until())
        });
        let movable = self.spans.iter().filter_map(|(id, span)| {
            // Between its closing records and its own end an epoch is still active.
            let closed_at = self.epochs.get(&id.epoch)?.closed_at.unwrap_or(Timestamp::NEVER);
            let (end, reason) = span.end?;
            (reason == LeaveReason::NodeCrash && closed_at > known - RESUME_WINDOW).then_some(end)
        });
        open.chain(movable).fold(known, Timestamp::min)
    }

    fn spans_of(&self, session: SessionId, participant: ParticipantId) -> impl Iterator<Item = &SpanRow> {
        self.spans.values().filter(move |span| span.session == session && span.participant == participant)
    }
}

/// The union of half-open intervals, in order. What is empty counts for nothing; what touches becomes one.
pub fn union(mut intervals: Vec<(Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    intervals.retain(|(from, to)| from < to);
    intervals.sort_unstable();
    let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (from, to) in intervals {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}
