//! Events as text. Every format has the same facts; the columns of CSV are the fields of JSON.

use serde_json::{Value, json};

use super::event::{UsageEvent, instant};

/// `type` of the CloudEvents; a change of meaning gets another number.
pub const EVENT_TYPE: &str = "rollcall.presence.usage.v1";

const COLUMNS: &str = "id,kind,position,tenant_id,session_id,external_id,participant_id,start,end,usage_us,seconds,uncertainty_us,provisional,reverses\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a header line, but with `\n` as line end.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// CloudEvents 1.0 in the JSON batch format, one batch a line: the body of one request each.
    CloudEvents,
}

/// Turns events into text, in order.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// `source` of the CloudEvents: which installation tells it.
    source: String,
    batch_max: usize,
    batch: Vec<Value>,
}

impl Encoder {
    pub fn new(format: Format, source: String, batch_max: usize) -> Self {
        Self { format, source, batch_max: batch_max.max(1), batch: Vec::new() }
    }

    /// What comes before the first event.
    pub fn header(&self) -> &'static str {
        match self.format {
            Format::Csv => COLUMNS,
            Format::Jsonl | Format::CloudEvents => "",
        }
    }

    /// Appends the event to `text`, or keeps it for its batch.
    pub fn push(&mut self, event: &UsageEvent, text: &mut String) {
        match self.format {
            Format::Csv => text.push_str(&csv_line(event)),
            Format::Jsonl => {
                let mut fields = event.data();
                fields["id"] = event.event_id.to_string().into();
                text.push_str(&fields.to_string());
                text.push('\n');
            }
            Format::CloudEvents => {
                self.batch.push(self.cloud_event(event));
                if self.batch.len() >= self.batch_max {
                    self.finish(text);
                }
            }
        }
    }

    /// Appends the batch that is not full.
    pub fn finish(&mut self, text: &mut String) {
        if !self.batch.is_empty() {
            text.push_str(&Value::Array(std::mem::take(&mut self.batch)).to_string());
            text.push('\n');
        }
    }

    fn cloud_event(&self, event: &UsageEvent) -> Value {
        json!({
            "specversion": "1.0",
            "type": EVENT_TYPE,
            "source": self.source,
            "id": event.event_id,
            "subject": event.tenant_id,
            // The start lies in the slice and so in its billing period; the end is the first instant behind it.
            "time": instant(event.slice_start),
            "datacontenttype": "application/json",
            "data": event.data(),
        })
    }
}

fn csv_line(event: &UsageEvent) -> String {
    let optional = |value: Option<String>| value.unwrap_or_default();
    let cells = [
        event.event_id.to_string(),
        event.kind.clone(),
        optional(event.position.map(|position| position.to_string())),
        event.tenant_id.to_string(),
        event.session_id.to_string(),
        quoted(event.external_id.as_deref().unwrap_or_default()),
        optional(event.participant_id.map(|id| id.to_string())),
        instant(event.slice_start),
        instant(event.slice_end),
        event.usage_us.to_string(),
        event.seconds(),
        event.uncertainty_us.to_string(),
        event.is_provisional.to_string(),
        optional(event.reverses.map(|id| id.to_string())),
    ];
    cells.join(",") + "\n"
}

/// The one cell that holds what strangers wrote. RFC 4180: a cell with a comma, a quote or a line end goes into quotes.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn event(usage_us: i64, external_id: &str) -> UsageEvent {
        let at = |us| DateTime::from_timestamp_micros(us).expect("in range");
        UsageEvent {
            event_id: Uuid::from_u128(1),
            kind: "usage".to_owned(),
            position: Some(7),
            tenant_id: Uuid::from_u128(2),
            session_id: Uuid::from_u128(3),
            external_id: Some(external_id.to_owned()),
            participant_id: Some(Uuid::from_u128(4)),
            slice_start: at(0),
            slice_end: at(usage_us.abs()),
            usage_us,
            uncertainty_us: 0,
            is_provisional: false,
            reverses: None,
        }
    }

    #[test]
    fn seconds_are_exact_decimals() {
        for (us, text) in
            [(0, "0"), (1, "0.000001"), (1_500_000, "1.5"), (60_000_000, "60"), (-10_000_001, "-10.000001")]
        {
            assert_eq!(event(us, "").seconds(), text);
        }
    }

    #[test]
    fn cells_of_strangers_cannot_break_a_line() {
        let mut text = String::new();
        Encoder::new(Format::Csv, String::new(), 1).push(&event(1, "a \"b\", c\nd"), &mut text);
        assert!(text.contains("\"a \"\"b\"\", c\nd\""), "{text}");
        let columns = COLUMNS.trim_end().split(',').count();
        let mut plain = String::new();
        Encoder::new(Format::Csv, String::new(), 1).push(&event(1, "x"), &mut plain);
        assert_eq!(plain.trim_end().split(',').count(), columns);
    }

    #[test]
    fn cloud_events_come_in_batches_of_the_asked_size() {
        let mut encoder = Encoder::new(Format::CloudEvents, "/here".to_owned(), 2);
        let mut text = String::new();
        (1..=5).for_each(|us| encoder.push(&event(us, "x"), &mut text));
        encoder.finish(&mut text);
        let batches: Vec<Vec<Value>> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        for event in batches.iter().flatten() {
            // What the specification requires, and no attribute whose name it forbids.
            for required in ["specversion", "id", "source", "type"] {
                assert!(event[required].as_str().is_some_and(|text| !text.is_empty()), "{event}");
            }
            let names = event.as_object().expect("object").keys();
            assert!(names.clone().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())));
            assert_eq!(event["specversion"], "1.0");
        }
    }
}
