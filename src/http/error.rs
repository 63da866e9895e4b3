//! Errors as RFC 9457 problems. This file alone maps public codes to HTTP status codes.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rollcall_protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::{ControlError, Violation, Violations};

/// What a client should wait before it tries again, where the code says that trying again can help.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A problem on its way out. The outermost layer adds the request id.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    detail: String,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
}

/// The body of every error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the error is explained, relative to the server.
    #[serde(rename = "type")]
    #[schema(example = "/docs#session_not_found")]
    pub kind: String,
    /// A sentence that may be shown to a visitor.
    #[schema(example = "This session does not exist or has ended.")]
    pub title: String,
    #[schema(example = 404)]
    pub status: u16,
    /// What happened this time.
    #[schema(example = "there is no such session")]
    pub detail: String,
    /// The public error code.
    #[schema(example = "session_not_found")]
    pub code: String,
    /// What a developer or operator does next.
    #[schema(example = "Check the session id, and that the key belongs to the same tenant.")]
    pub hint: String,
    /// Quote this to the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Everything that is wrong with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

impl Problem {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), violations: Vec::new(), retry_after: None }
    }

    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The response with this request id in header and body.
    pub fn render(&self, request_id: Option<&str>) -> Response {
        let status = status_of(self.code);
        let body = ProblemBody {
            kind: format!("/docs#{}", self.code.as_str()),
            title: self.code.message().to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            hint: self.code.hint().to_owned(),
            request_id: request_id.map(str::to_owned),
            errors: self.violations.clone(),
        };
        // A struct of strings and numbers always has a JSON form.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rollcall\""));
        }
        let waits = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let retry_after = self.retry_after.or_else(|| waits.then_some(RETRY_AFTER));
        if let Some(retry_after) = retry_after {
            // Whole seconds, rounded up: coming back early would only be refused again.
            let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// A problem as a response, for routes outside this module.
pub fn problem(code: ErrorCode, detail: &str) -> Response {
    Problem::new(code, detail).into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        // The outermost layer finds it here and renders it again with the request id.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Violations> for Problem {
    fn from(violations: Violations) -> Self {
        let detail = match violations.0.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer, only.detail),
            all => format!("{} things in the request are not valid", all.len()),
        };
        Self { violations: violations.0, ..Self::new(ErrorCode::InvalidRequest, detail) }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let code = error.code();
        match (code, error) {
            (_, ControlError::Invalid(violations)) => violations.into(),
            (ErrorCode::Internal, error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an operation failed");
                Self::new(code, "the operation failed; the log of the server says why")
            }
            (ErrorCode::DatabaseUnavailable, error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the database did not answer");
                Self::new(code, "the database does not answer at the moment")
            }
            (_, error) => Self::new(code, error.to_string()),
        }
    }
}

/// The HTTP status of a public code.
pub fn status_of(code: ErrorCode) -> StatusCode {
    use ErrorCode as E;
    match code {
        E::InvalidRequest | E::MalformedFrame | E::UnknownType | E::StateTooLarge | E::JoinRequired => {
            StatusCode::BAD_REQUEST
        }
        E::BinaryRefused | E::ProtocolViolation => StatusCode::BAD_REQUEST,
        E::Unauthorized | E::TokenInvalid | E::TokenExpired => StatusCode::UNAUTHORIZED,
        E::Forbidden | E::Kicked | E::OriginRefused => StatusCode::FORBIDDEN,
        E::NotFound | E::SessionNotFound | E::ParticipantNotFound => StatusCode::NOT_FOUND,
        E::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        E::Conflict | E::SessionEnded | E::SessionNotEnded | E::SessionFull | E::RequestInProgress => {
            StatusCode::CONFLICT
        }
        E::AlreadyJoined | E::Replaced | E::InviteUsedUp | E::InviteNotYetValid => StatusCode::CONFLICT,
        E::InviteExpired | E::InviteRevoked | E::RecoveryWindowOver => StatusCode::GONE,
        E::PayloadTooLarge | E::MessageTooBig => StatusCode::PAYLOAD_TOO_LARGE,
        E::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        E::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        E::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        E::DatabaseUnavailable | E::Overloaded | E::Restarting | E::LivenessTimeout | E::SlowConsumer => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        E::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollcall_protocol::Retry;

    #[test]
    fn statuses_agree_with_the_advice_of_the_registry() {
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{}", code.as_str());
            if status.is_server_error() {
                assert_eq!(code.retry(), Retry::Later, "{}", code.as_str());
            }
        }
    }

    #[tokio::test]
    async fn a_problem_has_its_shape() {
        let response = Problem::new(ErrorCode::DatabaseUnavailable, "why").render(Some("r-1"));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a small body");
        let body: ProblemBody = serde_json::from_slice(&bytes).expect("a problem");
        assert_eq!(body.kind, "/docs#database_unavailable");
        assert_eq!((body.status, body.code.as_str()), (503, "database_unavailable"));
        assert_eq!((body.detail.as_str(), body.request_id.as_deref()), ("why", Some("r-1")));
        assert_eq!(body.hint, ErrorCode::DatabaseUnavailable.hint());
    }

    #[test]
    fn waiting_times_are_rounded_up() {
        let problem = Problem::new(ErrorCode::RateLimited, "").with_retry_after(Duration::from_millis(1_001));
        assert_eq!(problem.render(None).headers()[header::RETRY_AFTER], "2");
    }
}
