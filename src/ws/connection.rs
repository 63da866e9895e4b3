//! The life of a joined socket: one task, one loop.
//!
//! A ping goes: frame → [`Connection::on_ping`] → clock (an atomic store) → pong. It takes no lock and touches no map;
//! the timer is only looked at when it fires and then moves on to where the evidence puts it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rollcall_core::{CloseProof, CloseReason, Command, ConnectionClock, LeaveReason, Member, SessionId, Timestamp};
use rollcall_protocol::client::PingRequest;
use rollcall_protocol::{ClientMessage, CloseCode, ErrorCode, FrameError};
use serde_json::value::RawValue;

use super::close_guard::{CloseGuard, End};
use super::convert::{close_code, close_of, encode_error, encode_event, encode_pong};
use super::rate::{Bucket, Rate};
use super::socket::{Inbound, Socket};
use super::{SharedWs, host};
use crate::hub::{Farewell, Outbox, Outgoing, Taken};

/// Frames beyond the rate that a client may send before it is closed. Reading pauses after each, so a flood costs the
/// server no more than the rate, and this many take seconds.
const RATE_EXCEEDED_MAX: u32 = 100;

/// Updates that may replace each other while one waits, before reading pauses too: a flood of them costs time to decode.
const UPDATES_REPLACED_MAX: u32 = 50;

/// How long a state waits while the journal is nearly full.
const JOURNAL_FULL_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// Pongs of all connections of a thread are written here, so that one allocation serves hundreds.
    static PONGS: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(64 * 1024));
}

/// A joined socket.
pub(super) struct Connection {
    socket: Socket,
    ws: SharedWs,
    outbox: Arc<Outbox>,
    pub(super) session: SessionId,
    pub(super) member: Member,
    clock: Arc<ConnectionClock>,
    /// Reports the end; gone once it is reported.
    guard: Option<CloseGuard>,
    bucket: Bucket,
    rate_exceeded: u32,
    /// Reading pauses until then.
    paused_until: Option<Timestamp>,
    /// Updates have a rate of their own: a burst of them must not starve the pings.
    updates: Bucket,
    /// The newest state that came faster than the rate allows, when it may be applied, and how many it stands for.
    deferred_update: Option<Deferred>,
    /// The newest pong that the socket could not take yet. A client that does not read needs only the last.
    waiting_pong: Option<Bytes>,
    /// Since when the socket has taken nothing.
    blocked_since: Option<Timestamp>,
    /// The evidence for which a probe was sent.
    probed_for: Option<Timestamp>,
    /// Set once a close frame was sent: until when its answer is awaited.
    closing_until: Option<Timestamp>,
    /// For when the timer stands.
    armed_at: Timestamp,
    /// Host commands of this connection that are being worked on.
    host_commands: Arc<AtomicU32>,
}

