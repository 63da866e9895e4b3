//! One stream read by our socket and by tungstenite: both must understand the same until one of them stops.
//!
//! What the two may end differently, and why, is in [`may_differ`]; that they hand on the same texts and answer with the
//! same pongs has no exception.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rollcall_protocol::ClientMessage;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Inbound, Socket};
use crate::fuzzing::Draw;

const FRAME_BYTES_MAX: usize = 300;
const MESSAGE_BYTES_MAX: usize = 700;

/// How a reader of a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ws) enum End {
    /// By a close frame.
    Closed,
    /// The stream was over.
    OverWithout,
    Binary,
    TooBig,
    Violation,
    BadText,
}

#[derive(Debug, PartialEq, Eq)]
pub(in crate::ws) struct Outcome {
    pub(in crate::ws) texts: Vec<String>,
    pongs: Vec<Vec<u8>>,
    pub(in crate::ws) end: End,
}

/// Reads the stream, in cuts of its own for every `number`, and compares.
///
/// # Panics
/// The two readers disagree.
pub(in crate::ws) async fn compare(number: u64, stream: &[u8], draw: &mut Draw) -> Outcome {
    let outcome = ours(stream, draw).await;
    check(number, stream, &outcome);
    for text in &outcome.texts {
        // Whatever a socket hands on goes straight into this.
        drop(ClientMessage::decode(text));
    }
    outcome
}

/// Our socket, fed in cuts. A pair of Unix sockets stands for the connection, because that many TCP connections would use
/// up the ports of the machine; the socket only reads and writes it.
async fn ours(stream: &[u8], draw: &mut Draw) -> Outcome {
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    near.set_nonblocking(true).expect("an option of sockets");
    let near = TcpStream::from_std(std::net::TcpStream::from(OwnedFd::from(near))).expect("registered");
    let mut socket = Socket::over(near, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX);
    let mut rest = stream;
    let cuts = if draw.one_in(2) { 1 } else { 1 + draw.below(6) };
    let mut outcome = Outcome { texts: Vec::new(), pongs: Vec::new(), end: End::OverWithout };
    for cut in (1..=cuts).rev() {
        let length = if cut == 1 { rest.len() } else { draw.below(rest.len() + 1) };
        let (piece, after) = rest.split_at(length);
        // The far end never fills up: a stream and its answers are far smaller than the buffer of a socket.
        far.write_all(piece).expect("taken at once");
        rest = after;
        tokio::task::yield_now().await;
        if cut == 1 {
            far.shutdown(std::net::Shutdown::Write).expect("shut");
            outcome.end = read_to_end(&mut socket, &mut outcome.texts).await;
        } else if let Some(end) = read_what_is_there(&mut socket, &mut outcome.texts) {
            outcome.end = end;
            break;
        }
    }
    drop(socket);
    let mut answers = Vec::new();
    // A socket that is closed with unread bytes in it resets the connection, after its answers.
    far.read_to_end(&mut answers).ok();
    outcome.pongs = pongs_in(&answers);
    outcome
}

fn note(inbound: Inbound<'_>, texts: &mut Vec<String>) -> Option<End> {
    match inbound {
        Inbound::Text(text) => texts.push(text.to_owned()),
        Inbound::Control => {}
        Inbound::Binary => return Some(End::Binary),
        Inbound::Closed => return Some(End::Closed),
        Inbound::Broken => return Some(End::OverWithout),
        Inbound::TooBig => return Some(End::TooBig),
        Inbound::Violation => return Some(End::Violation),
    }
    None
}

async fn read_to_end(socket: &mut Socket, texts: &mut Vec<String>) -> End {
    let texts = std::cell::RefCell::new(texts);
    loop {
        if let Some(end) = socket.receive(|inbound| note(inbound, &mut texts.borrow_mut())).await {
            return end;
        }
    }
}

/// Reads until the socket waits for more.
fn read_what_is_there(socket: &mut Socket, texts: &mut Vec<String>) -> Option<End> {
    use futures_util::FutureExt;
    let texts = std::cell::RefCell::new(texts);
    while let Some(came) = socket.receive(|inbound| note(inbound, &mut texts.borrow_mut())).now_or_never() {
        if came.is_some() {
            return came;
        }
    }
    None
}

