//! How many HTTP connections there may be, in total and from one address. A connection that becomes a socket leaves.
//!
//! A stranger can hold a connection for seconds before it has said anything. So at the limit it is not the newcomer who is
//! turned away, but whoever has said nothing for longest: a client sends its request at once, and is never that one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::http::limits::counted_address;

/// Limits of HTTP connections.
#[derive(Clone)]
pub struct LobbyLimits {
    /// All of them. At the limit the one that is idle for longest is closed; when all are busy, nobody new is accepted.
    pub connections_max: usize,
    /// Of one address; an IPv6 address counts with its /64. More are answered 429 and closed. Zero lifts the limit.
    pub connections_per_address_max: u32,
    /// Proxies: many clients come from their address, so only the total limits them.
    pub is_trusted_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// The book-keeping of HTTP connections.
pub struct Lobby {
    limits: LobbyLimits,
    state: Mutex<State>,
    /// Somebody left, or is idle now.
    room: Notify,
}

#[derive(Default)]
struct State {
    open: usize,
    addresses: HashMap<IpAddr, u32>,
    /// Those that have no request under way, in the order in which that began.
    idle: BTreeMap<u64, Arc<Notify>>,
    idle_since_next: u64,
}

/// An HTTP connection; counts until it is dropped.
pub(super) struct Place {
    lobby: Arc<Lobby>,
    /// `None` for an address that is not limited.
    address: Option<IpAddr>,
    idle_since: Mutex<Option<u64>>,
    evicted: Arc<Notify>,
}

impl Lobby {
    pub fn new(limits: LobbyLimits) -> Self {
        Self { limits, state: Mutex::default(), room: Notify::new() }
    }

    /// A place for a new connection. `None` when its address has too many. Waits while every place is taken by a request
    /// under way.
    pub(super) async fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        loop {
            // Asked for before the look, so that no departure in between is missed.
            let room = self.room.notified();
            match self.try_enter(peer) {
                Entry::Place(place) => return Some(place),
                Entry::TooMany => return None,
                Entry::Full => room.await,
            }
        }
    }

    fn try_enter(self: &Arc<Self>, peer: IpAddr) -> Entry {
        let limit = self.limits.connections_per_address_max;
        let is_limited = limit > 0 && !(self.limits.is_trusted_proxy)(peer.to_canonical());
        let address = is_limited.then(|| counted_address(peer));
        let mut state = self.lock();
        if address.is_some_and(|address| state.addresses.get(&address).is_some_and(|open| *open >= limit)) {
            return Entry::TooMany;
        }
        if state.open >= self.limits.connections_max {
            let Some((_, longest_idle)) = state.idle.pop_first() else { return Entry::Full };
            longest_idle.notify_one();
            // It goes at once, and its place is this one's.
        }
        state.open += 1;
        if let Some(address) = address {
            *state.addresses.entry(address).or_default() += 1;
        }
        drop(state);
        let place =
            Place { lobby: self.clone(), address, idle_since: Mutex::new(None), evicted: Arc::new(Notify::new()) };
        place.idle();
        Entry::Place(place)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entry {
    Place(Place),
    TooMany,
    Full,
}

impl Place {
    /// A request has come: whoever is being served is not turned out.
    pub(super) fn busy(&self) {
        if let Some(since) = self.idle_since().take() {
            self.lobby.lock().idle.remove(&since);
        }
    }

    /// The request is answered.
    pub(super) fn idle(&self) {
        let mut idle_since = self.idle_since();
        let mut state = self.lobby.lock();
        let since = state.idle_since_next;
        state.idle_since_next += 1;
        state.idle.insert(since, self.evicted.clone());
        *idle_since = Some(since);
        drop(state);
        self.lobby.room.notify_one();
    }

    /// Ends when the place is needed by somebody else.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<u64>> {
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let idle_since = self.idle_since().take();
        let mut state = self.lobby.lock();
        state.open -= 1;
        if let Some(since) = idle_since {
            state.idle.remove(&since);
        }
        if let Some(address) = self.address
            && let Some(open) = state.addresses.get_mut(&address)
        {
            *open -= 1;
            if *open == 0 {
                state.addresses.remove(&address);
            }
        }
        drop(state);
        self.lobby.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lobby(connections_max: usize, connections_per_address_max: u32) -> Arc<Lobby> {
        let is_trusted_proxy = Arc::new(|address: IpAddr| address == IpAddr::from([10, 0, 0, 9]));
        Arc::new(Lobby::new(LobbyLimits { connections_max, connections_per_address_max, is_trusted_proxy }))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn enter(lobby: &Arc<Lobby>, last: u8) -> Option<Option<Place>> {
        lobby.enter(address(last)).now_or_never()
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[test]
    fn one_address_cannot_take_all_places_and_a_proxy_may() {
        let lobby = lobby(100, 3);
        let mut held: Vec<_> = (0..3).map(|_| enter(&lobby, 1).flatten().expect("within the limit")).collect();
        assert!(enter(&lobby, 1).expect("decided at once").is_none());
        assert!(enter(&lobby, 2).flatten().is_some());
        held.pop();
        assert!(enter(&lobby, 1).flatten().is_some());
        let proxied: Vec<_> = (0..50).filter_map(|_| enter(&lobby, 9).flatten()).collect();
        assert_eq!(proxied.len(), 50);
        drop((held, proxied));
        assert!(lobby.lock().addresses.is_empty() && lobby.lock().open == 0, "nothing is kept");
    }

    #[test]
    fn whoever_was_idle_for_longest_makes_room() {
        let lobby = lobby(3, 0);
        let [first, second, third] = [1, 2, 3].map(|last| enter(&lobby, last).flatten().expect("room"));
        first.busy();
        let fourth = enter(&lobby, 4).flatten().expect("room is made");
        assert!(is_evicted(&second) && !is_evicted(&first) && !is_evicted(&third));
        drop(second);
        first.idle();
        let fifth = enter(&lobby, 5).flatten().expect("room is made");
        assert!(is_evicted(&third) && !is_evicted(&first), "a request makes young again");
        drop((third, fourth, fifth, first));
        assert!(lobby.lock().idle.is_empty() && lobby.lock().open == 0, "nothing is kept");
    }

    #[test]
    fn when_all_are_busy_newcomers_wait() {
        let lobby = lobby(2, 0);
        let [first, second] = [1, 2].map(|last| enter(&lobby, last).flatten().expect("room"));
        first.busy();
        second.busy();
        let mut third = Box::pin(lobby.enter(address(3)));
        assert!(third.as_mut().now_or_never().is_none());
        second.idle();
        let third = third.now_or_never().flatten().expect("room is made");
        assert!(is_evicted(&second));
        third.busy();
        let mut fourth = Box::pin(lobby.enter(address(4)));
        assert!(fourth.as_mut().now_or_never().is_none());
        drop((second, first, third));
        assert!(fourth.now_or_never().flatten().is_some(), "a departure makes room");
    }
}
