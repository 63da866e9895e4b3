//! `/v1/sessions/{id}/invites`, `/v1/invites`.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use rollcall_core::{InviteId, SessionId};
use rollcall_protocol::ErrorCode;

use crate::control::invites::NewInvite;
use crate::control::views::{InviteCheckView, InviteCreatedView, InviteView};
use crate::http::ApiState;
use crate::http::auth::{Caller, ToRead, ToWrite};
use crate::http::bodies::CheckRequest;
use crate::http::cursor::{self, List};
use crate::http::error::Problem;
use crate::http::extract::{Id, Input, Page, QueryFields, replayed};
use crate::http::layers::DONE;
use crate::http::limits::address_of;

/// Create an invite
///
/// The token is only in this answer; the server keeps its hash. Repeated with the same Idempotency-Key, the call answers
/// with the same token.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/invites", tag = "invites", operation_id = "create_invite", request_body = NewInvite,
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the call safe to repeat for 24 hours"),
    ),
    responses((status = 201, description = "The invite with its token", body = InviteCreatedView))
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(session): Id,
    input: Input<NewInvite>,
) -> Result<Response, Problem> {
    let call = crate::control::Call { repeatable: input.repeatable, ..caller.call() };
    let control = state.control.clone();
    let operation = async move { control.create_invite(&call, SessionId(session), input.value).await };
    let done = state.control.run(operation).await?;
    Ok(replayed((StatusCode::CREATED, Json(done.value)).into_response(), done.replayed))
}

/// List the invites of a session, oldest first
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/invites", tag = "invites", operation_id = "list_invites",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 if absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of invites, without tokens", body = Page<InviteView>))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<ToRead>,
    Id(session): Id,
    mut query: QueryFields,
) -> Result<Page<InviteView>, Problem> {
    let limit = query.limit();
    let after = query.cursor(|text| cursor::decode_id(List::Invites, text));
    query.finish()?;
    let invites = state.control.invites(caller.tenant(), SessionId(session), after, limit + 1).await?;
    Ok(Page::of(invites, limit, |last| cursor::encode_id(List::Invites, last.created_at, last.id)))
}

/// Revoke an invite
///
/// Connections that came by it are closed within a second. Revoking twice changes nothing.
#[utoipa::path(
    delete, path = "/v1/invites/{invite_id}", tag = "invites", operation_id = "revoke_invite",
    params(("invite_id" = Uuid, Path, description = "The invite")),
    responses((status = 204, description = "The invite is revoked"))
)]
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    Id(invite): Id,
) -> Result<StatusCode, Problem> {
    let (control, call) = (state.control.clone(), caller.call());
    state.control.run(async move { control.revoke_invite(&call, InviteId(invite)).await }).await?;
    Ok(DONE)
}

/// Check an invite link
///
/// Public: the token is the proof. For landing pages that tell a visitor at once whether the link is good. Limited per
/// address.
#[utoipa::path(
    post, path = "/v1/invites/check", tag = "invites", operation_id = "check_invite", request_body = CheckRequest, security(()),
    responses((status = 200, description = "Whether the invite lets its holder in", body = InviteCheckView))
)]
pub async fn check(
    State(state): State<ApiState>,
    _: CheckAllowed,
    input: Input<CheckRequest>,
) -> Result<Json<InviteCheckView>, Problem> {
    Ok(Json(state.control.check_invite(&input.value.token).await?))
}

/// Proof that the address may check another invite. Counted before the body is read.
pub struct CheckAllowed;

impl FromRequestParts<ApiState> for CheckAllowed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let address = address_of(parts, &*state.settings.is_trusted_proxy);
        match state.invite_checks.count(&address) {
            Ok(()) => Ok(Self),
            Err(wait) => {
                let problem = Problem::new(ErrorCode::RateLimited, "too many invites checked from this address");
                Err(problem.with_retry_after(wait))
            }
        }
    }
}
