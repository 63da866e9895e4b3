//! Limits of the control plane and the collection of everything that is wrong with a request.

use std::ops::RangeInclusive;

use rollcall_core::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::store::mapping::{JSON_NUMBER_MAX, holds_number_beyond};

/// Longest `external_id`, in bytes. Longer ones are refused.
pub const EXTERNAL_ID_BYTES_MAX: usize = 255;
/// Longest `title`, in characters.
pub const TITLE_CHARACTERS_MAX: usize = 200;
/// Longest `name` of a person, in characters.
pub const NAME_CHARACTERS_MAX: usize = 100;
/// Longest `identity`, in bytes.
pub use crate::admission::IDENTITY_BYTES_MAX;
/// Longest free-text reason of an end, in characters.
pub const REASON_CHARACTERS_MAX: usize = 200;
/// Largest `metadata` as compact JSON, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
pub const IDLE_TIMEOUT_S: RangeInclusive<i64> = 1..=7 * 86_400;
pub const IDLE_TIMEOUT_S_DEFAULT: i64 = 3_600;
pub const MAX_DURATION_S: RangeInclusive<i64> = 1..=31 * 86_400;
pub const MAX_PARTICIPANTS: RangeInclusive<i64> = 1..=100_000;
/// Most warnings before one end.
pub const WARNINGS_MAX: usize = 8;
pub const WARN_BEFORE_S: RangeInclusive<i64> = 1..=86_400;
pub const WARN_BEFORE_S_DEFAULT: [i64; 2] = [300, 60];
/// One extension; the sum is bounded by the next constant.
pub const EXTEND_BY_S: RangeInclusive<i64> = 1..=7 * 86_400;
/// No extension moves the end of a session further into the future than this.
pub const ENDS_IN_S_MAX: i64 = 62 * 86_400;
pub const INVITE_EXPIRES_IN_S: RangeInclusive<i64> = 1..=366 * 86_400;
pub const INVITE_EXPIRES_IN_S_DEFAULT: i64 = 86_400;
pub const INVITE_MAX_USES: RangeInclusive<i64> = 1..=1_000_000;
/// Longest name of a tenant or key, in characters.
pub const LABEL_CHARACTERS_MAX: usize = 100;

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the body, or `?name` for a query parameter. Empty: the whole body.
    #[schema(example = "/idle_timeout_s")]
    pub pointer: String,
    #[schema(example = "must be between 1 and 604800")]
    pub detail: String,
}

/// Everything that is wrong with a request, so that the caller can mend it in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Violation { pointer: pointer.into(), detail: detail.into() });
    }

    pub fn one(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut all = Self::default();
        all.add(pointer, detail);
        all
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// Something was added.
    pub fn into_result(self) -> Result<(), Violations> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    pub fn number(&mut self, pointer: &str, value: i64, range: &RangeInclusive<i64>) {
        if !range.contains(&value) {
            self.add(pointer, format!("must be between {} and {}", range.start(), range.end()));
        }
    }

    /// A text that people see: not empty, not too long, no control characters.
    pub fn characters(&mut self, pointer: &str, text: &str, characters_max: usize) {
        self.plain(pointer, text);
        if text.chars().count() > characters_max {
            self.add(pointer, format!("must have at most {characters_max} characters"));
        }
    }

    /// A text that programs compare: not empty, not too long, no control characters.
    pub fn bytes(&mut self, pointer: &str, text: &str, bytes_max: usize) {
        self.plain(pointer, text);
        if text.len() > bytes_max {
            self.add(pointer, format!("must have at most {bytes_max} bytes"));
        }
    }

    pub fn role(&mut self, pointer: &str, text: &str) {
        if let Err(error) = Role::parse(text) {
            self.add(pointer, error.to_string());
        }
    }

    pub fn metadata(&mut self, pointer: &str, metadata: &Map<String, Value>) {
        // Writing a JSON value to a string cannot fail; its length is what jsonb would have to hold.
        let bytes = Value::Object(metadata.clone()).to_string().len();
        if bytes > METADATA_BYTES_MAX {
            self.add(pointer, format!("must have at most {METADATA_BYTES_MAX} bytes as JSON, has {bytes}"));
        }
        if metadata.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
            self.add(pointer, "must not contain the character U+0000, which Postgres cannot store");
        }
        if metadata.values().any(holds_number_beyond) {
            self.add(pointer, format!("must not contain a number beyond {JSON_NUMBER_MAX:e}"));
        }
    }

    pub fn warnings(&mut self, pointer: &str, leads: &[i64]) {
        if leads.len() > WARNINGS_MAX {
            self.add(pointer, format!("must have at most {WARNINGS_MAX} entries"));
        }
        for (index, lead) in leads.iter().enumerate() {
            self.number(&format!("{pointer}/{index}"), *lead, &WARN_BEFORE_S);
        }
    }

    fn plain(&mut self, pointer: &str, text: &str) {
        if is_blank(text) {
            self.add(pointer, "must not be empty");
        }
        if text.chars().any(char::is_control) {
            self.add(pointer, "must not contain control characters");
        }
        if text.chars().any(is_misleading) {
            self.add(pointer, "must not contain invisible characters that reorder or split text");
        }
    }
}

