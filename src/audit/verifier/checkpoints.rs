//! The checkpoints: each takes up those before it, is signed, and the chains still contain what it saw.

use std::collections::{BTreeMap, HashMap};

use rollcall_core::chain::{CheckpointEntry, Frontier, Hash};
use uuid::Uuid;

use super::Findings;
use crate::audit::key::PublicKey;
use crate::audit::lines::CheckpointLine;
use crate::audit::note::{Note, Trust};

#[derive(Default)]
pub(super) struct Checkpoints {
    incarnation: i32,
    frontier: Frontier,
    roots: BTreeMap<(i32, i64), Hash>,
    /// Heads that no batch has been met for: by epoch and last number, the hash and the first checkpoint that saw it.
    heads: HashMap<(i64, i64), Vec<(Hash, String)>>,
    pub(super) signatures: u64,
}

impl Checkpoints {
    pub(super) fn take(&mut self, line: &CheckpointLine, log_id: Uuid, keys: &[PublicKey], findings: &mut Findings) {
        let name = format!("checkpoint {}/{}", line.incarnation, line.size);
        if line.incarnation != self.incarnation {
            self.incarnation = line.incarnation;
            self.frontier = Frontier::default();
        }
        let expected = self.frontier.size() as i64 + 1;
        if line.size != expected {
            findings.error(None, None, format!("the checkpoints {expected} to {} are missing", line.size - 1));
        }
        let entry = CheckpointEntry::from(line);
        let leaf = entry.leaf();
        if leaf != line.leaf.0 {
            findings.error(None, None, format!("{name} was changed: its leaf hash is not that of its heads"));
        }
        self.frontier.append(leaf);
        if self.frontier.root() != line.root.0 {
            let problem =
                format!("{name} does not take up the checkpoints before it: one of them was changed or removed");
            findings.error(None, None, problem);
        }
        match Note::parse(&line.note) {
            Ok(note) => {
                let says = (note.log_id, note.incarnation, note.size, note.root);
                if says != (log_id, line.incarnation, line.size, line.root.0) {
                    findings.error(None, None, format!("the note of {name} does not say what its row says"));
                }
                self.check_signature(&note, &name, keys, findings);
            }
            Err(error) => findings.error(None, None, format!("the note of {name} cannot be read: {error}")),
        }
        for head in &entry.heads {
            self.heads.entry((head.epoch, head.last_seq)).or_default().push((head.hash, name.clone()));
        }
        self.roots.insert((line.incarnation, line.size), line.root.0);
    }

    /// A batch was read: no checkpoint that saw it may have seen another.
    pub(super) fn met(&mut self, epoch: i64, last_seq: i64, hash: Hash, findings: &mut Findings) {
        for (seen, name) in self.heads.remove(&(epoch, last_seq)).unwrap_or_default() {
            if seen != hash {
                let problem =
                    format!("the chain up to record {last_seq} is not the one that {name} saw: it was rewritten");
                findings.error(epoch, last_seq, problem);
            }
        }
    }

    /// Checkpoints that were kept elsewhere must be among those that were read.
    pub(super) fn compare(
        &mut self,
        notes: &[Note],
        log_id: Option<Uuid>,
        keys: &[PublicKey],
        findings: &mut Findings,
    ) {
        let mut gone: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for note in notes {
            let name = format!("checkpoint {}/{} outside", note.incarnation, note.size);
            if Some(note.log_id) != log_id {
                findings.error(None, None, format!("{name} is of another log ({})", note.log_id));
                continue;
            }
            self.check_signature(note, &name, keys, findings);
            match self.roots.get(&(note.incarnation, note.size)) {
                Some(root) if *root == note.root => {}
                Some(_) => {
                    findings.error(None, None, format!("{name} has another root: the log was rewritten before it"))
                }
                None => {
                    let range = gone.entry(note.incarnation).or_insert((note.size, note.size));
                    *range = (range.0.min(note.size), range.1.max(note.size));
                }
            }
        }
        for (incarnation, (first, last)) in gone {
            let problem = format!(
                "checkpoints {first} to {last} of incarnation {incarnation} exist outside, but not here: the end of the log was \
                 cut off, or the database was put back to an earlier point"
            );
            findings.error(None, None, problem);
        }
    }

    /// Heads that no batch had were cut off. `only` is the epoch that was read, if not all were.
    pub(super) fn finish(&mut self, only: Option<i64>, findings: &mut Findings) {
        // The first number that is gone of each epoch says it all.
        let mut lost: BTreeMap<i64, (i64, String)> = BTreeMap::new();
        for ((epoch, last_seq), seen) in
            self.heads.drain().filter(|((epoch, _), _)| only.is_none_or(|only| only == *epoch))
        {
            let Some((_, name)) = seen.into_iter().next() else { continue };
            let first = lost.entry(epoch).or_insert((last_seq, name.clone()));
            if last_seq < first.0 {
                *first = (last_seq, name);
            }
        }
        for (epoch, (last_seq, name)) in lost {
            let problem = format!(
                "{name} saw this epoch up to record {last_seq}, and there is no batch that ends there: records were cut off or \
                 rewritten"
            );
            findings.error(epoch, last_seq, problem);
        }
    }

    fn check_signature(&mut self, note: &Note, name: &str, keys: &[PublicKey], findings: &mut Findings) {
        if keys.is_empty() {
            return;
        }
        match note.trust(keys) {
            Trust::Good => self.signatures += 1,
            Trust::Forged => findings.error(None, None, format!("the signature of {name} is forged")),
            Trust::Unknown => findings.error(None, None, format!("{name} is not signed by a key that was given")),
        }
    }
}
