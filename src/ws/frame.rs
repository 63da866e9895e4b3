//! Framing of RFC 6455 as a server sees it, on plain bytes: no I/O and no allocation.

use std::ops::Range;

/// Longest head of a frame from a server, which is not masked.
pub(super) const SERVER_HEAD_BYTES_MAX: usize = 10;

/// Longest payload of a control frame.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// Values of the seven bits of length that announce a longer field.
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

impl Opcode {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    pub(super) const fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// The head of a frame from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    /// Whether the message ends with this frame.
    pub(super) is_final: bool,
    mask: [u8; 4],
    head_bytes: usize,
    pub(super) payload_bytes: u64,
}

/// What the start of a frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed {
    Head(Head),
    /// The head is not whole; so many bytes are needed to know more.
    Needs(usize),
}

/// The peer breaks the rules of framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation;

impl Head {
    /// Reads the head at the start of `bytes`.
    ///
    /// # Errors
    /// Reserved bits or opcodes, no mask, a control frame that is long or not final.
    pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(Parsed::Needs(2)) };
        let opcode = Opcode::of(first & OPCODE).ok_or(Violation)?;
        let is_final = first & FIN != 0;
        let length = second & LENGTH;
        let is_proper_control = is_final && usize::from(length) <= CONTROL_BYTES_MAX;
        if first & RESERVED != 0 || second & MASKED == 0 || (opcode.is_control() && !is_proper_control) {
            return Err(Violation);
        }
        let length_bytes = match length {
            LENGTH_IN_2_BYTES => 2,
            LENGTH_IN_8_BYTES => 8,
            _ => 0,
        };
        let head_bytes = 2 + length_bytes + 4;
        let Some((long, mask)) = rest.get(..length_bytes + 4).map(|rest| rest.split_at(length_bytes)) else {
            return Ok(Parsed::Needs(head_bytes));
        };
        let payload_bytes = match length_bytes {
            0 => u64::from(length),
            _ => long.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Parsed::Head(Self { opcode, is_final, mask, head_bytes, payload_bytes }))
    }

    /// Where the payload lies in bytes that begin with this head.
    pub(super) fn payload(&self) -> Range<usize> {
        // Callers refuse frames beyond their limit before they ask, so the length fits.
        self.head_bytes..self.head_bytes + self.payload_bytes as usize
    }

    /// Takes the mask off a payload.
    pub(super) fn unmask(&self, payload: &mut [u8]) {
        let [a, b, c, d] = self.mask;
        let mask = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let mut words = payload.chunks_exact_mut(8);
        for word in &mut words {
            let masked = u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
            word.copy_from_slice(&(masked ^ mask).to_ne_bytes());
        }
        for (byte, mask) in words.into_remainder().iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// The head of a whole, unmasked frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerHead {
    bytes: [u8; SERVER_HEAD_BYTES_MAX],
    length: u8,
}

