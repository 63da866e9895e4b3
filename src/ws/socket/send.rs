//! The way out: whole frames, written at once where the system takes them.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use rollcall_protocol::CloseCode;

use super::super::frame::{Opcode, ServerHead, ShortFrame};
use super::{Socket, Unsent, Wire};

impl<W: Wire> Socket<W> {
    /// Whether a frame can be handed over. Pending while the peer does not read fast enough.
    pub(in crate::ws) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(())) };
        loop {
            while let Some(frame) = rest.unsent.front_mut() {
                ready!(poll_write_all(&mut self.stream, context, frame)).map_err(drop)?;
                rest.unsent.pop_front();
            }
            let Some(pong) = rest.pong.take() else { break };
            rest.unsent.push_back(whole_frame(Opcode::Pong, pong));
        }
        self.tidy();
        Poll::Ready(Ok(()))
    }

    /// Call only after [`Socket::poll_ready`] was ready. The text is not copied, however many sockets it goes to.
    pub(in crate::ws) fn send_text(&mut self, context: &mut Context<'_>, text: Bytes) -> Result<(), ()> {
        self.send(context, Opcode::Text, text)
    }

    /// The same for a frame on the stack.
    pub(in crate::ws) fn send_short(&mut self, context: &mut Context<'_>, frame: &ShortFrame) -> Result<(), ()> {
        let written = match Pin::new(&mut self.stream).poll_write(context, frame.as_bytes()) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => return Err(()),
            Poll::Pending => 0,
        };
        if written < frame.as_bytes().len() {
            let mut unsent = whole_frame(Opcode::Text, Bytes::copy_from_slice(frame.payload()));
            unsent.advance(written);
            self.rest().unsent.push_back(unsent);
        }
        Ok(())
    }

    pub(in crate::ws) fn send_ping(&mut self, context: &mut Context<'_>) -> Result<(), ()> {
        self.send(context, Opcode::Ping, Bytes::new())
    }

    pub(in crate::ws) fn send_close(
        &mut self,
        context: &mut Context<'_>,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), ()> {
        let mut payload = code.number().to_be_bytes().to_vec();
        payload.extend_from_slice(shorten(reason).as_bytes());
        self.close_sent = true;
        self.send(context, Opcode::Close, payload.into())
    }

    /// Whether our side has said its last word.
    pub(in crate::ws) fn is_close_sent(&self) -> bool {
        self.close_sent
    }

    /// Answers the peer's close, if one came and is not answered. The caller reports the end first: with the answer the peer
    /// knows that it is gone, and nobody may be there longer than that.
    ///
    /// Past the runtime, which may be out of budget or not know yet that a socket can be written to: the socket goes at
    /// once, and nobody would come back to it. A peer that does not take the answer now, after its last word, goes without.
    pub(in crate::ws) fn answer_close(&mut self) {
        let Some(code) = self.peer_close.take() else { return };
        let payload = code.map(u16::to_be_bytes);
        let payload = payload.as_ref().map_or(&[][..], |bytes| &bytes[..]);
        // What waits, perhaps only because the runtime did not know yet that it may go, comes before the answer.
        let mut bytes = Vec::new();
        for frame in self.rest.iter_mut().flat_map(|rest| rest.unsent.drain(..)) {
            bytes.put(frame);
        }
        bytes.extend([ServerHead::new(Opcode::Close, payload.len()).as_ref(), payload].concat());
        self.stream.send_last(&bytes);
        self.close_sent = true;
    }

    pub(in crate::ws) async fn send_text_when_ready(&mut self, text: Bytes) -> Result<(), ()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        std::future::poll_fn(|context| Poll::Ready(self.send_text(context, text.clone()))).await?;
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }

    pub(in crate::ws) async fn close_when_ready(&mut self, code: CloseCode, reason: &str) -> Result<(), ()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        std::future::poll_fn(|context| Poll::Ready(self.send_close(context, code, reason))).await?;
        std::future::poll_fn(|context| self.poll_ready(context)).await
    }

    /// Writes what the system takes and keeps the rest of the frame for [`Socket::poll_ready`].
    pub(super) fn send(&mut self, context: &mut Context<'_>, opcode: Opcode, payload: Bytes) -> Result<(), ()> {
        let mut frame = whole_frame(opcode, payload);
        let waiting = self.rest.as_ref().is_some_and(|rest| !rest.unsent.is_empty());
        if !waiting && let Poll::Ready(written) = poll_write_all(&mut self.stream, context, &mut frame) {
            return written.map_err(drop);
        }
        self.rest().unsent.push_back(frame);
        Ok(())
    }
}

fn whole_frame(opcode: Opcode, payload: Bytes) -> Unsent {
    Cursor::new(ServerHead::new(opcode, payload.len())).chain(payload)
}

fn poll_write_all(stream: &mut impl Wire, context: &mut Context<'_>, frame: &mut Unsent) -> Poll<io::Result<()>> {
    while frame.has_remaining() {
        let mut slices = [IoSlice::new(&[]); 2];
        let count = frame.chunks_vectored(&mut slices);
        let written = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        frame.advance(written);
    }
    Poll::Ready(Ok(()))
}

/// A close reason has at most 123 bytes.
fn shorten(reason: &str) -> &str {
    const CLOSE_REASON_BYTES_MAX: usize = 123;
    let end =
        reason.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= CLOSE_REASON_BYTES_MAX);
    &reason[..end.last().unwrap_or(0)]
}
