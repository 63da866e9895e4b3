//! The WebSocket codec of the epoll floor: enough of RFC 6455 to upgrade a client of ours and to echo its frames.

use anyhow::{Context, bail, ensure};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Longest frame that is echoed, head included.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024;

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What was done with the bytes of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes that were used up; the rest is the beginning of a frame.
    pub used: usize,
    /// A close frame was answered: nothing more comes.
    pub is_closed: bool,
}

/// Answers an upgrade request once it is complete. Returns its length, zero while it is not.
///
/// # Errors
/// It is no upgrade request, or it is longer than a frame may be.
pub(super) fn upgrade(received: &[u8], output: &mut Vec<u8>) -> anyhow::Result<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = received.windows(END.len()).position(|window| window == END) else {
        ensure!(received.len() < FRAME_BYTES_MAX, "the request is too long");
        return Ok(0);
    };
    let request = std::str::from_utf8(&received[..end]).context("the request is not text")?;
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = derive_accept_key(key.context("no Sec-WebSocket-Key")?.as_bytes());
    output.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    output.extend_from_slice(format!("Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    Ok(end + END.len())
}

/// Unmasks whole frames in place and appends their echo.
///
/// # Errors
/// A frame is not masked, or too long.
pub(super) fn echo(received: &mut [u8], output: &mut Vec<u8>) -> anyhow::Result<Progress> {
    let mut used = 0;
    while let Some(frame) = head(&received[used..])? {
        let Some(payload) = received.get_mut(used + frame.head_bytes..used + frame.head_bytes + frame.payload_bytes)
        else {
            break;
        };
        for (byte, mask) in payload.iter_mut().zip(frame.mask.iter().cycle()) {
            *byte ^= mask;
        }
        used += frame.head_bytes + frame.payload_bytes;
        match frame.first & OPCODE {
            PONG => {}
            PING => write(FINAL | PONG, payload, output),
            CLOSE => {
                write(frame.first, payload, output);
                return Ok(Progress { used, is_closed: true });
            }
            // A part of a message is echoed as a part.
            _ => write(frame.first, payload, output),
        }
    }
    Ok(Progress { used, is_closed: false })
}

struct Head {
    first: u8,
    head_bytes: usize,
    payload_bytes: usize,
    mask: [u8; 4],
}

/// `None`: not all of it is there.
fn head(received: &[u8]) -> anyhow::Result<Option<Head>> {
    let [first, second, rest @ ..] = received else { return Ok(None) };
    ensure!(second & MASKED != 0, "clients mask their frames");
    let (length_bytes, payload_bytes) = match second & !MASKED {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (2, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => bail!("the frame is too long"),
        short => (0, usize::from(short)),
    };
    let Some(mask) = rest.get(length_bytes..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
    let head_bytes = 2 + length_bytes + mask.len();
    ensure!(head_bytes + payload_bytes <= FRAME_BYTES_MAX, "the frame is too long");
    Ok(Some(Head { first: *first, head_bytes, payload_bytes, mask: *mask }))
}

fn write(first: u8, payload: &[u8], output: &mut Vec<u8>) {
    output.push(first);
    match payload.len() {
        short @ 0..=125 => output.push(short as u8),
        long => {
            output.push(126);
            output.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    output.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = Vec::new();
        write(first, payload, &mut frame);
        frame[1] |= MASKED;
        let head = frame.len() - payload.len();
        frame.splice(head..head, mask);
        for (byte, mask) in frame[head + 4..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        frame
    }

    #[test]
    fn answers_the_request_of_the_standard() {
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nrest";
        let mut output = Vec::new();
        for length in 0..request.len() - 4 {
            assert_eq!(upgrade(&request[..length], &mut output).unwrap(), 0, "of {length} bytes");
        }
        assert_eq!(upgrade(request, &mut output).unwrap(), request.len() - 4);
        // RFC 6455, 1.3.
        assert!(String::from_utf8(output).unwrap().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(upgrade(b"GET / HTTP/1.1\r\n\r\n", &mut Vec::new()).is_err());
    }

    #[test]
    fn echoes_whole_frames_and_leaves_the_rest() {
        let long = vec![b'x'; 300];
        let mut bytes = masked(0x81, b"hello");
        bytes.extend(masked(0x82, &long));
        bytes.extend(masked(0x89, b"ping"));
        let whole = bytes.len();
        bytes.extend(&masked(0x81, b"later")[..7]);
        let (mut output, mut expected) = (Vec::new(), Vec::new());
        assert_eq!(echo(&mut bytes, &mut output).unwrap(), Progress { used: whole, is_closed: false });
        write(0x81, b"hello", &mut expected);
        write(0x82, &long, &mut expected);
        write(0x8a, b"ping", &mut expected);
        assert_eq!(output, expected);
    }

    #[test]
    fn any_cut_of_a_frame_waits_for_the_rest() {
        let frame = masked(0x81, &[b'y'; 200]);
        for length in 0..frame.len() {
            let mut output = Vec::new();
            let progress = echo(&mut frame[..length].to_vec(), &mut output).unwrap();
            assert_eq!((progress.used, output.len()), (0, 0), "of {length} bytes");
        }
    }

    #[test]
    fn answers_a_close_and_refuses_what_is_not_masked_or_too_long() {
        let mut output = Vec::new();
        let progress = echo(&mut masked(0x88, &1000_u16.to_be_bytes()), &mut output).unwrap();
        assert!(progress.is_closed && output[0] == 0x88);
        assert!(echo(&mut [0x81, 5, 0, 0, 0, 0, 0], &mut output).is_err());
        assert!(echo(&mut [0x81, 0xff, 0, 0, 0, 0, 0], &mut output).is_err());
    }
}
