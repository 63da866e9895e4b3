//! Frames from client to server. Decoding borrows from the frame: a ping allocates nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest ping id in bytes of JSON text.
pub const PING_ID_BYTES_MAX: usize = 64;

/// One decoded frame.
#[derive(Debug)]
#[cfg_attr(test, derive(ts_rs::TS), ts(tag = "type", rename_all = "snake_case"))]
pub enum ClientMessage<'a> {
    Join(Box<JoinRequest>),
    Ping(PingRequest<'a>),
    Update(UpdateRequest),
    Leave,
    Snapshot,
    End(EndRequest),
    Extend(ExtendRequest),
    Kick(KickRequest),
}

/// First frame of every socket.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct JoinRequest {
    /// Invite token, JWT or resume token.
    pub token: String,
    /// Counts only where the token does not fix one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The app's own state, any JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(type = "unknown"))]
    pub state: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientInfo>,
}

impl fmt::Debug for JoinRequest {
    /// Without the token, which is a secret, and without what it says of a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest").field("client", &self.client).finish_non_exhaustive()
    }
}

/// What the client says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct ClientInfo {
    /// On a resume: how many milliseconds ago the client saw its old socket close. After a crash of the server the old
    /// span is extended by this testimony, never beyond what the crashed server itself had on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_ms_ago: Option<u64>,
    /// Name and version of the client library, for logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct PingRequest<'a> {
    /// Echoed in the pong as it is: a JSON string or number of at most [`PING_ID_BYTES_MAX`] bytes.
    #[cfg_attr(test, ts(optional, type = "string | number"))]
    pub id: Option<&'a RawValue>,
    /// `true`: the person is active. `false`: the person does not see the page. Absent: says nothing about the person.
    pub active: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UpdateRequest {
    #[cfg_attr(test, ts(type = "unknown"))]
    pub state: Box<RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct EndRequest {
    /// Free text for the audit trail.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ExtendRequest {
    pub by_s: u64,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct KickRequest {
    pub participant_id: String,
}

/// Why a frame cannot be understood. None of these closes the socket by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Not a JSON object with a text field `type`, or a field has the wrong type.
    Malformed(String),
    UnknownType(String),
}

impl<'a> ClientMessage<'a> {
    /// # Errors
    /// [`FrameError`] says what is wrong with the frame, in words for the developer of the client.
    pub fn decode(text: &'a str) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Kind<'k> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'k, str>,
        }
        // Nearly every frame is a ping, and written like this: it need not be read twice.
        if text.starts_with(r#"{"type":"ping""#) {
            return Ok(Self::Ping(parse_ping(text)?));
        }
        let kind: Kind<'a> = parse(text)?;
        Ok(match kind.kind.as_ref() {
            "ping" => Self::Ping(parse_ping(text)?),
            "update" => Self::Update(parse(text)?),
            "join" => Self::Join(Box::new(parse(text)?)),
            "leave" => Self::Leave,
            "snapshot" => Self::Snapshot,
            "end" => Self::End(parse(text)?),
            "extend" => Self::Extend(parse(text)?),
            "kick" => Self::Kick(parse(text)?),
            other => return Err(FrameError::UnknownType(other.chars().take(40).collect())),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    serde_json::from_str(text).map_err(|error| FrameError::Malformed(error.to_string()))
}

fn parse_ping(text: &str) -> Result<PingRequest<'_>, FrameError> {
    /// With its type, so that a frame that has two is refused here as elsewhere.
    #[derive(Deserialize)]
    struct Typed<'p> {
        #[serde(rename = "type")]
        _kind: IgnoredAny,
        #[serde(borrow, default)]
        id: Option<&'p RawValue>,
        #[serde(default)]
        active: Option<bool>,
    }
    let Typed { id, active, .. } = parse(text)?;
    if let Some(id) = id {
        let raw = id.get();
        let is_scalar = raw.starts_with('"') || raw.starts_with('-') || raw.starts_with(|c: char| c.is_ascii_digit());
        if !is_scalar || raw.len() > PING_ID_BYTES_MAX {
            return Err(FrameError::Malformed(format!(
                "the id of a ping is a string or number of at most {PING_ID_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(PingRequest { id, active })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_every_type() {
        for (text, expected) in [
            (r#"{"type":"join","token":"t","identity":"ann","state":{"x":1},"new_field":[1]}"#, "Join"),
            (r#"{"type":"ping","id":7,"active":true}"#, "Ping"),
            (r#"{"type":"ping"}"#, "Ping"),
            (r#"{"type":"update","state":null}"#, "Update"),
            (r#"{"type":"leave"}"#, "Leave"),
            (r#"{"type":"snapshot"}"#, "Snapshot"),
            (r#"{"type":"end"}"#, "End"),
            (r#"{"type":"extend","by_s":60}"#, "Extend"),
            (r#"{"type":"kick","participant_id":"x"}"#, "Kick"),
            (r#"{"t":1,"type":"le\u0061ve"}"#, "Leave"),
        ] {
            let message = ClientMessage::decode(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert!(format!("{message:?}").starts_with(expected), "{text}: {message:?}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let join = r#"{"type":"join","token":"rci_secret","identity":"ann@example.com","name":"Ann","state":"secret"}"#;
        let text = format!("{:?}", ClientMessage::decode(join));
        assert!(text.contains("JoinRequest"), "{text}");
        for secret in ["secret", "ann@example.com", "Ann"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn refuses_hostile_frames_with_words() {
        let deep = format!("{}{}", r#"{"type":"update","state":"#, "[".repeat(100_000));
        for text in [
            "",
            "[]",
            "null",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"join"}"#,
            r#"{"type":"join","token":5}"#,
            r#"{"type":"ping","id":{"a":1}}"#,
            r#"{"type":"ping","active":"yes"}"#,
            r#"{"type":"ping","type":"leave"}"#,
            r#"{"type":"extend","by_s":-1}"#,
            r#"{"type":"ping"} x"#,
            &deep,
        ] {
            let error = ClientMessage::decode(text).err().unwrap_or_else(|| panic!("accepted {text}"));
            assert!(matches!(error, FrameError::Malformed(_)), "{error:?}");
        }
        assert_eq!(
            ClientMessage::decode(r#"{"type":"dance"}"#).err(),
            Some(FrameError::UnknownType("dance".to_owned()))
        );
    }
}
