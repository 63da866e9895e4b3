//! What the passing of time alone brings about: silence, a peer that takes nothing, what was put off.

use std::task::{Context, Poll};

use rollcall_core::{CloseProof, LeaveReason, Timestamp, planted};
use rollcall_protocol::ErrorCode;

use super::super::close_guard::End;
use super::super::convert::{close_of, encode_error};
use super::super::environment::Environment;
use super::super::socket::Wire;
use super::Connection;

impl<W: Wire, E: Environment> Connection<W, E> {
    /// The next instant at which the passing of time alone matters to this socket.
    pub(super) fn next_look(&self, woke_at: Timestamp) -> Timestamp {
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

    pub(super) fn look_at_time(&mut self, context: &mut Context<'_>, now: Timestamp, woke_at: Timestamp) -> Poll<End> {
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
}
