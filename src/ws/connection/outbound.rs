//! What goes out: what the room and the server have to say, at the pace at which the peer takes it, and the close.

use std::task::{Context, Poll, ready};

use rollcall_core::{CloseProof, CloseReason, Command, LeaveReason, Timestamp, planted};
use rollcall_protocol::{CloseCode, ErrorCode};

use super::super::close_guard::End;
use super::super::convert::{close_code, close_of, encode_error, encode_event};
use super::super::environment::Environment;
use super::super::socket::Wire;
use super::Connection;
use crate::hub::{Farewell, Outgoing, Taken};

impl<W: Wire, E: Environment> Connection<W, E> {
    pub(super) fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let broken = Poll::Ready(End { reason: LeaveReason::Closed, proof: CloseProof::Silent });
        loop {
            match self.socket.poll_ready(context) {
                Poll::Pending => {
                    // A peer that does not read is closed in time all the same, and told if it reads again before that.
                    if !self.is_closing() && self.outbox.poll_close_ordered(context) {
                        self.limit_closing(self.now());
                    }
                    return self.note_blocked();
                }
                Poll::Ready(Err(())) => return if self.is_closing() { Poll::Pending } else { broken },
                // Something went out: slow is not stuck.
                Poll::Ready(Ok(())) => self.set_unblocked(),
            }
            if self.socket.is_close_sent() || (planted!("blocked_close_stays_unsaid") && self.is_closing()) {
                return Poll::Pending;
            }
            if let Some(pong) = self.trouble.as_mut().and_then(|trouble| trouble.waiting_pong.take()) {
                self.socket.send_text(context, pong).ok();
                continue;
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
    pub(super) fn fail(&mut self, context: &mut Context<'_>, code: ErrorCode, now: Timestamp) {
        self.socket.send_text(context, encode_error(code, None, None)).ok();
        self.begin_close(context, close_of(code), code.message(), now);
    }

    fn begin_close(&mut self, context: &mut Context<'_>, code: CloseCode, reason: &str, now: Timestamp) {
        self.socket.send_close(context, code, reason).ok();
        self.trouble().paused_until = None;
        self.limit_closing(now);
    }

    /// From the decision on. Who takes nothing for a while has only the rest of the time: a stop of the server waits no longer.
    fn limit_closing(&mut self, now: Timestamp) {
        let closing_until = now + self.guard.ws.options.close_confirm_timeout;
        self.trouble().closing_until.get_or_insert(closing_until);
    }
}
