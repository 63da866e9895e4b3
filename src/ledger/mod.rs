//! The ledger: numbers records, makes them durable, and brings them to Postgres exactly once.
//!
//! The way of a record: [`Ledger::append`] gives it the next `(epoch, seq)` → the [`journal`] thread commits it to SQLite
//! together with whatever else is waiting → whoever asked is told that it is durable → the [`flusher`] moves it to
//! Postgres in order → the journal keeps a tail and forgets the rest. [`recovery`] does the same for the epochs before.
//!
//! **Invariant:** nothing is acknowledged before its record is durable.

mod flusher;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod journal;
mod recovery;
mod store;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollcall_core::{Epoch, Record, planted};
use tokio::sync::{oneshot, watch};

pub use flusher::{Flusher, FlusherOptions, spawn_flusher};
pub use journal::{Journal, JournalBatch, JournalError, JournalRead, JournalReader, JournalStorage};
pub use recovery::{RecoveryError, RecoveryReport, recover};
pub use store::LedgerStore;
pub use writer::{JournalWriter, WriterStep};

/// Records that may wait in memory for the journal before joins are refused. Exits are accepted beyond it: there are at
/// most a few for each open connection.
pub const QUEUE_RECORDS_MAX: usize = 100_000;

/// What a refused join is told to wait.
pub const ADMISSION_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Limits of the journal.
#[derive(Debug, Clone)]
pub struct LedgerLimits {
    /// Bytes of records not yet in Postgres.
    pub journal_bytes_max: u64,
    /// At this share of `journal_bytes_max` joins are refused; the rest is kept for leaves.
    pub journal_refuse_percent: u64,
    /// Records kept after they reached Postgres, to feed again a Postgres that was restored to an earlier point.
    pub journal_tail_records: i64,
}

/// Cheap handle to the ledger of this epoch.
#[derive(Debug, Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoch: Epoch,
    limits: LedgerLimits,
    queue: Mutex<Queue>,
    wake_writer: Condvar,
    durable_seq: watch::Sender<i64>,
    applied_seq: watch::Sender<i64>,
    /// The highest that `applied_seq` ever was.
    applied_max: AtomicI64,
    /// Bytes of records appended and not yet in Postgres.
    backlog_bytes: AtomicU64,
    /// The journal's disk refuses writes at the moment.
    journal_full: AtomicBool,
    /// The journal's thread has ended: nothing becomes durable after what is.
    writer_done: AtomicBool,
    /// Nothing can be made durable any more; the process must end.
    broken: AtomicBool,
    flush: FlushHealth,
}

#[derive(Debug, Default)]
struct FlushHealth {
    failing: AtomicBool,
    failures_total: AtomicU64,
    batches_total: AtomicU64,
    refused_total: AtomicU64,
    /// Duration of the last batch in microseconds.
    last_batch_us: AtomicI64,
}

#[derive(Debug, Default)]
struct Queue {
    next_seq: i64,
    entries: Vec<Entry>,
    waiting: Vec<oneshot::Sender<()>>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    seq: i64,
    body: Vec<u8>,
}

/// Proof that records were numbered; says when they are durable.
#[derive(Debug)]
#[must_use]
pub struct Receipt {
    ledger: Ledger,
    /// The last record's number; 0 when there was none.
    pub seq: i64,
    durable: Option<oneshot::Receiver<()>>,
}

/// The journal cannot make records durable any more; the server is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot store records any more")]
pub struct LedgerBroken;

/// Joins are refused for the time being; nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is nearly full")]
pub struct AdmissionRefused;

/// Figures for /readyz and /metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerStatus {
    pub appended_seq: i64,
    pub durable_seq: i64,
    pub applied_seq: i64,
    pub backlog_bytes: u64,
    pub admitting: bool,
    pub journal_full: bool,
    pub broken: bool,
    pub postgres_failing: bool,
    pub flush_failures_total: u64,
    pub flush_batches_total: u64,
    /// Records that Postgres refused as data and that were set aside.
    pub records_refused_total: u64,
    pub last_batch_us: i64,
}

