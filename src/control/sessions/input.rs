//! What a caller may say of a session, and how it becomes a row.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Array, ArrayBuilder, ObjectBuilder, Type};
use uuid::Uuid;

use crate::control::validation::{
    EXTERNAL_ID_BYTES_MAX, IDLE_TIMEOUT_S, IDLE_TIMEOUT_S_DEFAULT, MAX_DURATION_S, MAX_PARTICIPANTS,
    TITLE_CHARACTERS_MAX, Violations, WARN_BEFORE_S, WARN_BEFORE_S_DEFAULT, WARNINGS_MAX,
};
use crate::store::sessions::SessionRow;

/// A session to create.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewSession {
    /// The app's own name for the session; no other active session may have it.
    #[schema(max_length = 255, example = "appointment-4711")]
    pub external_id: Option<String>,
    #[schema(max_length = 200, example = "Maths with Ada")]
    pub title: Option<String>,
    /// Whatever the app wants to keep with it; at most 16 KiB. Not for names or e-mail addresses.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// The session ends when nobody was active for this many seconds.
    #[schema(minimum = 1, maximum = 604_800, default = 3600)]
    pub idle_timeout_s: i64,
    /// The session ends this long after its creation, whatever happens in it. Extensions move the end.
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub max_duration_s: Option<i64>,
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_participants: Option<i64>,
    /// How many seconds before the end warnings go out; at most 8 times, each 1 to 86400.
    #[schema(default = json!([300, 60]), schema_with = warn_before_schema)]
    pub warn_before_s: Vec<i64>,
}

impl Default for NewSession {
    fn default() -> Self {
        Self {
            external_id: None,
            title: None,
            metadata: Map::new(),
            idle_timeout_s: IDLE_TIMEOUT_S_DEFAULT,
            max_duration_s: None,
            max_participants: None,
            warn_before_s: WARN_BEFORE_S_DEFAULT.to_vec(),
        }
    }
}

/// Changes to a session. What is absent stays; null takes a limit or the title away.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionChanges {
    #[schema(max_length = 200)]
    pub title: Option<Option<String>>,
    /// Replaces all metadata.
    #[schema(value_type = Object, required = false)]
    pub metadata: Option<Map<String, Value>>,
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 604_800)]
    pub idle_timeout_s: Option<i64>,
    /// Counted from the creation of the session; the new end must lie in the future.
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub max_duration_s: Option<Option<i64>>,
    /// Nobody is removed when the limit is lower than the number of people present.
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_participants: Option<Option<i64>>,
    #[schema(schema_with = warn_before_schema)]
    pub warn_before_s: Option<Vec<i64>>,
}

fn warn_before_schema() -> Array {
    let lead = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .minimum(Some(*WARN_BEFORE_S.start()))
        .maximum(Some(*WARN_BEFORE_S.end()));
    ArrayBuilder::new().items(lead).max_items(Some(WARNINGS_MAX)).build()
}

impl NewSession {
    pub fn check(&self, violations: &mut Violations) {
        if let Some(external_id) = &self.external_id {
            violations.bytes("/external_id", external_id, EXTERNAL_ID_BYTES_MAX);
        }
        if let Some(title) = &self.title {
            violations.characters("/title", title, TITLE_CHARACTERS_MAX);
        }
        violations.metadata("/metadata", &self.metadata);
        violations.number("/idle_timeout_s", self.idle_timeout_s, &IDLE_TIMEOUT_S);
        if let Some(max_duration_s) = self.max_duration_s {
            violations.number("/max_duration_s", max_duration_s, &MAX_DURATION_S);
        }
        if let Some(max_participants) = self.max_participants {
            violations.number("/max_participants", max_participants, &MAX_PARTICIPANTS);
        }
        violations.warnings("/warn_before_s", &self.warn_before_s);
    }
}

impl SessionChanges {
    pub fn check(&self, violations: &mut Violations) {
        if let Some(Some(title)) = &self.title {
            violations.characters("/title", title, TITLE_CHARACTERS_MAX);
        }
        if let Some(metadata) = &self.metadata {
            violations.metadata("/metadata", metadata);
        }
        if let Some(idle_timeout_s) = self.idle_timeout_s {
            violations.number("/idle_timeout_s", idle_timeout_s, &IDLE_TIMEOUT_S);
        }
        if let Some(Some(max_duration_s)) = self.max_duration_s {
            violations.number("/max_duration_s", max_duration_s, &MAX_DURATION_S);
        }
        if let Some(Some(max_participants)) = self.max_participants {
            violations.number("/max_participants", max_participants, &MAX_PARTICIPANTS);
        }
        if let Some(warn_before_s) = &self.warn_before_s {
            violations.warnings("/warn_before_s", warn_before_s);
        }
    }

    /// The names of the fields that are to change, for the trail. Values stay out of it: they may be personal.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let named = [
            (self.title.is_some(), "title"),
            (self.metadata.is_some(), "metadata"),
            (self.idle_timeout_s.is_some(), "idle_timeout_s"),
            (self.max_duration_s.is_some(), "max_duration_s"),
            (self.max_participants.is_some(), "max_participants"),
            (self.warn_before_s.is_some(), "warn_before_s"),
        ];
        named.into_iter().filter(|(given, _)| *given).map(|(_, name)| name).collect()
    }

    pub(super) fn apply_to(self, row: &mut SessionRow) {
        if let Some(title) = self.title {
            row.title = title;
        }
        if let Some(metadata) = self.metadata {
            row.metadata = Value::Object(metadata);
        }
        if let Some(idle_timeout_s) = self.idle_timeout_s {
            row.idle_timeout_s = small(idle_timeout_s);
        }
        if let Some(max_duration_s) = self.max_duration_s {
            row.max_duration_s = max_duration_s.map(small);
            row.expires_at = max_duration_s.map(|seconds| row.created_at + TimeDelta::seconds(seconds));
        }
        if let Some(max_participants) = self.max_participants {
            row.max_participants = max_participants.map(small);
        }
        if let Some(warn_before_s) = self.warn_before_s {
            row.warn_before_s = leads(&warn_before_s);
        }
    }
}

pub(super) fn new_row(tenant: TenantId, id: Uuid, new: NewSession, now: DateTime<Utc>) -> SessionRow {
    SessionRow {
        session_id: id,
        tenant_id: tenant.0,
        external_id: new.external_id,
        title: new.title,
        metadata: Value::Object(new.metadata),
        status: "active".to_owned(),
        idle_timeout_s: small(new.idle_timeout_s),
        max_duration_s: new.max_duration_s.map(small),
        max_participants: new.max_participants.map(small),
        warn_before_s: leads(&new.warn_before_s),
        created_at: now,
        started_at: None,
        ended_at: None,
        end_reason: None,
        last_activity_at: now,
        hold_until: now,
        expires_at: new.max_duration_s.map(|seconds| now + TimeDelta::seconds(seconds)),
        version: 1,
    }
}

/// Longest lead first, none twice.
fn leads(warn_before_s: &[i64]) -> Vec<i32> {
    let mut leads: Vec<i32> = warn_before_s.iter().copied().map(small).collect();
    leads.sort_unstable_by(|a, b| b.cmp(a));
    leads.dedup();
    leads
}

/// Checked numbers fit; the limits in `validation` are far below.
fn small(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
