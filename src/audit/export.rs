//! Reads the whole trail out of the database, as lines in their order. Export writes them; verification takes them as they
//! come.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::TryStreamExt;
use rollcall_core::chain::Hash;
use serde_json::value::RawValue;

use super::AuditError;
use super::lines::{
    BatchLine, CheckpointLine, DetachedLine, EXPORT_VERSION, EndLine, EpochLine, EventLine, Hex, Line, LogLine,
    MarkLine, RefusedLine,
};
use crate::store::chain::{self, ChainRow, CheckpointRow, to_hash};
use crate::store::{Store, StoreError};

/// Gives every line to `sink`, all of one state of the database; with `epoch`, only the records of that epoch.
///
/// # Errors
/// The database is away, or those of `sink`.
pub async fn read(
    store: &Store,
    epoch: Option<i64>,
    mut sink: impl FnMut(Line<'_>) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let log_id = store.log_id().await?;
    let mut snapshot = store.snapshot().await?;
    let mut end = EndLine { records: 0, batches: 0, checkpoints: 0 };
    sink(Line::Log(LogLine { log_id, version: EXPORT_VERSION, epoch }))?;
    let mut checkpoints = chain::checkpoints(&mut snapshot);
    while let Some(row) = checkpoints.try_next().await? {
        end.checkpoints += 1;
        sink(Line::Checkpoint(row.into()))?;
    }
    drop(checkpoints);
    for row in chain::detached(&mut snapshot).await? {
        let line = DetachedLine { partition: row.partition_name, epoch: row.epoch, ranges: row.ranges };
        sink(Line::Detached(line))?;
    }
    let mut rows = chain::rows(&mut snapshot, epoch);
    while let Some(row) = rows.try_next().await? {
        let line = line(row)?;
        match line {
            Line::Batch(_) => end.batches += 1,
            Line::Epoch(_) => {}
            _ => end.records += 1,
        }
        sink(line)?;
    }
    sink(Line::End(end))
}

fn line(row: ChainRow) -> Result<Line<'static>, AuditError> {
    let (epoch, seq) = (row.epoch, row.seq);
    let missing = |column: &str| StoreError::Unreadable(format!("record {epoch}-{seq} has no {column}"));
    let hash = |column, bytes: Option<Vec<u8>>| -> Result<Hex, AuditError> {
        let hash: Hash = to_hash(column, &bytes.ok_or_else(|| missing(column))?)?;
        Ok(Hex(hash))
    };
    let at = row.at.ok_or_else(|| missing("time"));
    let line = match row.rank {
        0 => Line::Epoch(EpochLine {
            epoch,
            node: row.actor.unwrap_or_default(),
            state: row.word.unwrap_or_default(),
            applied_seq: row.last_seq.unwrap_or_default(),
        }),
        1 => Line::Batch(BatchLine {
            epoch,
            first_seq: seq,
            last_seq: row.last_seq.unwrap_or_default(),
            root: hash("root", row.root)?,
            prev_hash: hash("prev_hash", row.prev_hash)?,
            hash: hash("hash", row.hash)?,
            committed_at: at?,
        }),
        2 => {
            let metadata = RawValue::from_string(row.metadata.unwrap_or_default());
            Line::Event(EventLine {
                epoch,
                seq,
                occurred_at: at?,
                tenant_id: row.tenant_id.ok_or_else(|| missing("tenant"))?,
                session_id: row.session_id,
                participant_id: row.participant_id,
                connection: row.connection.map(Cow::Owned),
                event_type: Cow::Owned(row.word.unwrap_or_default()),
                actor: Cow::Owned(row.actor.unwrap_or_default()),
                metadata: Cow::Owned(metadata.map_err(|_| missing("metadata that is JSON"))?),
                recorded_at: row.recorded_at.ok_or_else(|| missing("recorded_at"))?,
                leaf: hash("leaf", row.hash)?,
            })
        }
        3 => Line::Mark(MarkLine {
            epoch,
            seq,
            marked_at: at?,
            connections: row.connections.unwrap_or_default(),
            leaf: hash("leaf", row.hash)?,
        }),
        _ => Line::Refused(RefusedLine {
            epoch,
            seq,
            body: Cow::Owned(BASE64_STANDARD.encode(row.body.unwrap_or_default())),
            error: Cow::Owned(row.word.unwrap_or_default()),
            leaf: hash("leaf", row.hash)?,
        }),
    };
    Ok(line)
}

impl From<CheckpointRow> for CheckpointLine {
    fn from(row: CheckpointRow) -> Self {
        Self {
            incarnation: row.incarnation,
            size: row.size,
            created_at: row.created_at,
            prior_root: row.prior_root.map(Hex),
            leaf: Hex(row.leaf),
            root: Hex(row.root),
            heads: row.heads.into_iter().map(Into::into).collect(),
            note: row.note,
        }
    }
}
