//! A socket as bytes: the upgrade by hand, frames as they lie on the wire, and a reader that forgives the server nothing.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame with this first byte: flags and opcode.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A pong of the WebSocket layer.
    Pong(Vec<u8>),
    /// A `pong` frame of the protocol with this id, as JSON text.
    JsonPong(String),
    Error(String),
    Joined,
    Close(Option<u16>),
    /// The stream ended, in good order or by a reset.
    End,
}

pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The `joined` frame, once there is one.
    pub joined: Value,
}

impl Wire {
    /// Sends these bytes as the request, and gives the head of the answer.
    pub async fn request(url: &str, request: &[u8]) -> (Self, String) {
        let mut wire = Self::open(url).await;
        wire.send(request).await;
        let head = wire.response_head().await;
        (wire, head)
    }

    pub async fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await.expect("connected");
        stream.set_nodelay(true).expect("an option of TCP");
        Self { stream, unread: Vec::new(), joined: Value::Null }
    }

    pub async fn upgraded(url: &str) -> Self {
        let (wire, head) = Self::request(url, upgrade_request("", "").as_bytes()).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        wire
    }

    pub async fn joined(url: &str, token: &str) -> Self {
        let mut wire = Self::upgraded(url).await;
        wire.send(&join_frame(token)).await;
        assert_eq!(wire.hear().await, Heard::Joined);
        wire
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed resets what still comes; the case says what must have been heard until then.
        self.stream.write_all(bytes).await.ok();
    }

    /// The same in pieces of so many bytes, each a segment of its own as far as the system lets it.
    pub async fn send_chopped(&mut self, bytes: &[u8], piece_bytes: usize) {
        for piece in bytes.chunks(piece_bytes) {
            self.send(piece).await;
            tokio::task::yield_now().await;
        }
    }

    pub async fn shut(&mut self) {
        self.stream.shutdown().await.ok();
    }

    pub async fn response_head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.read().await, "no answer: {}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// The next thing that the server says; news of other people are passed over.
    pub async fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.take_frame() {
                return heard;
            }
            if self.frame_end().is_none() && !self.read().await {
                return Heard::End;
            }
        }
    }

    /// One frame out of what was read; `None` where there is none, or only news.
    fn take_frame(&mut self) -> Option<Heard> {
        let (start, end) = self.frame_end()?;
        let first = self.unread[0];
        let payload: Vec<u8> = self.unread.drain(..end).skip(start).collect();
        match first {
            0x81 => self.understand(&String::from_utf8(payload).expect("the server sends UTF-8")),
            0x88 => {
                assert!(payload.len() != 1 && payload.len() <= 125, "{payload:?}");
                let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                assert!(std::str::from_utf8(payload.get(2..).unwrap_or_default()).is_ok(), "a reason is text");
                Some(Heard::Close(code))
            }
            0x89 => None,
            0x8a => Some(Heard::Pong(payload)),
            other => panic!("the server sent a frame with first byte {other:#x}"),
        }
    }

    /// Where the payload of the first frame begins and ends, if the frame is whole.
    fn frame_end(&self) -> Option<(usize, usize)> {
        let [_, length, rest @ ..] = &self.unread[..] else { return None };
        let (start, length) = match *length {
            length @ 0..=125 => (2, usize::from(length)),
            126 => (4, usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize),
            _ => panic!("the server masks"),
        };
        (self.unread.len() >= start + length).then_some((start, start + length))
    }

    fn understand(&mut self, text: &str) -> Option<Heard> {
        let frame: Value = serde_json::from_str(text).expect("JSON");
        match frame["type"].as_str().expect("a type") {
            "presence" | "snapshot" => None,
            "joined" => {
                self.joined = frame;
                Some(Heard::Joined)
            }
            "error" => Some(Heard::Error(frame["code"].as_str().expect("a code").to_owned())),
            "pong" => Some(Heard::JsonPong(frame["id"].to_string())),
            other => panic!("unexpected {other}"),
        }
    }

    async fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("an answer in time");
        let count = read.unwrap_or(0);
        self.unread.extend_from_slice(&chunk[..count]);
        count > 0
    }
}

/// An upgrade with a header line more, and one (by the start of its line) less.
pub fn upgrade_request(more: &str, without: &str) -> String {
    let lines = [
        "Host: rollcall.test",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: rollcall.v1",
    ];
    let lines = lines.iter().filter(|line| without.is_empty() || !line.starts_with(without));
    let lines: String = lines.map(|line| format!("{line}\r\n")).collect();
    format!("GET /v1/ws HTTP/1.1\r\n{lines}{more}\r\n")
}

pub fn join_text(token: &str) -> String {
    json!({ "type": "join", "token": token, "name": "Ånn κόσμε 😀" }).to_string()
}

pub fn join_frame(token: &str) -> Vec<u8> {
    frame(0x81, join_text(token))
}
