//! Who may open sockets: limits by address and in total, before anybody has shown a token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollcall_core::Timestamp;
use tokio::sync::Semaphore;

use super::rate::{Bucket, Rate};

/// Limits for one address, behind trusted proxies the client's; an IPv6 address counts with its /64. Zero lifts a limit, as `dev` does with all.
#[derive(Debug, Clone, Copy)]
pub struct AddressLimits {
    pub connections_per_s: u32,
    pub connections_burst: u32,
    /// Sockets that have not joined yet.
    pub unauthenticated_max: u32,
    pub failed_joins_per_min: u32,
}

/// The front door's book-keeping.
pub struct Gate {
    /// Upgrades and joins being worked on at once. Many at a time fragment memory for good.
    pub handshakes: Arc<Semaphore>,
    /// Sockets that are being told why they are not let in.
    pub refusals: Semaphore,
    /// Sockets of all addresses that have not joined yet.
    unauthenticated_max: usize,
    connections_max: usize,
    limits: AddressLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    addresses: HashMap<IpAddr, Address>,
    unauthenticated: usize,
    swept_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Address {
    connections: Bucket,
    failed_joins: Bucket,
    unauthenticated: u32,
    used_at: Timestamp,
}

/// Addresses remembered at once. Beyond it, the ones not used lately are forgotten first; an attacker with that many
/// addresses is limited by the totals.
const ADDRESSES_MAX: usize = 100_000;
/// Sockets that are told at once why they are not let in, each for at most the time that a close gets. Beyond it they are
/// closed without words: a flood of refused sockets must not take memory.
const REFUSALS_CONCURRENT_MAX: usize = 2_000;
/// An address unused for this long has full buckets again and can be forgotten.
const ADDRESS_KEPT: Duration = Duration::from_secs(120);

/// A socket that has not joined yet; counts until it is dropped.
pub struct Unauthenticated {
    gate: Arc<Gate>,
    key: IpAddr,
}

impl Drop for Unauthenticated {
    fn drop(&mut self) {
        self.gate.leave(self.key);
    }
}

/// The address, or everybody, is at a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// This address: come back at the instant named.
    Limited(Timestamp),
    /// The server as a whole.
    Overloaded,
}

impl Gate {
    pub fn new(
        handshakes_concurrent_max: usize,
        unauthenticated_max: usize,
        connections_max: usize,
        limits: AddressLimits,
    ) -> Self {
        Self {
            handshakes: Arc::new(Semaphore::new(handshakes_concurrent_max)),
            refusals: Semaphore::new(REFUSALS_CONCURRENT_MAX),
            unauthenticated_max,
            connections_max,
            limits,
            state: Mutex::default(),
        }
    }

    /// Lets a new socket in, or says why not. `connections_open` are the joined ones.
    pub(super) fn enter(
        self: &Arc<Self>,
        key: IpAddr,
        connections_open: usize,
        now: Timestamp,
    ) -> Result<Unauthenticated, Turned> {
        let mut state = self.lock();
        if state.unauthenticated >= self.unauthenticated_max || connections_open >= self.connections_max {
            return Err(Turned::Overloaded);
        }
        let limits = self.limits;
        if limits.connections_per_s > 0 || limits.unauthenticated_max > 0 {
            state.sweep(now);
            let entry = state.address(key, now);
            if limits.unauthenticated_max > 0 && entry.unauthenticated >= limits.unauthenticated_max {
                return Err(Turned::Limited(now + Duration::from_secs(1)));
            }
            if limits.connections_per_s > 0 {
                let rate = Rate::new(limits.connections_per_s, limits.connections_burst);
                entry.connections.take(rate, now).map_err(Turned::Limited)?;
            }
            entry.unauthenticated += 1;
        }
        state.unauthenticated += 1;
        Ok(Unauthenticated { gate: self.clone(), key })
    }

    fn leave(&self, key: IpAddr) {
        let mut state = self.lock();
        state.unauthenticated -= 1;
        if let Some(entry) = state.addresses.get_mut(&key) {
            entry.unauthenticated = entry.unauthenticated.saturating_sub(1);
        }
    }