struct Deferred {
    state: Box<RawValue>,
    due_at: Timestamp,
    replaced: u32,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        outbox: Arc<Outbox>,
        clock: Arc<ConnectionClock>,
        guard: CloseGuard,
        now: Timestamp,
    ) -> Self {
        Self {
            socket,
            ws: guard.ws.clone(),
            outbox,
            session: guard.session,
            member: guard.member,
            clock,
            guard: Some(guard),
            bucket: Bucket::new(now),
            rate_exceeded: 0,
            paused_until: None,
            updates: Bucket::new(now),
            deferred_update: None,
            waiting_pong: None,
            blocked_since: None,
            probed_for: None,
            closing_until: None,
            armed_at: Timestamp::ZERO,
            host_commands: Arc::default(),
        }
    }

    /// Runs until the socket is gone and its end is reported.
    ///
    /// Not an `async fn`: that would keep room for the connection twice, once as the argument and once as the variable.
    pub(super) fn run(mut self) -> impl Future<Output = ()> {
        let mut timer = Box::pin(tokio::time::sleep(self.ws.options.probe_after));
        std::future::poll_fn(move |context| {
            let end = ready!(self.poll(context, timer.as_mut()));
            if let Some(mut guard) = self.guard.take() {
                guard.end = end;
            }
            Poll::Ready(())
        })
    }

    fn poll(&mut self, context: &mut Context<'_>, mut timer: Pin<&mut tokio::time::Sleep>) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.poll_inbound(context) {
                return Poll::Ready(end);
            }
            let was_paused = self.paused_until.is_some();
            if let Poll::Ready(end) = self.poll_outbound(context) {
                return Poll::Ready(end);
            }
            if was_paused && self.paused_until.is_none() {
                // A close has begun, and its answer must find somebody who reads.
                continue;
            }
            let now = self.now();
            let next = self.next_look();
            if next > now && next >= self.armed_at && self.armed_at > now {
                // The timer stands earlier than needed: leave it, and look again when it fires.
            } else if next > now {
                self.armed_at = next;
                timer.as_mut().reset(tokio::time::Instant::now() + next.since(now));
            } else {
                if let Poll::Ready(end) = self.look_at_time(context, now) {
                    return Poll::Ready(end);
                }
                continue;
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // Fired: the instant that was armed is over.
            self.armed_at = Timestamp::ZERO;
        }
    }

    // --- inbound ---

    fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
        while self.paused_until.is_none()
            && let Poll::Ready(inbound) = self.socket.poll_receive(context)
        {
            let now = self.now();
            match inbound {
                Inbound::Closed => {
                    return Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Observed });
                }
                Inbound::Broken => return Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent }),
                _ => self.clock.hear(now),
            }
            if self.closing_until.is_some() {
                continue;
            }
            match inbound {
                Inbound::Text(text) => self.on_text(context, &text, now),
                Inbound::Control => self.on_control(now),
                Inbound::Binary => self.fail(ErrorCode::BinaryRefused, now),
                Inbound::TooBig => self.fail(ErrorCode::MessageTooBig, now),
                Inbound::Violation => self.fail(ErrorCode::ProtocolViolation, now),
                Inbound::Closed | Inbound::Broken => {}
            }
        }
        Poll::Pending
    }

    fn on_text(&mut self, context: &mut Context<'_>, text: &str, now: Timestamp) {
        match ClientMessage::decode(text) {
            Ok(ClientMessage::Update(update)) => self.on_update(update.state, now),
            _ if !self.take_from_bucket(now) => self.on_rate_exceeded(now),
            Ok(ClientMessage::Ping(ping)) => self.on_ping(context, &ping, now),
            Ok(ClientMessage::Leave) => self.on_leave(),
            Ok(ClientMessage::Snapshot) => self.apply(Command::Snapshot { member: self.member }),
            Ok(ClientMessage::Join(_)) => self.answer(ErrorCode::AlreadyJoined),
            Ok(command @ (ClientMessage::End(_) | ClientMessage::Extend(_) | ClientMessage::Kick(_))) => {
                host::start(&self.ws, &self.outbox, self.session, self.member, &self.host_commands, command);
            }
            Err(FrameError::Malformed(_)) => self.answer(ErrorCode::MalformedFrame),
            Err(FrameError::UnknownType(_)) => self.answer(ErrorCode::UnknownType),
        }
    }

    fn on_ping(&mut self, context: &mut Context<'_>, ping: &PingRequest<'_>, now: Timestamp) {
        match ping.active {
            // The session hears of activity only where it changes something.
            Some(true) if self.clock.act(now) => self.apply(Command::Activity { member: self.member }),
            Some(false) if !self.clock.is_hidden() => self.apply(Command::Hide { member: self.member }),
            _ => {}
        }
        let pong = PONGS.with_borrow_mut(|buffer| encode_pong(buffer, ping.id, now));
        match self.socket.poll_ready(context) {
            Poll::Ready(Ok(())) => {
                // A failed write shows up as a broken connection at the next read.
                self.socket.send_text(pong).ok();
            }
            _ => self.waiting_pong = Some(pong),
        }
    }

    fn on_control(&mut self, now: Timestamp) {
        if !self.take_from_bucket(now) {
            self.on_rate_exceeded(now);
        }
    }

    /// Takes the departure at its word and instant. The goodbye acknowledges it, so it waits until the record is durable.
    fn on_leave(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        let receipt = guard.report(End { reason: LeaveReason::Left, proof: CloseProof::Observed });
        let outbox = self.outbox.clone();
        self.ws.tasks.spawn(async move {
            let durable = match receipt {
                Some(receipt) => receipt.durable().await,
                None => Ok(()),
            };
            outbox.close(durable.map_or(Farewell::Ordered(CloseReason::Restarting), |()| Farewell::Left));
        });
    }

    fn take_from_bucket(&mut self, now: Timestamp) -> bool {
        match self.bucket.take(self.rate(), now) {
            Ok(()) => true,
            Err(next) => {
                self.paused_until = Some(next);
                false
            }
        }
    }

    fn on_rate_exceeded(&mut self, now: Timestamp) {
        self.rate_exceeded += 1;
        if self.rate_exceeded > RATE_EXCEEDED_MAX {
            self.fail(ErrorCode::RateLimited, now);
        } else if self.rate_exceeded % 20 == 1 {
            // Once a second at the default rate: the answer must not become a flood of its own.
            self.answer(ErrorCode::RateLimited);
        }
    }

    /// Last write wins: what comes faster than the rate allows waits, and only the newest of it is applied.
    fn on_update(&mut self, state: Box<RawValue>, now: Timestamp) {
        if state.get().len() > self.ws.options.state_bytes_max {
            let within_rate = self.take_from_bucket(now);
            return if within_rate { self.answer(ErrorCode::StateTooLarge) } else { self.on_rate_exceeded(now) };
        }
        if let Some(deferred) = &mut self.deferred_update {
            deferred.state = state;
            deferred.replaced += 1;
            if deferred.replaced >= UPDATES_REPLACED_MAX {
                self.paused_until = Some(deferred.due_at);
            }
            return;
        }
        if self.ws.hub.ledger().admit().is_err() {
            // What is left of the journal is for leaves; of the states the newest will do.
            let due_at = now + JOURNAL_FULL_PAUSE;
            self.deferred_update = Some(Deferred { state, due_at, replaced: 0 });
            return;
        }
        match self.updates.take(self.rate(), now) {
            Ok(()) => self.apply(Command::Update { member: self.member, state: state.get().into() }),
            Err(due_at) => self.deferred_update = Some(Deferred { state, due_at, replaced: 0 }),
        }
    }

    fn apply_deferred_update(&mut self, now: Timestamp) {
        if self.deferred_update.as_ref().is_some_and(|deferred| deferred.due_at <= now)
            && let Some(deferred) = self.deferred_update.take()
        {
            self.on_update(deferred.state, now);
        }
    }

    fn rate(&self) -> Rate {
        Rate::new(self.ws.options.messages_per_s, self.ws.options.messages_burst)
    }

    fn apply(&self, command: Command) {
        // Refusals mean that the session has just let this connection go; its close is in the outbox.
        if let Ok(applied) = self.ws.hub.apply(self.session, command) {
            drop(applied);
        }
    }

    fn answer(&self, code: ErrorCode) {
        self.outbox.push(Outgoing::Error(code));
    }

    // --- outbound ---

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let broken = Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent });
        loop {
            match self.socket.poll_ready(context) {
                Poll::Pending => {
                    // A peer that does not read is not told, but it is closed in time all the same.
                    if self.closing_until.is_none() && self.outbox.poll_close_ordered(context) {
                        self.closing_until = Some(self.now() + self.ws.options.close_confirm_timeout);
                    }
                    return self.note_blocked();
                }
                Poll::Ready(Err(())) => return if self.closing_until.is_some() { Poll::Pending } else { broken },
                // Something went out: slow is not stuck.
                Poll::Ready(Ok(())) => self.blocked_since = None,
            }
            if let Some(pong) = self.waiting_pong.take() {
                self.socket.send_text(pong).ok();
                continue;
            }
            if self.closing_until.is_some() {
                break;
            }
            match self.outbox.poll_take(context) {
                Poll::Pending => break,
                Poll::Ready(Taken::Send(Outgoing::Frame(frame))) => {
                    self.socket.send_shared(context, frame.native(encode_event)).ok();
                }
                Poll::Ready(Taken::Send(Outgoing::Error(code))) => {
                    self.socket.send_text(encode_error(code, None, None)).ok();
                }
                Poll::Ready(Taken::NeedsSnapshot) => self.apply(Command::Snapshot { member: self.member }),
                Poll::Ready(Taken::Close(Farewell::Ordered(reason))) => self.on_close_order(reason),
                Poll::Ready(Taken::Close(Farewell::Left)) => self.begin_close(CloseCode::Normal, "", self.now()),
            }
        }
        match self.socket.poll_flush(context) {
            Poll::Pending => self.note_blocked(),
            Poll::Ready(Err(())) if self.closing_until.is_none() => broken,
            Poll::Ready(_) => {
                self.blocked_since = None;
                Poll::Pending
            }
        }
    }

    fn note_blocked(&mut self) -> Poll<End> {
        let now = self.now();
        self.blocked_since.get_or_insert(now);
        Poll::Pending
    }

    /// The session or the server has let this connection go.
    fn on_close_order(&mut self, reason: CloseReason) {
        let code = close_code(reason);
        // At the end of a session everybody was told by `ended` already.
        if reason != CloseReason::SessionEnded {
            let spread = self.ws.options.restart_spread;
            let retry_after = (reason == CloseReason::Restarting).then(|| self.ws.hub.clock().jitter(spread));
            self.socket.send_text(encode_error(code, None, retry_after)).ok();
        }
        let now = self.now();
        self.begin_close(close_of(code), code.message(), now);
    }

    /// The client broke the rules: say which, then close.
    fn fail(&mut self, code: ErrorCode, now: Timestamp) {
        self.socket.send_text(encode_error(code, None, None)).ok();
        self.begin_close(close_of(code), code.message(), now);
    }

    fn begin_close(&mut self, code: CloseCode, reason: &str, now: Timestamp) {
        self.socket.send_close(code, reason).ok();
        self.paused_until = None;
        self.closing_until = Some(now + self.ws.options.close_confirm_timeout);
    }

    // --- time ---

    /// The next instant at which the passing of time alone matters to this socket.
    fn next_look(&self) -> Timestamp {
        let options = &self.ws.options;
        if let Some(closing_until) = self.closing_until {
            return closing_until;
        }
        let evidence_at = self.clock.evidence_at();
        let silence = if self.probed_for == Some(evidence_at) { options.dead_after } else { options.probe_after };
        let blocked = self.blocked_since.map_or(Timestamp::NEVER, |since| since + options.slow_consumer_timeout);
        let deferred = self.deferred_update.as_ref().map_or(Timestamp::NEVER, |deferred| deferred.due_at);
        (evidence_at + silence).min(blocked).min(deferred).min(self.paused_until.unwrap_or(Timestamp::NEVER))
    }

    fn look_at_time(&mut self, context: &mut Context<'_>, now: Timestamp) -> Poll<End> {
        let options = &self.ws.options;
        if self.closing_until.is_some_and(|until| until <= now) {
            return Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent });
        }
        if self.blocked_since.is_some_and(|since| since + options.slow_consumer_timeout <= now) {
            return Poll::Ready(self.give_up(context, ErrorCode::SlowConsumer, LeaveReason::SlowConsumer));
        }
        let evidence_at = self.clock.evidence_at();
        if evidence_at + options.dead_after <= now {
            return Poll::Ready(self.give_up(context, ErrorCode::LivenessTimeout, LeaveReason::LivenessTimeout));
        }
        if evidence_at + options.probe_after <= now && self.probed_for != Some(evidence_at) {
            self.probed_for = Some(evidence_at);
            if let Poll::Ready(Ok(())) = self.socket.poll_ready(context) {
                self.socket.send_ping().ok();
            }
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        self.apply_deferred_update(now);
        Poll::Pending
    }

    /// Tells a peer that most likely does not listen any more, without waiting for it.
    fn give_up(&mut self, context: &mut Context<'_>, code: ErrorCode, reason: LeaveReason) -> End {
        self.socket.send_text(encode_error(code, None, None)).ok();
        self.socket.send_close(close_of(code), code.message()).ok();
        // What the peer does not take is lost with the connection.
        let (Poll::Pending | Poll::Ready(_)) = self.socket.poll_flush(context);
        End { reason, proof: CloseProof::Silent }
    }

    fn now(&self) -> Timestamp {
        self.ws.hub.clock().now()
    }
}
