//! One slice of usage.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

/// A slice of the coverage of one participant, or the taking back of one. Slices never overlap, so the sum of all events is
/// the bill, retractions included.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageEvent {
    /// Follows from session, participant and slice: told again, it is the same.
    pub event_id: Uuid,
    /// `usage`, `late` (its hour or day had been told before) or `retraction`.
    pub kind: String,
    /// Place in the outbox of the sink; none without a sink.
    pub position: Option<i64>,
    pub tenant_id: Uuid,
    pub session_id: Uuid,
    /// The app's own name for the session.
    pub external_id: Option<String>,
    pub participant_id: Option<Uuid>,
    pub slice_start: DateTime<Utc>,
    pub slice_end: DateTime<Utc>,
    /// Negative for a retraction.
    pub usage_us: i64,
    pub uncertainty_us: i64,
    /// The slice is not complete: a later export has more of it, under another id.
    pub is_provisional: bool,
    /// The event that a retraction takes back, whole.
    pub reverses: Option<Uuid>,
}

impl UsageEvent {
    /// Exact, with as many decimals as there are.
    pub fn seconds(&self) -> String {
        let sign = if self.usage_us < 0 { "-" } else { "" };
        let (whole, rest) = (self.usage_us.unsigned_abs() / 1_000_000, self.usage_us.unsigned_abs() % 1_000_000);
        if rest == 0 {
            return format!("{sign}{whole}");
        }
        format!("{sign}{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }

    /// The fields, but for the id.
    pub fn data(&self) -> Value {
        let mut data = json!({
            "kind": self.kind,
            "tenant_id": self.tenant_id,
            "session_id": self.session_id,
            "participant_id": self.participant_id,
            "start": instant(self.slice_start),
            "end": instant(self.slice_end),
            "usage_us": self.usage_us,
            // Text: JSON numbers are floating point for many readers.
            "seconds": self.seconds(),
            "uncertainty_us": self.uncertainty_us,
            "provisional": self.is_provisional,
        });
        let optional = [
            ("external_id", self.external_id.clone().map(Value::from)),
            ("position", self.position.map(Value::from)),
            ("reverses", self.reverses.map(|id| Value::from(id.to_string()))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                data[name] = value;
            }
        }
        data
    }
}

/// RFC 3339, always with six decimals, so that texts sort like instants.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