    /// Counts a refused join. After too many the address is told to wait before its token is even looked at.
    pub(super) fn join_failed(&self, address: IpAddr, now: Timestamp) {
        if let Some(rate) = self.failed_join_rate() {
            let mut state = self.lock();
            // Taking from an empty bucket changes nothing, and that is right: the address is refused already.
            state.address(address, now).failed_joins.take(rate, now).ok();
        }
    }

    /// Whether this address may try a token now.
    pub(super) fn may_join(&self, address: IpAddr, now: Timestamp) -> Result<(), Turned> {
        let Some(rate) = self.failed_join_rate() else { return Ok(()) };
        let mut state = self.lock();
        state.sweep(now);
        let mut bucket = state.address(address, now).failed_joins;
        bucket.take(rate, now).map_err(Turned::Limited)
    }

    fn failed_join_rate(&self) -> Option<Rate> {
        let per_minute = self.limits.failed_joins_per_min;
        (per_minute > 0).then(|| Rate::per_minute(per_minute))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn address(&mut self, key: IpAddr, now: Timestamp) -> &mut Address {
        let fresh =
            Address { connections: Bucket::new(now), failed_joins: Bucket::new(now), unauthenticated: 0, used_at: now };
        let entry = self.addresses.entry(key).or_insert(fresh);
        entry.used_at = now;
        entry
    }

    fn sweep(&mut self, now: Timestamp) {
        let due = self.swept_at.is_none_or(|swept_at| swept_at + ADDRESS_KEPT <= now);
        if due || self.addresses.len() >= ADDRESSES_MAX {
            self.swept_at = Some(now);
            self.addresses.retain(|_, entry| entry.unauthenticated > 0 || entry.used_at + ADDRESS_KEPT > now);
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            self.addresses.retain(|_, entry| entry.unauthenticated > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFTED: AddressLimits =
        AddressLimits { connections_per_s: 0, connections_burst: 0, unauthenticated_max: 0, failed_joins_per_min: 0 };

    fn gate(limits: AddressLimits) -> Arc<Gate> {
        Arc::new(Gate::new(8, 100, 1_000, limits))
    }

    const LIMITS: AddressLimits = AddressLimits {
        connections_per_s: 10,
        connections_burst: 50,
        unauthenticated_max: 20,
        failed_joins_per_min: 10,
    };

    #[test]
    fn an_address_is_limited_and_others_are_not() {
        let gate = gate(LIMITS);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held: Vec<_> = (0..20).map(|_| gate.enter(one, 0, Timestamp::ZERO).expect("within the limit")).collect();
        assert!(matches!(gate.enter(one, 0, Timestamp::ZERO), Err(Turned::Limited(_))));
        assert!(gate.enter(other, 0, Timestamp::ZERO).is_ok());
        drop(held);
        assert!(gate.enter(one, 0, Timestamp::ZERO).is_ok());
        let entered = (0..100).filter(|_| gate.enter(one, 0, Timestamp::ZERO).is_ok()).count();
        assert_eq!(entered, 50 - 21, "the burst is used up");
    }

    #[test]
    fn totals_hold_even_where_addresses_are_not_limited() {
        let gate = gate(LIFTED);
        let address = IpAddr::from([127, 0, 0, 1]);
        let held: Vec<_> = (0..200).filter_map(|_| gate.enter(address, 0, Timestamp::ZERO).ok()).collect();
        assert_eq!(held.len(), 100);
        assert!(matches!(gate.enter(address, 0, Timestamp::ZERO), Err(Turned::Overloaded)));
        drop(held);
        assert!(matches!(gate.enter(address, 1_000, Timestamp::ZERO), Err(Turned::Overloaded)));
    }

    #[test]
    fn failed_joins_make_an_address_wait() {
        let gate = gate(LIMITS);
        let address = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..10 {
            assert!(gate.may_join(address, Timestamp::ZERO).is_ok());
            gate.join_failed(address, Timestamp::ZERO);
        }
        let Err(Turned::Limited(until)) = gate.may_join(address, Timestamp::ZERO) else { panic!("not limited") };
        assert!(gate.may_join(address, until).is_ok());
    }
}
