//! The cases, numbered after the sections of the Autobahn test suite, with the limits and answers of `rollcall.v1`.

use super::wire::{Heard, frame};

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
const TEXT_BEGIN: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

const FRAME_BYTES_MAX: usize = 16 * 1024;

/// How the socket is afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Stays,
    /// An error with this code, then close 4009.
    Refused(&'static str),
    /// The peer's close is answered with this code.
    Answered(Option<u16>),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    /// What is heard before the end, in order.
    pub heard: Vec<Heard>,
    pub then: Then,
    /// Has no text, so it means the same before the join.
    pub before_join: bool,
}

const VIOLATION: Then = Then::Refused("protocol_violation");
const TOO_BIG: Then = Then::Refused("message_too_big");

fn case(name: impl Into<String>, frames: &[Vec<u8>], heard: &[Heard], then: Then) -> Case {
    let spoken = heard.iter().any(|heard| !matches!(heard, Heard::Pong(_)));
    Case { name: name.into(), bytes: frames.concat(), heard: heard.to_vec(), then, before_join: !spoken }
}

/// A text that is answered.
fn hello() -> Vec<u8> {
    frame(TEXT, r#"{"type":"ping","id":1}"#)
}

fn hello_back() -> Heard {
    Heard::JsonPong("1".into())
}

fn pong(payload: &[u8]) -> Heard {
    Heard::Pong(payload.to_vec())
}

fn error(code: &str) -> Heard {
    Heard::Error(code.into())
}

/// A ping of the protocol, so many bytes long.
fn padded(length: usize) -> String {
    let text = r#"{"type":"ping","id":1}"#;
    text.to_owned() + &" ".repeat(length - text.len())
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, [&code.to_be_bytes(), reason].concat())
}

pub fn all() -> Vec<Case> {
    [framing(), pings(), reserved_bits(), opcodes(), fragmentation(), super::utf8::cases(), closes(), limits()].concat()
}

fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in [0, 1] {
        let text = frame(TEXT, "x".repeat(length));
        cases.push(case(format!("1.1 text of {length}"), &[text], &[error("malformed_frame")], Then::Stays));
    }
    for length in [22, 125, 126, 127, 128, 1_000, FRAME_BYTES_MAX] {
        cases.push(case(format!("1.1 text of {length}"), &[frame(TEXT, padded(length))], &[hello_back()], Then::Stays));
    }
    for length in [FRAME_BYTES_MAX + 1, 65_535, 65_536] {
        let mut one = case(format!("1.1 text of {length}"), &[frame(TEXT, padded(length))], &[], TOO_BIG);
        one.before_join = true;
        cases.push(one);
    }
    for length in [0, 1, 125, 126, 127, 128, FRAME_BYTES_MAX] {
        let binary = frame(BINARY, vec![0xfe; length]);
        cases.push(case(format!("1.2 binary of {length}"), &[binary], &[], Then::Refused("binary_refused")));
    }
    for length in [FRAME_BYTES_MAX + 1, 65_535, 65_536] {
        cases.push(case(format!("1.2 binary of {length}"), &[frame(BINARY, vec![0xfe; length])], &[], TOO_BIG));
    }
    for (name, head) in [
        ("no mask", &[0x81, 0x02, b'h', b'i'][..]),
        ("a ping without a mask", &[0x89, 0x00]),
        ("a close without a mask", &[0x88, 0x02, 3, 232]),
    ] {
        cases.push(case(format!("1.3 {name}"), &[head.to_vec()], &[], VIOLATION));
    }
    for length in [u64::MAX, 1 << 63, 1 << 32, (FRAME_BYTES_MAX + 1) as u64] {
        let head = [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        cases.push(case(format!("1.4 a head that announces {length}"), &[head], &[], TOO_BIG));
    }
    let text = padded(22);
    let whole = frame(TEXT, &text);
    let in_two = [&[0x81, 0xfe, 0, 22], &whole[2..]].concat();
    let in_eight = [&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 22], &whole[2..]].concat();
    cases.push(case("1.5 a short length in two bytes is understood", &[in_two], &[hello_back()], Then::Stays));
    cases.push(case("1.5 a short length in eight bytes is understood", &[in_eight], &[hello_back()], Then::Stays));
    let mut unmasked = vec![0x81, 0x80 | 22, 0, 0, 0, 0];
    unmasked.extend(text.as_bytes());
    cases.push(case("1.6 a mask of zeros", &[unmasked], &[hello_back()], Then::Stays));
    cases
}

