//! Socket.IO protocol 5 on Engine.IO protocol 4 (socketio/socket.io-protocol and engine.io-protocol), over WebSocket from
//! the start. `0{…}` opens, the client connects the namespace with `40`, `42[event,…]` is an event, a number between `42`
//! and `[` asks for an acknowledgement, which comes as `43<number>[…]`. The server's own heartbeat is `2`, answered `3`.

use serde::Deserialize;

use super::{Adapter, Change, Entrant, Entry, Event, Joined, Opening, leading_number};

/// Acknowledges the join; no ping has it, because ids of pings are instants.
const JOIN_ACK: &str = "430[";

const PRESENCE: &str = r#"42["presence","#;

#[derive(Debug)]
pub(super) struct SocketIo {
    path: String,
}

impl SocketIo {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Adapter for SocketIo {
    fn path(&self) -> String {
        format!("{}?EIO=4&transport=websocket", self.path)
    }

    fn open(&self, received: Option<&str>) -> Opening {
        match received {
            Some(text) if text.starts_with("40") => Opening::Ready { with: String::new() },
            Some(text) if text.starts_with('0') => Opening::Send("40".to_owned()),
            _ => Opening::Wait,
        }
    }

    fn join(&self, entrant: Entrant<'_>, _: &str) -> anyhow::Result<Option<String>> {
        let event = serde_json::json!(["join", { "room": entrant.token, "identity": entrant.identity }]);
        Ok(Some(format!("420{event}")))
    }

    fn entry(&self, received: &str) -> Entry {
        match received {
            _ if received.starts_with(JOIN_ACK) => Entry::Joined(Joined::default()),
            _ if received.starts_with("44") => Entry::Refused(received.to_owned()),
            _ => Entry::Wait,
        }
    }

    fn ping(&self, id: u64) -> String {
        format!(r#"42{id}["ping"]"#)
    }

    fn update(&self, _: Entrant<'_>, id: u64) -> String {
        format!(r#"42["update",{{"moved_at":{id}}}]"#)
    }

    fn read(&self, text: &str) -> Event {
        if text == "2" {
            Event::Answer("3")
        } else if let Some(rest) = text.strip_prefix("43") {
            leading_number(rest).map_or(Event::Other, |id| Event::Pong(Some(id)))
        } else if text.starts_with(PRESENCE) {
            Event::Presence { seq: None }
        } else if text.starts_with("44") || text.starts_with("41") {
            Event::Error(text.to_owned())
        } else {
            Event::Other
        }
    }

    fn changes(&self, text: &str, each: &mut dyn FnMut(Change<'_>)) {
        if let Some(list) = text.strip_prefix(JOIN_ACK).and_then(|rest| rest.strip_suffix(']')) {
            let Ok(members) = serde_json::from_str::<Vec<Person<'_>>>(list) else { return };
            each(Change::Reset);
            for one in members {
                each(Change::Join { key: one.identity, identity: one.identity });
            }
        } else if let Some(body) = text.strip_prefix(PRESENCE).and_then(|rest| rest.strip_suffix(']')) {
            let Ok(diff) = serde_json::from_str::<Diff<'_>>(body) else { return };
            for one in diff.joins {
                each(Change::Join { key: one.identity, identity: one.identity });
            }
            for one in diff.updates {
                each(Change::Update { key: one.identity });
            }
            for one in diff.leaves {
                each(Change::Leave { key: one.identity });
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Diff<'t> {
    #[serde(borrow, default)]
    joins: Vec<Person<'t>>,
    #[serde(borrow, default)]
    updates: Vec<Person<'t>>,
    #[serde(borrow, default)]
    leaves: Vec<Person<'t>>,
}

#[derive(Debug, Deserialize)]
struct Person<'t> {
    identity: &'t str,
}

#[cfg(test)]
mod tests {
    use super::super::changes_of;
    use super::*;

    #[test]
    fn opens_in_two_steps_and_joins_by_acknowledgement() {
        let io = SocketIo::new("/socket.io/");
        assert_eq!(io.open(None), Opening::Wait);
        assert_eq!(io.open(Some(r#"0{"sid":"x","upgrades":[]}"#)), Opening::Send("40".to_owned()));
        assert_eq!(io.open(Some(r#"40{"sid":"y"}"#)), Opening::Ready { with: String::new() });
        let frame = io.join(Entrant { identity: "ann", token: "room" }, "").unwrap();
        assert_eq!(frame.as_deref(), Some(r#"420["join",{"identity":"ann","room":"room"}]"#));
        let answer = r#"430[[{"identity":"ann"},{"identity":"bob"}]]"#;
        // The acknowledgement has one argument: the list.
        assert_eq!(io.entry(answer), Entry::Joined(Joined::default()));
        assert_eq!(
            changes_of(&io, answer),
            ["Reset", r#"Join { key: "ann", identity: "ann" }"#, r#"Join { key: "bob", identity: "bob" }"#]
        );
    }

    #[test]
    fn tells_frames_apart() {
        let io = SocketIo::new("/socket.io/");
        assert_eq!(io.read("2"), Event::Answer("3"));
        assert_eq!(io.read("43123456[]"), Event::Pong(Some(123_456)));
        let leave = r#"42["presence",{"leaves":[{"identity":"ann"}]}]"#;
        assert_eq!(io.read(leave), Event::Presence { seq: None });
        assert_eq!(changes_of(&io, leave), [r#"Leave { key: "ann" }"#]);
    }
}
