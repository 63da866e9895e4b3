//! What every request goes through, from the outside in: request id, log line and metrics, security headers, the catch
//! for bugs.

use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use rollcall_protocol::ErrorCode;

use super::ApiState;
use super::error::{Problem, REQUEST_ID};

/// Longest request id that is taken over from a client. A longer one is replaced by our own.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The route of requests that matched none.
const UNMATCHED: &str = "unmatched";

/// The outermost layer. Of a request it logs method, route, status, duration and id; never a path, query, header or
/// body: these hold ids and secrets.
pub(super) async fn observe(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let clock = state.control.clock();
    let started_at = clock.now();
    let request_id = incoming_id(request.headers()).unwrap_or_else(|| clock.uuid_v7().simple().to_string());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let answer = catch(&state, next.run(request));
    let mut response = match tokio::time::timeout(state.settings.request_timeout, answer).await {
        Ok(response) => response,
        Err(_) => Problem::new(ErrorCode::Overloaded, "the request took too long").into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = with_headers_of(problem.render(Some(&request_id)), &response);
    }
    let status = response.status();
    let took = clock.now().since(started_at);
    state.metrics.answered(&method, &route, status, took);
    tracing::info!(
        http.method = %method, http.route = route, http.status = status.as_u16(), http.duration_us = took.as_micros() as u64,
        http.request_id = request_id, "request"
    );
    let headers = response.headers_mut();
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, request_id);
    }
    secure(headers);
    if route == PUBLIC_ROUTE {
        allow_any_page(headers);
    }
    response
}

/// The call that landing pages make from a browser, wherever they are hosted.
pub(super) const PUBLIC_ROUTE: &str = "/v1/invites/check";

/// What a browser asks before a page of another origin may call the public route.
pub(super) async fn preflight() -> StatusCode {
    DONE
}

/// Any page may read the answer: it depends on the token in the body alone, never on cookies.
fn allow_any_page(headers: &mut HeaderMap) {
    let values = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-request-id, retry-after"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A bug in a handler costs this one request. What panicked is in the log of the panic hook, not in the answer.
async fn catch(state: &ApiState, answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            state.metrics.panicked();
            Problem::new(ErrorCode::Internal, "the request hit a bug in the server").into_response()
        }
    }
}

/// Headers that the router set beside the problem, such as `allow`.
fn with_headers_of(mut rendered: Response, original: &Response) -> Response {
    for (name, value) in original.headers() {
        if !rendered.headers().contains_key(name) && *name != header::CONTENT_LENGTH {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

fn incoming_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let sane = !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(plain);
    sane.then(|| text.to_owned())
}

/// Headers for answers that are data. Pages bring their own policy, which stays.
fn secure(headers: &mut HeaderMap) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no such path; see /docs")
}

pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(ErrorCode::MethodNotAllowed, "the path exists, but not for this method; see the allow header")
}

/// The status of an empty success.
pub(super) const DONE: StatusCode = StatusCode::NO_CONTENT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_request_ids_are_taken_over() {
        let id = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            incoming_id(&headers)
        };
        assert_eq!(id("abc-1.2:3_4").as_deref(), Some("abc-1.2:3_4"));
        for bad in ["", "a b", "a\"b", "<script>", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]
        {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