impl Ledger {
    pub fn new(epoch: Epoch, limits: LedgerLimits) -> Self {
        let shared = Shared {
            epoch,
            limits,
            queue: Mutex::new(Queue { next_seq: 1, ..Queue::default() }),
            wake_writer: Condvar::new(),
            durable_seq: watch::channel(0).0,
            applied_seq: watch::channel(0).0,
            applied_max: AtomicI64::new(0),
            backlog_bytes: AtomicU64::new(0),
            journal_full: AtomicBool::new(false),
            writer_done: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            flush: FlushHealth::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// Numbers the records in the order given and hands them to the journal. Never blocks on I/O, never refuses: ask
    /// [`Ledger::admit`] before letting anybody in.
    pub fn append(&self, records: &[Record]) -> Receipt {
        self.enqueue(records, false)
    }

    /// Like [`Ledger::append`], for callers that will wait for [`Receipt::durable`].
    pub fn append_acknowledged(&self, records: &[Record]) -> Receipt {
        self.enqueue(records, true)
    }

    fn enqueue(&self, records: &[Record], acknowledged: bool) -> Receipt {
        let records = if planted!("full_journal_loses_leaves") && self.admit().is_err() { &[] } else { records };
        // Encoding a record of ours cannot fail: it has no map keys but strings and no foreign serializers.
        let bodies: Vec<_> =
            records.iter().map(|record| serde_json::to_vec(record).expect("a record is plain data")).collect();
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        self.shared.backlog_bytes.fetch_add(bytes as u64, Relaxed);
        let mut queue = self.lock_queue();
        for body in bodies {
            let seq = queue.next_seq;
            queue.next_seq += 1;
            queue.entries.push(Entry { seq, body });
        }
        let durable = (acknowledged && !records.is_empty()).then(|| {
            let (sender, receiver) = oneshot::channel();
            // A broken journal answers by the dropped sender.
            if !self.shared.broken.load(Relaxed) {
                queue.waiting.push(sender);
            }
            receiver
        });
        let seq = if records.is_empty() { 0 } else { queue.next_seq - 1 };
        drop(queue);
        self.shared.wake_writer.notify_one();
        Receipt { ledger: self.clone(), seq, durable }
    }

    /// Whether somebody may be let in. Leaves need not ask: room for them is held back.
    ///
    /// # Errors
    /// [`AdmissionRefused`] while the journal is nearly full, its disk refuses writes, or too much waits in memory.
    pub fn admit(&self) -> Result<(), AdmissionRefused> {
        if self.status().admitting || planted!("full_journal_admits") { Ok(()) } else { Err(AdmissionRefused) }
    }

    /// Whether an evidence mark may be appended. A mark that is left out costs nothing but a wider uncertainty, so it
    /// yields before anything else does.
    pub fn takes_marks(&self) -> bool {
        let status = self.status();
        status.admitting || (!status.broken && !status.journal_full && self.has_room())
    }

    fn has_room(&self) -> bool {
        self.shared.backlog_bytes.load(Relaxed) < self.shared.limits.journal_bytes_max
            && self.lock_queue().entries.len() < QUEUE_RECORDS_MAX
    }

    pub fn status(&self) -> LedgerStatus {
        let shared = &self.shared;
        let (appended_seq, queued) = {
            let queue = self.lock_queue();
            (queue.next_seq - 1, queue.entries.len())
        };
        let backlog_bytes = shared.backlog_bytes.load(Relaxed);
        let refuse_at = shared.limits.journal_bytes_max / 100 * shared.limits.journal_refuse_percent;
        let journal_full = shared.journal_full.load(Relaxed);
        let broken = shared.broken.load(Relaxed);
        LedgerStatus {
            appended_seq,
            durable_seq: *shared.durable_seq.borrow(),
            applied_seq: *shared.applied_seq.borrow(),
            backlog_bytes,
            admitting: !broken && !journal_full && backlog_bytes < refuse_at && queued < QUEUE_RECORDS_MAX,
            journal_full,
            broken,
            postgres_failing: shared.flush.failing.load(Relaxed),
            flush_failures_total: shared.flush.failures_total.load(Relaxed),
            records_refused_total: shared.flush.refused_total.load(Relaxed),
            flush_batches_total: shared.flush.batches_total.load(Relaxed),
            last_batch_us: shared.flush.last_batch_us.load(Relaxed),
        }
    }

    /// How far Postgres has ever been. It has less after it was put back to an earlier point, until it is fed again.
    pub fn applied_max(&self) -> i64 {
        self.shared.applied_max.load(Relaxed)
    }

    /// Waits until everything appended so far is in Postgres.
    ///
    /// # Errors
    /// [`LedgerBroken`] when that can no longer happen in this process.
    pub async fn flushed(&self) -> Result<(), LedgerBroken> {
        let target = self.lock_queue().next_seq - 1;
        self.applied(target).await
    }

    async fn applied(&self, seq: i64) -> Result<(), LedgerBroken> {
        let mut applied = self.shared.applied_seq.subscribe();
        let mut durable = self.shared.durable_seq.subscribe();
        loop {
            if *applied.borrow_and_update() >= seq {
                return Ok(());
            }
            if self.shared.broken.load(Relaxed) {
                return Err(LedgerBroken);
            }
            tokio::select! {
                changed = applied.changed() => changed.map_err(|_| LedgerBroken)?,
                // A broken journal wakes the durable side.
                changed = durable.changed() => changed.map_err(|_| LedgerBroken)?,
            }
        }
    }

    /// Lets the journal thread finish what is queued and stop.
    pub fn close(&self) {
        self.lock_queue().closed = true;
        self.shared.wake_writer.notify_one();
    }

    /// Blocks until something waits for the journal, or nothing ever will.
    fn wait_for_work(&self) {
        let mut queue = self.lock_queue();
        while queue.entries.is_empty() && !queue.closed {
            queue = self.shared.wake_writer.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether records wait for the journal.
    pub fn has_queued(&self) -> bool {
        !self.lock_queue().entries.is_empty()
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is a plain list: a panic elsewhere cannot have left it half-changed.
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receipt {
    /// Waits until the records are on this server's disk.
    ///
    /// # Errors
    /// [`LedgerBroken`] when they never will be.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing but the answer.
    pub async fn durable(self) -> Result<(), LedgerBroken> {
        match self.durable {
            Some(durable) => durable.await.map_err(|_| LedgerBroken),
            None => Ok(()),
        }
    }

    /// Waits until the records are in Postgres.
    ///
    /// # Errors
    /// [`LedgerBroken`] when this process cannot bring them there any more.
    pub async fn in_postgres(self) -> Result<(), LedgerBroken> {
        self.ledger.applied(self.seq).await
    }
}
