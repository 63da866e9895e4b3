//! Who is asking: API keys, their scopes, and a short memory of both.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use dashmap::DashMap;
use rollcall_core::{Actor, TenantId, Timestamp};
use rollcall_protocol::ErrorCode;
use uuid::Uuid;

use super::error::Problem;
use super::limits::{AddressLimit, Limit, address_of};
use super::{ApiState, HttpSettings};
use crate::clock::Clock;
use crate::control::keys::{KeyOwner, Scope};
use crate::control::secrets::{SecretError, SecretHash};
use crate::control::{ApiKey, Call, Control};

/// How long a key is believed without asking Postgres. A revoked key works at most this much longer.
pub const KEY_REMEMBERED: Duration = Duration::from_secs(5);
/// Keys remembered, known and unknown ones together. At the limit all that is outdated is forgotten; if nothing is, the
/// next key is looked up each time.
const KEYS_REMEMBERED_MAX: usize = 10_000;
/// Looks keys up and remembers the answers for a moment.
pub struct Keyring {
    control: Control,
    clock: Clock,
    remembered: DashMap<SecretHash, Remembered>,
    requests: Limit<Uuid>,
    failures: AddressLimit,
    /// Addresses that failed too often, and until when only remembered keys are taken from them.
    barred: DashMap<IpAddr, Timestamp>,
}

#[derive(Clone)]
struct Remembered {
    /// `None`: there is no such key.
    owner: Option<Arc<KeyOwner>>,
    until: Timestamp,
}

impl Keyring {
    pub fn new(control: Control, settings: &HttpSettings) -> Self {
        Self {
            clock: control.clock(),
            control,
            remembered: DashMap::new(),
            requests: Limit::per_second(settings.requests_per_key_per_s, settings.requests_per_key_burst),
            failures: Limit::per_minute(settings.failed_keys_per_address_per_min),
            barred: DashMap::new(),
        }
    }

    async fn owner(&self, parts: &Parts, address: IpAddr) -> Result<Arc<KeyOwner>, Problem> {
        let Ok(key) = bearer(parts) else { return Err(self.failed(address)) };
        let hash = key.hash();
        let now = self.clock.now();
        let remembered =
            self.remembered.get(&hash).map(|entry| entry.value().clone()).filter(|entry| now < entry.until);
        let owner = match remembered {
            Some(Remembered { owner, .. }) => owner,
            None => {
                self.require_not_barred(address, now)?;
                let owner = self.control.key_owner(&key).await?.map(Arc::new);
                self.remember(hash, owner.clone(), now);
                owner
            }
        };
        let Some(owner) = owner else { return Err(self.failed(address)) };
        if let Err(wait) = self.requests.count(&owner.key_id) {
            let problem = Problem::new(ErrorCode::RateLimited, "too many requests with this key");
            return Err(problem.with_retry_after(wait));
        }
        Ok(owner)
    }

    /// One answer for all reasons: whoever tries keys learns nothing.
    fn failed(&self, address: IpAddr) -> Problem {
        if let Err(wait) = self.failures.count(&address) {
            let now = self.clock.now();
            self.barred.retain(|_, until| now < *until);
            self.barred.insert(address, now + wait);
        }
        Problem::new(ErrorCode::Unauthorized, "the request carries no valid API key")
    }

    fn require_not_barred(&self, address: IpAddr, now: Timestamp) -> Result<(), Problem> {
        let until = self.barred.get(&address).map(|entry| *entry.value()).filter(|until| now < *until);
        let Some(until) = until else { return Ok(()) };
        let problem = Problem::new(ErrorCode::RateLimited, "too many wrong keys from this address");
        Err(problem.with_retry_after(until.since(now)))
    }

    fn remember(&self, hash: SecretHash, owner: Option<Arc<KeyOwner>>, now: Timestamp) {
        if self.remembered.len() >= KEYS_REMEMBERED_MAX {
            self.remembered.retain(|_, entry| now < entry.until);
        }
        if self.remembered.len() < KEYS_REMEMBERED_MAX {
            self.remembered.insert(hash, Remembered { owner, until: now + KEY_REMEMBERED });
        }
    }
}

/// What a route needs; a type for each scope, so that a handler cannot forget to ask.
pub trait Needs: Send + Sync + 'static {
    const SCOPE: Scope;
}

#[derive(Debug, Clone, Copy)]
pub struct ToRead;
#[derive(Debug, Clone, Copy)]
pub struct ToWrite;
#[derive(Debug, Clone, Copy)]
pub struct ToBill;

impl Needs for ToRead {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for ToWrite {
    const SCOPE: Scope = Scope::Write;
}
impl Needs for ToBill {
    const SCOPE: Scope = Scope::Billing;
}

/// A caller whose key permits what the route needs.
#[derive(Debug, Clone)]
pub struct Caller<N: Needs> {
    owner: Arc<KeyOwner>,
    needs: PhantomData<N>,
}

impl<N: Needs> Caller<N> {
    pub fn tenant(&self) -> TenantId {
        self.owner.tenant
    }

    pub fn call(&self) -> Call {
        Call::new(self.owner.tenant, Actor::ApiKey(self.owner.key_id.to_string()))
    }
}

impl<N: Needs> FromRequestParts<ApiState> for Caller<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let address = address_of(parts, &*state.settings.is_trusted_proxy);
        let owner = state.keyring.owner(parts, address).await?;
        if !owner.permits(N::SCOPE) {
            let detail = format!("the key lacks the scope {}", N::SCOPE);
            return Err(Problem::new(ErrorCode::Forbidden, detail));
        }
        Ok(Self { owner, needs: PhantomData })
    }
}

/// The key of the request. The checksum in it sorts out most of what is none before any database is asked.
fn bearer(parts: &Parts) -> Result<ApiKey, SecretError> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(SecretError) };
    let text = value.to_str().map_err(|_| SecretError)?;
    let (scheme, key) = text.split_once(' ').ok_or(SecretError)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(SecretError);
    }
    ApiKey::parse(key.trim())
}
