//! Seals a batch: the Merkle root over its leaves goes to Postgres, which computes it again over what it has stored and
//! continues the chain of the epoch, all in the transaction of the batch.

use rollcall_core::chain::{Hash, MarkEntry, RefusedEntry, merkle, sha256};
use rollcall_core::{Epoch, Record, Timestamp};
use sqlx::PgConnection;

use super::audit::Row;
use crate::store::StoreError;
use crate::store::mapping::{from_utc, to_utc};

/// `(seq, at, connections)`, as the fold has it.
type Mark = (i64, Timestamp, i32);

pub(super) fn mark_leaf(epoch: Epoch, (seq, at, connections): &Mark) -> Hash {
    MarkEntry { epoch: epoch.0, seq: *seq, marked_at: from_utc(to_utc(*at)), connections: *connections }.leaf()
}

pub(super) fn refused_leaf(epoch: Epoch, seq: i64, body: &[u8], error: &str) -> Hash {
    RefusedEntry { epoch: epoch.0, seq, body_sha256: sha256(body), error }.leaf()
}

/// The root over a batch. Every record of it is either a row or a mark.
pub(super) fn root(epoch: Epoch, rows: &[Row], marks: &[Mark]) -> Hash {
    let mut leaves: Vec<(i64, Hash)> = rows.iter().map(|row| (row.seq, row.leaf)).collect();
    leaves.extend(marks.iter().map(|mark| (mark.0, mark_leaf(epoch, mark))));
    leaves.sort_unstable_by_key(|(seq, _)| *seq);
    let leaves: Vec<Hash> = leaves.into_iter().map(|(_, leaf)| leaf).collect();
    merkle::root(&leaves)
}

pub(super) async fn seal(
    conn: &mut PgConnection,
    epoch: Epoch,
    first_seq: i64,
    records: &[Record],
    root: Hash,
) -> Result<(), StoreError> {
    let instants = || records.iter().map(|record| record.at);
    let (Some(from), Some(to)) = (instants().min(), instants().max()) else { return Ok(()) };
    let last_seq = first_seq + records.len() as i64 - 1;
    seal_range(conn, epoch, (first_seq, last_seq), root, (from, to)).await
}

/// A batch of one record that was refused.
pub(super) async fn seal_one(conn: &mut PgConnection, epoch: Epoch, seq: i64, leaf: Hash) -> Result<(), StoreError> {
    // The record has no row in the log, so any instant does.
    seal_range(conn, epoch, (seq, seq), leaf, (Timestamp::ZERO, Timestamp::ZERO)).await
}

async fn seal_range(
    conn: &mut PgConnection,
    epoch: Epoch,
    (first_seq, last_seq): (i64, i64),
    root: Hash,
    (from, to): (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    sqlx::query!(
        "select rollcall.seal_audit_batch($1, $2, $3, $4, $5, $6)",
        epoch.0,
        first_seq,
        last_seq,
        root.as_slice(),
        to_utc(from),
        to_utc(to),
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}
