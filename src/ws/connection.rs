//! The life of a joined socket: one task, one loop.
//!
//! A ping goes: frame → `on_ping` in [`inbound`] → clock (an atomic store) → pong. It takes no lock and touches no map;
//! the timer is only looked at when it fires ([`time`]) and then moves on to where the evidence puts it.

mod inbound;
mod outbound;
mod time;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rollcall_core::{Command, ConnectionClock, Timestamp};
use serde_json::value::RawValue;

use super::close_guard::{CloseGuard, End};
use super::environment::Environment;
use super::rate::Bucket;
use super::socket::{Socket, Wire};
use super::standstill::{self, STANDSTILL_MIN};
use crate::clock::Timer;
use crate::hub::Outbox;

/// The timer is looked at when it may fire within this time. Before that, polling it would only cost.
const TIMER_LOOK_AHEAD: Duration = Duration::from_secs(1);

/// A joined socket. There is one for every person who is in, so what most of them never need is apart, in [`Trouble`].
pub(super) struct Connection<W, E: Environment> {
    socket: Socket<W>,
    outbox: Arc<Outbox>,
    clock: Arc<ConnectionClock>,
    /// Who this is, and the duty to report its end.
    guard: CloseGuard<E>,
    bucket: Bucket,
    /// Updates have a rate of their own: a burst of them must not starve the pings.
    updates: Bucket,
    /// For when the timer stands.
    armed_at: Timestamp,
    /// The evidence for which a probe was sent.
    probed_for: Option<Timestamp>,
    /// Since when somebody listens here: a joiner waits for its answer before it speaks, and that may have taken long.
    listening_from: Timestamp,
    /// When everything that had come was last known to be read; zero before the first time, if the answer took long. What
    /// is read after a standstill that ended later may be as old as that.
    emptied_at: Timestamp,
    trouble: Option<Box<Trouble>>,
}

/// What a connection has only while, or after, something is out of the ordinary.
#[derive(Default)]
struct Trouble {
    /// Frames beyond the rate so far.
    rate_exceeded: u32,
    /// Reading pauses until then.
    paused_until: Option<Timestamp>,
    /// The newest state that came faster than the rate allows, when it may be applied, and how many it stands for.
    deferred_update: Option<Deferred>,
    /// The newest pong that the socket could not take yet. A client that does not read needs only the last.
    waiting_pong: Option<Bytes>,
    /// Since when the socket has taken nothing.
    blocked_since: Option<Timestamp>,
    /// Set once the end is decided: until when the close frame, if the peer does not read, or its answer is awaited.
    closing_until: Option<Timestamp>,
    /// Host commands of this connection that are being worked on.
    host_commands: Arc<AtomicU32>,
}

struct Deferred {
    state: Box<RawValue>,
    due_at: Timestamp,
    replaced: u32,
}

impl<W: Wire, E: Environment> Connection<W, E> {
    pub(super) fn new(
        socket: Socket<W>,
        outbox: Arc<Outbox>,
        clock: Arc<ConnectionClock>,
        guard: CloseGuard<E>,
        upgraded_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        // The join itself is the only evidence so far.
        let waited = now.since(clock.evidence_at());
        let emptied_at = if waited < STANDSTILL_MIN { upgraded_at } else { Timestamp::ZERO };
        let (bucket, updates) = (Bucket::new(now), Bucket::new(now));
        Self {
            socket,
            outbox,
            clock,
            guard,
            bucket,
            updates,
            armed_at: Timestamp::ZERO,
            probed_for: None,
            listening_from: now,
            emptied_at,
            trouble: None,
        }
    }

    /// Moves the socket to the runtime that is entered.
    ///
    /// # Errors
    /// The system lets the socket not be registered again; its end is reported.
    pub(super) fn settle(mut self) -> std::io::Result<Self> {
        self.socket = self.socket.settle()?;
        Ok(self)
    }

    /// Runs until the socket is gone and its end is reported.
    ///
    /// Not an `async fn`: that would keep room for the connection twice, once as the argument and once as the variable.
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        let mut timer = self.guard.ws.hub.clock().timer(self.guard.ws.options.probe_after);
        std::future::poll_fn(move |context| {
            let end = ready!(self.poll(context, &mut timer));
            if !self.guard.is_reported() {
                // Nobody waits for this one.
                drop(self.guard.report(end));
            }
            self.socket.answer_close();
            Poll::Ready(())
        })
    }

    fn poll(&mut self, context: &mut Context<'_>, timer: &mut Timer) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.poll_inbound(context) {
                return Poll::Ready(end);
            }
            let was_paused = self.is_paused();
            if let Poll::Ready(end) = self.poll_outbound(context) {
                return Poll::Ready(end);
            }
            if was_paused && !self.is_paused() {
                // A close has begun, and its answer must find somebody who reads.
                continue;
            }
            let now = self.now();
            let woke_at = standstill::look(now).until;
            let next = self.next_look(woke_at);
            let mut newly_armed = false;
            if next > now && next >= self.armed_at && self.armed_at > now {
                // The timer stands earlier than needed: leave it, and look again when it fires.
            } else if next > now {
                self.armed_at = next;
                newly_armed = true;
                timer.reset(next.since(now));
            } else {
                if let Poll::Ready(end) = self.look_at_time(context, now, woke_at) {
                    return Poll::Ready(end);
                }
                continue;
            }
            if self.armed_at > now + TIMER_LOOK_AHEAD && !newly_armed {
                return Poll::Pending;
            }
            if timer.poll(context).is_pending() {
                return Poll::Pending;
            }
            // Fired: the instant that was armed is over.
            self.armed_at = Timestamp::ZERO;
        }
    }

    fn apply(&self, command: Command) {
        // Refusals mean that the session has just let this connection go; its close is in the outbox.
        if let Ok(applied) = self.guard.ws.hub.apply(self.guard.session, command) {
            drop(applied);
        }
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    fn is_paused(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.paused_until.is_some())
    }

    fn is_closing(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.closing_until.is_some())
    }

    fn set_unblocked(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.blocked_since = None;
        }
    }

    fn now(&self) -> Timestamp {
        self.guard.ws.hub.clock().now()
    }
}
