//! The bytes that are hashed. An entry is a version, a kind, and fields; a field is its length as four bytes (big-endian)
//! and its value, an absent one only the length 0xffffffff. So no two different records have the same bytes.
//!
//! Numbers are big-endian; an instant is what Postgres sends in binary form: microseconds since 2000-01-01T00:00:00Z.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::merkle::{Hash, leaf_hash};
use crate::time::Timestamp;

/// Goes up when the bytes change; old records keep theirs.
const VERSION: u8 = 1;

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const POSTGRES_ZERO_US: i64 = 946_684_800_000_000;

/// Before the fields of a batch; 0x00 and 0x01 are those of the Merkle tree.
const BATCH_PREFIX: u8 = 2;

#[derive(Clone, Copy)]
enum Kind {
    Event = 1,
    Mark = 2,
    Refused = 3,
    Checkpoint = 4,
}

pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// One row of the audit log, without what the database adds to it (`recorded_at`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventEntry<'a> {
    pub epoch: i64,
    pub seq: i64,
    pub occurred_at: Timestamp,
    pub tenant: Uuid,
    pub session: Option<Uuid>,
    pub participant: Option<Uuid>,
    pub connection: Option<&'a str>,
    pub event_type: &'a str,
    pub actor: &'a str,
    /// JSON in the text form of jsonb.
    pub metadata: &'a str,
}

impl EventEntry<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut entry = Entry::new(Kind::Event);
        entry.number(self.epoch).number(self.seq).instant(self.occurred_at);
        entry.field(Some(self.tenant.as_bytes()));
        entry.field(self.session.as_ref().map(|id| id.as_bytes().as_slice()));
        entry.field(self.participant.as_ref().map(|id| id.as_bytes().as_slice()));
        entry.field(self.connection.map(str::as_bytes)).text(self.event_type).text(self.actor);
        // A hash and not the text, so that a proof can be given without the details.
        entry.field(Some(&sha256(self.metadata.as_bytes())));
        entry.0
    }

    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.bytes())
    }
}

/// One evidence mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkEntry {
    pub epoch: i64,
    pub seq: i64,
    pub marked_at: Timestamp,
    pub connections: i32,
}

impl MarkEntry {
    pub fn leaf(&self) -> Hash {
        let mut entry = Entry::new(Kind::Mark);
        entry.number(self.epoch).number(self.seq).instant(self.marked_at);
        entry.field(Some(&self.connections.to_be_bytes()));
        leaf_hash(&entry.0)
    }
}

/// One record that the tables refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedEntry<'a> {
    pub epoch: i64,
    pub seq: i64,
    pub body_sha256: Hash,
    pub error: &'a str,
}

impl RefusedEntry<'_> {
    pub fn leaf(&self) -> Hash {
        let mut entry = Entry::new(Kind::Refused);
        entry.number(self.epoch).number(self.seq).field(Some(&self.body_sha256)).text(self.error);
        leaf_hash(&entry.0)
    }
}

/// What a batch commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSeal {
    pub epoch: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    pub root: Hash,
    pub committed_at: Timestamp,
}

impl BatchSeal {
    /// The hash that the next batch of the epoch takes up.
    pub fn hash(&self, prev: &Hash) -> Hash {
        Sha256::new()
            .chain_update([BATCH_PREFIX, VERSION])
            .chain_update(prev)
            .chain_update(self.root)
            .chain_update(self.epoch.to_be_bytes())
            .chain_update(self.first_seq.to_be_bytes())
            .chain_update(self.last_seq.to_be_bytes())
            .chain_update(postgres_us(self.committed_at).to_be_bytes())
            .finalize()
            .into()
    }
}

/// The newest batch of an epoch: its chain up to there is fixed by `hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub epoch: i64,
    pub last_seq: i64,
    pub hash: Hash,
}

/// One leaf of the log of checkpoints: the heads that moved since the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    pub incarnation: i32,
    /// Its place in the log, counted from 1.
    pub size: i64,
    pub created_at: Timestamp,
    /// In the first entry of an incarnation after the first: the root that the one before had outside the database.
    pub prior_root: Option<Hash>,
    /// By epoch.
    pub heads: Vec<Head>,
}

impl CheckpointEntry {
    pub fn leaf(&self) -> Hash {
        let mut entry = Entry::new(Kind::Checkpoint);
        entry.field(Some(&self.incarnation.to_be_bytes())).number(self.size).instant(self.created_at);
        entry.field(self.prior_root.as_ref().map(|root| root.as_slice()));
        for head in &self.heads {
            entry.number(head.epoch).number(head.last_seq).field(Some(&head.hash));
        }
        leaf_hash(&entry.0)
    }
}

struct Entry(Vec<u8>);

impl Entry {
    fn new(kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([VERSION, kind as u8]);
        Self(bytes)
    }

    fn field(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => {
                // Longer than four bytes can say is longer than Postgres can store.
                let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                self.0.extend(length.to_be_bytes());
                self.0.extend(value);
            }
            None => self.0.extend(u32::MAX.to_be_bytes()),
        }
        self
    }

    fn number(&mut self, value: i64) -> &mut Self {
        self.field(Some(&value.to_be_bytes()))
    }

    fn instant(&mut self, at: Timestamp) -> &mut Self {
        self.number(postgres_us(at))
    }

    fn text(&mut self, value: &str) -> &mut Self {
        self.field(Some(value.as_bytes()))
    }
}

const fn postgres_us(at: Timestamp) -> i64 {
    at.0.saturating_sub(POSTGRES_ZERO_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventEntry<'static> {
        EventEntry {
            epoch: 3,
            seq: 7,
            occurred_at: Timestamp(POSTGRES_ZERO_US + 1),
            tenant: Uuid::from_u128(1),
            session: Some(Uuid::from_u128(2)),
            participant: None,
            connection: None,
            event_type: "note",
            actor: "server",
            metadata: "{}",
        }
    }

    /// The layout by hand, as docs/AUDIT.md describes it.
    #[test]
    fn an_event_has_the_documented_bytes() {
        let mut expected = vec![1, 1];
        expected.extend([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3]);
        expected.extend([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([0, 0, 0, 16].iter().chain(&[0; 15]).chain(&[1]));
        expected.extend([0, 0, 0, 16].iter().chain(&[0; 15]).chain(&[2]));
        expected.extend([255; 8]);
        expected.extend(b"\x00\x00\x00\x04note\x00\x00\x00\x06server\x00\x00\x00\x20");
        expected.extend(sha256(b"{}"));
        assert_eq!(event().bytes(), expected);
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_changes_the_leaf() {
        let (left, right) = (event(), EventEntry { event_type: "notes", actor: "erver", ..event() });
        assert_ne!(left.leaf(), right.leaf());
        let absent = EventEntry { connection: Some(""), ..event() };
        assert_ne!(absent.leaf(), left.leaf());
    }
}
