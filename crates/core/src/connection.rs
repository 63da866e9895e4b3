//! The clock of one connection: the only thing a ping touches.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};

use crate::time::Timestamp;

/// Shared between the socket's task, which stores, and the session, which reads when a timer fires. All accesses are
/// relaxed: each value stands alone, and a reader that sees one a moment late only looks again a moment later.
#[derive(Debug)]
pub struct ConnectionClock {
    evidence_us: AtomicI64,
    activity_us: AtomicI64,
    /// The decided end, once there is one.
    closes_us: AtomicI64,
    flags: AtomicU8,
}

/// The next activity must be dispatched to the session: it ends an away status or withdraws a warning.
const ATTENTION: u8 = 1;
/// The client said that the person does not see the page.
const HIDDEN: u8 = 2;

impl ConnectionClock {
    pub fn new(now: Timestamp) -> Self {
        Self {
            evidence_us: AtomicI64::new(now.0),
            activity_us: AtomicI64::new(now.0),
            closes_us: AtomicI64::new(i64::MAX),
            flags: AtomicU8::new(0),
        }
    }

    /// Any inbound frame proves the connection alive.
    pub fn hear(&self, now: Timestamp) {
        self.evidence_us.store(now.0, Relaxed);
    }

    /// The person did something. Returns whether the session needs to hear of it as a command.
    pub fn act(&self, now: Timestamp) -> bool {
        self.activity_us.store(now.0, Relaxed);
        self.flags.load(Relaxed) != 0
    }

    pub fn evidence_at(&self) -> Timestamp {
        Timestamp(self.evidence_us.load(Relaxed))
    }

    /// The evidence as far as it counts for the bill: a peer that was told to go is heard until its socket is closed, but its
    /// span ends at the decision, and nothing beyond may be told as proven meanwhile.
    pub fn billable_until(&self) -> Timestamp {
        Timestamp(self.evidence_us.load(Relaxed).min(self.closes_us.load(Relaxed)))
    }

    pub(crate) fn close_at(&self, at: Timestamp) {
        self.closes_us.store(at.0, Relaxed);
    }

    pub fn activity_at(&self) -> Timestamp {
        Timestamp(self.activity_us.load(Relaxed))
    }

    pub fn is_hidden(&self) -> bool {
        self.flags.load(Relaxed) & HIDDEN != 0
    }

    pub(crate) fn set_hidden(&self, hidden: bool) {
        self.set(HIDDEN, hidden);
    }

    pub(crate) fn set_attention(&self, wanted: bool) {
        self.set(ATTENTION, wanted);
    }

    fn set(&self, flag: u8, on: bool) {
        if on {
            self.flags.fetch_or(flag, Relaxed);
        } else {
            self.flags.fetch_and(!flag, Relaxed);
        }
    }
}
