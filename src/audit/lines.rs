//! The export: one JSON object a line, with one field that says what the line is. Two exports of the same state are equal.
//!
//! Order: the log, checkpoints, detached ranges; then each epoch, its batches, and behind each batch its records; the end.
//! So a verifier reads it once and keeps no more than one batch in memory.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use rollcall_core::chain::{CheckpointEntry, Hash, Head};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{hash_from_hex, hex};
use crate::store::mapping::from_utc;

/// Goes up when a reader of the version before could misunderstand a line.
pub const EXPORT_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line<'a> {
    Log(LogLine),
    Checkpoint(CheckpointLine),
    Detached(DetachedLine),
    Epoch(EpochLine),
    Batch(BatchLine),
    #[serde(borrow)]
    Event(EventLine<'a>),
    Mark(MarkLine),
    #[serde(borrow)]
    Refused(RefusedLine<'a>),
    End(EndLine),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    pub log_id: Uuid,
    /// Of the format of this export.
    pub version: u32,
    /// The one epoch that was exported; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointLine {
    pub incarnation: i32,
    pub size: i64,
    pub created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_root: Option<Hex>,
    pub leaf: Hex,
    pub root: Hex,
    pub heads: Vec<HeadLine>,
    pub note: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct HeadLine {
    pub epoch: i64,
    pub last_seq: i64,
    pub hash: Hex,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DetachedLine {
    pub partition: String,
    pub epoch: i64,
    /// Half-open ranges of numbers.
    pub ranges: Vec<(i64, i64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EpochLine {
    pub epoch: i64,
    pub node: String,
    pub state: String,
    pub applied_seq: i64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct BatchLine {
    pub epoch: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    pub root: Hex,
    pub prev_hash: Hex,
    pub hash: Hex,
    pub committed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct EventLine<'a> {
    pub epoch: i64,
    pub seq: i64,
    pub occurred_at: DateTime<Utc>,
    pub tenant_id: Uuid,
    pub session_id: Option<Uuid>,
    pub participant_id: Option<Uuid>,
    #[serde(borrow)]
    pub connection: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub actor: Cow<'a, str>,
    /// The text as Postgres prints it: it is hashed as it stands.
    #[serde(borrow)]
    pub metadata: Cow<'a, RawValue>,
    /// Not covered by the leaf.
    pub recorded_at: DateTime<Utc>,
    pub leaf: Hex,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MarkLine {
    pub epoch: i64,
    pub seq: i64,
    pub marked_at: DateTime<Utc>,
    pub connections: i32,
    pub leaf: Hex,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct RefusedLine<'a> {
    pub epoch: i64,
    pub seq: i64,
    /// The record in base64.
    #[serde(borrow)]
    pub body: Cow<'a, str>,
    #[serde(borrow)]
    pub error: Cow<'a, str>,
    pub leaf: Hex,
}

/// Without it the file is not whole.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct EndLine {
    pub records: u64,
    pub batches: u64,
    pub checkpoints: u64,
}

/// A hash in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex(pub Hash);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        hash_from_hex(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl From<&CheckpointLine> for CheckpointEntry {
    fn from(line: &CheckpointLine) -> Self {
        Self {
            incarnation: line.incarnation,
            size: line.size,
            created_at: from_utc(line.created_at),
            prior_root: line.prior_root.map(|root| root.0),
            heads: line.heads.iter().copied().map(Into::into).collect(),
        }
    }
}

impl From<Head> for HeadLine {
    fn from(head: Head) -> Self {
        Self { epoch: head.epoch, last_seq: head.last_seq, hash: Hex(head.hash) }
    }
}

impl From<HeadLine> for Head {
    fn from(line: HeadLine) -> Self {
        Self { epoch: line.epoch, last_seq: line.last_seq, hash: line.hash.0 }
    }
}
