//! The life of a joined socket: one task, one loop.
//!
//! A ping goes: frame → [`Connection::on_ping`] → clock (an atomic store) → pong. It takes no lock and touches no map;
//! the timer is only looked at when it fires and then moves on to where the evidence puts it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use rollcall_core::{CloseProof, CloseReason, Command, ConnectionClock, LeaveReason, Timestamp, planted};
use rollcall_protocol::client::PingRequest;
use rollcall_protocol::{ClientMessage, CloseCode, ErrorCode, FrameError};
use serde_json::value::RawValue;

use super::close_guard::{CloseGuard, End};
use super::convert::{close_code, close_of, encode_error, encode_event, encode_pong};
use super::environment::Environment;
use super::frame::ShortFrame;
use super::host;
use super::rate::{Bucket, Rate};
use super::socket::{Inbound, Received, Socket, Wire, with_received};
use super::standstill::{self, STANDSTILL_MIN};
use crate::clock::Timer;
use crate::hub::{Farewell, Outbox, Outgoing, Taken};

/// Frames beyond the rate that a client may send before it is closed. Reading pauses after each, so a flood costs the
/// server no more than the rate, and this many take seconds.
const RATE_EXCEEDED_MAX: u32 = 100;

/// Updates that may replace each other while one waits, before reading pauses too: a flood of them costs time to decode.
const UPDATES_REPLACED_MAX: u32 = 50;

/// How long a state waits while the journal is nearly full.
const JOURNAL_FULL_PAUSE: Duration = Duration::from_secs(1);

/// Frames handled before the way out and other sockets get their turn. A peer that sends without end must still be able to
/// receive, and reading and writing draw on one budget of the runtime.
const FRAMES_PER_TURN_MAX: usize = 32;

