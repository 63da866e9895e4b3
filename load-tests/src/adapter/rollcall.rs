//! `rollcall.v1`, of Rollcall itself and of small servers that speak the same frames.

use chrono::DateTime;
use rollcall_protocol::SUBPROTOCOL;
use serde::Deserialize;
use serde_json::Value;

use super::{Adapter, Change, Entrant, Entry, Event, Joined, number_after};

const PRESENCE: &str = r#"{"type":"presence""#;
const SNAPSHOT: &str = r#"{"type":"snapshot""#;

#[derive(Debug)]
pub(super) struct Rollcall {
    path: String,
}

impl Rollcall {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Adapter for Rollcall {
    fn path(&self) -> String {
        self.path.clone()
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some(SUBPROTOCOL)
    }

    fn join(&self, entrant: Entrant<'_>, _: &str) -> anyhow::Result<Option<String>> {
        let frame = serde_json::json!({ "type": "join", "token": entrant.token, "identity": entrant.identity });
        Ok(Some(frame.to_string()))
    }

    fn entry(&self, received: &str) -> Entry {
        if received.starts_with(r#"{"type":"joined""#) {
            match serde_json::from_str::<JoinedFrame>(received) {
                Ok(frame) => Entry::Joined(frame.into()),
                Err(error) => Entry::Refused(format!("unreadable `joined`: {error}")),
            }
        } else if let Event::Error(code) = self.read(received) {
            Entry::Refused(code)
        } else {
            Entry::Wait
        }
    }

    fn ping(&self, id: u64) -> String {
        format!(r#"{{"type":"ping","id":{id}}}"#)
    }

    fn update(&self, _: Entrant<'_>, id: u64) -> String {
        format!(r#"{{"type":"update","state":{{"moved_at":{id}}}}}"#)
    }

    fn read(&self, text: &str) -> Event {
        // In the order of how often they come.
        if text.starts_with(r#"{"type":"pong""#) {
            Event::Pong(number_after(text, r#""id":"#))
        } else if text.starts_with(PRESENCE) {
            Event::Presence { seq: number_after(text, r#""seq":"#) }
        } else if text.starts_with(SNAPSHOT) {
            Event::Snapshot { seq: number_after(text, r#""seq":"#) }
        } else if text.starts_with(r#"{"type":"ended""#) {
            Event::Ended
        } else if text.starts_with(r#"{"type":"error""#) {
            let code = serde_json::from_str::<Value>(text).ok();
            Event::Error(code.and_then(|value| Some(value["code"].as_str()?.to_owned())).unwrap_or_default())
        } else {
            Event::Other
        }
    }

    fn changes(&self, text: &str, each: &mut dyn FnMut(Change<'_>)) {
        let Ok(frame) = serde_json::from_str::<PresenceFrame<'_>>(text) else { return };
        if !text.starts_with(PRESENCE) {
            each(Change::Reset);
        }
        for one in frame.participants.iter().chain(&frame.joins) {
            each(Change::Join { key: one.participant_id, identity: one.identity.unwrap_or_default() });
        }
        for one in &frame.updates {
            each(Change::Update { key: one.participant_id });
        }
        for one in &frame.leaves {
            each(Change::Leave { key: one.participant_id });
        }
    }
}

#[derive(Debug, Deserialize)]
struct JoinedFrame {
    #[serde(default)]
    session: SessionFrame,
    resume: Option<String>,
    seq: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct SessionFrame {
    ends_at: Option<String>,
}

/// `joined`, `presence` and `snapshot` alike: a field that is not there is empty.
#[derive(Debug, Deserialize)]
struct PresenceFrame<'t> {
    #[serde(borrow, default)]
    participants: Vec<Person<'t>>,
    #[serde(borrow, default)]
    joins: Vec<Person<'t>>,
    #[serde(borrow, default)]
    updates: Vec<Person<'t>>,
    #[serde(borrow, default)]
    leaves: Vec<Person<'t>>,
}

#[derive(Debug, Deserialize)]
struct Person<'t> {
    participant_id: &'t str,
    identity: Option<&'t str>,
}

impl From<JoinedFrame> for Joined {
    fn from(frame: JoinedFrame) -> Self {
        let ends_at = frame.session.ends_at.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        Self { resume: frame.resume, ends_at_us: ends_at.map(|at| at.timestamp_micros()), seq: frame.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes_of;
    use super::*;

    #[test]
    fn tells_frames_apart() {
        let rollcall = Rollcall::new("/v1/ws");
        for (text, event) in [
            (r#"{"type":"pong","id":9,"server_time":"x"}"#, Event::Pong(Some(9))),
            (r#"{"type":"presence","seq":12,"joins":[]}"#, Event::Presence { seq: Some(12) }),
            (r#"{"type":"snapshot","seq":13,"participants":[]}"#, Event::Snapshot { seq: Some(13) }),
            (r#"{"type":"ended","code":"session_ended"}"#, Event::Ended),
            (r#"{"type":"error","code":"rate_limited","message":""}"#, Event::Error("rate_limited".to_owned())),
            (r#"{"type":"warning","code":"session_idle"}"#, Event::Other),
        ] {
            assert_eq!(rollcall.read(text), event, "{text}");
        }
    }

    #[test]
    fn reads_the_answer_to_a_join() {
        let rollcall = Rollcall::new("/v1/ws");
        let text = r#"{"type":"joined","session":{"id":"s","ends_at":"1970-01-01T00:00:01.5Z"},"resume":"rcr_1","seq":4,
            "participants":[{"participant_id":"p1","identity":"ann"}]}"#;
        let joined = Joined { resume: Some("rcr_1".to_owned()), ends_at_us: Some(1_500_000), seq: Some(4) };
        assert_eq!(rollcall.entry(text), Entry::Joined(joined));
        assert_eq!(changes_of(&rollcall, text), ["Reset", r#"Join { key: "p1", identity: "ann" }"#]);
        let refused = rollcall.entry(r#"{"type":"error","code":"invite_expired"}"#);
        assert_eq!(refused, Entry::Refused("invite_expired".to_owned()));
        assert_eq!(rollcall.entry(r#"{"type":"presence","seq":1}"#), Entry::Wait);
    }

    #[test]
    fn reads_who_came_and_went() {
        let text = r#"{"type":"presence","seq":7,"joins":[{"participant_id":"p2","identity":"bob","state":{"joins":[1]}}],
            "updates":[{"participant_id":"p1","identity":"ann"}],"leaves":[{"participant_id":"p3","reason":"left"}]}"#;
        let lines = changes_of(&Rollcall::new("/"), text);
        let expected = [r#"Join { key: "p2", identity: "bob" }"#, r#"Update { key: "p1" }"#, r#"Leave { key: "p3" }"#];
        assert_eq!(lines, expected);
    }
}
