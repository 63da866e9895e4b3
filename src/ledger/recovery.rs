//! What happens at start with the epochs before this one: their journals are flushed, and every span that a crash left
//! open is closed at its last durable evidence.
//!
//! Recovery continues the old epoch's own sequence: the closing records are appended to its journal and flushed like any
//! other, so a crash during recovery is just one more crash.

use std::time::Duration;

use rollcall_core::{ConnectionId, Epoch, Fact, LeaveReason, Record, SessionFact, Timestamp, planted};
use tracing::info;

use super::LedgerStore;
use super::journal::{JournalBatch, JournalError, JournalRead, JournalStorage};
use crate::store::{BatchOutcome, EpochState, OpenSpan, StoreError};

/// Records in one batch while recovering.
const RECOVERY_ROWS_MAX: usize = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("the journal of an earlier run cannot be recovered")]
    Journal(#[from] JournalError),
    #[error("Postgres did not take the records of an earlier run")]
    Store(#[from] StoreError),
    #[error(
        "records {from} to {to} of epoch {epoch} are neither in the journal nor in Postgres: the journal belongs to \
         another database, or the database was restored to a point before the journal's tail"
    )]
    Gap { epoch: Epoch, from: i64, to: i64 },
    #[error("epoch {epoch} changed in Postgres while it was recovered; start again")]
    Moved { epoch: Epoch },
    #[error("epoch {epoch} was closed by another process, but its journal holds more records")]
    Fenced { epoch: Epoch },
}

/// What recovery did, for the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryReport {
    pub epochs: usize,
    pub records_flushed: usize,
    pub spans_closed: usize,
    /// Up to when the earlier epochs have attested what they know.
    pub attested_until: Option<Timestamp>,
}

/// Brings every earlier epoch of this node to its end.
///
/// # Errors
/// Postgres is away, or the journal and the database do not fit together. Nothing is lost: call again.
pub async fn recover<S: LedgerStore>(
    journal: &mut impl JournalStorage,
    store: &S,
    node_name: &str,
    mark_interval: Duration,
    lease: Duration,
    now: Timestamp,
) -> Result<RecoveryReport, RecoveryError> {
    let reader = journal.reader()?;
    reinstate_forgotten(&reader, store, node_name, now).await?;
    let unfinished = store.unfinished_epochs(node_name).await?;
    let mut report = RecoveryReport::default();
    let mut connection = store.flush_connection().await?;
    for epoch in &unfinished {
        let mut applied = epoch.applied_seq;
        report.records_flushed += flush_rest(&reader, store, &mut connection, epoch.epoch, &mut applied, lease).await?;
        let mut spans = store.open_spans(epoch.epoch).await?;
        if planted!("recovery_forgets_open_spans") {
            spans.clear();
        }
        let attested_until = store.attested_until(epoch.epoch).await?;
        let closes: Vec<_> = spans.iter().map(|span| close_at_evidence(span, attested_until, mark_interval)).collect();
        let bodies = closes.iter().map(|record| serde_json::to_vec(record).expect("a record is plain data"));
        let entries: Vec<_> = (applied + 1..).zip(bodies).collect();
        journal.append(epoch.epoch, entries.iter().map(|(seq, body)| (*seq, body.as_slice())))?;
        report.records_flushed += flush_rest(&reader, store, &mut connection, epoch.epoch, &mut applied, lease).await?;
        report.spans_closed += closes.len();
        report.attested_until = report.attested_until.max(attested_until);
        if !store.close_epoch(epoch.epoch, EpochState::Recovered, applied).await? {
            return Err(RecoveryError::Moved { epoch: epoch.epoch });
        }
        info!(epoch = epoch.epoch.0, spans_closed = closes.len(), "recovered an epoch that had not ended cleanly");
    }
    report.epochs = unfinished.len();
    for epoch in reader.epochs()? {
        forget_if_applied(journal, &reader, store, epoch).await?;
    }
    Ok(report)
}