/// So long after a standstill a socket that seems empty may still have something in it that the system has not announced.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(1);

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
    /// Set once a close frame was sent: until when its answer is awaited.
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

    // --- inbound ---

    fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
        with_received(|received| {
            let end = self.poll_received(context, received);
            self.socket.put_back(received);
            end
        })
    }

    fn poll_received(&mut self, context: &mut Context<'_>, received: &mut Received) -> Poll<End> {
        let mut frames = 0;
        while !self.is_paused() {
            let Poll::Ready(inbound) = self.socket.poll_receive(context, received) else {
                self.note_empty();
                break;
            };
            frames += 1;
            let now = self.now();
            let (heard_at, is_fresh) = self.heard_at(now);
            match inbound {
                Inbound::Closed => {
                    self.clock.hear(heard_at);
                    let proof = if is_fresh { CloseProof::Observed } else { CloseProof::Silent };
                    return Poll::Ready(End { reason: LeaveReason::Closed, proof });
                }
                Inbound::Broken if planted!("reset_is_proof") => {
                    return Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Observed });
                }
                Inbound::Broken => return Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent }),
                _ => self.clock.hear(heard_at),
            }
            match inbound {
                // Nothing that comes after our close is answered.
                _ if self.is_closing() => {}
                Inbound::Text(text) => self.on_text(context, text, now),
                Inbound::Control => self.on_control(context, now),
                Inbound::Binary => self.fail(context, ErrorCode::BinaryRefused, now),
                Inbound::TooBig => self.fail(context, ErrorCode::MessageTooBig, now),
                Inbound::Violation => self.fail(context, ErrorCode::ProtocolViolation, now),
                Inbound::Closed | Inbound::Broken => {}
            }
            if frames == FRAMES_PER_TURN_MAX {
                context.waker().wake_by_ref();
                break;
            }
        }
        Poll::Pending
    }

    /// What a frame that is read now proves its sender to have been there, and whether that is now. After a standstill it
    /// may have waited for as long as that lasted, and nobody may be at the other end any more.
    fn heard_at(&self, now: Timestamp) -> (Timestamp, bool) {
        let standstill = standstill::look(now);
        if self.emptied_at == Timestamp::ZERO {
            (self.clock.evidence_at(), false)
        } else if standstill.until > self.emptied_at {
            (standstill.from.max(self.clock.evidence_at()), false)
        } else {
            (now, true)
        }
    }

    /// Nothing more is there to be read: what comes from now on is fresh. Right after a standstill, and right after the
    /// socket came to this thread, it may only seem so: the system has not announced yet what there is.
    fn note_empty(&mut self) {
        let is_known = self.emptied_at > standstill::woke_at() && self.emptied_at > Timestamp::ZERO;
        if !is_known {
            let now = self.now();
            let unannounced_from = standstill::look(now).until.max(self.listening_from);
            if now >= unannounced_from + ANNOUNCED_AFTER {
                self.emptied_at = now;
            }
        }
    }

    fn on_text(&mut self, context: &mut Context<'_>, text: &str, now: Timestamp) {
        #[cfg(test)]
        assert_ne!(text, super::tests::BUG, "a planted bug");
        match ClientMessage::decode(text) {
            Ok(ClientMessage::Update(update)) => self.on_update(context, update.state, now),
            _ if !self.take_from_bucket(now) => self.on_rate_exceeded(context, now),
            Ok(ClientMessage::Ping(ping)) => self.on_ping(context, &ping, now),
            Ok(ClientMessage::Leave) => self.on_leave(now),
            Ok(ClientMessage::Snapshot) => self.apply(Command::Snapshot { member: self.guard.member }),
            Ok(ClientMessage::Join(_)) => self.answer(ErrorCode::AlreadyJoined),
            Ok(command @ (ClientMessage::End(_) | ClientMessage::Extend(_) | ClientMessage::Kick(_))) => {
                let under_way = self.trouble().host_commands.clone();
                let CloseGuard { ws, session, member, .. } = &self.guard;
                host::start(ws, &self.outbox, *session, *member, &under_way, command);
            }
            Err(FrameError::Malformed(_)) => self.answer(ErrorCode::MalformedFrame),
            Err(FrameError::UnknownType(_)) => self.answer(ErrorCode::UnknownType),
        }
    }

    fn on_ping(&mut self, context: &mut Context<'_>, ping: &PingRequest<'_>, now: Timestamp) {
        match ping.active {
            // The session hears of activity only where it changes something.
            Some(true) if self.clock.act(now) => self.apply(Command::Activity { member: self.guard.member }),
            Some(false) if !self.clock.is_hidden() => self.apply(Command::Hide { member: self.guard.member }),
            _ => {}
        }
        let pong = ShortFrame::text(|buffer| encode_pong(buffer, ping.id, now));
        match self.socket.poll_ready(context) {
            Poll::Ready(Ok(())) => {
                // A failed write shows up as a broken connection at the next read.
                self.socket.send_short(context, &pong).ok();
            }
            _ => self.trouble().waiting_pong = Some(Bytes::copy_from_slice(pong.payload())),
        }
    }

    fn on_control(&mut self, context: &mut Context<'_>, now: Timestamp) {
        if !self.take_from_bucket(now) {
            self.on_rate_exceeded(context, now);
        }
    }

    /// Takes the departure at its word and instant. The goodbye acknowledges it, so it waits until the record is durable.
    fn on_leave(&mut self, now: Timestamp) {
        if self.guard.is_reported() {
            return;
        }
        let proof = if self.heard_at(now).1 { CloseProof::Observed } else { CloseProof::Silent };
        let receipt = self.guard.report(End { reason: LeaveReason::Left, proof });
        let outbox = self.outbox.clone();
        let goodbye = async move {
            let durable = match receipt {
                Some(receipt) if !planted!("goodbye_before_durable") => receipt.durable().await,
                _ => Ok(()),
            };
            outbox.close(durable.map_or(Farewell::Ordered(CloseReason::Restarting), |()| Farewell::Left));
        };
        self.guard.ws.environment.spawn(goodbye);
    }

    fn take_from_bucket(&mut self, now: Timestamp) -> bool {
        match self.bucket.take(self.rate(), now) {
            Ok(()) => true,
            Err(next) => {
                self.trouble().paused_until = Some(next);
                false
            }
        }
    }

    fn on_rate_exceeded(&mut self, context: &mut Context<'_>, now: Timestamp) {
        let trouble = self.trouble();
        trouble.rate_exceeded += 1;
        let rate_exceeded = trouble.rate_exceeded;
        if rate_exceeded > RATE_EXCEEDED_MAX {
            self.fail(context, ErrorCode::RateLimited, now);
        } else if rate_exceeded % 20 == 1 {
            // Once a second at the default rate: the answer must not become a flood of its own.
            self.answer(ErrorCode::RateLimited);
        }
    }

    /// Last write wins: what comes faster than the rate allows waits, and only the newest of it is applied.
    fn on_update(&mut self, context: &mut Context<'_>, state: Box<RawValue>, now: Timestamp) {
        if state.get().len() > self.guard.ws.options.state_bytes_max {
            let within_rate = self.take_from_bucket(now);
            return if within_rate {
                self.answer(ErrorCode::StateTooLarge)
            } else {
                self.on_rate_exceeded(context, now)
            };
        }
        // Also where the state has to wait: its session must not end as idle meanwhile.
        self.clock.act(now);
        if let Some(trouble) = &mut self.trouble
            && let Some(deferred) = &mut trouble.deferred_update
        {
            deferred.state = state;
            deferred.replaced += 1;
            if deferred.replaced >= UPDATES_REPLACED_MAX {
                trouble.paused_until = Some(deferred.due_at);
            }
            return;
        }
        self.apply_or_defer_update(state, now);
    }

    fn apply_or_defer_update(&mut self, state: Box<RawValue>, now: Timestamp) {
        let due_at = if self.guard.ws.hub.ledger().admit().is_err() {
            // What is left of the journal is for leaves; of the states the newest will do.
            now + JOURNAL_FULL_PAUSE
        } else if let Err(due_at) = self.updates.take(self.rate(), now) {
            due_at
        } else {
            return self.apply(Command::Update { member: self.guard.member, state: state.get().into() });
        };
        self.trouble().deferred_update = Some(Deferred { state, due_at, replaced: 0 });
    }

    fn apply_deferred_update(&mut self, now: Timestamp) {
        let deferred = self.trouble.as_mut().map(|trouble| &mut trouble.deferred_update);
        if let Some(deferred) = deferred.and_then(|deferred| deferred.take_if(|deferred| deferred.due_at <= now)) {
            self.apply_or_defer_update(deferred.state, now);
        }
    }

    fn rate(&self) -> Rate {
        Rate::new(self.guard.ws.options.messages_per_s, self.guard.ws.options.messages_burst)
    }

    fn apply(&self, command: Command) {
        // Refusals mean that the session has just let this connection go; its close is in the outbox.
        if let Ok(applied) = self.guard.ws.hub.apply(self.guard.session, command) {
            drop(applied);
        }
    }

    fn answer(&self, code: ErrorCode) {
        self.outbox.push(Outgoing::Error(code));
    }

    // --- trouble ---

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

    // --- outbound ---

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let broken = Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent });
        loop {
            match self.socket.poll_ready(context) {
                Poll::Pending => {
                    // A peer that does not read is not told, but it is closed in time all the same.
                    if !self.is_closing() && self.outbox.poll_close_ordered(context) {
                        self.trouble().closing_until = Some(self.now() + self.guard.ws.options.close_confirm_timeout);
                    }
                    return self.note_blocked();
                }
                Poll::Ready(Err(())) => return if self.is_closing() { Poll::Pending } else { broken },
                // Something went out: slow is not stuck.
                Poll::Ready(Ok(())) => self.set_unblocked(),
            }
            if let Some(pong) = self.trouble.as_mut().and_then(|trouble| trouble.waiting_pong.take()) {
                self.socket.send_text(context, pong).ok();
                continue;
            }
            if self.is_closing() {
                return Poll::Pending;
            }
            let sent = match ready!(self.outbox.poll_take(context)) {
                Taken::Send(Outgoing::Frame(frame)) => self.socket.send_text(context, frame.native(encode_event)),
                Taken::Send(Outgoing::Error(code)) => self.socket.send_text(context, encode_error(code, None, None)),
                Taken::NeedsSnapshot => {
                    self.apply(Command::Snapshot { member: self.guard.member });
                    Ok(())
                }
                Taken::Close(Farewell::Ordered(reason)) => {
                    self.on_close_order(context, reason);
                    Ok(())
                }
                Taken::Close(Farewell::Left) => {
                    self.begin_close(context, CloseCode::Normal, "", self.now());
                    Ok(())
                }
            };
            if sent.is_err() {
                return broken;
            }
        }
    }

    fn note_blocked(&mut self) -> Poll<End> {
        let now = self.now();
        self.trouble().blocked_since.get_or_insert(now);
        Poll::Pending
    }

    /// The session or the server has let this connection go.
    fn on_close_order(&mut self, context: &mut Context<'_>, reason: CloseReason) {
        let code = close_code(reason);
        // At the end of a session everybody was told by `ended` already.
        if reason != CloseReason::SessionEnded {
            let ws = &self.guard.ws;
            let spread = ws.options.restart_spread;
            let retry_after = (reason == CloseReason::Restarting).then(|| ws.hub.clock().jitter(spread));
            self.socket.send_text(context, encode_error(code, None, retry_after)).ok();
        }
        let now = self.now();
        self.begin_close(context, close_of(code), code.message(), now);
    }

    /// The client broke the rules: say which, then close.
    fn fail(&mut self, context: &mut Context<'_>, code: ErrorCode, now: Timestamp) {
        self.socket.send_text(context, encode_error(code, None, None)).ok();
        self.begin_close(context, close_of(code), code.message(), now);
    }

    fn begin_close(&mut self, context: &mut Context<'_>, code: CloseCode, reason: &str, now: Timestamp) {
        self.socket.send_close(context, code, reason).ok();
        let closing_until = now + self.guard.ws.options.close_confirm_timeout;
        let trouble = self.trouble();
        trouble.paused_until = None;
        trouble.closing_until = Some(closing_until);
    }

    // --- time ---

    /// The next instant at which the passing of time alone matters to this socket.
    fn next_look(&self, woke_at: Timestamp) -> Timestamp {
        let options = &self.guard.ws.options;
        let evidence_at = self.clock.evidence_at();
        // While nobody listened nobody could be heard: that is no silence of the peer.
        let silent_from = evidence_at.max(woke_at).max(self.listening_from);
        let silence = if self.probed_for == Some(evidence_at) { options.dead_after } else { options.probe_after };
        let silent_at = silent_from + silence;
        let Some(trouble) = &self.trouble else { return silent_at };
        if let Some(closing_until) = trouble.closing_until {
            return closing_until;
        }
        let blocked = trouble.blocked_since.map_or(Timestamp::NEVER, |since| since + options.slow_consumer_timeout);
        let deferred = trouble.deferred_update.as_ref().map_or(Timestamp::NEVER, |deferred| deferred.due_at);
        silent_at.min(blocked).min(deferred).min(trouble.paused_until.unwrap_or(Timestamp::NEVER))
    }

    fn look_at_time(&mut self, context: &mut Context<'_>, now: Timestamp, woke_at: Timestamp) -> Poll<End> {
        let (probe_after, dead_after, slow_after) = {
            let options = &self.guard.ws.options;
            (options.probe_after, options.dead_after, options.slow_consumer_timeout)
        };
        if let Some(trouble) = &mut self.trouble {
            if trouble.closing_until.is_some_and(|until| until <= now) {
                let answered = planted!("unanswered_close_is_proof");
                let proof = if answered { CloseProof::Observed } else { CloseProof::Silent };
                return Poll::Ready(End { reason: LeaveReason::Closed, proof });
            }
            if trouble.blocked_since.is_some_and(|since| since + slow_after <= now) {
                return Poll::Ready(self.give_up(context, ErrorCode::SlowConsumer, LeaveReason::SlowConsumer));
            }
            trouble.paused_until.take_if(|until| *until <= now);
        }
        let evidence_at = self.clock.evidence_at();
        let silent_from = evidence_at.max(woke_at).max(self.listening_from);
        if silent_from + dead_after <= now {
            return Poll::Ready(self.give_up(context, ErrorCode::LivenessTimeout, LeaveReason::LivenessTimeout));
        }
        if silent_from + probe_after <= now && self.probed_for != Some(evidence_at) {
            self.probed_for = Some(evidence_at);
            if let Poll::Ready(Ok(())) = self.socket.poll_ready(context) {
                self.socket.send_ping(context).ok();
            }
            if planted!("own_ping_is_evidence") {
                self.clock.hear(now);
            }
        }
        self.apply_deferred_update(now);
        Poll::Pending
    }

    /// Tells a peer that most likely does not listen any more, without waiting for it. What it does not take is lost with
    /// the connection.
    fn give_up(&mut self, context: &mut Context<'_>, code: ErrorCode, reason: LeaveReason) -> End {
        self.socket.send_text(context, encode_error(code, None, None)).ok();
        self.socket.send_close(context, close_of(code), code.message()).ok();
        End { reason, proof: CloseProof::Silent }
    }

    fn now(&self) -> Timestamp {
        self.guard.ws.hub.clock().now()
    }
}
