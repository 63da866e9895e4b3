//! `/v1/sessions`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rollcall_core::SessionId;

use crate::control::Done;
use crate::control::ending::{EndRequest, Extension};
use crate::control::sessions::{NewSession, SessionChanges};
use crate::control::views::SessionView;
use crate::http::ApiState;
use crate::http::auth::{Caller, ToRead, ToWrite};
use crate::http::bodies::Nothing;
use crate::http::cursor::{self, List};
use crate::http::error::Problem;
use crate::http::extract::{Id, Input, Page, QueryFields, replayed};
use crate::store::sessions::SessionFilter;

/// Longest search text, in characters.
pub(in crate::http) const SEARCH_CHARACTERS_MAX: usize = 100;

/// Create a session
///
/// The session is active at once. It ends when nobody was active in it for `idle_timeout_s`, after `max_duration_s`, or
/// when it is ended.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "create_session", request_body = NewSession,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat for 24 hours")),
    responses((status = 201, description = "The session", body = SessionView))
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    input: Input<NewSession>,
) -> Result<Response, Problem> {
    let call = caller.call();
    let operation = {
        let (control, call) = (state.control.clone(), crate::control::Call { repeatable: input.repeatable, ..call });
        async move { control.create_session(&call, input.value).await }
    };
    Ok(answer(StatusCode::CREATED, state.control.run(operation).await?))
}

/// List sessions, newest first
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", operation_id = "list_sessions",
    params(
        ("status" = Option<String>, Query, description = "`active` or `ended`"),
        ("q" = Option<String>, Query, description = "A part of title or external id, or a whole session id"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 if absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of sessions", body = Page<SessionView>))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<ToRead>,
    mut query: QueryFields,
) -> Result<Page<SessionView>, Problem> {
    let limit = query.limit();
    let filter = SessionFilter {
        status: query.one_of("status", &["active", "ended"]),
        text: query.search("q", SEARCH_CHARACTERS_MAX),
        after: query.cursor(|text| cursor::decode_id(List::Sessions, text)),
        limit: limit + 1,
    };
    query.finish()?;
    let sessions = state.control.sessions(caller.tenant(), &filter).await?;
    Ok(Page::of(sessions, limit, |last| cursor::encode_id(List::Sessions, last.created_at, last.id)))
}

/// Read a session
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}", tag = "sessions", operation_id = "read_session",
    params(("session_id" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "The session", body = SessionView))
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller<ToRead>,
    Id(session): Id,
    query: QueryFields,
) -> Result<Json<SessionView>, Problem> {
    query.finish()?;
    Ok(Json(state.control.session(caller.tenant(), SessionId(session)).await?))
}

/// Change a session
///
/// Fields that are absent stay as they are; null takes the title or a limit away.
#[utoipa::path(
    patch, path = "/v1/sessions/{session_id}", tag = "sessions", operation_id = "change_session", request_body = SessionChanges,
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat for 24 hours"),
    ),
    responses((status = 200, description = "The session as it is now", body = SessionView))
)]
pub async fn change(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(session): Id,
    input: Input<SessionChanges>,
) -> Result<Response, Problem> {
    let call = crate::control::Call { repeatable: input.repeatable, ..caller.call() };
    let control = state.control.clone();
    let operation = async move { control.change_session(&call, SessionId(session), input.value).await };
    Ok(answer(StatusCode::OK, state.control.run(operation).await?))
}

/// Move the end of a session
///
/// The session ends `by_s` seconds later than it would have. Everybody in it is told.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/extend", tag = "sessions", operation_id = "extend_session", request_body = Extension,
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("Idempotency-Key" = Option<String>, Header, description = "Without it a repeated call extends twice"),
    ),
    responses((status = 200, description = "The session with its new end", body = SessionView))
)]
pub async fn extend(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(session): Id,
    input: Input<Extension>,
) -> Result<Response, Problem> {
    let call = crate::control::Call { repeatable: input.repeatable, ..caller.call() };
    let control = state.control.clone();
    let operation = async move { control.extend_session(&call, SessionId(session), input.value).await };
    Ok(answer(StatusCode::OK, state.control.run(operation).await?))
}

/// End a session now
///
/// Everybody in it is told and closed within a second.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/end", tag = "sessions", operation_id = "end_session", request_body = EndRequest,
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat for 24 hours"),
    ),
    responses((status = 200, description = "The ended session", body = SessionView))
)]
pub async fn end(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(session): Id,
    input: Input<EndRequest>,
) -> Result<Response, Problem> {
    let call = crate::control::Call { repeatable: input.repeatable, ..caller.call() };
    let control = state.control.clone();
    let operation = async move { control.end_session(&call, SessionId(session), input.value).await };
    Ok(answer(StatusCode::OK, state.control.run(operation).await?))
}

/// Bring a recently ended session back
///
/// The same session with the same ids and participants, active again. The time between is on record and nobody's to pay.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/recover", tag = "sessions", operation_id = "recover_session",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat for 24 hours"),
    ),
    responses((status = 200, description = "The session, active again", body = SessionView))
)]
pub async fn recover(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(session): Id,
    input: Input<Nothing>,
) -> Result<Response, Problem> {
    let call = crate::control::Call { repeatable: input.repeatable, ..caller.call() };
    let control = state.control.clone();
    let operation = async move { control.recover_session(&call, SessionId(session)).await };
    Ok(answer(StatusCode::OK, state.control.run(operation).await?))
}

fn answer(status: StatusCode, done: Done<SessionView>) -> Response {
    replayed((status, Json(done.value)).into_response(), done.replayed)
}
