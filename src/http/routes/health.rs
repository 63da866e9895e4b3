//! For whoever runs the server: `/livez`, `/readyz`, `/metrics`; and the description of the interface.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rollcall_protocol::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::ApiState;
use crate::http::error::Problem;
use crate::http::readiness::ReadinessView;

/// The process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Liveness)]
pub struct LivenessView {
    #[schema(example = "ok")]
    pub status: String,
}

/// Whether the process lives
///
/// Says nothing about database and journal: restarting this process would not mend those.
#[utoipa::path(
    get, path = "/livez", tag = "operation", operation_id = "livez", security(()),
    responses((status = 200, description = "It does", body = LivenessView))
)]
pub async fn livez() -> Json<LivenessView> {
    Json(LivenessView { status: "ok".to_owned() })
}

/// Whether the server should get traffic
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "readyz", security(()),
    responses(
        (status = 200, description = "It should", body = ReadinessView),
        (status = 503, description = "It should not; `checks` says why", body = ReadinessView),
    )
)]
pub async fn readyz(State(state): State<ApiState>) -> Response {
    let view = state.readiness.look().await;
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view)).into_response()
}

/// Metrics in the OpenMetrics text form
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics", security(()),
    responses((status = 200, description = "All metrics of this server", body = String, content_type = "application/openmetrics-text"))
)]
pub async fn metrics(State(state): State<ApiState>) -> Result<Response, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &state.registry)
        .map_err(|_| Problem::new(ErrorCode::Internal, "the metrics could not be written"))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

/// This interface as OpenAPI 3.1
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation", operation_id = "openapi", security(()),
    responses((status = 200, description = "The document", body = Object))
)]
pub async fn openapi(State(state): State<ApiState>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, state.description.openapi_json.clone()).into_response()
}

/// This interface as a page to read
#[utoipa::path(
    get, path = "/docs", tag = "operation", operation_id = "docs", security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub async fn reference(State(state): State<ApiState>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, state.description.docs_policy.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    // All answers share one page: whoever asks and never reads must not make us keep a copy for each.
    (headers, Html(state.description.docs_html.clone())).into_response()
}
