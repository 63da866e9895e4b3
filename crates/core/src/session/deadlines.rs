//! The deadlines of one session, in order.

use std::collections::VecDeque;

use crate::ids::ParticipantId;
use crate::time::Timestamp;

/// What a deadline is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// The coalescing window of the presence diff is over.
    Presence,
    /// A warning or the end of the session may be due.
    Session,
    Grace(ParticipantId),
    Away(ParticipantId),
    /// A token of this participant expires. Armed once for each connection.
    Token(ParticipantId),
}

/// A sorted queue. New deadlines mostly lie behind the others and fire at the front, so both ends are cheap, and nothing
/// is reserved as in a tree.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: VecDeque<(Timestamp, TimerKey)>,
}

impl Deadlines {
    /// What is armed twice fires twice.
    pub(super) fn arm(&mut self, at: Timestamp, key: TimerKey) {
        let index = self.queue.partition_point(|armed| *armed <= (at, key));
        self.queue.insert(index, (at, key));
    }

    /// Takes one such deadline back, if there is one.
    pub(super) fn disarm(&mut self, at: Timestamp, key: TimerKey) {
        if let Ok(index) = self.queue.binary_search(&(at, key)) {
            self.queue.remove(index);
        }
    }

    pub(super) fn first(&self) -> Option<(Timestamp, TimerKey)> {
        self.queue.front().copied()
    }

    pub(super) fn pop_first(&mut self) -> Option<(Timestamp, TimerKey)> {
        self.queue.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_as_often_as_they_were_armed() {
        let id = |n: u128| ParticipantId(uuid::Uuid::from_u128(n));
        let mut deadlines = Deadlines::default();
        for (at, key) in [(3, TimerKey::Session), (1, TimerKey::Away(id(2))), (1, TimerKey::Away(id(1)))] {
            deadlines.arm(Timestamp(at), key);
        }
        deadlines.arm(Timestamp(2), TimerKey::Token(id(1)));
        deadlines.arm(Timestamp(2), TimerKey::Token(id(1)));
        deadlines.disarm(Timestamp(2), TimerKey::Token(id(1)));
        deadlines.disarm(Timestamp(2), TimerKey::Token(id(9)));
        let order: Vec<_> = std::iter::from_fn(|| deadlines.pop_first()).map(|(at, key)| (at.0, key)).collect();
        let expected = [
            (1, TimerKey::Away(id(1))),
            (1, TimerKey::Away(id(2))),
            (2, TimerKey::Token(id(1))),
            (3, TimerKey::Session),
        ];
        assert_eq!(order, expected);
    }
}
