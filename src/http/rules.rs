//! What the OpenAPI document says of texts, numbers and words, out of the same constants that check them. A name means the
//! same in every call, so each rule stands here once.

use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Components, Content, ObjectBuilder, OpenApi, RefOr, Required, Schema, Type};

use super::extract::{IDEMPOTENCY_KEY_BYTES_MAX, LIMIT_DEFAULT, LIMIT_MAX};
use super::routes::books::{EVENT_TYPE_CHARACTERS_MAX, TIME_ZONE_CHARACTERS_MAX};
use super::routes::sessions::SEARCH_CHARACTERS_MAX;
use crate::control::reads::{BUCKETS, GROUPS, ROUNDINGS};

/// A text with something to be seen in it and nothing that misleads, as `control/validation.rs` checks it: no control
/// characters, no overrides of the writing direction, and at least one character that is neither a space nor unseen.
const PLAIN: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb",
    r"]*[^\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb",
    r"\u0020\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u180e\u2000-\u200a\u200c-\u200f\u202f\u205f\u2800\u3000\u3164\ufe00-\ufe0f\uffa0",
    r"][^\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb",
    r"]*$"
);

/// Visible ASCII.
const VISIBLE: &str = "^[!-~]+$";

/// Names of time zones; whether one exists only the database knows.
const TIME_ZONE: &str = r"^[A-Za-z0-9_+/-]+$";

/// Fields of bodies that are plain texts.
const PLAIN_FIELDS: [(&str, &[&str]); 4] = [
    ("NewSession", &["external_id", "title"]),
    ("SessionChanges", &["title"]),
    ("EndRequest", &["reason"]),
    ("NewInvite", &["identity", "name"]),
];

/// Completes the document.
pub(super) fn add(document: &mut OpenApi) {
    let Some(components) = &mut document.components else { return };
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            for parameter in operation.parameters.iter_mut().flatten() {
                let RefOr::T(parameter) = parameter else { continue };
                if let Some(schema) = schema_of(parameter) {
                    parameter.schema = Some(RefOr::T(Schema::Object(schema)));
                }
            }
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                // Without a body is as with `{}`: enough where no field is required.
                body.required =
                    Some(if has_required_field(body, components) { Required::True } else { Required::False });
            }
        }
    }
    for (name, fields) in PLAIN_FIELDS {
        let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(name) else { continue };
        for field in fields {
            if let Some(RefOr::T(Schema::Object(field))) = schema.properties.get_mut(*field) {
                field.min_length = Some(1);
                field.pattern = Some(PLAIN.to_owned());
            }
        }
    }
}

fn has_required_field(body: &RequestBody, components: &Components) -> bool {
    body.content.values().any(|content| {
        let RefOr::T(Content { schema: Some(RefOr::Ref(reference)), .. }) = content else { return false };
        let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
        matches!(components.schemas.get(name), Some(RefOr::T(Schema::Object(schema))) if !schema.required.is_empty())
    })
}

fn schema_of(parameter: &Parameter) -> Option<utoipa::openapi::Object> {
    let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    let words = |words: &[&str]| text().enum_values(Some(words.iter().map(|word| Value::from(*word))));
    let schema = match (&parameter.parameter_in, parameter.name.as_str()) {
        (ParameterIn::Header, "Idempotency-Key") => {
            text().min_length(Some(1)).max_length(Some(IDEMPOTENCY_KEY_BYTES_MAX)).pattern(Some(VISIBLE))
        }
        (ParameterIn::Query, "limit") => ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX))
            .default(Some(json!(LIMIT_DEFAULT))),
        (ParameterIn::Query, "order") => words(&["asc", "desc"]).default(Some(json!("asc"))),
        (ParameterIn::Query, "status") => words(&["active", "ended"]),
        (ParameterIn::Query, "group") => words(&GROUPS).default(Some(json!(GROUPS[0]))),
        (ParameterIn::Query, "rounding") => words(&ROUNDINGS).default(Some(json!(ROUNDINGS[0]))),
        (ParameterIn::Query, "bucket") => words(&BUCKETS),
        (ParameterIn::Query, "tz") => {
            text().min_length(Some(1)).max_length(Some(TIME_ZONE_CHARACTERS_MAX)).pattern(Some(TIME_ZONE))
        }
        (ParameterIn::Query, "event_type") => {
            text().min_length(Some(1)).max_length(Some(EVENT_TYPE_CHARACTERS_MAX)).pattern(Some(PLAIN))
        }
        // Empty finds everything, as an empty box to search in does.
        (ParameterIn::Query, "q") => text().max_length(Some(SEARCH_CHARACTERS_MAX)),
        _ => return None,
    };
    Some(schema.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_meets_what_it_is_for() {
        let document = serde_json::to_value(crate::http::document()).expect("a document");
        for (schema, fields) in PLAIN_FIELDS {
            for field in fields {
                let found = &document["components"]["schemas"][schema]["properties"][field];
                assert_eq!(found["pattern"], PLAIN, "{schema} {field}");
                assert!(found["maxLength"].is_u64(), "{schema} {field} has no limit");
            }
        }
        let text = document["paths"].to_string();
        for rule in
            [VISIBLE, TIME_ZONE, "\"desc\"", "\"ended\"", "\"participant\"", "\"minute_per_session\"", "\"week\""]
        {
            assert!(text.contains(&rule.replace('\\', "\\\\")), "{rule}");
        }
    }
}
