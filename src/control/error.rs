//! Why an operation of the control plane was not carried out, in public codes.

use rollcall_core::Refusal;
use rollcall_protocol::ErrorCode;

use super::live::LiveError;
use super::validation::Violations;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{} thing(s) in the request are not valid", .0.0.len())]
    Invalid(Violations),
    #[error("there is no such session")]
    SessionNotFound,
    #[error("there is no such invite")]
    InviteNotFound,
    #[error("there is no such participant in this session")]
    ParticipantNotFound,
    #[error("there is no such tenant")]
    TenantNotFound,
    #[error("there is no such key")]
    KeyNotFound,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the session has not ended")]
    SessionNotEnded,
    #[error("the session ended more than {window_h} h ago")]
    RecoveryWindowOver { window_h: u64 },
    #[error("another active session of this tenant has the external_id")]
    ExternalIdTaken,
    #[error("another tenant has this name")]
    TenantNameTaken,
    #[error("the key belongs to another tenant")]
    KeyOfAnotherTenant,
    /// Somebody else is ending it at this moment.
    #[error("the session is just being ended")]
    SessionEnding,
    #[error("the Idempotency-Key was used for a different request")]
    IdempotencyKeyReused,
    #[error("a request with this Idempotency-Key is still being worked on")]
    RequestInProgress,
    /// A repeated request whose answer held a secret that cannot be derived any more.
    #[error("the invite was created, but its token cannot be shown again because the root key has changed")]
    TokenNotRepeatable,
    #[error("the role does not permit this")]
    Forbidden,
    #[error("the journal takes no more records at the moment")]
    Overloaded,
    #[error("the database could not carry out the operation")]
    Store(#[from] StoreError),
    #[error("a stored answer could not be read")]
    StoredAnswer(#[from] serde_json::Error),
    /// Postgres does not take batches at the moment; the journal has them.
    #[error("what happened in the session before its end is not in the database yet")]
    Unsettled,
    /// The task that carried out the operation died.
    #[error("the operation was interrupted")]
    Interrupted,
}

impl ControlError {
    /// The public code, for HTTP and for the socket.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidRequest,
            Self::SessionNotFound => ErrorCode::SessionNotFound,
            Self::InviteNotFound | Self::TenantNotFound | Self::KeyNotFound => ErrorCode::NotFound,
            Self::ParticipantNotFound => ErrorCode::ParticipantNotFound,
            Self::SessionEnded => ErrorCode::SessionEnded,
            Self::SessionNotEnded => ErrorCode::SessionNotEnded,
            Self::RecoveryWindowOver { .. } => ErrorCode::RecoveryWindowOver,
            Self::ExternalIdTaken
            | Self::TenantNameTaken
            | Self::KeyOfAnotherTenant
            | Self::SessionEnding
            | Self::TokenNotRepeatable => ErrorCode::Conflict,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::RequestInProgress => ErrorCode::RequestInProgress,
            Self::Forbidden => ErrorCode::Forbidden,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Unsettled => ErrorCode::DatabaseUnavailable,
            Self::Store(error) if error.is_unavailable() => ErrorCode::DatabaseUnavailable,
            Self::Store(_) | Self::StoredAnswer(_) | Self::Interrupted => ErrorCode::Internal,
        }
    }
}

impl From<Violations> for ControlError {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SessionEnded(_) => Self::SessionEnded,
            Refusal::SessionEnding => Self::SessionEnding,
            Refusal::SessionActive => Self::SessionNotEnded,
            Refusal::ParticipantUnknown | Refusal::ConnectionUnknown | Refusal::Kicked => Self::ParticipantNotFound,
            Refusal::Forbidden | Refusal::TokenExpired => Self::Forbidden,
            // Only joins meet a full session, and joins do not come through the control plane.
            Refusal::SessionFull => Self::Overloaded,
        }
    }
}

impl From<LiveError> for ControlError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::NotLive => Self::SessionNotFound,
            LiveError::Refused(refusal) => refusal.into(),
            LiveError::NotRecorded | LiveError::Full => Self::Overloaded,
        }
    }
}
