//! The only code that reads and writes sockets after the upgrade.
//!
//! An idle socket has no buffers. What a read brings lies in one buffer of the thread ([`Received`]), in which frames are
//! unmasked and understood; what is written goes to the system at once. Only a frame that is not whole, and one that the
//! system does not take, cost memory, and only for that time (docs/adr/0011-own-framing.md).

#[cfg(any(test, fuzzing))]
pub(super) mod compare;
#[cfg(test)]
mod fuzz;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Cursor};
use std::ops::Range;

use bytes::Bytes;
use bytes::buf::Chain;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::WsOptions;
use super::frame::ServerHead;
use super::patient::Patient;

/// Bytes read at once.
const RECEIVE_BYTES: usize = 16 * 1024;

thread_local! {
    static RECEIVED: RefCell<Received> = RefCell::new(Received::default());
}

/// What was read from a socket and not looked at yet. There is one a thread, lent to the socket whose turn it is.
pub(super) struct Received {
    buffer: Vec<u8>,
    unread: Range<usize>,
    /// A message that came in several frames, once it is whole.
    message: Vec<u8>,
}

impl Default for Received {
    fn default() -> Self {
        Self { buffer: vec![0; RECEIVE_BYTES], unread: 0..0, message: Vec::new() }
    }
}

/// Lends the buffer of this thread. A socket that does not read on at once takes what it has not looked at back with
/// [`Socket::put_back`].
pub(super) fn with_received<R>(work: impl FnOnce(&mut Received) -> R) -> R {
    RECEIVED.with_borrow_mut(work)
}

/// What bytes travel on: TCP, or what stands for it in the simulation.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + Sized + 'static {
    /// Registers with the runtime that is entered, in place of the one it is with.
    ///
    /// # Errors
    /// The system has no room for the registration.
    fn settle(self) -> io::Result<Self>;

    /// Hands the system these last bytes at once, past the runtime, as far as it takes them.
    fn send_last(&self, bytes: &[u8]);
}

impl Wire for TcpStream {
    fn settle(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }

    fn send_last(&self, bytes: &[u8]) {
        socket2::SockRef::from(self).send(bytes).ok();
    }
}

/// One socket after the upgrade.
pub(super) struct Socket<W = TcpStream> {
    stream: W,
    phase: Phase,
    close_sent: bool,
    /// The peer's close and the code it gave, until it is answered.
    peer_close: Option<Option<u16>>,
    frame_bytes_max: u32,
    message_bytes_max: u32,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer broke the rules: what it still sends is thrown away.
    Unreadable,
    /// The peer closed.
    Over,
}

/// What a socket between two frames does not have.
#[derive(Default)]
struct Rest {
    /// Bytes that are not a whole frame yet. Grows with what came, not with what a head announces.
    partial: Vec<u8>,
    /// The frames so far of a text message in several.
    message: Option<Vec<u8>>,
    /// Frames that the system has not taken, in order. New ones are only made while there are none, but for an error with
    /// its close.
    unsent: VecDeque<Unsent>,
    /// The answer to the newest WebSocket ping, which is all that RFC 6455 (5.5.3) asks of a slow socket.
    pong: Option<Bytes>,
}

type Unsent = Chain<Cursor<ServerHead>, Bytes>;

/// What came in.
#[derive(Debug)]
pub(super) enum Inbound<'r> {
    Text(&'r str),
    Binary,
    /// Ping or pong of the WebSocket layer, or a part of a message. Pings are answered already.
    Control,
    /// The peer sent a close frame.
    Closed,
    /// The stream ended without one; that proves nothing about how long the peer was there.
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
    pub(super) fn new(upgraded: Upgraded, options: &WsOptions) -> io::Result<Self> {
        let parts = upgraded
            .downcast::<TokioIo<Patient>>()
            .map_err(|_| io::Error::other("the upgraded connection is not a TCP stream"))?;
        let mut socket =
            Self::over(parts.io.into_inner().into_inner(), options.frame_bytes_max, options.message_bytes_max);
        if !parts.read_buf.is_empty() {
            socket.rest().partial = parts.read_buf.to_vec();
        }
        Ok(socket)
    }
}

impl<W: Wire> Socket<W> {
    /// See [`Wire::settle`].
    pub(super) fn settle(mut self) -> io::Result<Self> {
        self.stream = self.stream.settle()?;
        Ok(self)
    }

    pub(super) fn over(stream: W, frame_bytes_max: usize, message_bytes_max: usize) -> Self {
        let limit = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            stream,
            phase: Phase::Open,
            close_sent: false,
            peer_close: None,
            frame_bytes_max: limit(frame_bytes_max),
            message_bytes_max: limit(message_bytes_max),
            rest: None,
        }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn tidy(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.message.is_none() && self.unsent.is_empty() && self.pong.is_none()
    }
}