fn pings() -> Vec<Case> {
    let mut cases = Vec::new();
    for payload in [&b""[..], b"Hello, world!", &[0, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0, 0xff], &[0xfe; 124], &[0xfe; 125]]
    {
        let name = format!("2.1 a ping with {} bytes", payload.len());
        cases.push(case(name, &[frame(PING, payload)], &[pong(payload)], Then::Stays));
    }
    for length in [126, 127, 65_536] {
        cases.push(case(format!("2.5 a ping with {length} bytes"), &[frame(PING, vec![0xfe; length])], &[], VIOLATION));
        cases.push(case(format!("2.5 a pong with {length} bytes"), &[frame(PONG, vec![0xfe; length])], &[], VIOLATION));
    }
    cases.push(case("2.7 an unasked pong", &[frame(PONG, "")], &[], Then::Stays));
    cases.push(case("2.8 an unasked pong with a payload", &[frame(PONG, "unasked")], &[], Then::Stays));
    let both = [frame(PONG, "unasked"), frame(PING, "asked")];
    cases.push(case("2.9 a pong, then a ping", &both, &[pong(b"asked")], Then::Stays));
    for count in [10_u8, 50] {
        let pings: Vec<_> = (0..count).map(|number| frame(PING, [number])).collect();
        let pongs: Vec<_> = (0..count).map(|number| pong(&[number])).collect();
        cases.push(case(format!("2.10 {count} pings"), &pings, &pongs, Then::Stays));
    }
    cases
}

fn reserved_bits() -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        let flag = bits << 4;
        for (opcode, what) in
            [(TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (PONG, "pong"), (CLOSE, "close"), (LAST, "rest")]
        {
            cases.push(case(format!("3.{bits} on a {what}"), &[frame(opcode | flag, "")], &[], VIOLATION));
        }
        let after = [hello(), frame(TEXT | flag, "x"), hello()];
        cases.push(case(format!("3.{bits} after a text"), &after, &[hello_back()], VIOLATION));
        let between = [frame(PING, "p"), frame(PING | flag, "q"), frame(PING, "r")];
        cases.push(case(format!("3.{bits} between pings"), &between, &[pong(b"p")], VIOLATION));
    }
    cases
}

fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf_u8] {
        for (payload, what) in [("", "empty"), ("reserved", "with a payload")] {
            cases.push(case(format!("4.{opcode} {what}"), &[frame(0x80 | opcode, payload)], &[], VIOLATION));
        }
        cases.push(case(format!("4.{opcode} not final"), &[frame(opcode, "part")], &[], VIOLATION));
        let after = [hello(), frame(0x80 | opcode, "reserved"), frame(PING, "")];
        cases.push(case(format!("4.{opcode} after a text, before a ping"), &after, &[hello_back()], VIOLATION));
    }
    cases
}

fn fragmentation() -> Vec<Case> {
    let text = padded(22);
    let (begin, end) = text.split_at(9);
    let (begun, ended) = (frame(TEXT_BEGIN, begin), frame(LAST, end));
    let ping = || frame(PING, "between");
    let answered = pong(b"between");
    let rest = |payload: &str| frame(MORE, payload);
    let in_bytes = text.bytes().enumerate().map(|(at, byte)| {
        frame(
            if at == 0 {
                TEXT_BEGIN
            } else if at == 21 {
                LAST
            } else {
                MORE
            },
            [byte],
        )
    });
    let twice = [begun.clone(), ping(), ended.clone(), begun.clone(), ping(), ended.clone()];
    let mut cases = vec![
        case("5.1 a ping in two", &[frame(0x09, "a"), frame(LAST, "b")], &[], VIOLATION),
        case("5.2 a pong in two", &[frame(0x0a, "a"), frame(LAST, "b")], &[], VIOLATION),
        case("5.2 a close in two", &[frame(0x08, [3]), frame(LAST, [232])], &[], VIOLATION),
        case("5.3 a text in two", &[begun.clone(), ended.clone()], &[hello_back()], Then::Stays),
        case(
            "5.6 with a ping between",
            &[begun.clone(), ping(), ended.clone()],
            &[answered.clone(), hello_back()],
            Then::Stays,
        ),
        case(
            "5.6 with a pong between",
            &[begun.clone(), frame(PONG, "x"), ended.clone()],
            &[hello_back()],
            Then::Stays,
        ),
        case("5.7 twice", &twice, &[answered.clone(), hello_back(), answered.clone(), hello_back()], Then::Stays),
        case("5.8 a text in bytes", &in_bytes.collect::<Vec<_>>(), &[hello_back()], Then::Stays),
        case("5.9 a rest of nothing", &[frame(LAST, "rest"), hello()], &[], VIOLATION),
        case("5.10 a rest of nothing that is not final", &[rest("rest"), hello()], &[], VIOLATION),
        case("5.11 an empty rest of nothing", &[rest("")], &[], VIOLATION),
        case("5.12 a rest after a whole text", &[hello(), frame(LAST, "x")], &[hello_back()], VIOLATION),
        case(
            "5.13 a rest after a text in parts",
            &[begun.clone(), ended.clone(), rest("x")],
            &[hello_back()],
            VIOLATION,
        ),
        case("5.15 a text inside a text", &[begun.clone(), hello(), ended.clone()], &[], VIOLATION),
        case("5.16 a begin inside a text", &[begun.clone(), begun.clone()], &[], VIOLATION),
        case("5.17 a binary inside a text", &[begun.clone(), frame(BINARY, "x")], &[], Then::Refused("binary_refused")),
        case("5.18 a binary in parts", &[frame(0x02, "x"), frame(LAST, "y")], &[], Then::Refused("binary_refused")),
        case(
            "5.20 empty parts",
            &[frame(TEXT_BEGIN, ""), rest(""), frame(LAST, text.as_str())],
            &[hello_back()],
            Then::Stays,
        ),
        case(
            "5.20 an empty end",
            &[frame(TEXT_BEGIN, text.as_str()), rest(""), frame(LAST, "")],
            &[hello_back()],
            Then::Stays,
        ),
        case(
            "5.20 nothing but empty parts",
            &[frame(TEXT_BEGIN, ""), rest(""), frame(LAST, "")],
            &[error("malformed_frame")],
            Then::Stays,
        ),
        case("5.21 a close inside a text", &[begun.clone(), close(1000, b"")], &[], Then::Answered(Some(1000))),
    ];
    for at in 0..=text.len() {
        let (begin, end) = text.split_at(at);
        let parts = [frame(TEXT_BEGIN, begin), frame(LAST, end)];
        cases.push(case(format!("5.22 cut at {at}"), &parts, &[hello_back()], Then::Stays));
    }
    cases
}

