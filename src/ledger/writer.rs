//! The journal's thread: group commit. Whatever came while the last commit ran is committed together by the next.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rollcall_core::planted;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::journal::{Journal, JournalError, JournalStorage};
use super::{Entry, Ledger};

/// How long to wait before a full disk is tried again.
const FULL_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Trimming costs a commit of its own, so it waits until this much can go.
const TRIM_STEP_RECORDS: i64 = 1_000;

/// Owns the journal; runs on a thread of its own because SQLite blocks.
#[derive(Debug)]
pub struct JournalWriter<J = Journal> {
    journal: J,
    ledger: Ledger,
    /// Cancelled when the disk cannot be trusted any more: the process must end and start again from what is proven.
    fatal: CancellationToken,
    trimmed_through: i64,
    /// What was taken from the queue and is not committed.
    group: Option<Group>,
}

#[derive(Debug)]
struct Group {
    entries: Vec<Entry>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What a step of the writer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterStep {
    /// A group is committed and answered.
    Committed,
    /// Nothing waits.
    Idle,
    /// The disk is full: the same group again, after this time.
    Retry(Duration),
    /// The ledger is closed and everything is committed, or nothing ever will be.
    Over,
}

impl JournalWriter {
    /// Starts the thread. It ends after [`Ledger::close`] when the queue is empty.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn spawn(mut self) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("ledger.journal".to_owned()).spawn(move || {
            loop {
                match self.step() {
                    WriterStep::Committed => {}
                    WriterStep::Idle => self.ledger.wait_for_work(),
                    WriterStep::Retry(pause) => thread::sleep(pause),
                    WriterStep::Over => return,
                }
            }
        })
    }
}

impl<J: JournalStorage> JournalWriter<J> {
    pub fn new(journal: J, ledger: Ledger, fatal: CancellationToken) -> Self {
        Self { journal, ledger, fatal, trimmed_through: 0, group: None }
    }

    /// Commits what waits, if anything does. Never waits itself, but for the disk.
    pub fn step(&mut self) -> WriterStep {
        let mut group = match self.group.take().map_or_else(|| self.next_group(), Ok) {
            Ok(group) => group,
            Err(step) => {
                if step == WriterStep::Over {
                    self.ledger.shared.writer_done.store(true, Relaxed);
                    info!("journal closed");
                }
                return step;
            }
        };
        if planted!("ack_before_durable") {
            group.waiting.drain(..).for_each(|sender| sender.send(()).unwrap_or_default());
        }
        if let Some(last) = group.entries.last() {
            let last_seq = last.seq;
            match self.commit(&group.entries) {
                Ok(()) => {}
                Err(error) if matches!(error, JournalError::Full) || planted!("failed_sync_is_tried_again") => {
                    self.group = Some(group);
                    return WriterStep::Retry(FULL_RETRY_INTERVAL);
                }
                Err(error) => {
                    // After a failed fsync the pages may be gone although the next one succeeds: stop acknowledging.
                    error!(error = &error as &dyn std::error::Error, "journal failed, the server must stop");
                    self.give_up();
                    return WriterStep::Over;
                }
            }
            self.ledger.shared.durable_seq.send_replace(last_seq);
        }
        for sender in group.waiting {
            // Whoever does not wait any more needs no answer.
            sender.send(()).ok();
        }
        self.trim();
        WriterStep::Committed
    }

    /// Tells everybody who waits, now or later, that nothing becomes durable any more.
    fn give_up(&self) {
        {
            let mut queue = self.ledger.lock_queue();
            self.ledger.shared.broken.store(true, Relaxed);
            queue.waiting.clear();
        }
        self.ledger.shared.durable_seq.send_modify(|_| {});
        // The flusher need not wait for more than there is.
        self.ledger.shared.writer_done.store(true, Relaxed);
        self.fatal.cancel();
    }

    /// Everything that waits, or what else there is to do.
    fn next_group(&self) -> Result<Group, WriterStep> {
        let mut queue = self.ledger.lock_queue();
        if queue.entries.is_empty() {
            return Err(if queue.closed { WriterStep::Over } else { WriterStep::Idle });
        }
        Ok(Group { entries: std::mem::take(&mut queue.entries), waiting: std::mem::take(&mut queue.waiting) })
    }

    /// While the disk is full the records stay in memory and the queue behind them refuses joins.
    fn commit(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let rows = entries.iter().map(|entry| (entry.seq, entry.body.as_slice()));
        let outcome = self.journal.append(self.ledger.epoch(), rows);
        let was_full = self.ledger.shared.journal_full.swap(matches!(outcome, Err(JournalError::Full)), Relaxed);
        match (&outcome, was_full) {
            (Ok(()), true) => info!("the journal has space again"),
            (Err(JournalError::Full), false) => {
                warn!("the journal's disk is full: joins are refused until there is space");
            }
            _ => {}
        }
        outcome
    }

    /// Forgets what has been in Postgres for a while. A failure is tried again after the next group.
    fn trim(&mut self) {
        let shared = &self.ledger.shared;
        let mut through = *shared.applied_seq.borrow() - shared.limits.journal_tail_records;
        if planted!("trimmed_before_applied") {
            through = *shared.durable_seq.borrow() / 50 * 50;
        } else if through < self.trimmed_through + TRIM_STEP_RECORDS {
            return;
        }
        match self.journal.trim(self.ledger.epoch(), through) {
            Ok(more) if !more => self.trimmed_through = through,
            Ok(_) => {}
            Err(error) => warn!(error = &error as &dyn std::error::Error, "journal could not be trimmed"),
        }
    }
}
