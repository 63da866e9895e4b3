//! Who is asking: API keys, their scopes, and a short memory of both.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use dashmap::DashMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rollcall_core::{Actor, TenantId, Timestamp};
use rollcall_protocol::ErrorCode;

use super::ApiState;
use super::error::Problem;
use crate::clock::Clock;
use crate::control::keys::{KeyOwner, Scope};
use crate::control::secrets::SecretHash;
use crate::control::{ApiKey, Call, Control};

/// How long a key is believed without asking Postgres. A revoked key works at most this much longer.
pub const KEY_REMEMBERED: Duration = Duration::from_secs(5);
/// Keys remembered, known and unknown ones together. At the limit all that is outdated is forgotten; if nothing is, the
/// next key is looked up each time.
const KEYS_REMEMBERED_MAX: usize = 10_000;
/// Well-formed but unknown keys that one address may try in a minute; more are refused without a look-up.
const UNKNOWN_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// Addresses with a rate-limit state; beyond it those at rest are forgotten.
const ADDRESSES_MAX: usize = 50_000;

/// A limit on how often one address may do something.
pub struct AddressLimit {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
}

impl AddressLimit {
    pub fn per_minute(times: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(times)) }
    }

    /// Counts one more. False: over the limit.
    pub fn allows(&self, address: IpAddr) -> bool {
        if self.limiter.len() > ADDRESSES_MAX {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&network_of(address)).is_ok()
    }
}

/// One customer of a provider usually has a whole /64 of IPv6: it counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

/// The address of the peer. Without one (in tests) all requests share a limit.
pub(super) fn address_of(parts: &Parts) -> IpAddr {
    let connect = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    connect.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// Looks keys up and remembers the answers for a moment.
pub struct Keyring {
    control: Control,
    clock: Clock,
    remembered: DashMap<SecretHash, Remembered>,
    /// `None`: no limit per address.
    unknown: Option<AddressLimit>,
}

#[derive(Clone)]
struct Remembered {
    /// `None`: there is no such key.
    owner: Option<Arc<KeyOwner>>,
    until: Timestamp,
}

impl Keyring {
    pub fn new(control: Control, limit_addresses: bool) -> Self {
        let clock = control.clock();
        let unknown = limit_addresses.then(|| AddressLimit::per_minute(UNKNOWN_KEYS_PER_MINUTE));
        Self { control, clock, remembered: DashMap::new(), unknown }
    }

    async fn owner(&self, key: &ApiKey, address: IpAddr) -> Result<Arc<KeyOwner>, Problem> {
        let hash = key.hash();
        let now = self.clock.now();
        let remembered = self.remembered.get(&hash).map(|entry| entry.value().clone()).filter(|entry| now < entry.until);
        if let Some(Remembered { owner, .. }) = remembered {
            return owner.ok_or_else(unauthorized);
        }
        let owner = self.control.key_owner(key).await?.map(Arc::new);
        self.remember(hash, owner.clone(), now);
        if owner.is_none() && self.unknown.as_ref().is_some_and(|limit| !limit.allows(address)) {
            return Err(Problem::new(ErrorCode::RateLimited, "too many unknown keys from this address"));
        }
        owner.ok_or_else(unauthorized)
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
        let key = bearer(parts)?;
        let owner = state.keyring.owner(&key, address_of(parts)).await?;
        if !owner.permits(N::SCOPE) {
            let detail = format!("the key lacks the scope {}", N::SCOPE);
            return Err(Problem::new(ErrorCode::Forbidden, detail));
        }
        Ok(Self { owner, needs: PhantomData })
    }
}

/// The key of the request. The checksum in it sorts out most of what is none before any database is asked.
fn bearer(parts: &Parts) -> Result<ApiKey, Problem> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(unauthorized()) };
    let text = value.to_str().map_err(|_| unauthorized())?;
    let (scheme, key) = text.split_once(' ').ok_or_else(unauthorized)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(unauthorized());
    }
    ApiKey::parse(key.trim()).map_err(|_| unauthorized())
}

/// One answer for all reasons: whoever tries keys learns nothing.
fn unauthorized() -> Problem {
    Problem::new(ErrorCode::Unauthorized, "the request carries no valid API key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_count_together() {
        let address = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2:ffff::1"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }

    #[test]
    fn an_address_is_stopped_at_its_limit_and_no_other() {
        let limit = AddressLimit::per_minute(NonZeroU32::new(3).expect("not zero"));
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!([limit.allows(a), limit.allows(a), limit.allows(a), limit.allows(a)], [true, true, true, false]);
        assert!(limit.allows(b));
    }
}
