//! Section 6: text is UTF-8, whole or cut anywhere. Valid text comes back byte for byte, as the id of a ping.

use super::cases::{Case, TEXT, Then};
use super::wire::{Heard, frame};

/// Valid sequences: the ends of every range, the surrogates' neighbours, characters that are no characters, and words.
const VALID: [&str; 23] = [
    "κόσμε",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "日本語 한국어 😀",
    "\u{7f}",
    "\u{80}",
    "\u{7ff}",
    "\u{800}",
    "\u{fff}",
    "\u{1000}",
    "\u{cfff}",
    "\u{d000}",
    "\u{d7ff}",
    "\u{e000}",
    "\u{feff}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10000}",
    "\u{1fffe}",
    "\u{3ffff}",
    "\u{40000}",
    "\u{fffff}",
    "\u{10ffff}",
];

/// After Markus Kuhn's stress test of UTF-8 decoders and the table 3-7 of the Unicode standard.
const INVALID: [&[u8]; 55] = [
    // Continuation bytes alone.
    b"\x80",
    b"\xbf",
    b"\x80\xbf",
    b"\x80\xbf\x80",
    b"\x80\xbf\x80\xbf\x80\xbf",
    // First bytes alone, and before a space.
    b"\xc2",
    b"\xdf ",
    b"\xe0 ",
    b"\xe1",
    b"\xef ",
    b"\xf0 ",
    b"\xf1",
    b"\xf4 ",
    // The last byte is missing.
    b"\xdf",
    b"\xe0\xa0",
    b"\xe1\x80",
    b"\xef\xbf",
    b"\xf0\x90\x80",
    b"\xf1\x80\x80",
    b"\xf4\x8f\xbf",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce",
    b"\xe1\xbd\xe1\xbd",
    // More than a continuation.
    b"\xc3\xa9\xa9",
    b"\xe2\x82\xac\x80",
    // Bytes that never occur.
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0",
    b"\xc1",
    b"\xf5",
    b"\xf8",
    b"\xfc",
    // Longer than needed.
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xf0\x80\x80\x80",
    // Surrogates, single and in pairs.
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xae\x80",
    b"\xed\xaf\xbf",
    b"\xed\xb0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
    // Beyond the last character.
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf8\x88\x80\x80\x80",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for text in VALID {
        let message = ping_with(text.as_bytes());
        let heard = vec![Heard::JsonPong(serde_json::Value::from(text).to_string())];
        let mut one = |name: String, bytes: Vec<u8>| {
            cases.push(Case { name, bytes, heard: heard.clone(), then: Then::Stays, before_join: false });
        };
        one(format!("6.2 {text:?}"), frame(TEXT, &message));
        // Every cut inside the text, also in the middle of a character.
        for at in 1..text.len().min(4) {
            one(format!("6.2 {text:?} cut at {at}"), in_parts(&message, ID_AT + at));
        }
    }
    for bytes in INVALID {
        let message = ping_with(bytes);
        let mut one = |name: String, bytes: Vec<u8>| {
            let then = Then::Refused("protocol_violation");
            cases.push(Case { name, bytes, heard: Vec::new(), then, before_join: true });
        };
        one(format!("6.3 {bytes:02x?}"), frame(TEXT, &message));
        one(format!("6.3 {bytes:02x?} and nothing else"), frame(TEXT, bytes));
        one(format!("6.4 {bytes:02x?} in parts"), in_parts(&message, ID_AT + 1));
    }
    for control in [0_u8, 1, 0x1f] {
        cases.push(Case {
            name: format!("6.5 the raw control character {control} is text, but no JSON"),
            bytes: frame(TEXT, ping_with(&[control])),
            heard: vec![Heard::Error("malformed_frame".into())],
            then: Then::Stays,
            before_join: false,
        });
    }
    cases
}

/// Where the id lies in what [`ping_with`] makes.
const ID_AT: usize = br#"{"type":"ping","id":""#.len();

fn ping_with(id: &[u8]) -> Vec<u8> {
    [br#"{"type":"ping","id":""#, id, br#""}"#].concat()
}

fn in_parts(message: &[u8], at: usize) -> Vec<u8> {
    [frame(TEXT & 0x0f, &message[..at]), frame(0x80, &message[at..])].concat()
}
