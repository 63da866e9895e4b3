//! Pusher Channels, protocol 7, with presence channels (pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol).
//! The signature that an app's backend would give is made here, from the app's secret.

use anyhow::{Context, ensure};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

use super::{Adapter, Change, Entrant, Entry, Event, Joined, Opening};

/// Channels with this prefix have members.
const PREFIX: &str = "presence-";

const ADDED: &str = "pusher_internal:member_added";
const REMOVED: &str = "pusher_internal:member_removed";
const SUBSCRIBED: &str = "pusher_internal:subscription_succeeded";

#[derive(Debug)]
pub(super) struct Pusher {
    app: String,
    secret: String,
}

impl Pusher {
    pub(super) fn new(app: &str, secret: &str) -> Self {
        Self { app: app.to_owned(), secret: secret.to_owned() }
    }

    fn sign(&self, text: &str) -> anyhow::Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).context("the secret of the app")?;
        mac.update(text.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}:{signature}", self.app))
    }
}

impl Adapter for Pusher {
    fn path(&self) -> String {
        format!("/app/{}?protocol=7&client=rollcall-load&version=1", self.app)
    }

    fn open(&self, received: Option<&str>) -> Opening {
        let frame = received.and_then(|text| serde_json::from_str::<Frame>(text).ok());
        match frame {
            Some(frame) if frame.event == "pusher:connection_established" => {
                let socket = frame.data().as_ref().and_then(|data| data["socket_id"].as_str()).map(str::to_owned);
                Opening::Ready { with: socket.unwrap_or_default() }
            }
            _ => Opening::Wait,
        }
    }

    fn join(&self, entrant: Entrant<'_>, socket: &str) -> anyhow::Result<Option<String>> {
        ensure!(!socket.is_empty(), "the server named no socket_id");
        let channel = format!("{PREFIX}{}", entrant.token);
        let member = serde_json::json!({ "user_id": entrant.identity, "user_info": {} }).to_string();
        let auth = self.sign(&format!("{socket}:{channel}:{member}"))?;
        let data = serde_json::json!({ "auth": auth, "channel_data": member, "channel": channel });
        Ok(Some(serde_json::json!({ "event": "pusher:subscribe", "data": data }).to_string()))
    }

    fn entry(&self, received: &str) -> Entry {
        if is_event(received, SUBSCRIBED) {
            Entry::Joined(Joined::default())
        } else if is_event(received, "pusher:subscription_error") || is_event(received, "pusher:error") {
            Entry::Refused(received.to_owned())
        } else {
            Entry::Wait
        }
    }

    fn ping(&self, _: u64) -> String {
        r#"{"event":"pusher:ping","data":{}}"#.to_owned()
    }

    /// A client event: presence channels have no state of their own.
    fn update(&self, entrant: Entrant<'_>, id: u64) -> String {
        let channel = format!("{PREFIX}{}", entrant.token);
        let data = serde_json::json!({ "moved_at": id });
        serde_json::json!({ "event": "client-update", "channel": channel, "data": data }).to_string()
    }

    fn read(&self, text: &str) -> Event {
        if is_event(text, "pusher:pong") {
            Event::Pong(None)
        } else if is_event(text, ADDED) || is_event(text, REMOVED) || is_event(text, "client-update") {
            Event::Presence { seq: None }
        } else if is_event(text, "pusher:ping") {
            Event::Answer(r#"{"event":"pusher:pong","data":{}}"#)
        } else if is_event(text, "pusher:error") {
            Event::Error(text.to_owned())
        } else {
            Event::Other
        }
    }

    fn changes(&self, text: &str, each: &mut dyn FnMut(Change<'_>)) {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else { return };
        let Some(data) = frame.data() else { return };
        if frame.event == SUBSCRIBED {
            each(Change::Reset);
            // Some servers leave `ids` out of the list; the hash is always there.
            for id in data["presence"]["hash"].as_object().into_iter().flat_map(|members| members.keys()) {
                each(Change::Join { key: id, identity: id });
            }
        } else if let Some(id) = data["user_id"].as_str() {
            match frame.event.as_str() {
                ADDED => each(Change::Join { key: id, identity: id }),
                REMOVED => each(Change::Leave { key: id }),
                _ => {}
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Frame {
    event: String,
    #[serde(default)]
    data: Value,
}

impl Frame {
    /// Servers send data as JSON in a string; clients must take an object as well.
    fn data(&self) -> Option<Value> {
        match &self.data {
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        }
    }
}

/// Servers differ in the order of the fields, so the event is looked for in the whole frame; names of events are not part
/// of our members' data.
fn is_event(text: &str, name: &str) -> bool {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(r#""event":"#) {
        rest = after.trim_start();
        if rest.strip_prefix('"').and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('"')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::changes_of;
    use super::*;

    /// The worked example of the vendor's page on authentication signatures.
    #[test]
    fn signs_as_the_documentation_does() {
        let pusher = Pusher::new("278d425bdf160c739803", "7ad3773142a6692b25b8");
        let signed = pusher.sign("1234.1234:private-foobar").unwrap();
        let expected = "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
        assert_eq!(signed, expected);
    }

    #[test]
    fn joins_with_the_socket_it_was_given() {
        let pusher = Pusher::new("key", "secret");
        let hello =
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}"#;
        assert_eq!(pusher.open(Some(hello)), Opening::Ready { with: "1.2".to_owned() });
        let frame = pusher.join(Entrant { identity: "ann", token: "r1" }, "1.2").unwrap().unwrap();
        let frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(frame["data"]["channel"], "presence-r1");
        assert!(pusher.join(Entrant { identity: "ann", token: "r1" }, "").is_err());
    }

    #[test]
    fn follows_the_members() {
        let pusher = Pusher::new("key", "secret");
        let list = r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-r1","data":"{\"presence\":{\"ids\":[\"ann\"],\"hash\":{\"ann\":{}},\"count\":1}}"}"#;
        assert_eq!(pusher.entry(list), Entry::Joined(Joined::default()));
        assert_eq!(changes_of(&pusher, list), ["Reset", r#"Join { key: "ann", identity: "ann" }"#]);
        let added =
            r#"{"channel":"presence-r1","event":"pusher_internal:member_added","data":"{\"user_id\":\"bob\"}"}"#;
        assert_eq!(pusher.read(added), Event::Presence { seq: None });
        assert_eq!(changes_of(&pusher, added), [r#"Join { key: "bob", identity: "bob" }"#]);
        let removed = r#"{"event":"pusher_internal:member_removed","data":{"user_id":"bob"}}"#;
        assert_eq!(changes_of(&pusher, removed), [r#"Leave { key: "bob" }"#]);
        assert_eq!(pusher.read(r#"{"event":"pusher:pong"}"#), Event::Pong(None));
        assert!(matches!(pusher.read(r#"{"event": "pusher:ping"}"#), Event::Answer(_)));
    }
}
