//! The end of a connection, reported to its session exactly once.

use rollcall_core::{CloseProof, Command, LeaveReason, Member, SessionId, planted};

use super::SharedWs;
use super::environment::Environment;
use crate::ledger::Receipt;

/// Reports the end of a connection to its session exactly once, whatever becomes of the task.
pub(super) struct CloseGuard<E: Environment> {
    pub(super) ws: SharedWs<E>,
    pub(super) session: SessionId,
    pub(super) member: Member,
    /// What is known so far; a task that panics leaves the pessimistic default.
    pub(super) end: End,
    reported: bool,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) reason: LeaveReason,
    pub(super) proof: CloseProof,
}

impl<E: Environment> CloseGuard<E> {
    pub(super) fn new(ws: SharedWs<E>, session: SessionId, member: Member) -> Self {
        let end = End { reason: LeaveReason::Closed, proof: CloseProof::Silent };
        Self { ws, session, member, end, reported: false }
    }

    /// Why the socket is being given up, should nothing better become known.
    pub(super) fn end_as(&mut self, reason: LeaveReason) {
        self.end.reason = reason;
    }

    /// Whether the end is with the session already.
    pub(super) fn is_reported(&self) -> bool {
        self.reported
    }

    /// Reports the end; the receipt says when it is durable. `None` when the session is gone already: then its own end
    /// has closed the span.
    pub(super) fn report(&mut self, end: End) -> Option<Receipt> {
        self.reported = true;
        if planted!("slow_reader_vanishes") && end.reason == LeaveReason::SlowConsumer {
            return None;
        }
        let command = Command::Closed { member: self.member, reason: end.reason, proof: end.proof };
        let applied = self.ws.hub.apply(self.session, command);
        self.ws.hub.forget_connection(self.member.connection);
        self.ws.metrics.connection_closed(end.reason);
        applied.ok().map(|applied| applied.receipt)
    }
}

impl<E: Environment> Drop for CloseGuard<E> {
    fn drop(&mut self) {
        if !self.reported {
            // Nobody waits for this one.
            drop(self.report(self.end));
        }
    }
}
