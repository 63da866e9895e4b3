//! Over real TCP: against another implementation as the peer, and against bytes in every cut.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::super::frame::ShortFrame;
use super::*;

const FRAME_BYTES_MAX: usize = 16 * 1024;
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// [`Inbound`] with its text owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    Text(String),
    Binary,
    Control,
    Closed,
    Broken,
    TooBig,
    Violation,
}

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (server, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
    let (server, client) = (server.expect("accepted").0, client.expect("connected"));
    client.set_nodelay(true).expect("an option of TCP");
    (Socket::over(server, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX), client)
}

async fn next(socket: &mut Socket) -> Came {
    let came = socket.receive(|inbound| match inbound {
        Inbound::Text(text) => Came::Text(text.to_owned()),
        Inbound::Binary => Came::Binary,
        Inbound::Control => Came::Control,
        Inbound::Closed => Came::Closed,
        Inbound::Broken => Came::Broken,
        Inbound::TooBig => Came::TooBig,
        Inbound::Violation => Came::Violation,
    });
    came.await
}

fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some(MASK), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    header.format(payload.len() as u64, &mut bytes).expect("written");
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

const MASK: [u8; 4] = [1, 2, 3, 4];
const TEXT: OpCode = OpCode::Data(Data::Text);
const MORE: OpCode = OpCode::Data(Data::Continue);
const PING: OpCode = OpCode::Control(Control::Ping);
const CLOSE: OpCode = OpCode::Control(Control::Close);

/// What comes of these bytes and the end of the stream after them.
async fn all_of(bytes: &[u8]) -> Vec<Came> {
    let (mut socket, mut client) = pair().await;
    client.write_all(bytes).await.expect("sent");
    client.shutdown().await.expect("shut");
    let mut came = Vec::new();
    loop {
        came.push(next(&mut socket).await);
        if matches!(came.last(), Some(Came::Closed | Came::Broken)) {
            return came;
        }
    }
}

/// Every head length, and frames far beyond what the system takes at once, between answers to pings.
#[tokio::test]
async fn frames_of_all_sizes_arrive_whole_and_in_order() {
    let sizes = [0, 1, 125, 126, 65_535, 65_536, 8_000_000, 3, 4_000_000];
    let (mut socket, client) = pair().await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let send = async {
        for size in sizes {
            socket.send_text_when_ready(vec![b'x'; size].into()).await.expect("sent");
            let short =
                ShortFrame::text(|mut buffer| bytes::BufMut::put_slice(&mut buffer, size.to_string().as_bytes()));
            poll_fn(|context| Poll::Ready(socket.send_short(context, &short))).await.expect("sent");
        }
        poll_fn(|context| socket.poll_ready(context)).await.expect("sent");
    };
    let receive = async {
        for size in sizes {
            for expected in [size, size.to_string().len()] {
                let text = client.next().await.expect("open").expect("well-formed").into_text().expect("text");
                assert_eq!(text.len(), expected);
            }
        }
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn talks_with_another_implementation() {
    let (mut socket, client) = pair().await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    client.send(Message::text("é".repeat(5_000))).await.expect("sent");
    client.send(Message::Ping("are you there".into())).await.expect("sent");
    client.send(Message::binary("bytes")).await.expect("sent");
    client.close(None).await.expect("sent");
    assert_eq!(next(&mut socket).await, Came::Text("é".repeat(5_000)));
    assert_eq!(next(&mut socket).await, Came::Control);
    assert_eq!(next(&mut socket).await, Came::Binary);
    assert_eq!(next(&mut socket).await, Came::Closed);
    assert!(socket.rest.is_none(), "nothing is kept between frames");
    socket.answer_close();
    drop(socket);
    assert_eq!(client.next().await.expect("answered").expect("well-formed"), Message::Pong("are you there".into()));
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))), "a close is answered by a close");
}

#[tokio::test]
async fn what_the_rules_forbid_is_a_violation_and_the_rest_is_thrown_away() {
    let text = frame(TEXT, true, b"after");
    for (bytes, expected, why) in [
        (frame(MORE, true, b"x"), Came::Violation, "a continuation of nothing"),
        ([frame(TEXT, false, b"a"), frame(TEXT, true, b"b")].concat(), Came::Violation, "a message inside another"),
        (frame(TEXT, true, &[0xff]), Came::Violation, "no UTF-8"),
        (frame(CLOSE, true, &[3]), Came::Violation, "half a close code"),
        (frame(TEXT, true, &vec![b'x'; FRAME_BYTES_MAX + 1]), Came::TooBig, "a long frame"),
        (vec![0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], Came::TooBig, "a length beyond any memory"),
        (vec![0x81, 0x05, b'h'], Came::Violation, "no mask"),
    ] {
        let came = all_of(&[bytes, text.clone()].concat()).await;
        assert_eq!(came[came.len() - 2..], [expected, Came::Broken], "{why}");
    }
}

