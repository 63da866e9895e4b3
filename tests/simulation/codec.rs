//! The browser's half of the WebSocket protocol, written from RFC 6455 and independent of the server's.

/// What a browser hears from the server.
#[derive(Debug)]
pub enum Heard {
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(u16),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Takes the next whole frame off the front of what was read.
pub fn take_frame(bytes: &mut Vec<u8>) -> Option<Heard> {
    let first = *bytes.first()?;
    let second = *bytes.get(1)?;
    let (length, head) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    bytes.drain(..head + length);
    assert_eq!(first & 0xf0, FIN, "the server sends whole frames without extensions");
    Some(match first & 0x0f {
        TEXT => Heard::Text(payload),
        CLOSE => Heard::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
        PING => Heard::Ping(payload),
        PONG => Heard::Pong,
        other => panic!("the server sent a frame of type {other}"),
    })
}

pub fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    // Any key will do; chance is not what is tested here.
    const KEY: [u8; 4] = [0x5a, 0x17, 0xc3, 0x6e];
    let mut bytes = vec![FIN | kind];
    match payload.len() {
        length @ 0..126 => bytes.push(MASKED | length as u8),
        length @ 126..65_536 => {
            bytes.push(MASKED | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(MASKED | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}
