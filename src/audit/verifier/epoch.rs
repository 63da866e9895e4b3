//! One epoch: its batches continue each other, and each has the records that its root was made from.

use rollcall_core::chain::{BatchSeal, CHAIN_START, Hash, merkle};

use super::Findings;
use super::checkpoints::Checkpoints;
use crate::audit::lines::BatchLine;
use crate::store::mapping::from_utc;

/// The epoch of the control plane is sealed a little later than it is written.
const CONTROL_EPOCH: i64 = 0;

pub(super) struct EpochCheck {
    epoch: i64,
    /// `None` for an epoch that the database does not know.
    applied_seq: Option<i64>,
    /// Half-open ranges of numbers that left with a detached partition.
    detached: Vec<(i64, i64)>,
    head: Hash,
    sealed_seq: i64,
    /// The next number that must come.
    next_seq: i64,
    batch: Option<OpenBatch>,
    /// Records behind the last batch: an end that was added, unless another batch follows.
    stray: Vec<i64>,
}

/// Stray records that are named; of more, nobody needs each.
const STRAY_MAX: usize = 1_000;

struct OpenBatch {
    first_seq: i64,
    last_seq: i64,
    root: Hash,
    leaves: Vec<Hash>,
    /// Whether something was found in it already, so that its root says nothing new.
    damaged: bool,
}

impl EpochCheck {
    pub(super) fn new(epoch: i64, applied_seq: Option<i64>, detached: Vec<(i64, i64)>) -> Self {
        Self {
            epoch,
            applied_seq,
            detached,
            head: CHAIN_START,
            sealed_seq: 0,
            next_seq: 1,
            batch: None,
            stray: Vec::new(),
        }
    }

    pub(super) const fn number(&self) -> i64 {
        self.epoch
    }

    pub(super) fn batch(&mut self, line: &BatchLine, checkpoints: &mut Checkpoints, findings: &mut Findings) {
        self.close_batch(findings);
        let (epoch, first) = (self.epoch, line.first_seq);
        let name = format!("batch {first} to {}", line.last_seq);
        if first != self.sealed_seq + 1 {
            let expected = self.sealed_seq + 1;
            let problem = format!("the chain is broken before {name}: it should go on with record {expected}");
            findings.error(epoch, first, problem);
            self.expect(first, findings);
            // They are there, only their batch is not, which was said.
            self.stray.clear();
        } else if line.prev_hash.0 != self.head {
            let problem = format!("{name} does not continue the batch before: that one or this one was changed");
            findings.error(epoch, first, problem);
        }
        let seal = BatchSeal {
            epoch,
            first_seq: first,
            last_seq: line.last_seq,
            root: line.root.0,
            committed_at: from_utc(line.committed_at),
        };
        if seal.hash(&line.prev_hash.0) != line.hash.0 {
            findings.error(epoch, first, format!("{name} was changed: its hash is not that of its columns"));
        }
        checkpoints.met(epoch, line.last_seq, line.hash.0, findings);
        self.head = line.hash.0;
        self.sealed_seq = line.last_seq;
        let leaves = Vec::with_capacity(usize::try_from(line.last_seq - first + 1).unwrap_or(0).min(1 << 16));
        self.batch =
            Some(OpenBatch { first_seq: first, last_seq: line.last_seq, root: line.root.0, leaves, damaged: false });
    }

    pub(super) fn record(&mut self, seq: i64, stored: Hash, computed: Hash, findings: &mut Findings) {
        if self.batch.as_ref().is_some_and(|batch| seq > batch.last_seq) {
            self.close_batch(findings);
        }
        if seq < self.next_seq {
            findings.error(self.epoch, seq, "the number is there more than once");
            self.damage();
            return;
        }
        let sealed = if self.epoch == CONTROL_EPOCH { self.applied_seq.unwrap_or(0) } else { self.sealed_seq };
        if self.batch.is_none() && seq > sealed {
            if self.stray.len() < STRAY_MAX {
                self.stray.push(seq);
            }
            if seq != self.next_seq {
                return;
            }
        }
        self.expect(seq, findings);
        self.next_seq = seq + 1;
        if stored != computed {
            findings.error(self.epoch, seq, "the record was altered: its leaf hash is not that of its columns");
            self.damage();
        }
        if let Some(batch) = &mut self.batch {
            batch.leaves.push(stored);
        }
    }

    pub(super) fn finish(mut self, findings: &mut Findings) {
        self.close_batch(findings);
        for seq in &self.stray {
            findings.error(self.epoch, *seq, "the record was added behind the end of the chain");
        }
        let Some(applied) = self.applied_seq else { return };
        let (epoch, sealed) = (self.epoch, self.sealed_seq);
        if epoch == CONTROL_EPOCH {
            self.expect(applied + 1, findings);
        } else if applied > sealed {
            let problem =
                format!("the end is cut off: {applied} records were applied, but the chain ends with {sealed}");
            findings.error(epoch, sealed + 1, problem);
        }
        if applied < sealed {
            let problem = format!(
                "node_epochs was set back: it says {applied} records were applied, but the chain ends with {sealed}"
            );
            findings.error(epoch, sealed + 1, problem);
        }
    }

    fn close_batch(&mut self, findings: &mut Findings) {
        let Some(last_seq) = self.batch.as_ref().map(|batch| batch.last_seq) else { return };
        self.expect(last_seq + 1, findings);
        let Some(batch) = self.batch.take() else { return };
        if !batch.damaged && merkle::root(&batch.leaves) != batch.root {
            let problem = format!(
                "batch {} to {} does not have the root of its records: one of them was replaced together with its leaf hash",
                batch.first_seq, batch.last_seq
            );
            findings.error(self.epoch, batch.first_seq, problem);
        }
    }

    /// Everything before `seq` must have come.
    fn expect(&mut self, seq: i64, findings: &mut Findings) {
        while self.next_seq < seq {
            let first = self.next_seq;
            let range = self.detached.iter().copied().find(|(from, to)| (*from..*to).contains(&first));
            let next_detached = self.detached.iter().map(|(from, _)| *from).filter(|from| *from > first).min();
            let end = match range {
                Some((_, to)) => to.min(seq),
                None => next_detached.map_or(seq, |from| from.min(seq)),
            };
            let (count, last) = (end - first, end - 1);
            if range.is_some() {
                let problem = format!("{count} record(s) up to {last} left with a detached partition");
                findings.info(self.epoch, first, problem);
            } else if count == 1 {
                findings.error(self.epoch, first, "the record is missing");
            } else {
                findings.error(self.epoch, first, format!("{count} records up to {last} are missing"));
            }
            self.damage();
            self.next_seq = end;
        }
    }

    fn damage(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.damaged = true;
        }
    }
}
