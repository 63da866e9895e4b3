//! The journal's thread: group commit. Whatever came while the last commit ran is committed together by the next.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::journal::{Journal, JournalError};
use super::{Entry, Ledger};

/// How long to wait before a full disk is tried again.
const FULL_RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Trimming costs a commit of its own, so it waits until this much can go.
const TRIM_STEP_RECORDS: i64 = 1_000;

/// Owns the journal; runs on a thread of its own because SQLite blocks.
#[derive(Debug)]
pub struct JournalWriter {
    journal: Journal,
    ledger: Ledger,
    /// Cancelled when the disk cannot be trusted any more: the process must end and start again from what is proven.
    fatal: CancellationToken,
    trimmed_through: i64,
}

impl JournalWriter {
    pub fn new(journal: Journal, ledger: Ledger, fatal: CancellationToken) -> Self {
        Self { journal, ledger, fatal, trimmed_through: 0 }
    }

    /// Starts the thread. It ends after [`Ledger::close`] when the queue is empty.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn spawn(self) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("ledger.journal".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        while let Some((entries, waiting)) = self.next_group() {
            if let Some(last) = entries.last() {
                let last_seq = last.seq;
                if let Err(error) = self.commit(&entries) {
                    // After a failed fsync the pages may be gone although the next one succeeds: stop acknowledging.
                    error!(error = &error as &dyn std::error::Error, "journal failed, the server must stop");
                    self.give_up();
                    return;
                }
                self.ledger.shared.durable_seq.send_replace(last_seq);
            }
            for sender in waiting {
                // Whoever does not wait any more needs no answer.
                sender.send(()).ok();
            }
            self.trim();
        }
        self.ledger.shared.writer_done.store(true, Relaxed);
        info!("journal closed");
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

    fn next_group(&self) -> Option<(Vec<Entry>, Vec<tokio::sync::oneshot::Sender<()>>)> {
        let mut queue = self.ledger.lock_queue();
        while queue.entries.is_empty() && !queue.closed {
            queue = self.ledger.shared.wake_writer.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.entries.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut queue.entries), std::mem::take(&mut queue.waiting)))
    }

    /// Retries while the disk is full: the records stay in memory and the queue behind them refuses joins.
    fn commit(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        loop {
            let rows = entries.iter().map(|entry| (entry.seq, entry.body.as_slice()));
            match self.journal.append(self.ledger.epoch(), rows) {
                Ok(()) => {
                    if self.ledger.shared.journal_full.swap(false, Relaxed) {
                        info!("the journal has space again");
                    }
                    return Ok(());
                }
                Err(JournalError::Full) => {
                    if !self.ledger.shared.journal_full.swap(true, Relaxed) {
                        warn!("the journal's disk is full: joins are refused until there is space");
                    }
                    thread::sleep(FULL_RETRY_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets what has been in Postgres for a while. A failure is tried again after the next group.
    fn trim(&mut self) {
        let shared = &self.ledger.shared;
        let through = *shared.applied_seq.borrow() - shared.limits.journal_tail_records;
        if through < self.trimmed_through + TRIM_STEP_RECORDS {
            return;
        }
        match self.journal.trim(self.ledger.epoch(), through) {
            Ok(more) if !more => self.trimmed_through = through,
            Ok(_) => {}
            Err(error) => warn!(error = &error as &dyn std::error::Error, "journal could not be trimmed"),
        }
    }
}
