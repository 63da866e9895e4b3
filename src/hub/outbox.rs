//! What waits for one socket. Bounded in bytes: presence is state, so when too much waits, all of it collapses into one
//! fresh snapshot.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use rollcall_core::{CloseReason, planted};
use rollcall_protocol::ErrorCode;

use super::frame::Frame;

/// The queue between a session and the task of one socket.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// Whether there may be something to take, so that a socket that was woken for a ping need not lock. Written under
    /// the lock only.
    has_work: AtomicBool,
    bytes_max: u32,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    bytes: u32,
    /// Diffs were dropped: the socket must ask its session for a snapshot before it sends further presence.
    needs_snapshot: bool,
    close: Option<Farewell>,
}

/// Why a socket is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The session let it go.
    Ordered(CloseReason),
    /// The client left, and that is durable.
    Left,
}

/// Something to send.
#[derive(Debug, Clone)]
pub enum Outgoing {
    Frame(Arc<Frame>),
    /// An answer to this client alone.
    Error(ErrorCode),
}

/// What the socket's task finds.
#[derive(Debug)]
pub enum Taken {
    Send(Outgoing),
    /// Ask the session for a snapshot and send that.
    NeedsSnapshot,
    /// Everything before it was taken.
    Close(Farewell),
}

impl Outbox {
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        Self { state: Mutex::default(), waker: AtomicWaker::new(), has_work: AtomicBool::new(false), bytes_max }
    }

    /// Queues a frame. Beyond the limit waiting presence is dropped in favour of one snapshot; other frames are small
    /// and few, and are kept.
    pub fn push(&self, outgoing: Outgoing) {
        let weight = outgoing.weight();
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        let is_presence = outgoing.is_presence();
        if is_presence && state.needs_snapshot {
            return;
        }
        if is_presence && state.bytes.saturating_add(weight) > self.bytes_max && !state.queue.is_empty() {
            state.queue.retain(|waiting| !waiting.is_presence());
            state.bytes = state.queue.iter().map(Outgoing::weight).sum();
            state.needs_snapshot = !planted!("collapse_without_snapshot");
        } else {
            state.bytes = state.bytes.saturating_add(weight);
            state.queue.push_back(outgoing);
        }
        self.has_work.store(true, Release);
        drop(state);
        self.waker.wake();
    }

    /// Lets the socket close after what waits now. The first reason counts.
    pub fn close(&self, farewell: Farewell) {
        let mut state = self.lock();
        state.close.get_or_insert(farewell);
        self.has_work.store(true, Release);
        drop(state);
        self.waker.wake();
    }

    /// Takes what is next, or registers the task to be woken.
    pub fn poll_take(&self, context: &mut Context<'_>) -> Poll<Taken> {
        self.waker.register(context.waker());
        // After the registration: whoever adds something now wakes this task.
        if !self.has_work.load(Acquire) {
            return Poll::Pending;
        }
        let mut state = self.lock();
        if let Some(outgoing) = state.queue.pop_front() {
            state.bytes = state.bytes.saturating_sub(outgoing.weight());
            if state.queue.is_empty() {
                // Nothing is kept for the rest of a long idle life.
                state.queue = VecDeque::new();
            }
            return Poll::Ready(Taken::Send(outgoing));
        }
        if let Some(farewell) = state.close {
            return Poll::Ready(Taken::Close(farewell));
        }
        if std::mem::take(&mut state.needs_snapshot) {
            return Poll::Ready(Taken::NeedsSnapshot);
        }
        self.has_work.store(false, Release);
        Poll::Pending
    }

    /// Whether a close waits behind what the socket does not take; registers the task to be woken.
    pub fn poll_close_ordered(&self, context: &mut Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.lock().close.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    fn weight(&self) -> u32 {
        match self {
            Self::Frame(frame) => frame.weight(),
            Self::Error(_) => 200,
        }
    }

    fn is_presence(&self) -> bool {
        matches!(self, Self::Frame(frame) if frame.is_presence())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use rollcall_core::{Event, PresenceDiff, Timestamp};

    use super::*;

    fn diff(seq: u64) -> Outgoing {
        let diff = PresenceDiff { seq, joins: Vec::new(), updates: Vec::new(), leaves: Vec::new() };
        Outgoing::Frame(Arc::new(Frame::new(Event::Presence(diff))))
    }

    fn take(outbox: &Outbox) -> Poll<Taken> {
        outbox.poll_take(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn too_much_presence_collapses_into_one_snapshot_and_keeps_the_rest() {
        let outbox = Outbox::new(10 * 160);
        outbox.push(Outgoing::Frame(Arc::new(Frame::new(Event::Extended { ends_at: Timestamp(1) }))));
        (1..100).for_each(|seq| outbox.push(diff(seq)));
        assert!(matches!(take(&outbox), Poll::Ready(Taken::Send(Outgoing::Frame(frame))) if !frame.is_presence()));
        assert!(matches!(take(&outbox), Poll::Ready(Taken::NeedsSnapshot)));
        assert!(take(&outbox).is_pending());
        outbox.push(diff(100));
        assert!(matches!(take(&outbox), Poll::Ready(Taken::Send(_))), "diffs flow again after the snapshot");
    }

    #[test]
    fn a_close_comes_after_what_waits_and_nothing_comes_after_it() {
        let outbox = Outbox::new(10_000);
        outbox.push(diff(1));
        outbox.close(Farewell::Ordered(CloseReason::Kicked));
        outbox.close(Farewell::Left);
        outbox.push(diff(2));
        assert!(matches!(take(&outbox), Poll::Ready(Taken::Send(_))));
        assert!(matches!(take(&outbox), Poll::Ready(Taken::Close(Farewell::Ordered(CloseReason::Kicked)))));
    }
}
