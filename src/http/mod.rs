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
pub mod json;
pub mod layers;
pub mod metrics;
pub mod openapi;
pub mod readiness;
pub mod routes;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::middleware::from_fn_with_state;
use prometheus_client::registry::Registry;

use crate::control::Control;
use auth::{AddressLimit, Keyring};

pub use error::problem;
pub use metrics::HttpMetrics;
pub use openapi::document;
pub use readiness::{JournalHealth, Readiness};

/// What an operator may decide about the HTTP interface.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Whether addresses are limited in what they may try without a key. `dev` lifts it.
    pub limit_addresses: bool,
    /// Invites that one address may check in a minute; more are refused with `rate_limited`.
    pub invite_checks_per_minute: NonZeroU32,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { limit_addresses: true, invite_checks_per_minute: NonZeroU32::new(60).expect("not zero") }
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
    invite_checks: Option<Arc<AddressLimit>>,
    description: Arc<Description>,
}

/// The interface described, written once at start.
struct Description {
    openapi_json: Bytes,
    docs_html: String,
}

impl ApiState {
    /// `metrics` must have been registered in `registry`.
    pub fn new(
        control: Control,
        readiness: Readiness,
        registry: Arc<Registry>,
        metrics: HttpMetrics,
        settings: &HttpSettings,
    ) -> Self {
        let keyring = Arc::new(Keyring::new(control.clone(), settings.limit_addresses));
        let invite_checks = settings
            .limit_addresses
            .then(|| Arc::new(AddressLimit::per_minute(settings.invite_checks_per_minute)));
        let document = document();
        let openapi_json = document.to_pretty_json().unwrap_or_default();
        let docs_html = docs::page(&openapi_json);
        let description = Arc::new(Description { openapi_json: openapi_json.into(), docs_html });
        Self { control, readiness, registry, metrics, keyring, invite_checks, description }
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
        .with_state(state.clone())
        .merge(further)
        .fallback(layers::not_found)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(from_fn_with_state(state, layers::observe))
}
