//! Conversions between rows and the domain. Towards the database nothing can fail; from it, a row may be unreadable.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_core::{Actor, Timestamp};
use sqlx::postgres::types::PgInterval;

use super::StoreError;

/// The latest instant that both sides can hold; stands for [`Timestamp::NEVER`].
const LATEST: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

/// Exact to the microsecond. Instants beyond the calendar become its last or first instant.
pub fn to_utc(at: Timestamp) -> DateTime<Utc> {
    let edge = if at.0 > 0 { LATEST } else { DateTime::UNIX_EPOCH };
    DateTime::from_timestamp_micros(at.0).unwrap_or(edge)
}

/// Exact to the microsecond; what Postgres stores is no finer.
pub fn from_utc(at: DateTime<Utc>) -> Timestamp {
    if at.timestamp_micros() >= LATEST.timestamp_micros() {
        return Timestamp::NEVER;
    }
    Timestamp(at.timestamp_micros())
}

/// Seconds of a row; negative ones cannot occur there and count as zero.
pub fn from_seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Saturates at what an interval can hold.
pub fn to_interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// The text form of an actor in the audit trail.
pub fn actor_text(actor: &Actor) -> String {
    match actor {
        Actor::Server => "server".to_owned(),
        Actor::Operator => "operator".to_owned(),
        Actor::ApiKey(key) => format!("key:{key}"),
        Actor::Participant(participant) => format!("participant:{participant}"),
    }
}

/// # Errors
/// [`StoreError::Unreadable`] when the text is not a word of this vocabulary.
pub fn parse<T: FromStr>(column: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable(format!("{column} is {text:?}")))
}

/// Text as Postgres takes it: it has no NUL character, and one must not stop the ledger.
pub fn storable_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Largest number in JSON that is stored. Postgres writes it out in full, and of the last ones below the largest double the
/// digits read back as infinity: a row with one could be written and never read again.
pub const JSON_NUMBER_MAX: f64 = 1e308;

/// JSON as jsonb takes it: no NUL in strings, and numbers within what a double holds, because jsonb refuses exponents
/// that JSON allows. `None` when the text is no such JSON, or has a number beyond [`JSON_NUMBER_MAX`].
pub fn storable_json(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    if holds_number_beyond(&value) {
        return None;
    }
    // serde_json writes control characters escaped, so a NUL shows as exactly this.
    let text = value.to_string();
    if text.contains("\\u0000") { Some(without_nul(value).to_string()) } else { Some(text) }
}

/// Whether some number in it is beyond [`JSON_NUMBER_MAX`].
pub fn holds_number_beyond(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().is_none_or(|number| number.abs() > JSON_NUMBER_MAX),
        Value::Array(items) => items.iter().any(holds_number_beyond),
        Value::Object(fields) => fields.values().any(holds_number_beyond),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn without_nul(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(storable_text(&text)),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (storable_text(&name), without_nul(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_database_form() {
        for micros in [0, 1, -1, 1_763_900_000_123_457, -62_135_596_800_000_000] {
            assert_eq!(from_utc(to_utc(Timestamp(micros))), Timestamp(micros));
        }
        assert_eq!(from_utc(to_utc(Timestamp::NEVER)), Timestamp::NEVER);
    }

    #[test]
    fn json_that_jsonb_would_refuse_is_made_storable() {
        assert_eq!(storable_json(r#"{"a\u0000":["x\u0000y"]}"#).as_deref(), Some("{\"a\u{fffd}\":[\"x\u{fffd}y\"]}"));
        assert_eq!(storable_json(r#"{"a":"\\u0000"}"#).as_deref(), Some("{\"a\":\"\\\\u0000\"}"));
        assert_eq!(storable_json("1e-20000").as_deref(), Some("0.0"));
        for bad in ["", "{", r#""\ud800""#, "1e999999", "[1,{\"a\":-1.7976931348623157e308}]"] {
            assert_eq!(storable_json(bad), None, "{bad}");
        }
    }
}
