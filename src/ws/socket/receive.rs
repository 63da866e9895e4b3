//! The way in: bytes, frames, messages.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::super::frame::{Head, Opcode, Parsed, close_code_of};
use super::{Inbound, Phase, RECEIVE_BYTES, Received, Socket, Wire, with_received};

/// [`Inbound`] before its text is borrowed.
enum Found {
    /// A text in one frame, here in the buffer.
    Text(Range<usize>),
    /// A text in several frames, in [`Received::message`].
    Message,
    Other(Inbound<'static>),
}

impl<W: Wire> Socket<W> {
    /// The next thing that came in. `received` holds nothing, or what this socket left in it.
    pub(in crate::ws) fn poll_receive<'r>(
        &mut self,
        context: &mut Context<'_>,
        received: &'r mut Received,
    ) -> Poll<Inbound<'r>> {
        let found = loop {
            match self.phase {
                Phase::Open => {}
                Phase::Unreadable => return self.poll_discard(context, received),
                Phase::Over => return Poll::Ready(Inbound::Closed),
            }
            if let Some(found) = self.take_frame(context, received) {
                break found;
            }
            if let Some(end) = ready!(self.poll_read(context, received)) {
                return Poll::Ready(end);
            }
        };
        let text = match found {
            Found::Other(inbound) => return Poll::Ready(inbound),
            Found::Text(range) => &received.buffer[range],
            Found::Message => &received.message,
        };
        Poll::Ready(std::str::from_utf8(text).map_or_else(|_| self.violation(), Inbound::Text))
    }

    /// Takes the next frame out of the buffer, if it is whole.
    fn take_frame(&mut self, context: &mut Context<'_>, received: &mut Received) -> Option<Found> {
        let start = received.unread.start;
        let bytes = &mut received.buffer[received.unread.clone()];
        let head = match Head::parse(bytes) {
            Ok(Parsed::Head(head)) => head,
            Ok(Parsed::Needs(_)) => return None,
            Err(_) => return Some(Found::Other(self.violation())),
        };
        if head.payload_bytes > u64::from(self.frame_bytes_max) {
            return Some(Found::Other(self.too_big()));
        }
        let payload = bytes.get_mut(head.payload())?;
        head.unmask(payload);
        received.unread.start = start + head.payload().end;
        let in_parts = self.rest.as_ref().is_some_and(|rest| rest.message.is_some());
        Some(match head.opcode {
            Opcode::Text if !in_parts && head.is_final => {
                Found::Text(start + head.payload().start..start + head.payload().end)
            }
            Opcode::Text if !in_parts => {
                self.rest().message = Some(payload.to_vec());
                Found::Other(Inbound::Control)
            }
            Opcode::Continuation if in_parts => return Some(self.on_part(head, start, received)),
            Opcode::Text | Opcode::Continuation => Found::Other(self.violation()),
            Opcode::Binary => Found::Other(Inbound::Binary),
            Opcode::Ping => {
                let answer = Bytes::copy_from_slice(payload);
                self.answer_ping(context, answer);
                Found::Other(Inbound::Control)
            }
            Opcode::Pong => Found::Other(Inbound::Control),
            Opcode::Close => Found::Other(self.on_close(payload)),
        })
    }

    fn on_part(&mut self, head: Head, start: usize, received: &mut Received) -> Found {
        let limit = self.message_bytes_max as usize;
        let part = &received.buffer[start + head.payload().start..start + head.payload().end];
        let Some(message) = self.rest.as_mut().and_then(|rest| rest.message.as_mut()) else {
            return Found::Other(self.violation());
        };
        if message.len() + part.len() > limit {
            return Found::Other(self.too_big());
        }
        message.extend_from_slice(part);
        if !head.is_final {
            return Found::Other(Inbound::Control);
        }
        received.message = std::mem::take(message);
        self.rest().message = None;
        self.tidy();
        Found::Message
    }

    fn on_close(&mut self, payload: &[u8]) -> Inbound<'static> {
        let Ok(code) = close_code_of(payload) else { return self.violation() };
        self.peer_close = (!self.close_sent).then_some(code);
        self.phase = Phase::Over;
        Inbound::Closed
    }

    fn answer_ping(&mut self, context: &mut Context<'_>, payload: Bytes) {
        match self.poll_ready(context) {
            // A failed write shows up as a broken connection at the next read.
            Poll::Ready(ready) => drop(ready.and_then(|()| self.send(context, Opcode::Pong, payload))),
            Poll::Pending => self.rest().pong = Some(payload),
        }
    }

    fn violation(&mut self) -> Inbound<'static> {
        self.phase = Phase::Unreadable;
        Inbound::Violation
    }

    fn too_big(&mut self) -> Inbound<'static> {
        self.phase = Phase::Unreadable;
        Inbound::TooBig
    }

    /// Reads until the buffer has a whole frame or more. Ready with the end of the stream, if that came instead.
    fn poll_read(&mut self, context: &mut Context<'_>, received: &mut Received) -> Poll<Option<Inbound<'static>>> {
        self.put_back(received);
        let Some(rest) = self.rest.as_mut().filter(|rest| !rest.partial.is_empty()) else {
            let buffer = &mut received.buffer[..RECEIVE_BYTES];
            return Poll::Ready(match ready!(poll_read_some(&mut self.stream, context, buffer)) {
                Ok(length) => {
                    received.unread = 0..length;
                    None
                }
                Err(end) => Some(end),
            });
        };
        loop {
            let partial = &mut rest.partial;
            let needed = match Head::parse(partial) {
                Ok(Parsed::Needs(needed)) => needed,
                Ok(Parsed::Head(head)) if head.payload_bytes <= u64::from(self.frame_bytes_max) => head.payload().end,
                // Whatever is wrong shows when the frame is taken.
                Ok(Parsed::Head(_)) | Err(_) => 0,
            };
            if partial.len() >= needed {
                break;
            }
            let buffer = &mut received.buffer[..(needed - partial.len()).min(RECEIVE_BYTES)];
            match ready!(poll_read_some(&mut self.stream, context, buffer)) {
                Ok(length) => partial.extend_from_slice(&buffer[..length]),
                Err(end) => return Poll::Ready(Some(end)),
            }
        }
        let partial = std::mem::take(&mut rest.partial);
        if received.buffer.len() < partial.len() {
            // At most the largest frame with its head, once a thread.
            received.buffer.resize(partial.len(), 0);
        }
        received.buffer[..partial.len()].copy_from_slice(&partial);
        received.unread = 0..partial.len();
        self.tidy();
        Poll::Ready(None)
    }

    /// Takes what was read and not looked at out of the thread's buffer, before another socket gets it.
    pub(in crate::ws) fn put_back(&mut self, received: &mut Received) {
        let unread = std::mem::take(&mut received.unread);
        if !unread.is_empty() {
            self.rest().partial.extend_from_slice(&received.buffer[unread]);
        }
    }

    /// What is still on its way from a peer that broke the rules is read and thrown away: closing a socket with unread
    /// bytes resets it, and the peer might never see why.
    fn poll_discard(&mut self, context: &mut Context<'_>, received: &mut Received) -> Poll<Inbound<'static>> {
        received.unread = 0..0;
        loop {
            if let Err(end) = ready!(poll_read_some(&mut self.stream, context, &mut received.buffer)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Reads the next thing that came in, and hands it to `read`. Cancel safe.
    pub(in crate::ws) async fn receive<R>(&mut self, read: impl Fn(Inbound<'_>) -> R) -> R {
        std::future::poll_fn(|context| {
            with_received(|received| {
                let outcome = self.poll_receive(context, received).map(&read);
                self.put_back(received);
                outcome
            })
        })
        .await
    }

    /// Waits for the end and passes over what comes before it. Many small frames are passed over where they lie, because
    /// this also waits for peers that have not joined and never will.
    pub(in crate::ws) async fn ended(&mut self) {
        std::future::poll_fn(|context| {
            with_received(|received| {
                let ended = loop {
                    match self.poll_receive(context, received) {
                        Poll::Ready(Inbound::Closed | Inbound::Broken) => break Poll::Ready(()),
                        Poll::Ready(_) => {}
                        Poll::Pending => break Poll::Pending,
                    }
                };
                self.put_back(received);
                ended
            })
        })
        .await;
    }
}

/// Reads what is there: its length, or the end of the stream. An end without a close frame is no word of the peer: it may
/// come from a proxy that gave the peer up, or be what is left of a reset that a write has met first.
fn poll_read_some(
    stream: &mut impl Wire,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Result<usize, Inbound<'static>>> {
    let mut buffer = ReadBuf::new(buffer);
    Poll::Ready(match ready!(Pin::new(stream).poll_read(context, &mut buffer)) {
        Ok(()) if buffer.filled().is_empty() => Err(Inbound::Broken),
        Ok(()) => Ok(buffer.filled().len()),
        Err(_) => Err(Inbound::Broken),
    })
}
