//! What the next start of a node does with the epochs before it, written from docs/adr/0005 and not from the product.

use std::collections::BTreeMap;
use std::time::Duration;

use rollcall::store::{BatchOutcome, EpochState, OpenSpan};
use rollcall_core::{Epoch, Fact, LeaveReason, Record, SessionFact, Timestamp};

use super::model::Model;

impl Model {
    /// Brings every unfinished epoch of a node to its end: the rest of its journal goes in, what it left open is closed at
    /// its last evidence, and nothing is accepted from it any more. `journals` has the records of each epoch from its
    /// first; what recovery adds is appended to it, because it continues the sequence. Returns how many spans were closed.
    pub fn recover(
        &mut self,
        node_name: &str,
        journals: &mut BTreeMap<Epoch, Vec<Record>>,
        mark_interval: Duration,
        lease: Duration,
        now: Timestamp,
    ) -> usize {
        let mut spans_closed = 0;
        for unfinished in self.unfinished_epochs(node_name) {
            let epoch = unfinished.epoch;
            let journal = journals.entry(epoch).or_default();
            self.feed(epoch, journal, lease, now);
            let attested_until = self.attested_until(epoch).unwrap_or(Timestamp::ZERO);
            let closes = self.open_spans(epoch).into_iter().map(|span| crash_end(&span, attested_until, mark_interval));
            let closes: Vec<_> = closes.collect();
            spans_closed += closes.len();
            journal.extend(closes);
            self.feed(epoch, journal, lease, now);
            self.close_epoch(epoch, (EpochState::Recovered, 0), now);
        }
        spans_closed
    }

    /// Whatever of a whole journal is not in yet.
    fn feed(&mut self, epoch: Epoch, journal: &[Record], lease: Duration, now: Timestamp) {
        let (outcome, _) = self.apply_batch(epoch, 1, journal, lease, now);
        assert!(
            matches!(outcome, BatchOutcome::Applied { .. } | BatchOutcome::AlreadyApplied { .. }),
            "a whole journal has no gap and its epoch is active: {outcome:?}"
        );
    }
}

/// The connection may have lived until just before the mark that never came; it is billed to its last evidence.
fn crash_end(span: &OpenSpan, attested_until: Timestamp, mark_interval: Duration) -> Record {
    let end = span.last_evidence_at.max(span.connected_at);
    let possible_until = attested_until.max(end) + mark_interval;
    let fact = SessionFact::ConnectionClosed {
        participant: span.participant,
        connection: span.connection,
        connected_at: span.connected_at,
        reason: LeaveReason::NodeCrash,
        uncertainty_us: possible_until.since(end).as_micros() as i64,
    };
    Record { at: end, fact: Fact::Session { tenant: span.tenant, session: span.session, fact } }
}
