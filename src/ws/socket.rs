//! The only code that reads and writes WebSocket frames. It can be replaced by one that allocates its buffers only while
//! a frame is partial, without touching anything else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rollcall_protocol::CloseCode;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::WsOptions;
use super::wire::Wire;

/// Read buffer of an idle socket: several pings long. The default of the library is 128 KiB, which is 134 KB of resident
/// memory for every connection; frames that are larger grow the buffer for their time.
const READ_BUFFER_BYTES: usize = 256;

/// Bytes that may wait inside the socket's own write buffer before it takes no more.
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// One socket after the upgrade.
pub(super) struct Socket {
    stream: WebSocketStream<Wire>,
    /// The peer broke the rules of framing.
    unreadable: bool,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Inbound {
    Text(Utf8Bytes),
    Binary,
    /// Ping or pong of the WebSocket layer. Pings are answered by the library.
    Control,
    /// The peer closed in an orderly way: a close frame, or the end of the stream.
    Closed,
    /// The connection broke; that proves nothing about how long the peer was there.
    Broken,
    TooBig,
    /// The peer violates the WebSocket protocol itself.
    Violation,
}

impl Socket {
    /// Takes the TCP stream out of the HTTP connection, together with bytes that were read too far.
    ///
    /// # Errors
    /// The connection is not a plain TCP stream; that is a mistake of the accept loop.
    pub(super) async fn new(upgraded: Upgraded, options: &WsOptions) -> io::Result<Self> {
        let parts = upgraded
            .downcast::<TokioIo<TcpStream>>()
            .map_err(|_| io::Error::other("the upgraded connection is not a TCP stream"))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX + options.message_bytes_max)
            .max_message_size(Some(options.message_bytes_max))
            .max_frame_size(Some(options.frame_bytes_max));
        let stream = Wire::new(parts.io.into_inner());
        let stream = if parts.read_buf.is_empty() {
            WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
        } else {
            WebSocketStream::from_partially_read(stream, parts.read_buf.to_vec(), Role::Server, Some(config)).await
        };
        Ok(Self { stream, unreadable: false })
    }

    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        if self.unreadable {
            return self.poll_discard(context);
        }
        let inbound = ready!(self.poll_frame(context));
        self.unreadable = matches!(inbound, Inbound::TooBig | Inbound::Violation);
        Poll::Ready(inbound)
    }

    /// After a violation the library reads no more. What is still on its way is read and thrown away: closing a socket
    /// with unread bytes resets it, and the peer might never see why.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        let mut scratch = [0; 2048];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(self.stream.get_mut()).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Inbound::Closed),
                Ok(()) => {}
                Err(_) => return Poll::Ready(Inbound::Broken),
            }
        }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        let message = match ready!(Pin::new(&mut self.stream).poll_next(context)) {
            None => return Poll::Ready(Inbound::Closed),
            Some(message) => message,
        };
        Poll::Ready(match message {
            Ok(Message::Text(text)) => Inbound::Text(text),
            Ok(Message::Binary(_)) => Inbound::Binary,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Inbound::Control,
            Ok(Message::Close(_)) => {
                // The library has the answer ready and would send it with the next read, which never comes. A peer that
                // does not take it at once goes without.
                let (Poll::Pending | Poll::Ready(_)) = Pin::new(&mut self.stream).poll_flush(context);
                Inbound::Closed
            }
            Err(Error::ConnectionClosed) => Inbound::Closed,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Inbound::TooBig,
            // The library reports the end of the stream without a close frame as a protocol error.
            Err(Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Inbound::Closed,
            Err(Error::Protocol(_) | Error::Utf8(_)) => Inbound::Violation,
            Err(_) => Inbound::Broken,
        })
    }

    /// Whether a frame can be handed over. Pending while the peer does not read fast enough.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        ready!(self.stream.get_mut().poll_rest(context)).map_err(drop)?;
        Pin::new(&mut self.stream).poll_ready(context).map_err(drop)
    }

    /// Call only after [`Socket::poll_ready`] was ready.
    pub(super) fn send_text(&mut self, text: Bytes) -> Result<(), ()> {
        let text = Utf8Bytes::try_from(text).map_err(drop)?;
        self.send(Message::Text(text))
    }

    /// Like [`Socket::send_text`] for a frame that may be large or has many receivers: it is not copied.
    pub(super) fn send_shared(&mut self, context: &mut Context<'_>, text: Bytes) -> Result<(), ()> {
        match self.poll_flush(context) {
            Poll::Ready(flushed) => {
                flushed?;
                self.stream.get_mut().write_text(context, text).map_err(drop)
            }
            // Behind what the library could not send yet.
            Poll::Pending => self.send_text(text),
        }
    }

    pub(super) fn send_ping(&mut self) -> Result<(), ()> {
        self.send(Message::Ping(Bytes::new()))
    }

    pub(super) fn send_close(&mut self, code: CloseCode, reason: &str) -> Result<(), ()> {
        let frame = CloseFrame { code: code.number().into(), reason: shorten(reason).into() };
        self.send(Message::Close(Some(frame)))
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Pin::new(&mut self.stream).poll_flush(context).map_err(drop)
    }

    /// The next frame. Cancel safe.
    pub(super) async fn receive(&mut self) -> Inbound {
        std::future::poll_fn(|context| self.poll_receive(context)).await
    }

    pub(super) async fn send_when_ready(&mut self, text: Bytes) -> Result<(), ()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        self.send_text(text)?;
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    /// The same for a frame as large as `joined`.
    pub(super) async fn send_shared_when_ready(&mut self, text: Bytes) -> Result<(), ()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        std::future::poll_fn(|context| Poll::Ready(self.send_shared(context, text.clone()))).await?;
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    pub(super) async fn close_when_ready(&mut self, code: CloseCode, reason: &str) -> Result<(), ()> {
        std::future::poll_fn(|context| self.poll_ready(context)).await?;
        self.send_close(code, reason)?;
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    fn send(&mut self, message: Message) -> Result<(), ()> {
        Pin::new(&mut self.stream).start_send(message).map_err(drop)
    }
}

/// A close reason has at most 123 bytes.
fn shorten(reason: &str) -> &str {
    const CLOSE_REASON_BYTES_MAX: usize = 123;
    let end =
        reason.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= CLOSE_REASON_BYTES_MAX);
    &reason[..end.last().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn close_reasons_fit_and_stay_text() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"é".repeat(100)).len(), 122);
    }
}