/// A database restored to a point before an epoch began does not know its number: it must have it back before a new
/// epoch is opened, or the number would be handed out twice.
async fn reinstate_forgotten(
    reader: &impl JournalRead,
    store: &impl LedgerStore,
    node_name: &str,
    now: Timestamp,
) -> Result<(), RecoveryError> {
    for epoch in reader.epochs()? {
        let first = reader.range(epoch)?.map_or(1, |(first, _)| first);
        if store.applied_seq(epoch).await?.is_none() {
            if first > 1 {
                return Err(RecoveryError::Gap { epoch, from: 1, to: first - 1 });
            }
            store.reinstate_epoch(epoch, node_name, now).await?;
        }
    }
    Ok(())
}

/// An epoch that ended cleanly, or was recovered just now, has nothing left to say.
async fn forget_if_applied(
    journal: &mut impl JournalStorage,
    reader: &impl JournalRead,
    store: &impl LedgerStore,
    epoch: Epoch,
) -> Result<(), RecoveryError> {
    let Some((_, last)) = reader.range(epoch)? else { return Ok(()) };
    match store.applied_seq(epoch).await? {
        Some(applied_seq) if applied_seq >= last => Ok(journal.forget(epoch)?),
        applied_seq => Err(RecoveryError::Gap { epoch, from: applied_seq.unwrap_or(0) + 1, to: last }),
    }
}

async fn flush_rest<S: LedgerStore>(
    reader: &impl JournalRead,
    store: &S,
    connection: &mut S::Connection,
    epoch: Epoch,
    applied: &mut i64,
    lease: Duration,
) -> Result<usize, RecoveryError> {
    let mut flushed = 0;
    let mut ahead: Option<JournalBatch> = None;
    loop {
        let batch = reader.read_unless(ahead.take(), epoch, *applied, RECOVERY_ROWS_MAX)?;
        if batch.records.is_empty() {
            return Ok(flushed);
        }
        if batch.first_seq != *applied + 1 {
            return Err(RecoveryError::Gap { epoch, from: *applied + 1, to: batch.first_seq - 1 });
        }
        ahead = reader.read_ahead(epoch, &batch, RECOVERY_ROWS_MAX);
        let next = ahead.as_ref().map(|next| next.records.clone());
        let (outcome, _) = store.apply(connection, epoch, batch.first_seq, &batch.records, next, lease).await?;
        match outcome {
            BatchOutcome::Applied { .. } => {
                flushed += batch.records.len();
                *applied = batch.last_seq();
            }
            BatchOutcome::AlreadyApplied { applied_seq } => *applied = applied_seq,
            BatchOutcome::Regressed { applied_seq } => {
                return Err(RecoveryError::Gap { epoch, from: applied_seq + 1, to: batch.first_seq - 1 });
            }
            BatchOutcome::Fenced { .. } => return Err(RecoveryError::Fenced { epoch }),
        }
    }
}

/// The node may have lived, and the connection with it, until just before the mark that never came.
fn close_at_evidence(span: &OpenSpan, attested_until: Option<Timestamp>, mark_interval: Duration) -> Record {
    let mut end = span.last_evidence_at.max(span.connected_at);
    if planted!("crash_is_billed_to_the_mark") {
        end = end.max(attested_until.unwrap_or(end));
    }
    let possible_until = attested_until.unwrap_or(end).max(end) + mark_interval;
    let fact = SessionFact::ConnectionClosed {
        participant: span.participant,
        connection: ConnectionId { epoch: span.connection.epoch, counter: span.connection.counter },
        connected_at: span.connected_at,
        reason: LeaveReason::NodeCrash,
        uncertainty_us: possible_until.since(end).as_micros() as i64,
    };
    Record { at: end, fact: Fact::Session { tenant: span.tenant, session: span.session, fact } }
}
