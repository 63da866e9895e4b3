//! What comes in: what it proves, how much of it is taken, and where it goes.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rollcall_core::{CloseProof, CloseReason, Command, LeaveReason, Timestamp, planted};
use rollcall_protocol::client::PingRequest;
use rollcall_protocol::{ClientMessage, ErrorCode, FrameError};
use serde_json::value::RawValue;

use super::super::close_guard::{CloseGuard, End};
use super::super::convert::encode_pong;
use super::super::environment::Environment;
use super::super::frame::ShortFrame;
use super::super::host;
use super::super::rate::Rate;
use super::super::socket::{Inbound, Received, Wire, with_received};
use super::super::standstill;
use super::{Connection, Deferred};
use crate::hub::{Farewell, Outgoing};

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

impl<W: Wire, E: Environment> Connection<W, E> {
    pub(super) fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
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
        assert_ne!(text, super::super::tests::BUG, "a planted bug");
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

    pub(super) fn apply_deferred_update(&mut self, now: Timestamp) {
        let deferred = self.trouble.as_mut().map(|trouble| &mut trouble.deferred_update);
        if let Some(deferred) = deferred.and_then(|deferred| deferred.take_if(|deferred| deferred.due_at <= now)) {
            self.apply_or_defer_update(deferred.state, now);
        }
    }

    fn rate(&self) -> Rate {
        Rate::new(self.guard.ws.options.messages_per_s, self.guard.ws.options.messages_burst)
    }

    fn answer(&self, code: ErrorCode) {
        self.outbox.push(Outgoing::Error(code));
    }
}
