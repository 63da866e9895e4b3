//! The OpenAPI document: what the routes say of themselves, completed with what is true for all of them.

use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ProblemBody, status_of};
use super::routes::{books, health, invites, participants, sessions};
use super::{ApiState, rules};
use rollcall_protocol::ErrorCode;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "Realtime presence with a ledger: who was in which session, when, for how long, and why they \
                       left.\n\nTimes are RFC 3339 in UTC; durations are integers with their unit in the name. Lists are \
                       pages: pass `next_cursor` as `cursor`. Writes take an `Idempotency-Key`. Errors are problems (RFC \
                       9457) with a `code` out of the public registry.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "sessions", description = "The rooms people meet in."),
        (name = "invites", description = "Links into one session."),
        (name = "participants", description = "Who is in a session and who ever was."),
        (name = "books", description = "The audit trail, usage and analytics; a key with the scope `billing` is enough."),
        (name = "operation", description = "For whoever runs the server."),
    ),
    components(schemas(ProblemBody)),
    security(("api_key" = [])),
)]
struct Base;

/// The codes that any call with a key may be answered with.
const COMMON: [ErrorCode; 5] = [
    ErrorCode::InvalidRequest,
    ErrorCode::Unauthorized,
    ErrorCode::Forbidden,
    ErrorCode::RateLimited,
    ErrorCode::DatabaseUnavailable,
];

/// All routes and their description.
pub(super) fn routes() -> (axum::Router<ApiState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(sessions::create, sessions::list))
        .routes(routes!(sessions::read, sessions::change))
        .routes(routes!(sessions::extend))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::recover))
        .routes(routes!(invites::create, invites::list))
        .routes(routes!(invites::revoke))
        .routes(routes!(invites::check))
        .routes(routes!(participants::presence))
        .routes(routes!(participants::list))
        .routes(routes!(participants::kick))
        .routes(routes!(books::session_audit))
        .routes(routes!(books::audit))
        .routes(routes!(books::session_usage))
        .routes(routes!(books::usage))
        .routes(routes!(books::analytics))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
        .routes(routes!(health::reference))
        .split_for_parts();
    complete(&mut document);
    rules::add(&mut document);
    (router, document)
}

/// The document as `rollcall openapi` prints it and `/openapi.json` serves it.
pub fn document() -> utoipa::openapi::OpenApi {
    routes().1
}

fn complete(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key of the tenant, `rck_…`, with the scope the call needs."))
        .build();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    for (path, item) in &mut document.paths.paths {
        if !path.starts_with("/v1/") {
            continue;
        }
        let operations =
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().filter_map(Option::as_mut);
        for operation in operations {
            add_problems(path, operation);
        }
    }
}

fn add_problems(path: &str, operation: &mut Operation) {
    let has_body = operation.request_body.is_some();
    let is_public = operation.security.is_some();
    let mut codes = COMMON.to_vec();
    codes.retain(|code| !is_public || !matches!(code, ErrorCode::Unauthorized | ErrorCode::Forbidden));
    // The trail of the tenant may be narrowed to a session, which must be there.
    if path.contains('{') || path == "/v1/audit" {
        codes.push(ErrorCode::NotFound);
    }
    if has_body {
        codes.extend([ErrorCode::PayloadTooLarge, ErrorCode::UnsupportedMediaType]);
    }
    if !is_public && (has_body || path.ends_with("/recover")) {
        codes.extend([ErrorCode::Conflict, ErrorCode::IdempotencyKeyReused]);
    }
    if path.ends_with("/{participant_id}") {
        codes.push(ErrorCode::SessionEnded);
    }
    if path.ends_with("/recover") {
        codes.push(ErrorCode::RecoveryWindowOver);
    }
    for code in codes {
        let status = status_of(code).as_u16().to_string();
        operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(problem_response(code)));
    }
}

fn problem_response(code: ErrorCode) -> Response {
    let example = serde_json::json!({
        "type": format!("/docs#{}", code.as_str()),
        "title": code.message(),
        "status": status_of(code).as_u16(),
        "detail": "what happened this time",
        "code": code.as_str(),
        "hint": code.hint(),
        "request_id": "01980f2e7b1a7c3d9e4f5a6b7c8d9e0f",
    });
    let content =
        ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).example(Some(example)).build();
    ResponseBuilder::new().description(code.message()).content("application/problem+json", content).build()
}
