//! Mutated frame streams, drawn from a fixed seed, so that a failure names a stream that fails again.

use super::compare::{End, compare};
use crate::fuzzing::Draw;

const STREAMS: u64 = 20_000;

/// Texts whose UTF-8 a mutation or a fragment can break in many ways.
const TEXTS: [&str; 6] =
    ["", r#"{"type":"ping"}"#, "κόσμε", "\u{10ffff}\u{d7ff}\u{e000}", "a\u{80}b\u{7ff}c\u{800}", "\0"];

/// The bit of an opcode that marks control frames.
const CONTROL: u8 = 0x08;

fn draw_bytes(draw: &mut Draw, length: usize) -> Vec<u8> {
    (0..length).map(|_| draw.next() as u8).collect()
}

fn draw_text(draw: &mut Draw) -> Vec<u8> {
    let long = if draw.one_in(6) { 30 } else { 1 };
    TEXTS[draw.below(TEXTS.len())].repeat(1 + draw.below(long)).into_bytes()
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
    let mask = draw_bytes(draw, 4);
    stream.extend(&mask);
    stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn push_message(stream: &mut Vec<u8>, draw: &mut Draw) {
    match draw.below(16) {
        0..=5 => {
            let text = draw_text(draw);
            push_frame(stream, draw, 0x81, &text);
        }
        6..=9 => push_fragments(stream, draw),
        10..=12 => {
            let length_max = if draw.one_in(4) { 130 } else { 20 };
            let length = draw.below(length_max);
            let payload = draw_bytes(draw, length);
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
    let text = draw_text(draw);
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

#[test]
fn understands_mutated_streams_as_another_implementation_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ends = std::collections::HashMap::<String, u64>::new();
    let mut texts = 0;
    runtime.block_on(async {
        for number in 0..STREAMS {
            let mut draw = Draw::new(number);
            let stream = mutated_stream(&mut draw);
            let outcome = compare(number, &stream, &mut draw).await;
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
