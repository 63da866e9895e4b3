//! What makes the audit trail tamper-evident: every record has a leaf hash, every batch a Merkle root, every epoch a chain
//! of batches, and a checkpoint commits to the heads of all chains. docs/AUDIT.md explains the scheme as a whole.
//!
//! Only hashing and nothing else: the SQL functions `audit_leaf`, `merkle_root` and `audit_batch_hash` compute the same, and
//! tests compare them.

mod entry;
pub mod merkle;

pub use entry::{BatchSeal, CheckpointEntry, EventEntry, Head, MarkEntry, RefusedEntry, sha256};
pub use merkle::{Frontier, Hash};

/// What a chain begins with, in place of the hash of a batch before.
pub const CHAIN_START: Hash = [0; 32];
