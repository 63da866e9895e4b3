//! The way of records into the tables: one batch, one transaction, exactly once.
//!
//! The transaction first moves `node_epochs.applied_seq` by compare-and-set, so a batch that comes twice changes nothing,
//! a batch out of order is noticed, and after an unknown commit result that number tells what happened. Then each table
//! gets one statement over arrays ([`fold`]), in the lock order stated in the first migration.

mod audit;
pub mod fold;
mod write;

use std::time::Duration;

use rollcall_core::{Epoch, Record, Timestamp};
use sqlx::{Connection, PgConnection};

use super::StoreError;
use super::epochs::{EpochState, position};
use super::mapping::{to_interval, to_utc};
use fold::fold;
use write::write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchOutcome {
    /// The batch is in, or the part of it that was missing.
    Applied { audit_rows: u64 },
    /// Every record of the batch was in already.
    AlreadyApplied { applied_seq: i64 },
    /// Postgres knows less than what comes before the batch: it was restored to an earlier point. Send again from
    /// `applied_seq + 1`.
    Regressed { applied_seq: i64 },
    /// The epoch takes no records any more. `None`: Postgres does not know the epoch at all, see
    /// [`super::Store::reinstate_epoch`].
    Fenced { state: Option<EpochState> },
}

/// Applies records `first_seq..` of an epoch in one transaction, and renews the epoch's lease with it.
///
/// Not cancel safe: drive it to its end. After [`StoreError::Unavailable`] the connection must be dropped; calling
/// again with the same batch is always right.
///
/// # Errors
/// [`StoreError::Unavailable`]; [`StoreError::Database`] when Postgres refuses a record, which is a bug.
pub async fn apply_batch(
    conn: &mut PgConnection,
    epoch: Epoch,
    first_seq: i64,
    records: &[Record],
    lease: Duration,
) -> Result<BatchOutcome, StoreError> {
    let last_seq = first_seq + records.len() as i64 - 1;
    let mut tx = conn.begin().await?;
    let mut first_seq = first_seq;
    let mut records = records;
    loop {
        let folded = fold(epoch, first_seq, records);
        if advance(&mut tx, epoch, first_seq - 1, last_seq, folded.attested_until, lease).await? {
            let audit_rows = write(&mut tx, epoch, first_seq, records, folded).await?;
            tx.commit().await?;
            return Ok(BatchOutcome::Applied { audit_rows });
        }
        let outcome = match position(&mut tx, epoch).await? {
            None => BatchOutcome::Fenced { state: None },
            Some((applied_seq, _)) if applied_seq >= last_seq => BatchOutcome::AlreadyApplied { applied_seq },
            Some((_, state)) if state != EpochState::Active => BatchOutcome::Fenced { state: Some(state) },
            Some((applied_seq, _)) if applied_seq < first_seq - 1 => BatchOutcome::Regressed { applied_seq },
            // The head of the batch is in: go on with the rest.
            Some((applied_seq, _)) => {
                records = &records[(applied_seq + 1 - first_seq) as usize..];
                first_seq = applied_seq + 1;
                continue;
            }
        };
        // Not left to the drop: that would keep the transaction, and its locks, until the connection is used again.
        tx.rollback().await?;
        return Ok(outcome);
    }
}

async fn advance(
    conn: &mut PgConnection,
    epoch: Epoch,
    from_seq: i64,
    to_seq: i64,
    attested_until: Option<Timestamp>,
    lease: Duration,
) -> Result<bool, StoreError> {
    let moved = sqlx::query_file!(
        "src/store/queries/ledger_advance.sql",
        epoch.0,
        from_seq,
        to_seq,
        attested_until.map(to_utc),
        to_interval(lease),
    )
    .execute(conn)
    .await?;
    Ok(moved.rows_affected() == 1)
}
