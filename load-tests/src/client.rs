//! One WebSocket client: connects from a chosen loopback address, enters by the rules of its protocol, reads frames.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use nix::sys::socket::{setsockopt, sockopt};
use rollcall_protocol::JoinRequest;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::adapter::{Adapter, Opening, Target};

/// Read buffer of a client, the same as the server's: with the default of 128 KiB the loader would need 2 GB.
pub const READ_BUFFER_BYTES: usize = 1024;

/// Loopback addresses that clients come from, one after the other. One address has about 28,000 ports for one server, and
/// connecting becomes slow long before they are used up.
pub const SOURCES: u8 = 64;

/// How long one step of a client (connect, upgrade, answer) may take before it counts as an error.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

pub type Socket = WebSocketStream<TcpStream>;

/// Connects and upgrades.
///
/// # Errors
/// The server cannot be reached, or does not upgrade within [`STEP_TIMEOUT`].
pub async fn connect(target: &Target, index: usize) -> anyhow::Result<Socket> {
    connect_with(target.protocol.adapter().as_ref(), target.address, index).await
}

/// The same for callers that have the adapter.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(adapter: &dyn Adapter, server: SocketAddr, index: usize) -> anyhow::Result<Socket> {
    let attempt = async {
        let stream = open_stream(server, index).await?;
        let mut request = format!("ws://{server}{}", adapter.path()).into_client_request()?;
        if let Some(subprotocol) = adapter.subprotocol() {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await.context("upgrade")?;
        anyhow::Ok(socket)
    };
    tokio::time::timeout(STEP_TIMEOUT, attempt).await.map_err(|_| anyhow!("connect timed out"))?
}

async fn open_stream(server: SocketAddr, index: usize) -> anyhow::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if server.ip().is_loopback() && server.is_ipv4() {
        // The port is chosen at connect, so that it may be in use towards another server.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true).context("bind without a port")?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (index % usize::from(SOURCES)) as u8);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    let stream = socket.connect(server).await.context("connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What lies between the upgrade and the join. Returns what the join needs to know.
///
/// # Errors
/// The socket ended, or the server was silent for [`STEP_TIMEOUT`].
pub async fn open(socket: &mut Socket, adapter: &dyn Adapter) -> anyhow::Result<String> {
    let mut opening = adapter.open(None);
    loop {
        match opening {
            Opening::Ready { with } => return Ok(with),
            Opening::Send(text) => socket.send(Message::text(text)).await.context("open")?,
            Opening::Wait => {}
        }
        opening = adapter.open(Some(next_text(socket).await?.as_str()));
    }
}

/// The join frame of a client of Rollcall.
///
/// # Errors
/// Never for tokens and identities of ours; encoding is fallible by type.
pub fn join_frame(token: &str, identity: Option<String>) -> anyhow::Result<Message> {
    let request = JoinRequest { token: token.to_owned(), identity, name: None, state: None, client: None };
    let mut frame = serde_json::to_value(request)?;
    frame["type"] = Value::from("join");
    Ok(Message::text(frame.to_string()))
}

/// The next text frame.
///
/// # Errors
/// The socket ended, or nothing came within [`STEP_TIMEOUT`].
pub async fn next_text(socket: &mut Socket) -> anyhow::Result<Utf8Bytes> {
    let wait = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => bail!("closed: {}", frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the connection ended"),
            }
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, wait).await.map_err(|_| anyhow!("no answer in time"))?
}

/// The code of the close frame that comes next; other frames are skipped.
///
/// # Errors
/// The socket ended without one, or nothing came within [`STEP_TIMEOUT`].
pub async fn next_close(socket: &mut Socket) -> anyhow::Result<u16> {
    let wait = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return Ok(frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the connection ended without a close frame"),
            }
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, wait).await.map_err(|_| anyhow!("no close in time"))?
}
