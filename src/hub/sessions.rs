//! The concurrent map of live sessions. Its API takes closures, so a guard can neither be kept nor carried across an
//! await: that would stop every session of the same shard.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use rollcall_core::{Session, SessionId, Timestamp};

use super::outbox::Outbox;

/// A live session and what the shell keeps beside it.
pub(super) struct Entry {
    pub(super) session: Session,
    /// By the counter of the connection: all are of this epoch.
    pub(super) outboxes: HashMap<i64, Arc<Outbox>>,
    pub(super) identity_salt: Arc<[u8]>,
    /// The instants for which timers stand, the next one last. Strictly descending: what stands already is not armed anew.
    pub(super) armed: Vec<Timestamp>,
}

impl Entry {
    pub(super) fn new(session: Session, identity_salt: Arc<[u8]>) -> Self {
        Self { session, outboxes: HashMap::new(), identity_salt, armed: Vec::new() }
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    /// Boxed: a hash table keeps room for up to twice as many as there are.
    map: DashMap<SessionId, Box<Entry>>,
}

impl Sessions {
    /// Runs `work` on the entry while nobody else can. It must not call back into the map.
    pub(super) fn with<R>(&self, id: SessionId, work: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.map.get_mut(&id).map(|mut entry| work(entry.value_mut()))
    }

    pub(super) fn insert_if_absent(&self, id: SessionId, entry: Entry) {
        self.map.entry(id).or_insert_with(|| Box::new(entry));
    }

    pub(super) fn remove_if(&self, id: SessionId, condition: impl FnOnce(&Entry) -> bool) {
        self.map.remove_if(&id, |_, entry| condition(entry));
    }

    pub(super) fn contains(&self, id: SessionId) -> bool {
        self.map.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The ids at this moment, in their order; sessions may come and go while the caller walks the list.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = self.map.iter().map(|entry| *entry.key()).collect();
        ids.sort_unstable();
        ids
    }
}
