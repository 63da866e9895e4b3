//! What the control plane shows of its objects. The HTTP interface and `--json` of the command line print these.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// A room people meet in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    #[schema(example = "01980f2e-7b1a-7c3d-9e4f-5a6b7c8d9e0f")]
    pub id: Uuid,
    /// The app's own name for the session; unique among the active ones.
    #[schema(example = "appointment-4711")]
    pub external_id: Option<String>,
    #[schema(example = "Maths with Ada")]
    pub title: Option<String>,
    /// Whatever the app keeps with it.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// `active` or `ended`.
    #[schema(example = "active")]
    pub status: String,
    /// The session ends when nobody was active for this many seconds.
    #[schema(example = 3600)]
    pub idle_timeout_s: i64,
    pub max_duration_s: Option<i64>,
    pub max_participants: Option<i64>,
    /// How many seconds before the end warnings go out.
    #[schema(example = json!([300, 60]))]
    pub warn_before_s: Vec<i64>,
    pub created_at: DateTime<Utc>,
    /// When the first participant ever came in.
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    /// `completed`, `idle`, `max_duration` or `abandoned`; null while active.
    pub end_reason: Option<String>,
    pub last_activity_at: DateTime<Utc>,
    /// When the session will end if nobody is active from now on; null once it has ended.
    pub ends_at: Option<DateTime<Utc>>,
    /// The hard end, from `max_duration_s` and extensions.
    pub expires_at: Option<DateTime<Utc>>,
    /// How many participants are present; null where the session is not in memory.
    pub participants_present: Option<u64>,
    /// Counts the changes of the control plane.
    pub version: i64,
}

/// A link into one session. The token is shown only by the call that creates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Invite)]
pub struct InviteView {
    #[schema(example = "01980f2e-7b1a-7c3d-9e4f-5a6b7c8d9e0f")]
    pub id: Uuid,
    pub session_id: Uuid,
    /// The first characters of the token, to tell invites apart.
    #[schema(example = "rci_Zk3v")]
    pub token_hint: String,
    #[schema(example = "guest")]
    pub role: String,
    /// The identity that the invite fixes; null where the visitor may choose.
    pub identity: Option<String>,
    pub name: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    /// How many different participants may come in by it; null for any number.
    pub max_uses: Option<i64>,
    pub uses: i64,
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// A new invite with its token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InviteCreated)]
pub struct InviteCreatedView {
    #[serde(flatten)]
    pub invite: InviteView,
    /// The secret of the link. It is not stored and cannot be shown again.
    #[schema(example = "rci_Zk3vQ0mJx2b8Yt1nR7sWc5uHd9fLaE4gPiKoVzTqM6A0f3kPz")]
    pub token: String,
    /// The link to send. The token stands behind `#`, so that it reaches no server log.
    #[schema(example = "https://app.example.com/join#rci_Zk3v…")]
    pub url: String,
}

impl std::fmt::Debug for InviteCreatedView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteCreatedView").field("invite", &self.invite).finish_non_exhaustive()
    }
}

/// What a landing page tells the visitor at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InviteCheck)]
pub struct InviteCheckView {
    pub valid: bool,
    /// Null when valid, else the public error code.
    #[schema(example = "invite_expired")]
    pub code: Option<String>,
    /// A sentence that the page may show.
    #[schema(example = "This invite link has expired. Please ask for a new one.")]
    pub message: String,
    /// Null where the holder of the link may not know the session.
    pub session: Option<InvitedSessionView>,
    /// The role the visitor would have.
    pub role: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Milliseconds until `expires_at`; 0 when it has passed.
    pub expires_in_ms: Option<i64>,
}

/// What the holder of an invite may know of its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = InvitedSession)]
pub struct InvitedSessionView {
    pub id: Uuid,
    pub title: Option<String>,
    pub status: String,
}

/// Who is in a session at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Presence)]
pub struct PresenceView {
    /// The number of the latest presence diff; 0 where the session is not in memory.
    pub seq: u64,
    pub participants: Vec<PresentView>,
}

/// One participant as others see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = PresentParticipant)]
pub struct PresentView {
    pub participant_id: Uuid,
    pub identity: String,
    /// Whether the token fixed the identity; false where the client chose it.
    pub identity_verified: bool,
    pub name: Option<String>,
    pub role: String,
    /// `active`, `away` or `reconnecting`.
    pub status: String,
    /// The app's own state of the participant.
    #[schema(value_type = Option<Object>)]
    pub state: Option<Value>,
    pub connections: u32,
    pub joined_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
}

/// One participant of a session, present or gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Participant)]
pub struct ParticipantView {
    pub participant_id: Uuid,
    pub identity: String,
    pub identity_verified: bool,
    pub name: Option<String>,
    pub role: String,
    /// `active`, `away`, `reconnecting` or `left`.
    pub status: String,
    #[schema(value_type = Option<Object>)]
    pub state: Option<Value>,
    pub first_joined_at: DateTime<Utc>,
    /// Start of the current or latest stay.
    pub joined_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub left_at: Option<DateTime<Utc>>,
    /// Why the latest stay ended.
    pub leave_reason: Option<String>,
    /// Since when the participant is not let in any more.
    pub kicked_at: Option<DateTime<Utc>>,
}

/// One event of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct AuditEventView {
    /// Place of the event: numbered densely inside its epoch.
    pub epoch: i64,
    pub seq: i64,
    /// The logical instant: a deadline, the last evidence.
    pub occurred_at: DateTime<Utc>,
    /// When the event reached the database.
    pub recorded_at: DateTime<Utc>,
    #[schema(example = "participant_joined")]
    pub event_type: String,
    /// `server`, `operator`, `key:<key id>` or `participant:<id>`.
    #[schema(example = "server")]
    pub actor: String,
    pub session_id: Option<Uuid>,
    pub participant_id: Option<Uuid>,
    pub connection_id: Option<String>,
    #[schema(value_type = Object)]
    pub metadata: Value,
}

/// A customer account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Tenant)]
pub struct TenantView {
    pub id: Uuid,
    pub name: String,
    pub signing_secret_version: i32,
    pub created_at: DateTime<Utc>,
}

/// An API key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyView {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub key_hint: String,
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}
