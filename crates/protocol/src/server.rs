//! Frames from server to client. Serialised once per room and shared; clients written in Rust read them as JSON values.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::codes::{ErrorCode, Retry};

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    Joined(JoinedMessage<'a>),
    Presence {
        seq: u64,
        joins: Vec<Participant<'a>>,
        updates: Vec<Participant<'a>>,
        leaves: Vec<Leave>,
    },
    Snapshot {
        seq: u64,
        participants: Vec<Participant<'a>>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        #[cfg_attr(test, ts(optional, type = "string | number"))]
        id: Option<&'a RawValue>,
        server_time: String,
    },
    Warning {
        code: &'static str,
        ends_at: String,
        in_ms: u64,
        message: String,
    },
    Extended {
        ends_at: String,
    },
    Ended {
        code: &'static str,
        message: Cow<'a, str>,
        /// What a developer or operator does next.
        hint: &'static str,
        recoverable: bool,
    },
    Error(ErrorMessage<'a>),
}

/// The answer to a join. Sent only after the join is durable.
#[derive(Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct JoinedMessage<'a> {
    pub session: SessionInfo<'a>,
    #[serde(rename = "self")]
    pub own: OwnInfo<'a>,
    /// Token to come back as the same participant.
    pub resume: &'a str,
    pub ping_interval_ms: u64,
    pub seq: u64,
    pub participants: Vec<Participant<'a>>,
    /// `local`: on this server's disk. `postgres`: in the database.
    pub durability: &'static str,
    pub server_time: String,
}

impl fmt::Debug for JoinedMessage<'_> {
    /// Without the resume token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinedMessage").field("seq", &self.seq).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SessionInfo<'a> {
    pub id: String,
    pub title: Option<&'a str>,
    pub created_at: String,
    /// When the session ends if nobody is active from now on.
    pub ends_at: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OwnInfo<'a> {
    pub participant_id: String,
    pub connection_id: String,
    pub identity: &'a str,
    pub role: &'a str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Participant<'a> {
    pub participant_id: String,
    pub identity: &'a str,
    /// Whether the token fixed the identity; false where the client chose it.
    pub verified: bool,
    pub name: Option<&'a str>,
    pub role: &'a str,
    /// `active`, `away` or `reconnecting`.
    #[cfg_attr(test, ts(type = "\"active\" | \"away\" | \"reconnecting\""))]
    pub status: &'static str,
    #[cfg_attr(test, ts(type = "unknown"))]
    pub state: Option<&'a RawValue>,
    pub connections: u32,
    pub joined_at: String,
    pub last_seen_at: String,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Leave {
    pub participant_id: String,
    pub reason: &'static str,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ErrorMessage<'a> {
    pub code: ErrorCode,
    /// A sentence that may be shown to a visitor.
    pub message: Cow<'a, str>,
    /// What a developer or operator does next.
    pub hint: &'static str,
    pub retry: Retry,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub retry_after_ms: Option<u64>,
}
