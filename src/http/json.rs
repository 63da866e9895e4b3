//! Strict reading of JSON bodies: every fault of a body is named at once, with a JSON pointer.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::control::Violations;

/// How different a wrong field name may be from a right one to be taken for a typing error (Jaro-Winkler).
const SIMILARITY_MIN: f64 = 0.75;

/// What a body must have. A type that reads itself from the fields of a JSON object.
pub trait FromFields: Sized {
    fn from_fields(fields: &mut Fields) -> Self;
}

/// Reads a body. An empty one counts as `{}`, so that calls without arguments need none.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read<T: FromFields>(body: &[u8]) -> Result<T, Violations> {
    let mut fields = Fields::parse(body)?;
    let value = T::from_fields(&mut fields);
    fields.finish()?;
    Ok(value)
}

/// The fields of a JSON object, taken one by one.
#[derive(Debug)]
pub struct Fields {
    values: BTreeMap<String, Value>,
    known: Vec<&'static str>,
    pub violations: Violations,
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, Violations> {
        let value = if body.is_empty() { Value::Object(Map::new()) } else { parse_strictly(body)? };
        let Value::Object(values) = value else {
            return Err(Violations::one("", "the body must be a JSON object"));
        };
        let values = values.into_iter().collect();
        Ok(Self { values, known: Vec::new(), violations: Violations::default() })
    }

    /// The field's value; absent and null are the same.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.values.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, name: &str, detail: &str) {
        self.violations.add(format!("/{name}"), detail);
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(name, "must be a text");
                None
            }
        }
    }

    pub fn required_text(&mut self, name: &'static str) -> String {
        if self.is_missing(name) {
            self.wrong(name, "is required");
        }
        self.text(name).unwrap_or_default()
    }

    pub fn integer(&mut self, name: &'static str) -> Option<i64> {
        let value = self.take(name)?;
        let number = whole(&value);
        if number.is_none() {
            self.wrong(name, "must be an integer");
        }
        number
    }

    pub fn required_integer(&mut self, name: &'static str) -> i64 {
        if self.is_missing(name) {
            self.wrong(name, "is required");
        }
        self.integer(name).unwrap_or_default()
    }

    pub fn integers(&mut self, name: &'static str) -> Option<Vec<i64>> {
        let Value::Array(items) = self.take(name)? else {
            self.wrong(name, "must be an array of integers");
            return None;
        };
        let numbers: Vec<i64> = items.iter().filter_map(whole).collect();
        for (index, item) in items.iter().enumerate() {
            if whole(item).is_none() {
                self.wrong(&format!("{name}/{index}"), "must be an integer");
            }
        }
        Some(numbers)
    }

    pub fn object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(object) => Some(object),
            _ => {
                self.wrong(name, "must be an object");
                None
            }
        }
    }

    pub fn instant(&mut self, name: &'static str) -> Option<DateTime<Utc>> {
        let text = self.text(name)?;
        let instant = parse_instant(&text);
        if instant.is_none() {
            self.wrong(name, INSTANT_FORM);
        }
        instant
    }

    /// Absent stays absent; null is a value of its own.
    pub fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<Option<T>> {
        let given = self.values.contains_key(name);
        let value = read(self, name);
        given.then_some(value)
    }

    /// For fields that a change may set but not take away.
    pub fn not_null<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.values.get(name).is_some_and(Value::is_null) {
            self.wrong(name, "must not be null; leave it out to keep it as it is");
        }
        read(self, name)
    }

    fn is_missing(&self, name: &str) -> bool {
        self.values.get(name).is_none_or(Value::is_null)
    }

    fn finish(mut self) -> Result<(), Violations> {
        let unknown: Vec<String> = self.values.into_keys().collect();
        for name in unknown {
            let detail = unknown_field(&name, &self.known);
            self.violations.add(pointer_to(&name), detail);
        }
        self.violations.into_result()
    }

    /// What is read, and whether it must be given: for the test that the document says the same.
    #[cfg(test)]
    pub fn read_by<T: FromFields>() -> Vec<(String, bool)> {
        let mut fields = Self { values: BTreeMap::new(), known: Vec::new(), violations: Violations::default() };
        T::from_fields(&mut fields);
        let missed: Vec<String> = fields.violations.0.into_iter().map(|violation| violation.pointer).collect();
        fields.known.sort_unstable();
        fields.known.iter().map(|name| ((*name).to_owned(), missed.contains(&pointer_to(name)))).collect()
    }
}

