//! How the inputs of the control plane are read from JSON.

use super::json::{Fields, FromFields};
use crate::control::ending::{EndRequest, Extension};
use crate::control::invites::NewInvite;
use crate::control::sessions::{NewSession, SessionChanges};

/// A call without arguments.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

/// The token of an invite link.
#[derive(Clone, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = InviteCheckRequest)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// What stands behind `#` in the link.
    #[schema(example = "rci_Zk3vQ0mJx2b8Yt1nR7sWc5uHd9fLaE4gPiKoVzTqM6A0f3kPz")]
    pub token: String,
}

impl FromFields for Nothing {
    fn from_fields(_: &mut Fields) -> Self {
        Self
    }
}

impl FromFields for CheckRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { token: fields.required_text("token") }
    }
}

impl FromFields for NewSession {
    fn from_fields(fields: &mut Fields) -> Self {
        let default = Self::default();
        let new = Self {
            external_id: fields.text("external_id"),
            title: fields.text("title"),
            metadata: fields.object("metadata").unwrap_or_default(),
            idle_timeout_s: fields.integer("idle_timeout_s").unwrap_or(default.idle_timeout_s),
            max_duration_s: fields.integer("max_duration_s"),
            max_participants: fields.integer("max_participants"),
            warn_before_s: fields.integers("warn_before_s").unwrap_or(default.warn_before_s),
        };
        new.check(&mut fields.violations);
        new
    }
}

impl FromFields for SessionChanges {
    fn from_fields(fields: &mut Fields) -> Self {
        let changes = Self {
            title: fields.nullable("title", Fields::text),
            metadata: fields.not_null("metadata", Fields::object),
            idle_timeout_s: fields.not_null("idle_timeout_s", Fields::integer),
            max_duration_s: fields.nullable("max_duration_s", Fields::integer),
            max_participants: fields.nullable("max_participants", Fields::integer),
            warn_before_s: fields.not_null("warn_before_s", Fields::integers),
        };
        changes.check(&mut fields.violations);
        changes
    }
}

impl FromFields for Extension {
    fn from_fields(fields: &mut Fields) -> Self {
        let faults = fields.violations.0.len();
        let extension = Self { by_s: fields.required_integer("by_s") };
        // A number that is missing need not also be out of range.
        if fields.violations.0.len() == faults {
            extension.check(&mut fields.violations);
        }
        extension
    }
}

impl FromFields for EndRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        let request = Self { reason: fields.text("reason") };
        request.check(&mut fields.violations);
        request
    }
}

impl FromFields for NewInvite {
    /// The limits depend on the time and are checked by the operation, together with everything else about it.
    fn from_fields(fields: &mut Fields) -> Self {
        let default = Self::default();
        Self {
            role: fields.text("role").unwrap_or(default.role),
            expires_in_s: fields.integer("expires_in_s"),
            expires_at: fields.instant("expires_at"),
            not_before: fields.instant("not_before"),
            max_uses: fields.integer("max_uses"),
            identity: fields.text("identity"),
            name: fields.text("name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;
    use utoipa::openapi::{RefOr, Schema};

    /// The documented fields of a type, and whether they are required.
    fn documented<T: PartialSchema>() -> Vec<(String, bool)> {
        let RefOr::T(Schema::Object(object)) = T::schema() else { panic!("an object") };
        let mut fields: Vec<(String, bool)> =
            object.properties.keys().map(|name| (name.clone(), object.required.contains(name))).collect();
        fields.sort_unstable();
        fields
    }

    #[test]
    fn documented_fields_are_the_ones_that_are_read() {
        assert_eq!(documented::<NewSession>(), Fields::read_by::<NewSession>());
        assert_eq!(documented::<SessionChanges>(), Fields::read_by::<SessionChanges>());
        assert_eq!(documented::<Extension>(), Fields::read_by::<Extension>());
        assert_eq!(documented::<EndRequest>(), Fields::read_by::<EndRequest>());
        assert_eq!(documented::<NewInvite>(), Fields::read_by::<NewInvite>());
        assert_eq!(documented::<CheckRequest>(), Fields::read_by::<CheckRequest>());
    }
}