/// Characters that are not seen and change what is seen round them: overrides of the writing direction (as in "Trojan
/// Source", CVE-2021-42574), line separators, and spaces without width. Joiners stay: emoji and Persian need them.
pub fn is_misleading(character: char) -> bool {
    matches!(character,
        '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// Whether nothing of a text would be seen.
pub fn is_blank(text: &str) -> bool {
    // Joiners, direction marks, and the letters that Unicode has for "no letter here".
    let is_unseen = |character| {
        matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200c}'..='\u{200f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e01ef}')
    };
    text.chars().all(|character| character.is_whitespace() || is_misleading(character) || is_unseen(character))
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(check: impl FnOnce(&mut Violations)) -> Vec<String> {
        let mut violations = Violations::default();
        check(&mut violations);
        violations.0.into_iter().map(|violation| violation.pointer).collect()
    }

    #[test]
    fn numbers_and_texts_at_their_limits() {
        assert!(pointers(|v| v.number("/n", 1, &IDLE_TIMEOUT_S)).is_empty());
        assert_eq!(pointers(|v| v.number("/n", 0, &IDLE_TIMEOUT_S)), ["/n"]);
        assert!(pointers(|v| v.characters("/t", &"é".repeat(200), TITLE_CHARACTERS_MAX)).is_empty());
        assert_eq!(pointers(|v| v.characters("/t", &"é".repeat(201), TITLE_CHARACTERS_MAX)), ["/t"]);
        assert_eq!(pointers(|v| v.bytes("/t", &"é".repeat(128), EXTERNAL_ID_BYTES_MAX)), ["/t"]);
        for good in
            ["e\u{301}", "\u{1f469}\u{200d}\u{1f680}", "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}", "\u{5d0}\u{200f}"]
        {
            assert!(pointers(|v| v.characters("/t", good, 10)).is_empty(), "{good:?}");
        }
        let unseen = ["\u{200d}\u{fe0f}", "\u{3164}", "\u{200b}", "\u{e0041}"];
        let misleading = ["a\u{202e}b", "\u{2066}a", "a\u{2028}b", "a\u{200b}b", "\u{feff}a"];
        for bad in ["", "  ", "a\u{0}b", "a\nb", "a\u{85}b"].into_iter().chain(unseen).chain(misleading) {
            assert_eq!(pointers(|v| v.characters("/t", bad, 10)).first().map(String::as_str), Some("/t"), "{bad:?}");
        }
    }

    #[test]
    fn warnings_name_the_entry() {
        assert_eq!(
            pointers(|v| v.warnings("/warn_before_s", &[60, 0, 90_000])),
            ["/warn_before_s/1", "/warn_before_s/2"]
        );
        assert_eq!(pointers(|v| v.warnings("/warn_before_s", &[1; 9])), ["/warn_before_s"]);
    }

    #[test]
    fn metadata_is_bounded_and_storable() {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        assert!(pointers(|v| v.metadata("/m", &object(json!({ "a": [1, { "b": null }] })))).is_empty());
        assert_eq!(pointers(|v| v.metadata("/m", &object(json!({ "a": [{ "b": "\u{0}" }] })))), ["/m"]);
        assert_eq!(pointers(|v| v.metadata("/m", &object(json!({ "a": "x".repeat(METADATA_BYTES_MAX) })))), ["/m"]);
    }
}
