//! Moves records from the journal to Postgres: in order, one batch in flight, exactly once. Where a second batch waits, its
//! trail goes ahead meanwhile, see [`crate::store::FlushConnection`].
//!
//! Each batch compares-and-sets the epoch's `applied_seq` in its own transaction. When the result of a commit is
//! unknown, the next attempt finds out by that number. The flusher owns its connection; `statement_timeout` limits the time
//! of a batch. Only when Postgres does not even say that is the wait given up, and the connection with it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rollcall_core::planted;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::journal::{JournalBatch, JournalError, JournalRead, JournalReader};
use super::{Ledger, LedgerStore};
use crate::clock::Clock;
use crate::store::{BatchOutcome, EpochState, Store, StoreError};

/// First and longest pause after a failed batch; doubled in between, with full jitter.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(3);

/// Pause between looks at the end, while the journal's thread finishes.
const FINISH_PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone)]
pub struct FlusherOptions {
    /// Most rows in one batch.
    pub flush_rows_max: usize,
    /// A batch goes out after this time even when it is small.
    pub flush_interval: Duration,
    /// How long Postgres may take this node for alive after its last word.
    pub lease: Duration,
    /// How long a batch waits for an answer before the connection is taken for dead.
    pub answer_timeout: Duration,
}

/// The task state of the flusher.
pub struct Flusher<R = JournalReader, S = Store> {
    pub ledger: Ledger,
    pub reader: R,
    pub store: S,
    pub clock: Clock,
    pub node_name: String,
    pub options: FlusherOptions,
    /// Cancelled by the flusher when it can never go on: fenced, or records missing from the journal.
    pub fatal: CancellationToken,
    /// Cancelled from outside once nothing more will be appended: flush what is left, then end.
    pub finish: CancellationToken,
}

/// What is kept from one batch to the next; nothing of it after an error.
struct Kept<C> {
    connection: Option<C>,
    /// The batch whose trail went ahead.
    ahead: Option<JournalBatch>,
}

impl<C> Kept<C> {
    const NOTHING: Self = Self { connection: None, ahead: None };
}

#[derive(Debug, thiserror::Error)]
enum FlushError {
    #[error("Postgres did not take the batch")]
    Store(#[from] StoreError),
    #[error("Postgres does not answer")]
    Silent,
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    #[error("records {from} to {to} are neither in the journal nor in Postgres")]
    Gap { from: i64, to: i64 },
    #[error("this epoch is not ours any more")]
    Lost,
    #[error("another process took over this epoch (state {state:?})")]
    Fenced { state: EpochState },
}

impl FlushError {
    /// Whether trying again can help.
    fn is_transient(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Silent)
    }
}

