//! Opaque cursors of lists: where the next page begins. A cursor belongs to one kind of list and carries a checksum, so
//! that a cut-off or foreign one is refused instead of giving a wrong page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The lists that have pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum List {
    Sessions = 1,
    Invites = 2,
    Participants = 3,
    Audit = 4,
}

const BYTES: usize = 1 + 8 + 16 + 4;

/// The text is no cursor of this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list; use next_cursor of the page before as it is")]
pub struct CursorError;

/// The place after an object that is sorted by an instant and its id.
pub fn encode_id(list: List, at: DateTime<Utc>, id: Uuid) -> String {
    encode(list, at, *id.as_bytes())
}

/// # Errors
/// See [`CursorError`].
pub fn decode_id(list: List, text: &str) -> Result<(DateTime<Utc>, Uuid), CursorError> {
    decode(list, text).map(|(at, tail)| (at, Uuid::from_bytes(tail)))
}

/// The place after an event of the trail.
pub fn encode_event(at: DateTime<Utc>, epoch: i64, seq: i64) -> String {
    let tail = (u128::from(epoch as u64) << 64) | u128::from(seq as u64);
    encode(List::Audit, at, tail.to_be_bytes())
}

/// # Errors
/// See [`CursorError`].
pub fn decode_event(text: &str) -> Result<(DateTime<Utc>, i64, i64), CursorError> {
    let (at, tail) = decode(List::Audit, text)?;
    let tail = u128::from_be_bytes(tail);
    Ok((at, (tail >> 64) as u64 as i64, tail as u64 as i64))
}

fn encode(list: List, at: DateTime<Utc>, tail: [u8; 16]) -> String {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.push(list as u8);
    bytes.extend(at.timestamp_micros().to_be_bytes());
    bytes.extend(tail);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(list: List, text: &str) -> Result<(DateTime<Utc>, [u8; 16]), CursorError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
    let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(CursorError)?;
    let content: &[u8; BYTES - 4] = content.try_into().map_err(|_| CursorError)?;
    if crc32fast::hash(content).to_be_bytes() != *checksum || content[0] != list as u8 {
        return Err(CursorError);
    }
    let (head, tail) = content[1..].split_at(8);
    let micros = i64::from_be_bytes(head.try_into().map_err(|_| CursorError)?);
    let at = DateTime::from_timestamp_micros(micros).ok_or(CursorError)?;
    Ok((at, tail.try_into().map_err(|_| CursorError)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text_form() {
        let at = DateTime::from_timestamp_micros(1_800_000_000_123_456).expect("in the calendar");
        let id = Uuid::from_u128(42);
        assert_eq!(decode_id(List::Sessions, &encode_id(List::Sessions, at, id)), Ok((at, id)));
        for (epoch, seq) in [(0, 1), (7, i64::MAX), (i64::MAX, 0)] {
            assert_eq!(decode_event(&encode_event(at, epoch, seq)), Ok((at, epoch, seq)));
        }
    }

    #[test]
    fn tampered_and_foreign_cursors_are_refused() {
        let at = DateTime::from_timestamp_micros(5).expect("in the calendar");
        let good = encode_id(List::Sessions, at, Uuid::from_u128(42));
        assert_eq!(decode_id(List::Invites, &good), Err(CursorError));
        assert_eq!(decode_event(&good), Err(CursorError));
        for place in 0..good.len() {
            let mut wrong = good.clone().into_bytes();
            wrong[place] = if wrong[place] == b'A' { b'B' } else { b'A' };
            let wrong = String::from_utf8(wrong).expect("ascii");
            assert_eq!(decode_id(List::Sessions, &wrong), Err(CursorError), "place {place}");
        }
        for bad in ["", "AAAA", "é", "' or 1=1 --", &good[..good.len() - 1], &format!("{good}A")] {
            assert_eq!(decode_id(List::Sessions, bad), Err(CursorError), "{bad}");
        }
    }
}