pub const INSTANT_FORM: &str = "must be an instant in RFC 3339 form, for example 2030-01-31T12:00:00Z";

/// A whole number, also when it is written `5.0`: JSON Schema takes both for the same, and some languages have no other.
fn whole(value: &Value) -> Option<i64> {
    /// Beyond it not every whole number is one of floating point.
    const FLOAT_WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let float = || value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= FLOAT_WHOLE_MAX);
    value.as_i64().or_else(|| float().map(|float| float as i64))
}

/// An instant with its offset, in microseconds; what is finer is cut off, as Postgres would round it.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    DateTime::from_timestamp_micros(instant.timestamp_micros())
}

/// What is said of a name that is none, with the nearest right one.
pub fn unknown_field(name: &str, known: &[&str]) -> String {
    let similar = known.iter().map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate));
    let nearest = similar.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    match nearest {
        Some((_, candidate)) => format!("unknown field; did you mean {candidate}?"),
        None if known.is_empty() => "unknown field; there are none here".to_owned(),
        None => format!("unknown field; known are {}", known.join(", ")),
    }
}

/// A JSON pointer (RFC 6901) to a field of the body. Long names are cut: they come from outside.
fn pointer_to(name: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 64;
    let shown: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    format!("/{}", shown.replace('~', "~0").replace('/', "~1"))
}

/// Like `serde_json::from_slice`, but a field that occurs twice is an error: which one counts would be a guess.
fn parse_strictly(body: &[u8]) -> Result<Value, Violations> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Violations::one("", format!("the body is not valid JSON: {error}")))
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Strict)?;
            if all.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a field occurs twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sample {
        count: i64,
        title: Option<Option<String>>,
        leads: Option<Vec<i64>>,
    }

    impl FromFields for Sample {
        fn from_fields(fields: &mut Fields) -> Self {
            Self {
                count: fields.required_integer("count"),
                title: fields.nullable("title", Fields::text),
                leads: fields.not_null("leads", Fields::integers),
            }
        }
    }

    fn faults(body: &str) -> Vec<(String, String)> {
        let violations = read::<Sample>(body.as_bytes()).expect_err(body);
        violations.0.into_iter().map(|violation| (violation.pointer, violation.detail)).collect()
    }

    #[test]
    fn good_bodies_are_read() {
        let sample = read::<Sample>(br#"{"count": 3, "title": null, "leads": [1, 2]}"#).expect("valid");
        assert_eq!((sample.count, sample.title, sample.leads), (3, Some(None), Some(vec![1, 2])));
        let sample = read::<Sample>(br#"{"count": 3}"#).expect("valid");
        assert_eq!((sample.title, sample.leads), (None, None));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let found = faults(r#"{"cuont": 1, "title": 5, "leads": [1, "x", 2.5], "a/b": 0}"#);
        let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/count", "/title", "/leads/1", "/leads/2", "/a~1b", "/cuont"]);
        assert_eq!(found[5].1, "unknown field; did you mean count?");
        assert_eq!(found[4].1, "unknown field; known are count, title, leads");
        assert_eq!(faults(r#"{"count": 1, "leads": null}"#)[0].0, "/leads");
    }

    #[test]
    fn hostile_bodies_are_refused() {
        let deep = format!("{{\"count\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
        for body in [
            r#"{"count": 1, "count": 2}"#,
            r#"{"count": 1e400}"#,
            r#"{"count": 1} {}"#,
            r#"{"count": 1"#,
            r#"{"title": "\ud800"}"#,
            "[]",
            "null",
            "1",
            "nan",
            deep.as_str(),
        ] {
            assert_eq!(faults(body)[0].0, "", "{}", &body[..body.len().min(40)]);
        }
        assert!(read::<Sample>(b"{\"title\": \"\xff\"}").is_err());
        for number in ["9223372036854775808", "1e300", "1e17", "-1.5", "\"7\"", "true"] {
            assert_eq!(faults(&format!("{{\"count\": {number}}}"))[0], ("/count".into(), "must be an integer".into()));
        }
    }

    #[test]
    fn instants_need_an_offset() {
        assert!(parse_instant("2030-01-31T12:00:00Z").is_some());
        let finer = parse_instant("2030-01-31T12:00:00.1234567+02:00").expect("valid");
        assert_eq!(finer.timestamp_subsec_nanos(), 123_456_000);
        for bad in ["2030-01-31", "2030-01-31T12:00:00", "12", "", "9999999-01-01T00:00:00Z"] {
            assert_eq!(parse_instant(bad), None, "{bad}");
        }
    }
}
