//! Presence and participants of a session.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rollcall_core::{ParticipantId, SessionId};

use crate::control::views::{ParticipantView, PresenceView};
use crate::http::ApiState;
use crate::http::auth::{Caller, ToRead, ToWrite};
use crate::http::cursor::{self, List};
use crate::http::error::Problem;
use crate::http::extract::{Id, Page, QueryFields, TwoIds};
use crate::http::layers::DONE;

/// Who is in a session at this moment
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/presence", tag = "participants", operation_id = "read_presence",
    params(("session_id" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "Everybody present, those just reconnecting included", body = PresenceView))
)]
pub async fn presence(
    State(state): State<ApiState>,
    caller: Caller<ToRead>,
    Id(session): Id,
    query: QueryFields,
) -> Result<Json<PresenceView>, Problem> {
    query.finish()?;
    Ok(Json(state.control.presence(caller.tenant(), SessionId(session)).await?))
}

/// List everybody who ever was in a session, in the order of their first join
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/participants", tag = "participants", operation_id = "list_participants",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 if absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page of participants", body = Page<ParticipantView>))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<ToRead>,
    Id(session): Id,
    mut query: QueryFields,
) -> Result<Page<ParticipantView>, Problem> {
    let limit = query.limit();
    let after = query.cursor(|text| cursor::decode_id(List::Participants, text));
    query.finish()?;
    let participants = state.control.participants(caller.tenant(), SessionId(session), after, limit + 1).await?;
    let place_after =
        |last: &ParticipantView| cursor::encode_id(List::Participants, last.first_joined_at, last.participant_id);
    Ok(Page::of(participants, limit, place_after))
}

/// Remove a participant for good
///
/// All its connections are closed and it cannot come back under the same identity. Removing twice changes nothing.
#[utoipa::path(
    delete, path = "/v1/sessions/{session_id}/participants/{participant_id}", tag = "participants", operation_id = "remove_participant",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("participant_id" = Uuid, Path, description = "The participant"),
    ),
    responses((status = 204, description = "The participant is removed"))
)]
pub async fn kick(
    State(state): State<ApiState>,
    caller: Caller<ToWrite>,
    TwoIds(session, participant): TwoIds,
) -> Result<StatusCode, Problem> {
    let (control, call) = (state.control.clone(), caller.call());
    let operation = async move { control.kick(&call, SessionId(session), ParticipantId(participant)).await };
    state.control.run(operation).await?;
    Ok(DONE)
}
