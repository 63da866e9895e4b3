//! Fuzzing of queries, cursors and bodies of the HTTP interface.

use axum::http::Uri;
use chrono::{DateTime, Utc};

use super::bodies::{CheckRequest, Nothing};
use super::cursor::{self, List};
use super::extract::QueryFields;
use super::json::{self, FromFields};
use crate::control::Violations;
use crate::control::ending::{EndRequest, Extension};
use crate::control::invites::NewInvite;
use crate::control::sessions::{NewSession, SessionChanges};
use crate::control::validation::METADATA_BYTES_MAX;

const LISTS: [List; 3] = [List::Sessions, List::Invites, List::Participants];

/// Queries and bodies are read or refused with words; a cursor that is taken is one that was given. The input is a query,
/// a line break, and a body.
pub fn requests(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    if let Ok(uri) = Uri::try_from([b"/v1/sessions?", query].concat().as_slice()) {
        read_query(&uri);
    }
    if let Ok(text) = std::str::from_utf8(query) {
        read_cursor(text);
    }
    read_body(body);
}

/// Every reader that some route has.
fn read_query(uri: &Uri) {
    let Ok(mut query) = QueryFields::of(uri) else { return };
    let limit = query.limit();
    assert!((1..=super::extract::LIMIT_MAX).contains(&limit));
    query.one_of("status", &["active", "ended"]);
    query.search("q", 100);
    query.id("session_id");
    query.instant("from");
    query.required_instant("to");
    query.cursor(cursor::decode_event);
    if let Err(problem) = query.finish() {
        problem.render(None);
    }
}

fn read_cursor(text: &str) {
    for list in LISTS {
        if let Ok((at, id)) = cursor::decode_id(list, text) {
            assert_eq!(cursor::encode_id(list, at, id), text);
        }
    }
    if let Ok((at, epoch, seq)) = cursor::decode_event(text) {
        assert_eq!(cursor::encode_event(at, epoch, seq), text);
    }
    json::parse_instant(text);
}

fn read_body(body: &[u8]) {
    refused_with_words::<Nothing>(body);
    refused_with_words::<CheckRequest>(body);
    refused_with_words::<SessionChanges>(body);
    refused_with_words::<Extension>(body);
    refused_with_words::<EndRequest>(body);
    if let Ok(session) = json::read::<NewSession>(body) {
        let metadata = serde_json::Value::Object(session.metadata).to_string();
        assert!(metadata.len() <= METADATA_BYTES_MAX && !metadata.contains("\\u0000"));
        assert!(session.title.is_none_or(|title| !title.chars().any(char::is_control)));
    }
    if let Ok(invite) = json::read::<NewInvite>(body) {
        let now: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).expect("in the calendar");
        invite.check(&mut Violations::default(), now);
    }
}

fn refused_with_words<T: FromFields>(body: &[u8]) {
    if let Err(violations) = json::read::<T>(body) {
        assert!(!violations.is_empty());
    }
}
