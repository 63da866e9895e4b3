//! The TCP stream under a WebSocket, with a way in for whole frames that goes past the library's write buffer. That buffer
//! copies every frame and keeps the size of the largest one for the life of the socket; a frame for a room is shared.

use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Longest head of a frame that is not masked (RFC 6455, 5.2).
const HEAD_BYTES_MAX: usize = 10;

/// Final, text.
const FIN_TEXT: u8 = 0x81;

/// A stream whose unfinished frame, if there is one, goes out before anything else.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// What the system did not take of a frame. Boxed, because it hardly ever does not.
    rest: Option<Box<Frame>>,
    /// A write has failed. The system tells of a reset once: the write that fails with it takes the word, and what is
    /// read next looks like an orderly end.
    failed: bool,
}

type Frame = Chain<Cursor<Head>, Bytes>;

#[derive(Debug)]
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    length: usize,
}

impl AsRef<[u8]> for Head {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Head {
    fn of_text(payload_bytes: usize) -> Self {
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[0] = FIN_TEXT;
        let length = match payload_bytes {
            0..=125 => {
                bytes[1] = payload_bytes as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                HEAD_BYTES_MAX
            }
        };
        Self { bytes, length }
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, rest: None, failed: false }
    }

    /// Sends a text frame. What the system does not take now is kept; see [`Wire::poll_rest`].
    ///
    /// Only while [`Wire::poll_rest`] is ready and the library has nothing buffered: frames must not mix.
    pub(super) fn write_text(&mut self, context: &mut Context<'_>, payload: Bytes) -> io::Result<()> {
        debug_assert!(self.rest.is_none());
        let mut frame = Cursor::new(Head::of_text(payload.len())).chain(payload);
        let written = poll_write_all(&mut self.stream, context, &mut frame);
        match self.note(written) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.rest = Some(Box::new(frame));
                Ok(())
            }
        }
    }

    /// Ready once no frame is half-sent.
    pub(super) fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(rest) = &mut self.rest {
            let written = poll_write_all(&mut self.stream, context, rest);
            ready!(self.note(written))?;
            self.rest = None;
        }
        Poll::Ready(Ok(()))
    }

    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.failed |= matches!(written, Poll::Ready(Err(_)));
        written
    }
}

fn poll_write_all(stream: &mut TcpStream, context: &mut Context<'_>, frame: &mut Frame) -> Poll<io::Result<()>> {
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.failed && buffer.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

/// The library's own writes (pongs, closes) wait for the rest of a frame.
impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(context))?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{SinkExt, StreamExt};
    use tokio::net::TcpListener;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    async fn pair() -> (WebSocketStream<Wire>, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (server, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let wire = Wire::new(server.expect("accepted").0);
        let server = WebSocketStream::from_raw_socket(wire, Role::Server, None).await;
        (server, WebSocketStream::from_raw_socket(client.expect("connected"), Role::Client, None).await)
    }

    /// A reset proves nothing about how long the peer was there; an orderly end does. The one must not pass for the other.
    #[tokio::test]
    async fn a_reset_that_a_write_met_first_is_still_a_reset() {
        let (mut server, client) = pair().await;
        client.get_ref().set_zero_linger().expect("a socket");
        drop(client);
        // The reset is here once writing fails.
        while poll_fn(|context| Poll::Ready(server.get_mut().write_text(context, Bytes::from_static(b"x"))))
            .await
            .is_ok()
        {
            poll_fn(|context| server.get_mut().poll_rest(context)).await.ok();
            tokio::task::yield_now().await;
        }
        let end = server.next().await.expect("an end");
        assert!(matches!(end, Err(tokio_tungstenite::tungstenite::Error::Io(_))), "{end:?}");
    }

    /// Every head length, and frames far beyond what the system takes at once, between frames of the library's.
    #[tokio::test]
    async fn frames_of_all_sizes_arrive_whole_and_in_order_between_those_of_the_library() {
        let sizes = [0, 1, 125, 126, 65_535, 65_536, 8_000_000, 3, 4_000_000];
        let (mut server, mut client) = pair().await;
        let send = async {
            for size in sizes {
                let payload = Bytes::from(vec![b'x'; size]);
                poll_fn(|context| server.get_mut().poll_rest(context)).await.expect("sent");
                poll_fn(|context| Poll::Ready(server.get_mut().write_text(context, payload.clone())))
                    .await
                    .expect("taken");
                server.send(Message::text(size.to_string())).await.expect("sent");
            }
            server
        };
        let receive = async {
            let mut received = Vec::new();
            while received.len() < sizes.len() * 2 {
                received.push(client.next().await.expect("open").expect("well-formed").into_text().expect("text"));
            }
            received
        };
        let (_server, received) = tokio::join!(send, receive);
        for (size, frames) in sizes.into_iter().zip(received.chunks(2)) {
            assert_eq!((frames[0].len(), frames[1].as_str()), (size, size.to_string().as_str()));
        }
    }
}
