//! Boots of nodes: opened, renewed, closed, put back, taken over.

use std::time::Duration;

use rollcall::store::epochs::UnfinishedEpoch;
use rollcall::store::{EpochState, OpenSpan};
use rollcall_core::{Epoch, Timestamp};

use super::rows::EpochRow;
use super::{Model, raise};

impl Model {
    /// A new epoch that has heard nothing before `started_at`, where its node has no active one. `now` is the clock of the
    /// database.
    pub fn open_epoch(
        &mut self,
        node_name: &str,
        started_at: Timestamp,
        lease: Duration,
        now: Timestamp,
    ) -> Option<Epoch> {
        if self.epochs.values().any(|row| row.node_name == node_name && row.state == EpochState::Active) {
            return None;
        }
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        let row = new_epoch(node_name, started_at, started_at, now + lease);
        let before = self.epochs.insert(epoch, row);
        assert_eq!(before, None, "the number of an epoch was handed out twice");
        Some(epoch)
    }

    /// Puts back an epoch that a restore has forgotten, with nothing applied and nothing attested. A known one stays as it
    /// is. Its number is not handed out again.
    pub fn reinstate_epoch(&mut self, epoch: Epoch, node_name: &str, started_at: Timestamp, now: Timestamp) {
        self.epochs.entry(epoch).or_insert_with(|| new_epoch(node_name, started_at, Timestamp::ZERO, now));
        // A number may be lost by it.
        self.last_epoch = (self.last_epoch + 1).max(epoch.0);
    }

    /// Whether the epoch is still active; its lease never gets shorter.
    pub fn renew_lease(&mut self, epoch: Epoch, lease: Duration, now: Timestamp) -> bool {
        match self.active_epoch(epoch) {
            Some(row) => {
                raise(&mut row.lease_until, now + lease);
                true
            }
            None => false,
        }
    }

    /// Closes an active epoch for good: drained, recovered or fenced. Returns whether it was active and has all records up
    /// to `through`.
    pub fn close_epoch(&mut self, epoch: Epoch, (state, through): (EpochState, i64), now: Timestamp) -> bool {
        assert_ne!(state, EpochState::Active, "closed is not active");
        match self.active_epoch(epoch).filter(|row| row.applied_seq >= through) {
            Some(row) => {
                row.state = state;
                row.closed_at = Some(now);
                true
            }
            None => false,
        }
    }

    /// Epochs of a node that ended without a word, oldest first.
    pub fn unfinished_epochs(&self, node_name: &str) -> Vec<UnfinishedEpoch> {
        let unfinished =
            self.epochs.iter().filter(|(_, row)| row.state == EpochState::Active && row.node_name == node_name);
        let unfinished = unfinished.map(|(epoch, row)| UnfinishedEpoch {
            epoch: *epoch,
            applied_seq: row.applied_seq,
            attested_until: row.attested_until,
        });
        unfinished.collect()
    }

    /// `None`: the epoch is unknown.
    pub fn applied_seq(&self, epoch: Epoch) -> Option<i64> {
        self.epochs.get(&epoch).map(|row| row.applied_seq)
    }

    /// `None`: the epoch is unknown.
    pub fn attested_until(&self, epoch: Epoch) -> Option<Timestamp> {
        self.epochs.get(&epoch).map(|row| row.attested_until)
    }

    /// What nobody has closed of an epoch, by connection.
    pub fn open_spans(&self, epoch: Epoch) -> Vec<OpenSpan> {
        let open = self.spans.iter().filter(|(id, span)| id.epoch == epoch && span.end.is_none());
        let open = open.map(|(id, span)| OpenSpan {
            session: span.session,
            tenant: span.tenant,
            participant: span.participant,
            connection: *id,
            connected_at: span.connected_at,
            last_evidence_at: span.last_evidence_at,
        });
        open.collect()
    }

    pub(super) fn active_epoch(&mut self, epoch: Epoch) -> Option<&mut EpochRow> {
        self.epochs.get_mut(&epoch).filter(|row| row.state == EpochState::Active)
    }
}

fn new_epoch(node_name: &str, started_at: Timestamp, attested_until: Timestamp, lease_until: Timestamp) -> EpochRow {
    EpochRow {
        node_name: node_name.to_owned(),
        state: EpochState::Active,
        started_at,
        applied_seq: 0,
        attested_until,
        lease_until,
        closed_at: None,
    }
}