/// The payloads of the pongs among short frames from a server.
fn pongs_in(mut answers: &[u8]) -> Vec<Vec<u8>> {
    let mut pongs = Vec::new();
    while let [first, length, rest @ ..] = answers {
        let (payload, after) = rest.split_at(usize::from(*length));
        if *first == 0x8a {
            pongs.push(payload.to_vec());
        }
        answers = after;
    }
    assert!(answers.is_empty(), "half a frame was sent");
    pongs
}

/// What tungstenite reads from, and writes to.
struct Wire<'s> {
    inbound: &'s [u8],
    outbound: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inbound.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.outbound.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The stream up to the first control frame whose length is in the long form. RFC 6455 (5.5) forbids it and we refuse it;
/// the other library looks only at the length itself.
fn before_long_control(stream: &[u8]) -> &[u8] {
    let mut at = 0;
    loop {
        let mut cursor = io::Cursor::new(&stream[at..]);
        let Ok(Some((header, payload_bytes))) = FrameHeader::parse(&mut cursor) else { return stream };
        if matches!(header.opcode, OpCode::Control(_)) && stream[at + 1] & 0x7f > 125 {
            return &stream[..at];
        }
        let head_bytes = cursor.position() as usize;
        at = at.saturating_add(head_bytes).saturating_add(usize::try_from(payload_bytes).unwrap_or(usize::MAX));
        if at >= stream.len() {
            return stream;
        }
    }
}

fn theirs(stream: &[u8]) -> Outcome {
    let stream = before_long_control(stream);
    let config = WebSocketConfig::default()
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let wire = Wire { inbound: stream, outbound: Vec::new() };
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    let mut texts = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => texts.push(text.to_string()),
            Ok(Message::Binary(_)) => break End::Binary,
            Ok(Message::Close(_)) => break End::Closed,
            Ok(_) => {}
            Err(Error::Capacity(_)) => break End::TooBig,
            Err(Error::Utf8(_)) => break End::BadText,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => break End::OverWithout,
            Err(Error::Protocol(_)) => break End::Violation,
            Err(error) => panic!("not about the stream: {error}"),
        }
    };
    // An answer to a ping directly before the end may still wait.
    socket.flush().ok();
    let answers = &socket.get_ref().outbound;
    Outcome { texts, pongs: pongs_in(answers), end }
}

/// The accepted differences in how a stream ends, each with its reason.
fn may_differ(ours: &End, theirs: &End) -> bool {
    match (ours, theirs) {
        // Bad text has no name of its own with us.
        (End::Violation, End::BadText)
        // We refuse a head as soon as it is there; the other library reads the payload first, which may be too long or cut
        // off, and it answers a close code that may not be sent in place of refusing it.
        | (End::Violation, End::TooBig | End::OverWithout | End::Closed)
        // We refuse the first frame that is binary, the other library hands on the message once it is whole.
        | (End::Binary, _)
        // We check the text of a message in parts when it is whole, the other library with each part.
        | (End::Closed | End::OverWithout | End::TooBig, End::BadText) => true,
        _ => ours == theirs,
    }
}

fn check(number: u64, stream: &[u8], ours: &Outcome) {
    let theirs = theirs(stream);
    let explain = || format!("stream {number}: {stream:02x?}\nours {ours:?}\ntheirs {theirs:?}");
    assert_eq!(ours.texts, theirs.texts, "{}", explain());
    assert!(may_differ(&ours.end, &theirs.end), "{}", explain());
    // Where the other library reads on or stops earlier, it answers more pings or fewer; never others.
    let shared = ours.pongs.len().min(theirs.pongs.len());
    assert_eq!(ours.pongs[..shared], theirs.pongs[..shared], "{}", explain());
    assert!(ours.end != theirs.end || ours.end == End::Binary || ours.pongs == theirs.pongs, "{}", explain());
}
