//! Rooms as the swarm's clients see them: who is in each client's list, and since when it should be.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::adapter::{Adapter, Change};

/// Decoded frames kept for the other members of a room, who get the same bytes.
const FRAMES_KEPT_MAX: usize = 64;

/// A room of clients that follow its members. Members are small numbers, so that a list is a few bits for each.
#[derive(Debug, Default)]
pub struct Room {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_identity: HashMap<String, u32>,
    /// What a leave names, where that is not the identity.
    by_key: HashMap<String, u32>,
    /// When each member's join frame was due. `None`: not one of ours.
    due: Vec<Option<Instant>>,
    frames: VecDeque<(u64, Arc<[Line]>)>,
}

/// A change with its member resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Line {
    Reset,
    Join { member: u32, due: Option<Instant> },
    Update,
    Leave { member: u32 },
}

/// One client's list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct View {
    bits: Vec<u64>,
}

impl Room {
    /// Says when the join frame of a member is due, and returns its number.
    pub fn expect(&self, identity: &str, due: Instant) -> u32 {
        let mut inner = self.lock();
        let member = inner.member(identity);
        inner.due[member as usize] = Some(due);
        member
    }

    /// The lines of a frame. Decoded once for each distinct frame.
    pub fn lines(&self, adapter: &dyn Adapter, text: &str) -> Arc<[Line]> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        let mut inner = self.lock();
        if let Some((_, lines)) = inner.frames.iter().find(|(known, _)| *known == hash) {
            return lines.clone();
        }
        let lines: Arc<[Line]> = inner.decode(adapter, text).into();
        if inner.frames.len() == FRAMES_KEPT_MAX {
            inner.frames.pop_front();
        }
        inner.frames.push_back((hash, lines.clone()));
        lines
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn member(&mut self, identity: &str) -> u32 {
        if let Some(member) = self.by_identity.get(identity) {
            return *member;
        }
        let member = self.due.len() as u32;
        self.by_identity.insert(identity.to_owned(), member);
        self.due.push(None);
        member
    }

    fn decode(&mut self, adapter: &dyn Adapter, text: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        adapter.changes(text, &mut |change| match change {
            Change::Reset => lines.push(Line::Reset),
            Change::Join { key, identity } => {
                let member = self.member(identity);
                if !self.by_key.contains_key(key) {
                    self.by_key.insert(key.to_owned(), member);
                }
                lines.push(Line::Join { member, due: self.due[member as usize] });
            }
            Change::Update { .. } => lines.push(Line::Update),
            Change::Leave { key } => {
                // A leave of somebody who never joined changes no list.
                if let Some(member) = self.by_key.get(key) {
                    lines.push(Line::Leave { member: *member });
                }
            }
        });
        lines
    }
}

impl View {
    /// Returns whether it was not there before.
    pub fn insert(&mut self, member: u32) -> bool {
        let (word, bit) = (member as usize / 64, 1 << (member % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }

    pub fn remove(&mut self, member: u32) {
        if let Some(word) = self.bits.get_mut(member as usize / 64) {
            *word &= !(1 << (member % 64));
        }
    }

    pub fn has(&self, member: u32) -> bool {
        self.bits.get(member as usize / 64).is_some_and(|word| word & (1 << (member % 64)) != 0)
    }

    pub fn clear(&mut self) {
        self.bits.clear();
    }

    pub fn is_same(&self, other: &Self) -> bool {
        self.has_all(other) && other.has_all(self)
    }

    pub fn has_all(&self, other: &Self) -> bool {
        let word = |view: &Self, index: usize| view.bits.get(index).copied().unwrap_or(0);
        (0..other.bits.len()).all(|index| word(other, index) & !word(self, index) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Protocol;
    use crate::clock;

    #[test]
    fn a_view_is_a_set() {
        let (mut one, mut other) = (View::default(), View::default());
        assert!(one.insert(3) && one.insert(200) && !one.insert(3));
        assert!(other.insert(3) && one.has_all(&other) && !other.has_all(&one));
        one.remove(200);
        one.remove(9_999);
        assert!(one.is_same(&other), "lengths of the storage do not matter");
    }

    #[test]
    fn frames_are_resolved_to_members() {
        let (room, adapter) = (Room::default(), Protocol::Rollcall.adapter());
        let due = clock::now();
        let ann = room.expect("ann", due);
        let joins = r#"{"type":"presence","seq":1,"joins":[{"participant_id":"p1","identity":"ann"},
            {"participant_id":"p2","identity":"stranger"}]}"#;
        let lines = room.lines(adapter.as_ref(), joins);
        assert_eq!(*lines, [Line::Join { member: ann, due: Some(due) }, Line::Join { member: ann + 1, due: None }]);
        assert!(Arc::ptr_eq(&lines, &room.lines(adapter.as_ref(), joins)), "decoded once");
        let leaves = r#"{"type":"presence","seq":2,"leaves":[{"participant_id":"p1","reason":"left"},
            {"participant_id":"p9","reason":"left"}]}"#;
        assert_eq!(*room.lines(adapter.as_ref(), leaves), [Line::Leave { member: ann }]);
    }
}
