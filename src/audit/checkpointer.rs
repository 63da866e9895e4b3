//! What the server does once in a while: it seals what the control plane wrote, commits to the heads of all chains in a
//! signed checkpoint, and writes it where the database cannot reach.
//!
//! Any number of nodes may do this at once: an advisory lock lets one at a time, and each copies what the others signed.

use std::time::Duration;

use rollcall_core::Timestamp;
use rollcall_core::chain::{CheckpointEntry, Frontier, Hash};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::AuditError;
use super::folder::CheckpointFolder;
use super::key::SigningKey;
use super::note::Note;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::audit::{Change, commit};
use crate::store::chain::{self, CheckpointRow, LastCheckpoint};
use crate::store::mapping::{from_utc, to_utc};

/// Notes copied from the database at once.
const NOTES_PAGE: i64 = 1_000;

pub struct Checkpointer {
    store: Store,
    clock: Clock,
    key: SigningKey,
    log_id: Uuid,
    /// Locked while a checkpoint is made, so that the end of the server waits for one under way.
    outside: Mutex<Outside>,
    every: Duration,
}

/// What this node knows of the checkpoints outside the database.
struct Outside {
    folder: CheckpointFolder,
    last: Option<Note>,
}

impl Checkpointer {
    /// # Errors
    /// The key or the folder cannot be used, or the database is away.
    pub async fn open(
        store: Store,
        clock: Clock,
        key: SigningKey,
        folder: &std::path::Path,
        every: Duration,
    ) -> Result<Self, AuditError> {
        let log_id = store.log_id().await?;
        let folder = CheckpointFolder::open(folder, log_id)?;
        let last = folder.last()?;
        Ok(Self { store, clock, key, log_id, outside: Mutex::new(Outside { folder, last }), every })
    }

    /// Makes checkpoints until it is stopped. The last one is for [`Checkpointer::write`], once nothing more comes.
    pub async fn run(self: std::sync::Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            match self.write(false).await {
                Ok(()) if failing => {
                    failing = false;
                    info!("checkpoints of the audit trail are written again");
                }
                Ok(()) => {}
                Err(error) => {
                    // Once at the start of a trouble, not at every attempt.
                    if !std::mem::replace(&mut failing, true) {
                        warn!(error = &error as &dyn std::error::Error, "no checkpoint was written; it is tried again");
                    }
                }
            }
        }
    }

    /// Makes a checkpoint if something has happened since the last one, and copies every new one out of the database.
    /// With `now`, also when another node has just made one.
    ///
    /// # Errors
    /// The database is away, or a file cannot be written. What is in the database is copied the next time.
    pub async fn write(&self, now: bool) -> Result<(), AuditError> {
        let mut outside = self.outside.lock().await;
        if let Some(mut tx) = self.store.begin_checkpoint().await? {
            let last = chain::last_checkpoint(&mut tx).await?;
            // A little less than the interval, or a tick that comes early would skip a turn.
            let fresh = |last: &LastCheckpoint| from_utc(last.created_at) + self.every.mul_f32(0.9) > self.clock.now();
            if now || !last.as_ref().is_some_and(fresh) {
                self.extend(&mut tx, last, outside.last.as_ref()).await?;
            }
            commit(tx).await?;
        }
        self.copy(&mut outside).await
    }

    async fn extend(
        &self,
        tx: &mut Change,
        last: Option<LastCheckpoint>,
        outside: Option<&Note>,
    ) -> Result<(), AuditError> {
        let known = last.as_ref().map_or(0, |last| last.incarnation);
        let (incarnation, mut frontier, prior_root) = match lost(tx, outside, known).await? {
            Some((incarnation, root)) => {
                error!(
                    incarnation,
                    "a checkpoint that this node has seen is not in the database: it was put back to an \
                    earlier point, or somebody cut off its end; `rollcall audit verify` tells more"
                );
                (incarnation + 1, Frontier::default(), Some(root))
            }
            None => (known.max(1), last.map(|last| last.frontier).unwrap_or_default(), None),
        };
        let heads = chain::moved_heads(tx, incarnation).await?;
        if heads.is_empty() {
            return Ok(());
        }
        let size = frontier.size() as i64 + 1;
        // Exactly what the database keeps of it.
        let created_at: Timestamp = from_utc(to_utc(self.clock.now()));
        let entry = CheckpointEntry { incarnation, size, created_at, prior_root, heads };
        let leaf = entry.leaf();
        frontier.append(leaf);
        let mut note = Note::new(self.log_id, incarnation, size, frontier.root());
        note.sign(&self.key);
        let row = CheckpointRow {
            incarnation,
            size,
            created_at: to_utc(created_at),
            prior_root,
            leaf,
            root: note.root,
            note: note.to_string(),
            heads: entry.heads,
        };
        chain::insert_checkpoint(tx, &row, &frontier).await?;
        debug!(incarnation, size, heads = row.heads.len(), "checkpoint");
        Ok(())
    }

    /// First the database and then the folder: a crash in between leaves a checkpoint that is copied later, and never one
    /// outside that the database does not know.
    async fn copy(&self, outside: &mut Outside) -> Result<(), AuditError> {
        loop {
            let after = outside.last.as_ref().map_or((0, 0), |note| (note.incarnation, note.size));
            let notes = self.store.notes_after(after, NOTES_PAGE).await?;
            let Some((.., newest)) = notes.last() else { return Ok(()) };
            let newest = Note::parse(newest)?;
            // The last page is small, and there is one each minute at most.
            outside.folder.append(&notes)?;
            outside.last = Some(newest);
        }
    }
}

/// The checkpoint that this node saw last, if the database does not have it any more and no other node has said so.
async fn lost(tx: &mut Change, outside: Option<&Note>, known: i32) -> Result<Option<(i32, Hash)>, AuditError> {
    let Some(seen) = outside.filter(|seen| seen.incarnation >= known) else { return Ok(None) };
    let root = chain::checkpoint_root(tx, seen.incarnation, seen.size).await?;
    let there = root.is_some_and(|root| root == seen.root);
    Ok((!there).then_some((seen.incarnation, seen.root)))
}
