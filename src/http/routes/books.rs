//! The audit trail, usage and analytics.

use axum::Json;
use axum::extract::State;
use rollcall_core::{SessionId, TenantId};
use uuid::Uuid;

use crate::control::reads::{
    Analytics, AnalyticsQuery, BUCKETS, GROUPS, ROUNDINGS, SessionUsage, TenantUsage, UsageQuery,
};
use crate::control::views::AuditEventView;
use crate::http::ApiState;
use crate::http::auth::{Caller, ToBill};
use crate::http::cursor;
use crate::http::error::Problem;
use crate::http::extract::{Id, Page, QueryFields};
use crate::store::audit::AuditFilter;

/// Longest event type, in characters.
pub(in crate::http) const EVENT_TYPE_CHARACTERS_MAX: usize = 64;
/// Longest name of a time zone, in characters.
pub(in crate::http) const TIME_ZONE_CHARACTERS_MAX: usize = 64;

/// The audit trail of a session
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/audit", tag = "books", operation_id = "list_session_audit",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("event_type" = Option<String>, Query, description = "Only events of this type"),
        ("participant_id" = Option<Uuid>, Query, description = "Only events of this participant"),
        ("from" = Option<DateTime<Utc>>, Query, description = "Only events at or after this instant"),
        ("to" = Option<DateTime<Utc>>, Query, description = "Only events before this instant"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc` by time"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 if absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filter"),
    ),
    responses((status = 200, description = "A page of the trail", body = Page<AuditEventView>))
)]
pub async fn session_audit(
    State(state): State<ApiState>,
    caller: Caller<ToBill>,
    Id(session): Id,
    query: QueryFields,
) -> Result<Page<AuditEventView>, Problem> {
    audit_page(&state, caller.tenant(), Some(session), query).await
}

/// The audit trail of the tenant
#[utoipa::path(
    get, path = "/v1/audit", tag = "books", operation_id = "list_audit",
    params(
        ("session_id" = Option<Uuid>, Query, description = "Only events of this session"),
        ("event_type" = Option<String>, Query, description = "Only events of this type"),
        ("participant_id" = Option<Uuid>, Query, description = "Only events of this participant"),
        ("from" = Option<DateTime<Utc>>, Query, description = "Only events at or after this instant"),
        ("to" = Option<DateTime<Utc>>, Query, description = "Only events before this instant"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc` by time"),
        ("limit" = Option<i64>, Query, description = "1 to 200, 50 if absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filter"),
    ),
    responses((status = 200, description = "A page of the trail", body = Page<AuditEventView>))
)]
pub async fn audit(
    State(state): State<ApiState>,
    caller: Caller<ToBill>,
    mut query: QueryFields,
) -> Result<Page<AuditEventView>, Problem> {
    let session = query.id("session_id");
    audit_page(&state, caller.tenant(), session, query).await
}

/// The usage of a session, participant by participant
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/usage", tag = "books", operation_id = "read_session_usage",
    params(
        ("session_id" = Uuid, Path, description = "The session"),
        ("from" = Option<DateTime<Utc>>, Query, description = "Start of the period; all time if absent"),
        ("to" = Option<DateTime<Utc>>, Query, description = "End of the period, not part of it"),
        ("rounding" = Option<String>, Query, description = "`exact` (default), `second`, `minute_per_connection`, `minute_per_participant` or `minute_per_session`"),
    ),
    responses((status = 200, description = "The same numbers as `get_session_billing_data`", body = SessionUsage))
)]
pub async fn session_usage(
    State(state): State<ApiState>,
    caller: Caller<ToBill>,
    Id(session): Id,
    mut query: QueryFields,
) -> Result<Json<SessionUsage>, Problem> {
    let (from, to) = (query.instant("from"), query.instant("to"));
    let rounding = query.one_of("rounding", &ROUNDINGS).unwrap_or_else(|| ROUNDINGS[0].to_owned());
    query.finish()?;
    Ok(Json(state.control.session_usage(caller.tenant(), SessionId(session), from, to, &rounding).await?))
}

