//! What the harness has to know of a server's protocol, and nothing more: how to get in, how to ping, how to tell the
//! frames apart that are counted. One file for each protocol.
//!
//! Frames are recognised by how they begin, because parsing every one would cost the loader more than sending it. Only
//! when member lists are followed are frames of presence decoded, and then once for each distinct frame of a room.

mod echo;
mod phoenix;
mod pusher;
mod rollcall;
mod socketio;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A server: where it listens and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub address: SocketAddr,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Returns every text frame. There are no rooms, and a client is in once it is connected.
    Echo,
    /// `rollcall.v1`, as Rollcall serves it: tokens are invites.
    Rollcall,
    /// The same frames from another server at another path: tokens are names of rooms.
    RollcallPeer { path: String },
    /// Socket.IO 4 over WebSocket alone, and the events of load-tests/peers/socketio-server.mjs.
    SocketIo { path: String },
    /// Pusher Channels 7 with presence channels.
    Pusher { app: String, secret: String },
    /// Phoenix channels, serializer 2.0.0, with a channel that tracks its members. `path` has everything from the first
    /// slash but `vsn`; `topic` is what names of rooms are appended to.
    Phoenix { path: String, topic: String },
}

impl Target {
    pub fn echo(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Echo }
    }

    pub fn rollcall(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Rollcall }
    }
}

impl Protocol {
    pub fn adapter(&self) -> Arc<dyn Adapter> {
        match self {
            Self::Echo => Arc::new(echo::Echo),
            Self::Rollcall => Arc::new(rollcall::Rollcall::new("/v1/ws")),
            Self::RollcallPeer { path } => Arc::new(rollcall::Rollcall::new(path)),
            Self::SocketIo { path } => Arc::new(socketio::SocketIo::new(path)),
            Self::Pusher { app, secret } => Arc::new(pusher::Pusher::new(app, secret)),
            Self::Phoenix { path, topic } => Arc::new(phoenix::Phoenix::new(path, topic)),
        }
    }

    /// Whether members of a room see each other.
    pub fn has_rooms(&self) -> bool {
        *self != Self::Echo
    }
}

/// Who wants in, and where.
#[derive(Debug, Clone, Copy)]
pub struct Entrant<'a> {
    /// Name within the room, unique in the swarm.
    pub identity: &'a str,
    /// What admits to the room: an invite, a resume token, or the name of the room.
    pub token: &'a str,
}

/// What to do between the upgrade and the join.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    Send(String),
    Wait,
    /// The join may be sent. `with` is what it needs to know of the connection, if anything.
    Ready {
        with: String,
    },
}

/// What an answer to the join means.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    Wait,
    Joined(Joined),
    Refused(String),
}

/// What a client learns at its join.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Token to come back with.
    pub resume: Option<String>,
    /// Announced end of the session, in microseconds since the Unix epoch.
    pub ends_at_us: Option<i64>,
    pub seq: Option<u64>,
}

/// A frame that was received, as far as the hot path cares.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// `None`: the answer does not say to which ping; answers come in the order of pings.
    Pong(Option<u64>),
    /// Who joined, changed or left. `seq` where the protocol numbers them.
    Presence {
        seq: Option<u64>,
    },
    /// The whole list.
    Snapshot {
        seq: Option<u64>,
    },
    /// The session is over; a close follows.
    Ended,
    /// An error, with its code.
    Error(String),
    /// The protocol wants this in answer.
    Answer(&'static str),
    Other,
}

/// A line of a presence frame. `key` is what a leave names; `identity` what the entrant was called.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'t> {
    /// What follows is the whole list.
    Reset,
    Join {
        key: &'t str,
        identity: &'t str,
    },
    Update {
        key: &'t str,
    },
    Leave {
        key: &'t str,
    },
}

/// A protocol. Without state: one adapter serves all clients of a swarm.
pub trait Adapter: Debug + Send + Sync {
    /// Path and query of the URL.
    fn path(&self) -> String;

    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    /// Called after the upgrade with nothing, then with each text frame until it is ready.
    fn open(&self, _received: Option<&str>) -> Opening {
        Opening::Ready { with: String::new() }
    }

    /// The join frame, or nothing when to be connected is to be in. `opened` is from [`Opening::Ready`].
    ///
    /// # Errors
    /// What was received while opening makes no sense.
    fn join(&self, entrant: Entrant<'_>, opened: &str) -> anyhow::Result<Option<String>>;

    /// Called with each text frame after the join was sent.
    fn entry(&self, received: &str) -> Entry;

    /// A ping of the protocol's own, not of WebSocket: browsers cannot send those. `id` is a number below 2^53.
    fn ping(&self, id: u64) -> String;

    /// A change of the own state that the others see.
    fn update(&self, entrant: Entrant<'_>, id: u64) -> String;

    fn read(&self, text: &str) -> Event;

    /// The lines of a frame that [`Adapter::read`] calls presence or snapshot, or that [`Adapter::entry`] calls joined.
    fn changes(&self, _text: &str, _each: &mut dyn FnMut(Change<'_>)) {}
}

/// The digits after the first `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    leading_number(rest)
}

fn leading_number(text: &str) -> Option<u64> {
    text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

#[cfg(test)]
fn changes_of(adapter: &dyn Adapter, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    adapter.changes(text, &mut |change| lines.push(format!("{change:?}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_number_after_a_name() {
        assert_eq!(number_after(r#"{"type":"pong","id":123,"server_time":"x"}"#, r#""id":"#), Some(123));
        assert_eq!(number_after(r#"{"type":"pong","id":77}"#, r#""id":"#), Some(77));
        assert_eq!(number_after("{}", r#""id":"#), None);
    }

    #[test]
    fn a_target_survives_the_way_to_a_worker() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let protocol = Protocol::Pusher { app: "app".to_owned(), secret: "s".to_owned() };
        let target = Target { address, protocol };
        let text = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&text).unwrap(), target);
    }
}
