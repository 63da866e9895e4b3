//! Fuzzing of what comes in on a socket: the request for the upgrade, then frames.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::accept::head_reader;
use super::handshake::{BASE64, accept_key, is_origin_allowed, offers_subprotocol};
use super::socket::compare::compare;
use crate::config::{OriginPolicy, Ws};
use crate::fuzzing::{Draw, block_on};
use crate::http::limits::client_address;

/// Longest stream of frames. It is written before anybody reads the answers, and as many pings as fit into it are answered
/// into the buffer of one socket.
const STREAM_BYTES_MAX: usize = 1_400;

/// Longest request, more than the accept loop takes.
const REQUEST_BYTES_MAX: usize = 20 * 1024;

/// The longest answer is a head.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A stream of frames, cut as its first byte says, is understood as another implementation understands it.
pub fn frames(input: &[u8]) {
    let Some((cuts, stream)) = input.split_first() else { return };
    let stream = &stream[..stream.len().min(STREAM_BYTES_MAX)];
    let number = u64::from(*cuts);
    block_on(async {
        compare(number, stream, &mut Draw::new(number)).await;
    });
}

/// A request, read by the HTTP stack of the accept loop: whoever gets an upgrade has asked for one, and no origin but the
/// one that is allowed gets in.
pub fn handshake(input: &[u8]) {
    let input = &input[..input.len().min(REQUEST_BYTES_MAX)];
    block_on(async {
        let (mut far, near) = tokio::io::duplex(REQUEST_BYTES_MAX.max(ANSWER_BYTES_MAX));
        far.write_all(input).await.expect("room for all of it");
        far.shutdown().await.expect("shut");
        let upgrades = Rc::new(Cell::new(0));
        let counted = upgrades.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            counted.set(counted.get() + u32::from(look_at(&request.map(Body::new))));
            async { Ok::<_, Infallible>(hyper::Response::new(String::new())) }
        });
        // Whatever is wrong with a request ends its connection.
        head_reader(Duration::from_secs(5)).serve_connection(TokioIo::new(near), service).await.ok();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.expect("an answer");
        assert!(upgrades.get() == 0 || has_key(input), "an upgrade without a key");
    });
}

/// Whether the request would be upgraded.
fn look_at(request: &Request) -> bool {
    let headers = request.headers();
    let everybody = |_| true;
    client_address(headers, request.extensions(), &everybody);
    let ws = Ws { origins: vec!["https://app.example.com".parse().expect("an origin")], ..Ws::default() };
    let origins = OriginPolicy::new(&ws, &"https://presence.example.com".parse().expect("a URL"));
    if is_origin_allowed(headers, &origins)
        && let Some(origin) = headers.get("origin")
    {
        let origin = origin.to_str().expect("an allowed origin is text").trim().to_ascii_lowercase();
        let origin = origin.trim_end_matches('/').trim_end_matches(":443");
        let allowed = ["https://app.example.com", "https://presence.example.com"];
        assert!(allowed.contains(&origin), "{origin} was let in");
    }
    let accepted = accept_key(request);
    if let Some(accept) = &accepted {
        assert_eq!((request.method().as_str(), headers.get_all("sec-websocket-key").iter().count()), ("GET", 1));
        assert_eq!(headers.get("sec-websocket-version"), Some(&HeaderValue::from_static("13")));
        assert_eq!(BASE64.decode(accept).map(|digest| digest.len()), Ok(20));
    }
    accepted.is_some() && offers_subprotocol(headers)
}

fn has_key(input: &[u8]) -> bool {
    String::from_utf8_lossy(input).to_ascii_lowercase().contains("sec-websocket-key")
}