/// The usage of the tenant in a period
#[utoipa::path(
    get, path = "/v1/usage", tag = "books", operation_id = "read_usage",
    params(
        ("from" = DateTime<Utc>, Query, description = "Start of the period"),
        ("to" = DateTime<Utc>, Query, description = "End of the period, not part of it; at most 366 days later"),
        ("group" = Option<String>, Query, description = "`day` (default), `session` or `participant`"),
        ("tz" = Option<String>, Query, description = "Time zone of the days, `UTC` if absent"),
        ("rounding" = Option<String>, Query, description = "`exact` (default), `second`, `minute_per_connection`, `minute_per_participant` or `minute_per_session`"),
    ),
    responses((status = 200, description = "The same numbers as `get_usage`", body = TenantUsage))
)]
pub async fn usage(
    State(state): State<ApiState>,
    caller: Caller<ToBill>,
    mut query: QueryFields,
) -> Result<Json<TenantUsage>, Problem> {
    let wanted = UsageQuery {
        from: query.required_instant("from"),
        to: query.required_instant("to"),
        group: query.one_of("group", &GROUPS).unwrap_or_else(|| GROUPS[0].to_owned()),
        tz: query.short_text("tz", TIME_ZONE_CHARACTERS_MAX).unwrap_or_else(|| "UTC".to_owned()),
        rounding: query.one_of("rounding", &ROUNDINGS).unwrap_or_else(|| ROUNDINGS[0].to_owned()),
    };
    query.finish()?;
    Ok(Json(state.control.usage(caller.tenant(), wanted).await?))
}

/// How the sessions of the tenant went in a period
#[utoipa::path(
    get, path = "/v1/analytics", tag = "books", operation_id = "read_analytics",
    params(
        ("from" = DateTime<Utc>, Query, description = "Start of the period"),
        ("to" = DateTime<Utc>, Query, description = "End of the period, not part of it; at most 366 days later, 31 by hour"),
        ("bucket" = Option<String>, Query, description = "`hour`, `day`, `week` or `month`; one row if absent"),
        ("tz" = Option<String>, Query, description = "Time zone of the buckets, `UTC` if absent"),
    ),
    responses((status = 200, description = "The same numbers as `get_session_analytics`", body = Analytics))
)]
pub async fn analytics(
    State(state): State<ApiState>,
    caller: Caller<ToBill>,
    mut query: QueryFields,
) -> Result<Json<Analytics>, Problem> {
    let wanted = AnalyticsQuery {
        from: query.required_instant("from"),
        to: query.required_instant("to"),
        bucket: query.one_of("bucket", &BUCKETS),
        tz: query.short_text("tz", TIME_ZONE_CHARACTERS_MAX).unwrap_or_else(|| "UTC".to_owned()),
    };
    query.finish()?;
    Ok(Json(state.control.analytics(caller.tenant(), wanted).await?))
}

async fn audit_page(
    state: &ApiState,
    tenant: TenantId,
    session: Option<Uuid>,
    mut query: QueryFields,
) -> Result<Page<AuditEventView>, Problem> {
    let limit = query.limit();
    let filter = AuditFilter {
        session,
        participant: query.id("participant_id"),
        event_type: query.short_text("event_type", EVENT_TYPE_CHARACTERS_MAX),
        from: query.instant("from"),
        to: query.instant("to"),
        after: query.cursor(cursor::decode_event),
        newest_first: query.one_of("order", &["asc", "desc"]).as_deref() == Some("desc"),
        limit: limit + 1,
    };
    query.finish()?;
    let events = state.control.audit(tenant, &filter).await?;
    Ok(Page::of(events, limit, |last| cursor::encode_event(last.occurred_at, last.epoch, last.seq)))
}