impl<R: JournalRead, S: LedgerStore> Flusher<R, S> {
    /// Runs until `finish` is cancelled and everything durable is applied, or until it can never go on.
    pub async fn run(mut self) {
        let mut kept = Kept::NOTHING;
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let more = self.wait_for_work().await;
            match self.flush_in_time(&mut kept).await {
                Ok(applied) => {
                    self.note_success();
                    pause = RETRY_PAUSE_MIN;
                    if !more && applied == 0 && self.is_drained() {
                        info!("everything is in Postgres");
                        return;
                    }
                }
                Err(error) if error.is_transient() => {
                    // Whatever state the connection is in, a new one is in a known state.
                    kept = Kept::NOTHING;
                    self.note_failure(&error);
                    self.clock.sleep(self.clock.jitter(pause).max(RETRY_PAUSE_MIN)).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the ledger cannot be flushed any more");
                    self.ledger.shared.broken.store(true, Relaxed);
                    self.ledger.shared.durable_seq.send_modify(|_| {});
                    self.fatal.cancel();
                    return;
                }
            }
        }
    }

    /// Waits until a batch is worth sending or the lease must be renewed. Returns false once `finish` is cancelled.
    async fn wait_for_work(&self) -> bool {
        let applied = *self.ledger.shared.applied_seq.borrow();
        let rows_max = self.options.flush_rows_max as i64;
        let mut durable = self.ledger.shared.durable_seq.subscribe();
        let full_batch = async { durable.wait_for(|durable| durable - applied >= rows_max).await.map(drop) };
        tokio::select! {
            biased;
            // The sender lives in the ledger that this task holds, so waiting can only end by a full batch.
            _ = full_batch => true,
            () = self.clock.sleep(self.options.flush_interval) => !self.finish.is_cancelled(),
            () = self.finish.cancelled() => {
                self.clock.sleep(FINISH_PAUSE).await;
                false
            }
        }
    }

    fn is_drained(&self) -> bool {
        let shared = &self.ledger.shared;
        shared.writer_done.load(Relaxed) && *shared.applied_seq.borrow() >= *shared.durable_seq.borrow()
    }

    /// A Postgres whose machine is gone does not say so, and TCP may wait for it for hours.
    async fn flush_in_time(&mut self, kept: &mut Kept<S::Connection>) -> Result<usize, FlushError> {
        let (clock, limit) = (self.clock, self.options.answer_timeout);
        clock.timeout(limit, self.flush_once(kept)).await.unwrap_or(Err(FlushError::Silent))
    }

    /// Sends one batch, or renews the lease when there is none. Returns how many records were applied.
    async fn flush_once(&mut self, kept: &mut Kept<S::Connection>) -> Result<usize, FlushError> {
        let epoch = self.ledger.epoch();
        let applied = *self.ledger.shared.applied_seq.borrow();
        let batch = self.reader.read_unless(kept.ahead.take(), epoch, applied, self.options.flush_rows_max)?;
        let connection = match &mut kept.connection {
            Some(connection) => connection,
            none => none.insert(self.store.flush_connection().await?),
        };
        if batch.records.is_empty() {
            let ours = self.store.renew_lease(connection, epoch, self.options.lease).await?;
            return if ours { Ok(0) } else { Err(FlushError::Lost) };
        }
        if batch.first_seq != applied + 1 {
            return Err(FlushError::Gap { from: applied + 1, to: batch.first_seq - 1 });
        }
        let started_at = self.clock.now();
        kept.ahead = self.full_batch_after(&batch);
        let next = kept.ahead.as_ref().map(|next| next.records.clone());
        let (outcome, refused) =
            self.store.apply(connection, epoch, batch.first_seq, &batch.records, next, self.options.lease).await?;
        if refused > 0 {
            self.ledger.shared.flush.refused_total.fetch_add(refused, Relaxed);
            error!(refused, "Postgres refused records as data; they are kept in rollcall.refused_records");
        }
        match outcome {
            BatchOutcome::Applied { audit_rows } => {
                let took = self.clock.now().since(started_at);
                self.ledger.shared.flush.last_batch_us.store(took.as_micros() as i64, Relaxed);
                self.ledger.shared.flush.batches_total.fetch_add(1, Relaxed);
                debug!(records = batch.records.len(), audit_rows, duration_us = took.as_micros() as u64, "flushed");
                self.settle(batch.last_seq(), batch.bytes);
                Ok(batch.records.len())
            }
            BatchOutcome::AlreadyApplied { applied_seq } => {
                self.catch_up(applied_seq)?;
                Ok(0)
            }
            BatchOutcome::Regressed { applied_seq } => {
                self.rewind(applied_seq)?;
                Ok(0)
            }
            BatchOutcome::Fenced { state: None } => {
                // Restored to a point before this epoch existed: it is ours to open again, from its first record.
                self.store.reinstate_epoch(epoch, &self.node_name, self.clock.now()).await?;
                self.rewind(0)?;
                Ok(0)
            }
            BatchOutcome::Fenced { state: Some(state) } => Err(FlushError::Fenced { state }),
        }
    }

    /// Only a full one: a smaller one may still grow.
    fn full_batch_after(&self, batch: &JournalBatch) -> Option<JournalBatch> {
        let rows_max = self.options.flush_rows_max;
        let waiting = *self.ledger.shared.durable_seq.borrow() - batch.last_seq();
        (waiting >= rows_max as i64).then(|| self.reader.read_ahead(self.ledger.epoch(), batch, rows_max)).flatten()
    }

    fn settle(&self, seq: i64, bytes: u64) {
        self.ledger.shared.backlog_bytes.fetch_sub(bytes, Relaxed);
        self.ledger.shared.applied_max.fetch_max(seq, Relaxed);
        self.ledger.shared.applied_seq.send_replace(seq);
    }

    /// A commit whose answer was lost did happen: go on after it.
    fn catch_up(&mut self, applied_seq: i64) -> Result<(), FlushError> {
        let from = *self.ledger.shared.applied_seq.borrow();
        let known = self.reader.read(self.ledger.epoch(), from, (applied_seq - from).max(0) as usize)?;
        info!(applied_seq, "a batch whose commit was unknown is in Postgres");
        self.settle(applied_seq, known.bytes);
        Ok(())
    }

    /// Postgres was put back to an earlier point: feed it again from the journal's tail.
    fn rewind(&mut self, applied_seq: i64) -> Result<(), FlushError> {
        let epoch = self.ledger.epoch();
        let from = *self.ledger.shared.applied_seq.borrow();
        let first = self.reader.range(epoch)?.map_or(from + 1, |(first, _)| first);
        if first > applied_seq + 1 {
            return Err(FlushError::Gap { from: applied_seq + 1, to: first - 1 });
        }
        warn!(applied_seq, "Postgres knows less than before: feeding it again from the journal");
        let again = self.reader.read(epoch, applied_seq, (from - applied_seq).max(0) as usize)?;
        self.ledger.shared.backlog_bytes.fetch_add(again.bytes, Relaxed);
        let skipped = i64::from(planted!("rewind_skips_one"));
        self.ledger.shared.applied_seq.send_replace(applied_seq + skipped);
        Ok(())
    }

    fn note_success(&self) {
        if self.ledger.shared.flush.failing.swap(false, Relaxed) {
            info!("Postgres takes batches again");
        }
    }

    fn note_failure(&self, error: &FlushError) {
        let flush = &self.ledger.shared.flush;
        flush.failures_total.fetch_add(1, Relaxed);
        // Once at the start of an outage, not at every attempt.
        if !flush.failing.swap(true, Relaxed) {
            warn!(error = error as &dyn std::error::Error, "Postgres takes no batches; the journal keeps them");
        }
    }
}

/// The flusher runs on a thread of its own: reading the journal blocks, and a slow Postgres must not slow a ping.
///
/// # Errors
/// The system cannot start a thread or a runtime.
pub fn spawn_flusher(flusher: Flusher, done: Arc<tokio::sync::Notify>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("ledger.flusher".to_owned()).spawn(move || {
        runtime.block_on(flusher.run());
        done.notify_one();
    })?;
    Ok(())
}
