//! Batches: each record of an epoch once, in order.

use std::time::Duration;

use rollcall::store::{BatchOutcome, EpochState};
use rollcall_core::{Epoch, Fact, Record, SessionFact, Timestamp};

use super::rows::{MarkRow, RefusedRow};
use super::{Model, raise};

/// A state that this database does not take, as if somebody had put a constraint on the trail: what a record that is
/// refused as data looks like.
pub const POISON: &str = r#""poison""#;

impl Model {
    /// Applies the records `first_seq..` that are not in yet, and renews the lease. Returns what came of it, and how many
    /// records were set aside because the tables could not take them.
    pub fn apply_batch(
        &mut self,
        epoch: Epoch,
        first_seq: i64,
        records: &[Record],
        lease: Duration,
        now: Timestamp,
    ) -> (BatchOutcome, u64) {
        let last_seq = first_seq + records.len() as i64 - 1;
        let Some(row) = self.epochs.get(&epoch) else { return (BatchOutcome::Fenced { state: None }, 0) };
        let applied_seq = row.applied_seq;
        let is_active = row.state == EpochState::Active;
        if !is_active || applied_seq != first_seq - 1 {
            // Whether the batch is in is told whatever became of the epoch.
            if applied_seq >= last_seq {
                return (BatchOutcome::AlreadyApplied { applied_seq }, 0);
            }
            if !is_active {
                return (BatchOutcome::Fenced { state: Some(row.state) }, 0);
            }
            if applied_seq < first_seq - 1 {
                return (BatchOutcome::Regressed { applied_seq }, 0);
            }
        }
        let (mut audit_rows, mut refused) = (0, 0);
        for (seq, record) in (first_seq..).zip(records).filter(|(seq, _)| *seq > applied_seq) {
            if cannot_be_stored(record) {
                self.refused.push(RefusedRow { epoch, seq, record: record.clone() });
                refused += 1;
            } else {
                audit_rows += u64::from(self.apply_record(epoch, seq, record));
            }
        }
        if let Some(row) = self.active_epoch(epoch) {
            row.applied_seq = last_seq;
            raise(&mut row.lease_until, now + lease);
        }
        (BatchOutcome::Applied { audit_rows }, refused)
    }

    /// Returns whether the record became a row of the trail.
    fn apply_record(&mut self, epoch: Epoch, seq: i64, record: &Record) -> bool {
        match &record.fact {
            Fact::Session { tenant, session, fact } => {
                self.apply_fact(epoch, seq, record.at, (*tenant, *session), fact);
                true
            }
            Fact::EvidenceMark { heard } => {
                self.marks.push(MarkRow { epoch, seq, at: record.at, connections: heard.len() });
                if let Some(row) = self.epochs.get_mut(&epoch) {
                    raise(&mut row.attested_until, record.at);
                }
                for line in heard {
                    self.apply_heard(epoch, line);
                }
                false
            }
        }
    }
}

fn cannot_be_stored(record: &Record) -> bool {
    matches!(&record.fact, Fact::Session { fact: SessionFact::StateUpdated { state, .. }, .. } if &**state == POISON)
}
