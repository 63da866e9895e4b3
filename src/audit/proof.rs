//! Why one event is in the log: the event, the way from its leaf to the root of its batch, from there along the chain to
//! the head that a checkpoint saw, and the signed checkpoint. It shows nothing of any other event.

use rollcall_core::chain::{BatchSeal, CheckpointEntry, Frontier, Hash, merkle};
use serde::{Deserialize, Serialize};

use super::AuditError;
use super::export;
use super::key::PublicKey;
use super::lines::{BatchLine, CheckpointLine, EventLine, Hex, Line};
use super::note::{Note, Trust};
use super::verifier::event_leaf;
use crate::store::Store;
use crate::store::mapping::from_utc;

pub const PROOF_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub struct Proof<'a> {
    pub proof_version: u32,
    #[serde(borrow)]
    pub event: EventLine<'a>,
    /// The batch of the event and those behind it, up to the head that the checkpoint saw.
    pub batches: Vec<BatchLine>,
    /// From the leaf to the root of the first batch, nearest first.
    pub path: Vec<Hex>,
    pub checkpoint: CheckpointLine,
    /// From the leaf of the checkpoint to its root, nearest first.
    pub checkpoint_path: Vec<Hex>,
}

/// What a proof says once it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The checkpoint, as `incarnation/size`.
    pub checkpoint: String,
    pub signed: bool,
}

/// Collects the proof of an event as text.
///
/// # Errors
/// There is no such event, no checkpoint has seen it yet, or the database is away.
pub async fn prove(store: &Store, epoch: i64, seq: i64) -> Result<String, AuditError> {
    let mut frontier = Frontier::default();
    let mut found: Option<(CheckpointLine, Vec<Hex>)> = None;
    let mut search = Search { seq, batches: Vec::new(), leaves: Vec::new(), event: None };
    let mut checkpoints: Vec<CheckpointLine> = Vec::new();
    export::read(store, Some(epoch), |line| {
        match line {
            Line::Checkpoint(line) => checkpoints.push(line),
            Line::Batch(line) => search.batch(line),
            Line::Event(line) => search.event(&line)?,
            Line::Mark(line) => search.leaf(line.seq, line.leaf.0),
            Line::Refused(line) => search.leaf(line.seq, line.leaf.0),
            _ => {}
        }
        Ok(())
    })
    .await?;
    let event = search.event.ok_or_else(|| AuditError::Malformed(format!("there is no event {epoch}-{seq}")))?;
    let mut incarnation = 0;
    for checkpoint in checkpoints {
        if checkpoint.incarnation != incarnation {
            (incarnation, frontier) = (checkpoint.incarnation, Frontier::default());
        }
        let sees = checkpoint.heads.iter().any(|head| {
            head.epoch == epoch && search.batches.iter().any(|b| b.last_seq == head.last_seq && b.hash == head.hash)
        });
        let path = frontier.path_of_next().into_iter().map(Hex).collect();
        frontier.append(checkpoint.leaf.0);
        if sees {
            found = Some((checkpoint, path));
            break;
        }
    }
    let Some((checkpoint, checkpoint_path)) = found else {
        let problem = format!("no checkpoint has seen event {epoch}-{seq} yet; one is written every minute or so");
        return Err(AuditError::Malformed(problem));
    };
    let head = checkpoint.heads.iter().find(|head| head.epoch == epoch).map_or(0, |head| head.last_seq);
    let batches: Vec<BatchLine> = search.batches.iter().copied().filter(|batch| batch.last_seq <= head).collect();
    let first = batches.first().map_or(seq, |batch| batch.first_seq);
    let path = merkle::path(&search.leaves, usize::try_from(seq - first).unwrap_or(usize::MAX)).unwrap_or_default();
    let event: EventLine<'_> =
        serde_json::from_str(&event).map_err(|error| AuditError::Malformed(error.to_string()))?;
    let path = path.into_iter().map(Hex).collect();
    let proof = Proof { proof_version: PROOF_VERSION, event, batches, path, checkpoint, checkpoint_path };
    serde_json::to_string(&proof).map_err(|error| AuditError::Malformed(error.to_string()))
}