fn closes() -> Vec<Case> {
    let mut cases = vec![
        case("7.1.1 a text, then a close", &[hello(), close(1000, b"")], &[hello_back()], Then::Answered(Some(1000))),
        case("7.1.2 two closes", &[close(1000, b""), close(1001, b"")], &[], Then::Answered(Some(1000))),
        case("7.1.3 a ping after a close", &[close(1000, b""), frame(PING, "late")], &[], Then::Answered(Some(1000))),
        case("7.1.4 a text after a close", &[close(1000, b""), hello()], &[], Then::Answered(Some(1000))),
        case("7.1.5 a violation after a close", &[close(1000, b""), frame(0xff, "")], &[], Then::Answered(Some(1000))),
        case("7.3.1 an empty close", &[frame(CLOSE, "")], &[], Then::Answered(None)),
        case("7.3.2 half a code", &[frame(CLOSE, [3])], &[], VIOLATION),
        case("7.3.4 a reason", &[close(1000, b"Hello, world!")], &[], Then::Answered(Some(1000))),
        case("7.3.5 the longest reason", &[close(1000, &[b'*'; 123])], &[], Then::Answered(Some(1000))),
        case("7.3.6 a reason that is too long", &[close(1000, &[b'*'; 124])], &[], VIOLATION),
        case("7.5.1 a reason that is no text", &[close(1000, b"\xce\xba\xed\xa0\x80edited")], &[], VIOLATION),
        case("7.5.2 a reason cut in a character", &[close(1000, b"\xce\xba\xe1\xbd")], &[], VIOLATION),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4009, 4999] {
        cases.push(case(format!("7.7 code {code}"), &[close(code, b"bye")], &[], Then::Answered(Some(code))));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32_768, 65_535] {
        cases.push(case(format!("7.9 code {code}"), &[close(code, b"")], &[], VIOLATION));
        cases.push(case(format!("7.9 code {code} with a reason"), &[close(code, b"why")], &[], VIOLATION));
    }
    cases
}

fn limits() -> Vec<Case> {
    const MESSAGE_BYTES_MAX: usize = 64 * 1024;
    let mut cases = Vec::new();
    for part_bytes in [FRAME_BYTES_MAX, 8_192, 4_096, 2_000] {
        for (length, heard, then) in [
            (MESSAGE_BYTES_MAX - 1, vec![hello_back()], Then::Stays),
            (MESSAGE_BYTES_MAX, vec![hello_back()], Then::Stays),
            (MESSAGE_BYTES_MAX + 1, vec![], TOO_BIG),
        ] {
            let mut parts: Vec<_> =
                padded(length).as_bytes().chunks(part_bytes).map(|part| frame(MORE, part)).collect();
            parts[0][0] = TEXT_BEGIN;
            parts.last_mut().expect("a part")[0] |= 0x80;
            let mut one = case(format!("9.3 {length} bytes in parts of {part_bytes}"), &parts, &heard, then);
            one.before_join = then == TOO_BIG;
            cases.push(one);
        }
    }
    cases
}
