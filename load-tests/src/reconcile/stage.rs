//! What all actors of a run share: where the server is, what was seen, which rooms there are, and when it is over.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::rest::Rest;
use super::truth::{Order, Scope, Witness};
use crate::clock::steady_us;

/// How many loopback addresses clients come from: some can be cut off while the others are not.
const SOURCES: u8 = 8;

/// The loopback addresses that clients come from.
pub fn sources() -> impl Iterator<Item = Ipv4Addr> {
    (2..2 + SOURCES).map(|last| Ipv4Addr::new(127, 0, 0, last))
}

#[derive(Debug)]
pub struct Stage {
    pub server: SocketAddr,
    pub seed: u64,
    pub rest: Rest,
    pub witness: Witness,
    rooms: Vec<watch::Sender<Option<Room>>>,
    over: watch::Sender<bool>,
    lists: Mutex<Lists>,
}

/// The session that a room has at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    pub session: String,
    /// Nobody in it does anything but be there, so that it ends by itself.
    pub is_quiet: bool,
}

#[derive(Debug, Default)]
struct Lists {
    /// Who was ever let in, by session.
    people: HashMap<String, Vec<String>>,
    /// Invites by session.
    invites: HashMap<String, Vec<String>>,
}

impl Stage {
    pub fn new(server: SocketAddr, seed: u64, rest: Rest, rooms: usize) -> Self {
        let rooms = (0..rooms).map(|_| watch::channel(None).0).collect();
        let (over, lists) = (watch::channel(false).0, Mutex::default());
        Self { server, seed, rest, witness: Witness::default(), rooms, over, lists }
    }

    /// Tells everybody to go.
    pub fn finish(&self) {
        self.over.send_replace(true);
    }

    /// Resolves when everybody is to go.
    pub async fn ended(&self) {
        // The sender lives as long as this.
        self.over.subscribe().wait_for(|over| *over).await.ok();
    }

    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits so long, or until it is over. False when it is over.
    pub async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.ended() => {}
        }
        !self.is_over()
    }

    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    pub fn room(&self, index: usize) -> Option<Room> {
        self.rooms.get(index)?.borrow().clone()
    }

    pub fn open_room(&self, index: usize, room: Room) {
        self.witness.lock().sessions.push(room.session.clone());
        if let Some(sender) = self.rooms.get(index) {
            sender.send_replace(Some(room));
        }
    }

    pub fn seen(&self, session: &str, participant: &str) {
        let mut lists = self.lists();
        let people = lists.people.entry(session.to_owned()).or_default();
        if !people.iter().any(|one| one == participant) {
            people.push(participant.to_owned());
        }
    }

    pub fn people(&self, session: &str) -> Vec<String> {
        self.lists().people.get(session).cloned().unwrap_or_default()
    }

    pub fn invited(&self, session: &str, invite: &str) {
        self.lists().invites.entry(session.to_owned()).or_default().push(invite.to_owned());
    }

    pub fn invites(&self, session: &str) -> Vec<String> {
        self.lists().invites.get(session).cloned().unwrap_or_default()
    }

    /// Carries out something that may end connections, and notes between which instants it took effect. Without an
    /// answer it may take effect at any time.
    pub async fn order<E>(
        &self,
        scope: Scope,
        reason: &'static str,
        call: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let at = steady_us();
        let outcome = call.await;
        let until = if outcome.is_ok() { steady_us() } else { i64::MAX };
        self.witness.order(Order { at, until, scope, reason });
        outcome
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Lists that only grow: a panic elsewhere cannot have left them half-changed.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