/// What a pass over the epoch keeps: the batch of the event with its leaves, and the batches behind it.
struct Search {
    seq: i64,
    batches: Vec<BatchLine>,
    leaves: Vec<Hash>,
    event: Option<String>,
}

impl Search {
    fn batch(&mut self, line: BatchLine) {
        if line.last_seq >= self.seq {
            self.batches.push(line);
        }
    }

    fn event(&mut self, line: &EventLine<'_>) -> Result<(), AuditError> {
        if line.seq == self.seq {
            let text = serde_json::to_string(line).map_err(|error| AuditError::Malformed(error.to_string()))?;
            self.event = Some(text);
        }
        self.leaf(line.seq, line.leaf.0);
        Ok(())
    }

    fn leaf(&mut self, seq: i64, leaf: Hash) {
        if let [batch] = self.batches.as_slice()
            && seq <= batch.last_seq
        {
            self.leaves.push(leaf);
        }
    }
}

/// Checks a proof and nothing else: neither an export nor a database is needed. Without keys the signature is not looked
/// at, and then the proof holds against nobody.
///
/// # Errors
/// It does not hold, with the reason.
pub fn check(text: &str, keys: &[PublicKey]) -> Result<Proven, AuditError> {
    let no = |reason: &str| AuditError::Malformed(format!("the proof does not hold: {reason}"));
    let proof: Proof<'_> = serde_json::from_str(text).map_err(|error| no(&format!("it cannot be read ({error})")))?;
    if proof.proof_version != PROOF_VERSION {
        return Err(no("its version is not known to this program"));
    }
    let event = &proof.event;
    let [batch, behind @ ..] = proof.batches.as_slice() else { return Err(no("it has no batch")) };
    let hashes = |path: &[Hex]| path.iter().map(|one| one.0).collect::<Vec<Hash>>();
    let place = |seq: i64| u64::try_from(seq - batch.first_seq).unwrap_or(u64::MAX);
    let root =
        merkle::root_from_path(event_leaf(event), place(event.seq), place(batch.last_seq + 1), &hashes(&proof.path));
    if root != Some(batch.root.0) {
        return Err(no("the event is not in its batch"));
    }
    let mut head = seal(event.epoch, batch).hash(&batch.prev_hash.0);
    let mut last_seq = batch.last_seq;
    for next in behind {
        if next.first_seq != last_seq + 1 {
            return Err(no("its batches do not continue each other"));
        }
        head = seal(event.epoch, next).hash(&head);
        last_seq = next.last_seq;
    }
    let line = &proof.checkpoint;
    let seen = line.heads.iter().find(|one| one.epoch == event.epoch);
    if seen.is_none_or(|seen| (seen.last_seq, seen.hash.0) != (last_seq, head)) {
        return Err(no("the checkpoint did not see this chain"));
    }
    let entry = CheckpointEntry::from(line);
    let size = u64::try_from(line.size).unwrap_or(0);
    let note = Note::parse(&line.note)?;
    let root = merkle::root_from_path(entry.leaf(), size.saturating_sub(1), size, &hashes(&proof.checkpoint_path));
    if root != Some(note.root) || (note.incarnation, note.size) != (line.incarnation, line.size) {
        return Err(no("its checkpoint is not the one of the signed note"));
    }
    if !keys.is_empty() && note.trust(keys) != Trust::Good {
        return Err(no("the note is not signed by a key that was given"));
    }
    Ok(Proven { checkpoint: format!("{}/{}", note.incarnation, note.size), signed: !keys.is_empty() })
}

fn seal(epoch: i64, batch: &BatchLine) -> BatchSeal {
    BatchSeal {
        epoch,
        first_seq: batch.first_seq,
        last_seq: batch.last_seq,
        root: batch.root.0,
        committed_at: from_utc(batch.committed_at),
    }
}
