//! Mutated frame streams, read by our socket and by tungstenite: both must understand the same until one of them stops.
//!
//! Streams are drawn from a fixed seed, so that a failure names a stream that fails again. What the two may end differently,
//! and why, is in [`may_differ`]; that they hand on the same texts and answer with the same pongs has no exception.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Inbound, Socket};

const STREAMS: u64 = 20_000;
const FRAME_BYTES_MAX: usize = 300;
const MESSAGE_BYTES_MAX: usize = 700;

/// Texts whose UTF-8 a mutation or a fragment can break in many ways.
const TEXTS: [&str; 6] =
    ["", r#"{"type":"ping"}"#, "κόσμε", "\u{10ffff}\u{d7ff}\u{e000}", "a\u{80}b\u{7ff}c\u{800}", "\0"];

/// The bit of an opcode that marks control frames.
const CONTROL: u8 = 0x08;

/// How a reader of a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
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
struct Outcome {
    texts: Vec<String>,
    pongs: Vec<Vec<u8>>,
    end: End,
}

/// SplitMix64: enough to draw streams, and the same everywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self) -> Vec<u8> {
        let long = if self.one_in(6) { 30 } else { 1 };
        TEXTS[self.below(TEXTS.len())].repeat(1 + self.below(long)).into_bytes()
    }
}

fn push_frame(stream: &mut Vec<u8>, draw: &mut Draw, first: u8, payload: &[u8]) {
    stream.push(first);
    match payload.len() {
        length @ 0..=125 if first & CONTROL != 0 || !draw.one_in(40) => stream.push(0x80 | length as u8),
        length @ 0..=0xffff if !draw.one_in(40) => {
            stream.push(0x80 | 126);
            stream.extend((length as u16).to_be_bytes());
        }
        length => {
            stream.push(0x80 | 127);
            stream.extend((length as u64).to_be_bytes());
        }
    }
    let mask = draw.bytes(4);
    stream.extend(&mask);
    stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn push_message(stream: &mut Vec<u8>, draw: &mut Draw) {
    match draw.below(16) {
        0..=5 => {
            let text = draw.text();
            push_frame(stream, draw, 0x81, &text);
        }
        6..=9 => push_fragments(stream, draw),
        10..=12 => {
            let length_max = if draw.one_in(4) { 130 } else { 20 };
            let length = draw.below(length_max);
            let payload = draw.bytes(length);
            push_frame(stream, draw, 0x89, &payload);
        }
        13 => push_frame(stream, draw, 0x8a, b"unasked"),
        14 if draw.one_in(3) => push_frame(stream, draw, 0x82, b"bytes"),
        _ if draw.one_in(3) => {
            let code = [1000, 1001, 1005, 1011, 1016, 2999, 3000, 4999, 5000][draw.below(9)];
            let payload = [&u16::to_be_bytes(code)[..], "bye é".as_bytes()].concat();
            let length = [payload.len(), 2, 1, 0][draw.below(4)];
            push_frame(stream, draw, 0x88, &payload[..length]);
        }
        _ => {}
    }
}

/// A text cut anywhere, also inside a character, with pings between its parts.
fn push_fragments(stream: &mut Vec<u8>, draw: &mut Draw) {
    let text = draw.text();
    let mut rest = &text[..];
    let mut opcode = 0x01;
    for _ in 0..draw.below(4) {
        let (part, after) = rest.split_at(draw.below(rest.len() + 1));
        push_frame(stream, draw, opcode, part);
        if draw.one_in(3) {
            push_frame(stream, draw, 0x89, b"between");
        }
        (rest, opcode) = (after, 0x00);
    }
    push_frame(stream, draw, opcode | 0x80, rest);
}

/// A valid stream with up to three mutations.
fn mutated_stream(draw: &mut Draw) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..1 + draw.below(8) {
        push_message(&mut stream, draw);
    }
    for _ in 0..draw.below(4) {
        let at = draw.below(stream.len());
        let length = draw.below(12).min(stream.len() - at);
        match draw.below(5) {
            0 if !stream.is_empty() => stream[at] ^= 1 << draw.below(8),
            1 if !stream.is_empty() => stream[at] = draw.next() as u8,
            2 => drop(stream.drain(at..at + length)),
            3 => {
                let again = stream[at..at + length].to_vec();
                stream.splice(at..at, again);
            }
            _ if draw.one_in(3) => stream.truncate(at),
            _ => {}
        }
    }
    stream
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

#[test]
fn understands_mutated_streams_as_another_implementation_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ends = std::collections::HashMap::<String, u64>::new();
    let mut texts = 0;
    runtime.block_on(async {
        for number in 0..STREAMS {
            let mut draw = Draw(number);
            let stream = mutated_stream(&mut draw);
            let outcome = ours(&stream, &mut draw).await;
            check(number, &stream, &outcome);
            texts += outcome.texts.len() as u64;
            *ends.entry(format!("{:?}", outcome.end)).or_default() += 1;
        }
    });
    // A fuzzer that reaches only one kind of end would prove little.
    for end in [End::Closed, End::OverWithout, End::Binary, End::TooBig, End::Violation] {
        let count = ends.get(&format!("{end:?}")).copied().unwrap_or(0);
        assert!(count > STREAMS / 200, "only {count} streams ended with {end:?}: {ends:?}");
    }
    assert!(texts > STREAMS, "only {texts} texts were understood");
}
