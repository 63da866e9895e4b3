//! What the ledger asks of Postgres. The simulation has a model of it, with faults.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{Epoch, Record, Timestamp};

use crate::store::epochs::{UnfinishedEpoch, renew_lease};
use crate::store::{BatchOutcome, EpochState, FlushConnection, OpenSpan, Store, StoreError};

/// The epochs, and the way of records into them. The methods of [`Store`] by the same names say more.
pub trait LedgerStore: Send + Sync {
    /// What batches are sent over. After an error it is in an unknown state and must be dropped.
    type Connection: Send;

    fn flush_connection(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Applies a batch exactly once, see [`FlushConnection::apply`]. `next` are the records that follow, if they wait already:
    /// the part of them that depends on nothing may go ahead. Returns how many records were refused as data.
    fn apply(
        &self,
        connection: &mut Self::Connection,
        epoch: Epoch,
        first_seq: i64,
        records: &Arc<Vec<Record>>,
        next: Option<Arc<Vec<Record>>>,
        lease: Duration,
    ) -> impl Future<Output = Result<(BatchOutcome, u64), StoreError>> + Send;

    /// Returns whether the epoch is still active.
    fn renew_lease(
        &self,
        connection: &mut Self::Connection,
        epoch: Epoch,
        lease: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    fn open_epoch(
        &self,
        node_name: &str,
        now: Timestamp,
        lease: Duration,
    ) -> impl Future<Output = Result<Epoch, StoreError>> + Send;

    fn reinstate_epoch(
        &self,
        epoch: Epoch,
        node_name: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn close_epoch(
        &self,
        epoch: Epoch,
        state: EpochState,
        through: i64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    fn unfinished_epochs(
        &self,
        node_name: &str,
    ) -> impl Future<Output = Result<Vec<UnfinishedEpoch>, StoreError>> + Send;

    fn applied_seq(&self, epoch: Epoch) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;

    fn open_spans(&self, epoch: Epoch) -> impl Future<Output = Result<Vec<OpenSpan>, StoreError>> + Send;

    fn attested_until(&self, epoch: Epoch) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;
}

impl LedgerStore for Store {
    type Connection = FlushConnection;

    async fn flush_connection(&self) -> Result<FlushConnection, StoreError> {
        FlushConnection::open(self).await
    }

    async fn apply(
        &self,
        connection: &mut FlushConnection,
        epoch: Epoch,
        first_seq: i64,
        records: &Arc<Vec<Record>>,
        next: Option<Arc<Vec<Record>>>,
        lease: Duration,
    ) -> Result<(BatchOutcome, u64), StoreError> {
        connection.apply(epoch, first_seq, records, next, lease).await
    }

    async fn renew_lease(
        &self,
        connection: &mut FlushConnection,
        epoch: Epoch,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        renew_lease(connection.idle().await?, epoch, lease).await
    }

    async fn open_epoch(&self, node_name: &str, now: Timestamp, lease: Duration) -> Result<Epoch, StoreError> {
        Store::open_epoch(self, node_name, now, lease).await
    }

    async fn reinstate_epoch(&self, epoch: Epoch, node_name: &str, now: Timestamp) -> Result<(), StoreError> {
        Store::reinstate_epoch(self, epoch, node_name, now).await
    }

    async fn close_epoch(&self, epoch: Epoch, state: EpochState, through: i64) -> Result<bool, StoreError> {
        Store::close_epoch(self, epoch, state, through).await
    }

    async fn unfinished_epochs(&self, node_name: &str) -> Result<Vec<UnfinishedEpoch>, StoreError> {
        Store::unfinished_epochs(self, node_name).await
    }

    async fn applied_seq(&self, epoch: Epoch) -> Result<Option<i64>, StoreError> {
        Store::applied_seq(self, epoch).await
    }

    async fn open_spans(&self, epoch: Epoch) -> Result<Vec<OpenSpan>, StoreError> {
        Store::open_spans(self, epoch).await
    }

    async fn attested_until(&self, epoch: Epoch) -> Result<Option<Timestamp>, StoreError> {
        Store::attested_until(self, epoch).await
    }
}
