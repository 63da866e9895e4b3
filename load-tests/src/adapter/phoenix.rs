//! Phoenix channels with serializer 2.0.0 (phoenixframework/phoenix, `v2_json_serializer.ex`): every frame is
//! `[join_ref, ref, topic, event, payload]`. The channel must track its members with Phoenix.Presence under the
//! `identity` of the join's payload, and push `presence_state` after the join, as the guides show it.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Adapter, Change, Entrant, Entry, Event, Joined, leading_number};

/// Reference of the join; references of pings are instants.
const JOIN_REF: &str = "1";

#[derive(Debug)]
pub(super) struct Phoenix {
    path: String,
    topic: String,
}

impl Phoenix {
    pub(super) fn new(path: &str, topic: &str) -> Self {
        Self { path: path.to_owned(), topic: topic.to_owned() }
    }

    fn topic(&self, entrant: Entrant<'_>) -> String {
        format!("{}{}", self.topic, entrant.token)
    }
}

impl Adapter for Phoenix {
    fn path(&self) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{separator}vsn=2.0.0", self.path)
    }

    fn join(&self, entrant: Entrant<'_>, _: &str) -> anyhow::Result<Option<String>> {
        let payload = serde_json::json!({ "identity": entrant.identity });
        Ok(Some(serde_json::json!([JOIN_REF, JOIN_REF, self.topic(entrant), "phx_join", payload]).to_string()))
    }

    fn entry(&self, received: &str) -> Entry {
        let Some(frame) = Frame::decode(received) else { return Entry::Wait };
        match frame.event {
            // The list is the join: without it a client does not know who is there.
            "presence_state" => Entry::Joined(Joined::default()),
            "phx_reply" if frame.payload.get().contains(r#""status":"error""#) => Entry::Refused(received.to_owned()),
            "phx_error" | "phx_close" => Entry::Refused(received.to_owned()),
            _ => Entry::Wait,
        }
    }

    fn ping(&self, id: u64) -> String {
        format!(r#"[null,"{id}","phoenix","heartbeat",{{}}]"#)
    }

    fn update(&self, entrant: Entrant<'_>, id: u64) -> String {
        let topic = self.topic(entrant);
        serde_json::json!([JOIN_REF, id.to_string(), topic, "update", { "moved_at": id }]).to_string()
    }

    fn read(&self, text: &str) -> Event {
        if let Some(rest) = text.strip_prefix(r#"[null,""#)
            && let Some(id) = leading_number(rest)
            && rest.contains(r#","phoenix","phx_reply","#)
        {
            return Event::Pong(Some(id));
        }
        match Frame::decode(text).map(|frame| frame.event) {
            Some("presence_diff") => Event::Presence { seq: None },
            Some("presence_state") => Event::Snapshot { seq: None },
            Some("phx_close") => Event::Ended,
            Some("phx_error") => Event::Error("phx_error".to_owned()),
            _ => Event::Other,
        }
    }

    /// One key is one member however many connections it has: clients of the harness have one each.
    fn changes(&self, text: &str, each: &mut dyn FnMut(Change<'_>)) {
        let Some(frame) = Frame::decode(text) else { return };
        if frame.event == "presence_state" {
            let members: HashMap<String, IgnoredAny> = serde_json::from_str(frame.payload.get()).unwrap_or_default();
            each(Change::Reset);
            for key in members.keys() {
                each(Change::Join { key, identity: key });
            }
        } else if frame.event == "presence_diff" {
            let diff: Diff = serde_json::from_str(frame.payload.get()).unwrap_or_default();
            let left: HashSet<&String> = diff.leaves.keys().collect();
            for key in diff.joins.keys() {
                // The new entry of somebody beside the old one.
                if left.contains(key) {
                    each(Change::Update { key });
                } else {
                    each(Change::Join { key, identity: key });
                }
            }
            for key in left.into_iter().filter(|key| !diff.joins.contains_key(*key)) {
                each(Change::Leave { key });
            }
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Diff {
    #[serde(default)]
    joins: HashMap<String, Value>,
    #[serde(default)]
    leaves: HashMap<String, Value>,
}

struct Frame<'t> {
    event: &'t str,
    payload: &'t RawValue,
}

impl<'t> Frame<'t> {
    fn decode(text: &'t str) -> Option<Self> {
        type Array<'t> = (Option<&'t str>, Option<&'t str>, &'t str, &'t str, &'t RawValue);
        let (_, _, _, event, payload) = serde_json::from_str::<Array<'t>>(text).ok()?;
        Some(Self { event, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes_of;
    use super::*;

    fn phoenix() -> Phoenix {
        Phoenix::new("/socket/websocket", "room:")
    }

    #[test]
    fn joins_a_topic_and_is_in_with_the_list() {
        assert_eq!(phoenix().path(), "/socket/websocket?vsn=2.0.0");
        assert_eq!(Phoenix::new("/s?token=x", "").path(), "/s?token=x&vsn=2.0.0");
        let frame = phoenix().join(Entrant { identity: "ann", token: "r1" }, "").unwrap();
        assert_eq!(frame.as_deref(), Some(r#"["1","1","room:r1","phx_join",{"identity":"ann"}]"#));
        let reply = r#"["1","1","room:r1","phx_reply",{"status":"ok","response":{}}]"#;
        assert_eq!(phoenix().entry(reply), Entry::Wait);
        let refused = r#"["1","1","room:r1","phx_reply",{"response":{"reason":"no"},"status":"error"}]"#;
        assert!(matches!(phoenix().entry(refused), Entry::Refused(_)));
        let state = r#"["1",null,"room:r1","presence_state",{"ann":{"metas":[{"phx_ref":"F1"}]}}]"#;
        assert_eq!(phoenix().entry(state), Entry::Joined(Joined::default()));
        assert_eq!(changes_of(&phoenix(), state), ["Reset", r#"Join { key: "ann", identity: "ann" }"#]);
    }

    #[test]
    fn a_meta_that_is_replaced_is_an_update() {
        let diff = |joins: &str, leaves: &str| {
            let metas = |key: &str| if key.is_empty() { String::new() } else { format!(r#""{key}":{{"metas":[]}}"#) };
            let payload = format!(r#"{{"joins":{{{}}},"leaves":{{{}}}}}"#, metas(joins), metas(leaves));
            format!(r#"[null,null,"room:r1","presence_diff",{payload}]"#)
        };
        assert_eq!(phoenix().read(&diff("ann", "")), Event::Presence { seq: None });
        assert_eq!(changes_of(&phoenix(), &diff("ann", "")), [r#"Join { key: "ann", identity: "ann" }"#]);
        assert_eq!(changes_of(&phoenix(), &diff("ann", "ann")), [r#"Update { key: "ann" }"#]);
        assert_eq!(changes_of(&phoenix(), &diff("", "ann")), [r#"Leave { key: "ann" }"#]);
    }

    #[test]
    fn a_heartbeat_is_answered_by_its_reference() {
        assert_eq!(phoenix().ping(7), r#"[null,"7","phoenix","heartbeat",{}]"#);
        let reply = r#"[null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]"#;
        assert_eq!(phoenix().read(reply), Event::Pong(Some(7)));
    }
}