impl ServerHead {
    pub(super) fn new(opcode: Opcode, payload_bytes: usize) -> Self {
        let mut bytes = [0; SERVER_HEAD_BYTES_MAX];
        bytes[0] = FIN | opcode as u8;
        let length = match payload_bytes {
            0..=CONTROL_BYTES_MAX => {
                bytes[1] = payload_bytes as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = LENGTH_IN_2_BYTES;
                bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = LENGTH_IN_8_BYTES;
                bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, length }
    }
}

impl AsRef<[u8]> for ServerHead {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Longest payload of a [`ShortFrame`].
pub(super) const SHORT_BYTES_MAX: usize = 160;

/// Room for the head of a short frame: two bytes, or four from 126 bytes of payload on.
const SHORT_HEAD_BYTES_MAX: usize = 4;

/// A text frame on the stack, with its head directly before its payload: one write without an allocation.
pub(super) struct ShortFrame {
    bytes: [u8; SHORT_HEAD_BYTES_MAX + SHORT_BYTES_MAX],
    start: usize,
    end: usize,
}

impl ShortFrame {
    /// `write` puts the payload, at most [`SHORT_BYTES_MAX`] bytes, into the buffer it is given.
    pub(super) fn text(write: impl FnOnce(&mut &mut [u8])) -> Self {
        let mut bytes = [0; SHORT_HEAD_BYTES_MAX + SHORT_BYTES_MAX];
        let mut room = &mut bytes[SHORT_HEAD_BYTES_MAX..];
        write(&mut room);
        let end = SHORT_HEAD_BYTES_MAX + SHORT_BYTES_MAX - room.len();
        let head = ServerHead::new(Opcode::Text, end - SHORT_HEAD_BYTES_MAX);
        let start = SHORT_HEAD_BYTES_MAX - head.as_ref().len();
        bytes[start..SHORT_HEAD_BYTES_MAX].copy_from_slice(head.as_ref());
        Self { bytes, start, end }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[SHORT_HEAD_BYTES_MAX..self.end]
    }
}

/// Checks what a close frame carries, and returns the code to answer with; `None` when the peer gave none.
///
/// # Errors
/// Half a code, a code that may not be sent, or a reason that is not text.
pub(super) fn close_code_of(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    // RFC 6455, 7.4: 1004 to 1006 and 1015 are never sent; 1012 to 1014 were registered later.
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !may_be_sent || std::str::from_utf8(reason).is_err() {
        return Err(Violation);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;

    /// Longest head of a frame from a client: two bytes, eight of length, four of mask.
    const CLIENT_HEAD_BYTES_MAX: usize = 14;

    /// A client's frame as another implementation writes it.
    fn client_frame(opcode: OpCode, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).expect("written");
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn head(bytes: &[u8]) -> Head {
        match Head::parse(bytes) {
            Ok(Parsed::Head(head)) => head,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn reads_what_another_implementation_writes(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::collection::vec(any::<u8>(), 65_530..65_540),
            ],
            mask: [u8; 4],
            is_final: bool,
        ) {
            let mut bytes = client_frame(OpCode::Data(Data::Text), is_final, mask, &payload);
            let head = head(&bytes);
            prop_assert_eq!((head.opcode, head.is_final), (Opcode::Text, is_final));
            prop_assert_eq!(head.payload(), bytes.len() - payload.len()..bytes.len());
            let range = head.payload();
            head.unmask(&mut bytes[range.clone()]);
            prop_assert_eq!(&bytes[range], &payload[..]);
        }

        #[test]
        fn asks_for_no_more_than_the_head_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            match Head::parse(&bytes) {
                Ok(Parsed::Needs(needed)) => {
                    prop_assert!(bytes.len() < needed && needed <= CLIENT_HEAD_BYTES_MAX);
                }
                Ok(Parsed::Head(head)) => prop_assert!(head.head_bytes <= bytes.len()),
                Err(Violation) => {}
            }
        }

        #[test]
        fn writes_heads_that_another_implementation_reads(length in prop_oneof![0..300_usize, 65_000..66_000_usize]) {
            let head = ServerHead::new(Opcode::Text, length);
            let mut bytes = std::io::Cursor::new(head.as_ref());
            let (header, payload_bytes) = FrameHeader::parse(&mut bytes).expect("valid").expect("whole");
            prop_assert_eq!(header.opcode, OpCode::Data(Data::Text));
            prop_assert!(header.is_final && header.mask.is_none());
            prop_assert_eq!(payload_bytes as usize, length);
        }
    }

    #[test]
    fn refuses_what_the_rfc_forbids() {
        for (bytes, why) in [
            (&[0xc1, 0x80, 0, 0, 0, 0][..], "a reserved bit"),
            (&[0x83, 0x80, 0, 0, 0, 0], "a reserved data opcode"),
            (&[0x8b, 0x80, 0, 0, 0, 0], "a reserved control opcode"),
            (&[0x81, 0x00], "no mask"),
            (&[0x09, 0x80, 0, 0, 0, 0], "a control frame in pieces"),
            (&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], "a long control frame"),
        ] {
            assert_eq!(Head::parse(bytes), Err(Violation), "{why}");
        }
    }

    #[test]
    fn close_payloads() {
        assert_eq!(close_code_of(&[]), Ok(None));
        assert_eq!(close_code_of(&[3, 232]), Ok(Some(1000)));
        assert_eq!(close_code_of(&[15, 160, b'o', b'k']), Ok(Some(4000)));
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(close_code_of(&code.to_be_bytes()), Err(Violation), "{code}");
        }
        assert_eq!(close_code_of(&[3]), Err(Violation), "half a code");
        assert_eq!(close_code_of(&[3, 232, 0xff]), Err(Violation), "a reason that is not text");
    }
}
