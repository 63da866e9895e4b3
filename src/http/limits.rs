//! How often an address or a key may do something, and which address a request comes from.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Addresses or keys with a state; beyond it those at rest are forgotten.
const STATES_MAX: usize = 50_000;
/// Hops of `X-Forwarded-For` that are looked at. A longer list is cut.
const HOPS_MAX: usize = 16;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A limit for each of many.
pub struct Limit<K: Hash + Eq + Clone> {
    /// `None`: there is no limit.
    limiter: Option<DefaultKeyedRateLimiter<K>>,
    clock: DefaultClock,
}

/// A limit for each address.
pub type AddressLimit = Limit<IpAddr>;

impl<K: Hash + Eq + Clone> Limit<K> {
    /// 0 lifts the limit.
    pub fn per_minute(times: u32) -> Self {
        Self::new(NonZeroU32::new(times).map(Quota::per_minute))
    }

    /// 0 lifts the limit; a burst of 0 counts as 1.
    pub fn per_second(times: u32, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self::new(NonZeroU32::new(times).map(|times| Quota::per_second(times).allow_burst(burst)))
    }

    fn new(quota: Option<Quota>) -> Self {
        Self { limiter: quota.map(RateLimiter::keyed), clock: DefaultClock::default() }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// Over the limit; how long to wait.
    pub fn count(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if limiter.len() > STATES_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// The address a request comes from, as limits count it. Without a peer (in tests) all requests share one.
pub fn address_of(parts: &Parts, is_trusted_proxy: &dyn Fn(IpAddr) -> bool) -> IpAddr {
    client_address(&parts.headers, &parts.extensions, is_trusted_proxy)
}

/// The same for a request that is not taken apart.
pub fn client_address(
    headers: &HeaderMap,
    extensions: &Extensions,
    is_trusted_proxy: &dyn Fn(IpAddr) -> bool,
) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip().to_canonical());
    let forwarded: Vec<&str> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    network_of(client_behind(peer, &forwarded, is_trusted_proxy))
}

/// The peer of a connection, as limits count it.
pub fn counted_address(peer: IpAddr) -> IpAddr {
    network_of(peer.to_canonical())
}

/// Each proxy appends who came to it, so the list is believed from its end, as long as trusted proxies speak.
fn client_behind(peer: IpAddr, forwarded: &[&str], is_trusted_proxy: &dyn Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer;
    for hop in forwarded.iter().rev().take(HOPS_MAX) {
        if !is_trusted_proxy(client) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

/// One customer of a provider usually has a whole /64 of IPv6: it counts as one address.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_of_one_customer_count_together() {
        assert_eq!(network_of(address("2001:db8:1:2:3:4:5:6")), network_of(address("2001:db8:1:2:ffff::1")));
        assert_ne!(network_of(address("2001:db8:1:2::1")), network_of(address("2001:db8:1:3::1")));
        assert_ne!(network_of(address("192.0.2.1")), network_of(address("192.0.2.2")));
    }

    #[test]
    fn an_address_is_stopped_at_its_limit_and_no_other() {
        let limit = AddressLimit::per_minute(3);
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        let counted: Vec<bool> = (0..4).map(|_| limit.count(&a).is_ok()).collect();
        assert_eq!(counted, [true, true, true, false]);
        assert!(limit.count(&a).is_err_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(20)));
        assert!(limit.count(&b).is_ok());
        let unlimited = AddressLimit::per_minute(0);
        assert!((0..1_000).all(|_| unlimited.count(&a).is_ok()));
    }

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let trusted = |address: IpAddr| address.is_loopback();
        let behind = |peer: &str, forwarded: &[&str]| client_behind(address(peer), forwarded, &trusted).to_string();
        assert_eq!(behind("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(behind("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(behind("127.0.0.1", &["6.6.6.6", " 198.51.100.1", "127.0.0.1"]), "198.51.100.1");
        assert_eq!(behind("127.0.0.1", &["6.6.6.6", "nonsense"]), "127.0.0.1");
        assert_eq!(behind("127.0.0.1", &[]), "127.0.0.1");
    }
}