#[tokio::test]
async fn a_message_in_parts_has_a_limit() {
    let part = vec![b'x'; FRAME_BYTES_MAX];
    let mut bytes = frame(TEXT, false, &part);
    for _ in 0..3 {
        bytes.extend(frame(MORE, false, &part));
    }
    let whole = [bytes.clone(), frame(MORE, true, b"")].concat();
    assert_eq!(all_of(&whole).await[4], Came::Text("x".repeat(MESSAGE_BYTES_MAX)));
    let beyond = [bytes, frame(MORE, true, b"x")].concat();
    assert_eq!(all_of(&beyond).await[4], Came::TooBig);
}

/// A peer that announces much and sends little must not cost what it announces.
#[tokio::test]
async fn memory_grows_with_what_came() {
    let (mut socket, mut client) = pair().await;
    let whole = frame(TEXT, true, &[b'x'; 10_000]);
    client.write_all(&whole[..20]).await.expect("sent");
    let kept = |socket: &Socket| socket.rest.as_ref().map_or(0, |rest| rest.partial.capacity());
    let mut receive = Box::pin(async {
        let text = next(&mut socket).await;
        (text, socket)
    });
    tokio::select! {
        biased;
        _ = &mut receive => panic!("the frame is not whole"),
        () = tokio::task::yield_now() => {}
    }
    client.write_all(&whole[20..]).await.expect("sent");
    let (text, socket) = receive.await;
    assert_eq!(text, Came::Text("x".repeat(10_000)));
    assert_eq!(kept(&socket), 0, "given back once the frame was whole");
}

#[tokio::test]
async fn a_slow_peer_gets_the_answer_to_its_newest_ping() {
    let (mut socket, mut client) = pair().await;
    // Until the system takes no more.
    let mut sent = 0;
    while poll_fn(|context| Poll::Ready(socket.poll_ready(context).is_ready())).await {
        poll_fn(|context| Poll::Ready(socket.send_text(context, vec![b'x'; 1_000_000].into()))).await.expect("taken");
        sent += 1;
    }
    client.write_all(&[frame(PING, true, b"old"), frame(PING, true, b"new")].concat()).await.expect("sent");
    assert_eq!([next(&mut socket).await, next(&mut socket).await], [Came::Control, Came::Control]);
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let read = async {
        for _ in 0..sent {
            assert_eq!(client.next().await.expect("open").expect("well-formed").len(), 1_000_000);
        }
        client.next().await.expect("open").expect("well-formed")
    };
    let (ready, pong) = tokio::join!(poll_fn(|context| socket.poll_ready(context)), read);
    ready.expect("sent");
    assert_eq!(pong, Message::Pong("new".into()));
}

/// Only a close frame is the peer's own word; see docs/adr/0002-two-truths.md.
#[tokio::test]
async fn a_stream_that_just_ends_is_broken_whatever_ended_it() {
    let (mut socket, client) = pair().await;
    client.set_zero_linger().expect("an option of TCP");
    drop(client);
    assert_eq!(next(&mut socket).await, Came::Broken);

    let (mut socket, mut client) = pair().await;
    client.shutdown().await.expect("shut");
    assert_eq!(next(&mut socket).await, Came::Broken);
    drop(socket);
    assert_eq!(client.read(&mut [0]).await.expect("ended in good order"), 0);

    // A write that meets the reset first takes the word, and what is read next looks like an orderly end.
    let (mut socket, client) = pair().await;
    client.set_zero_linger().expect("an option of TCP");
    drop(client);
    while poll_fn(|context| Poll::Ready(socket.send_text(context, bytes::Bytes::from_static(b"x")))).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut socket).await, Came::Broken);
}

fn frames() -> impl Strategy<Value = (Vec<u8>, Vec<Came>)> {
    let text = proptest::collection::vec("[a-zé]{0,300}", 1..4).prop_map(|parts| {
        let count = parts.len();
        let mut bytes = Vec::new();
        let mut came = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { TEXT } else { MORE };
            bytes.extend(frame(opcode, index + 1 == count, part.as_bytes()));
            came.push(if index + 1 == count { Came::Text(parts.concat()) } else { Came::Control });
        }
        (bytes, came)
    });
    let ping = Just((frame(PING, true, b"p"), vec![Came::Control]));
    proptest::collection::vec(prop_oneof![3 => text, 1 => ping], 1..8).prop_map(|all| {
        all.into_iter().fold((Vec::new(), Vec::new()), |mut sum, (bytes, came)| {
            sum.0.extend(bytes);
            sum.1.extend(came);
            sum
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the stream is cut, the same comes out of it.
    #[test]
    fn cuts_change_nothing((bytes, expected) in frames(), cuts in proptest::collection::vec(1_usize..200, 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let came = runtime.block_on(async {
            let (mut socket, mut client) = pair().await;
            let write = async {
                let mut rest = &bytes[..];
                for cut in cuts.iter().cycle() {
                    let (piece, next) = rest.split_at((*cut).min(rest.len()));
                    client.write_all(piece).await.expect("sent");
                    tokio::task::yield_now().await;
                    rest = next;
                    if rest.is_empty() {
                        break;
                    }
                }
                client
            };
            let read = async {
                let mut came = Vec::new();
                while came.len() < expected.len() {
                    came.push(next(&mut socket).await);
                }
                came
            };
            tokio::join!(write, read).1
        });
        prop_assert_eq!(came, expected);
    }
}
