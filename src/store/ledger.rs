//! The way of records into the tables: one batch, one transaction, exactly once.
//!
//! The transaction first moves `node_epochs.applied_seq` by compare-and-set, so a batch that comes twice changes nothing,
//! a batch out of order is noticed, and after an unknown commit result that number tells what happened. Then each table
//! gets one statement over arrays ([`fold`]), in the lock order stated in the first migration.

mod ahead;
mod audit;
mod chain;
pub mod fold;
mod rollups;
mod write;

use std::time::Duration;

pub use ahead::FlushConnection;
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
        if let Some(moved) = advance(&mut tx, epoch, first_seq - 1, last_seq, folded.attested_until, lease).await? {
            let audit_rows = write(&mut tx, epoch, first_seq, records, folded, None, &moved).await?;
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

/// Applies a batch like [`apply_batch`]. A record that Postgres refuses as data is found by halving, kept whole in
/// `refused_records`, and takes its place in the sequence: one record never stops the ledger. Returns how many were refused.
///
/// # Errors
/// As [`apply_batch`], but not for what is wrong with a record.
pub async fn apply_or_set_aside(
    conn: &mut PgConnection,
    epoch: Epoch,
    first_seq: i64,
    records: &[Record],
    lease: Duration,
) -> Result<(BatchOutcome, u64), StoreError> {
    match apply_batch(conn, epoch, first_seq, records, lease).await {
        Err(error) if error.is_about_data() && records.len() > 1 => {
            let (head, tail) = records.split_at(records.len() / 2);
            match Box::pin(apply_or_set_aside(conn, epoch, first_seq, head, lease)).await? {
                (BatchOutcome::Applied { .. } | BatchOutcome::AlreadyApplied { .. }, refused) => {
                    let first_seq = first_seq + head.len() as i64;
                    let (outcome, more) = Box::pin(apply_or_set_aside(conn, epoch, first_seq, tail, lease)).await?;
                    Ok((outcome, refused + more))
                }
                stopped => Ok(stopped),
            }
        }
        Err(error) if error.is_about_data() && records.len() == 1 => {
            set_aside(conn, epoch, first_seq, &records[0], &error, lease).await?;
            Ok((BatchOutcome::Applied { audit_rows: 0 }, 1))
        }
        outcome => Ok((outcome?, 0)),
    }
}

async fn set_aside(
    conn: &mut PgConnection,
    epoch: Epoch,
    seq: i64,
    record: &Record,
    error: &StoreError,
    lease: Duration,
) -> Result<(), StoreError> {
    let reason = match error {
        StoreError::Database(sqlx::Error::Database(database)) => {
            format!("{}: {}", database.code().unwrap_or_default(), database.message())
        }
        error => error.to_string(),
    };
    let body = serde_json::to_vec(record).expect("a record is plain data");
    let mut tx = conn.begin().await?;
    if advance(&mut tx, epoch, seq - 1, seq, None, lease).await?.is_some() {
        let leaf = chain::refused_leaf(epoch, seq, &body, &reason);
        sqlx::query!(
            "insert into rollcall.refused_records (epoch, seq, body, error, leaf) values ($1, $2, $3, $4, $5)",
            epoch.0,
            seq,
            body,
            reason,
            leaf.as_slice(),
        )
        .execute(&mut *tx)
        .await?;
        chain::seal_one(&mut tx, epoch, seq, leaf).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The place of a batch in the sequence is taken.
struct Moved {
    /// It is time to measure what a bill may still see growing, see get_billing_watermark().
    measures_open: bool,
}

/// `None` where another place is next.
async fn advance(
    conn: &mut PgConnection,
    epoch: Epoch,
    from_seq: i64,
    to_seq: i64,
    attested_until: Option<Timestamp>,
    lease: Duration,
) -> Result<Option<Moved>, StoreError> {
    let moved = sqlx::query_file_as!(
        Moved,
        "src/store/queries/ledger_advance.sql",
        epoch.0,
        from_seq,
        to_seq,
        attested_until.map(to_utc),
        to_interval(lease),
    )
    .fetch_optional(conn)
    .await?;
    Ok(moved)
}
