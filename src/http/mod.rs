//! The HTTP interface. Reading order: [`openapi`] (all routes), [`routes`], [`extract`] and [`json`] (what comes in),
//! [`error`] (what goes wrong), [`auth`], [`layers`] (what every request goes through).
//!
//! **Invariant:** every query is bound to the tenant of the key; an object of another tenant does not exist.

pub mod auth;
pub mod bodies;
pub mod cursor;
pub mod docs;
pub mod error;
pub mod extract;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod json;
pub mod layers;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod readiness;
pub mod routes;
mod rules;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::middleware::from_fn_with_state;
use axum::routing::options;
use prometheus_client::registry::Registry;

use crate::control::Control;
use auth::Keyring;
use limits::AddressLimit;

pub use error::problem;
pub use metrics::HttpMetrics;
pub use openapi::document;
/// The document as `rollcall openapi` prints it.
pub use openapi::document as openapi;
pub use readiness::Readiness;

/// What an operator may decide about the HTTP interface.
#[derive(Clone)]
pub struct HttpSettings {
    /// Largest body of a request, in bytes. A larger one is refused with `payload_too_large`.
    pub body_bytes_max: usize,
    /// How long a request may take, its body included. After it the answer is `overloaded`; a write that is under way
    /// is carried to its end all the same.
    pub request_timeout: Duration,
    /// Requests with one key, on average and at once; more are refused with `rate_limited`. 0: no limit.
    pub requests_per_key_per_s: u32,
    pub requests_per_key_burst: u32,
    /// Invites that one address may check in a minute; more are refused with `rate_limited`. 0: no limit.
    pub invite_checks_per_address_per_min: u32,
    /// Wrong keys that one address may try in a minute; then only keys that were used lately are taken. 0: no limit.
    pub failed_keys_per_address_per_min: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub is_trusted_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 * 1024,
            request_timeout: Duration::from_secs(30),
            requests_per_key_per_s: 100,
            requests_per_key_burst: 200,
            invite_checks_per_address_per_min: 30,
            failed_keys_per_address_per_min: 10,
            is_trusted_proxy: Arc::new(|_| false),
        }
    }
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) control: Control,
    readiness: Readiness,
    registry: Arc<Registry>,
    metrics: HttpMetrics,
    keyring: Arc<Keyring>,
    invite_checks: Arc<AddressLimit>,
    settings: Arc<HttpSettings>,
    description: Arc<Description>,
}

/// The interface described, written once at start.
struct Description {
    openapi_json: Bytes,
    docs_html: Bytes,
    docs_policy: HeaderValue,
}

impl ApiState {
    /// `metrics` must have been registered in `registry`.
    pub fn new(
        control: Control,
        readiness: Readiness,
        registry: Arc<Registry>,
        metrics: HttpMetrics,
        settings: HttpSettings,
    ) -> Self {
        let keyring = Arc::new(Keyring::new(control.clone(), &settings));
        let invite_checks = Arc::new(AddressLimit::per_minute(settings.invite_checks_per_address_per_min));
        let document = document();
        let openapi_json = document.to_pretty_json().unwrap_or_default();
        let docs_html = docs::page(&openapi_json);
        let description = Arc::new(Description {
            openapi_json: openapi_json.into(),
            docs_html: docs_html.into(),
            docs_policy: docs::content_security_policy(),
        });
        Self {
            control,
            readiness,
            registry,
            metrics,
            keyring,
            invite_checks,
            settings: Arc::new(settings),
            description,
        }
    }
}

/// The whole HTTP interface.
pub fn router(state: ApiState) -> Router {
    router_with(state, Router::new())
}

/// The same with further routes (sockets, pages), which go through the same layers. They must not have a fallback.
pub fn router_with(state: ApiState, further: Router) -> Router {
    let (routes, _) = openapi::routes();
    routes
        .route(layers::PUBLIC_ROUTE, options(layers::preflight))
        .with_state(state.clone())
        .merge(further)
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(from_fn_with_state(state, layers::observe))
}
