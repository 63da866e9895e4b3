//! One WebSocket client: connects from a chosen loopback address, joins, reads frames.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use rollcall_protocol::{JoinRequest, SUBPROTOCOL};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Read buffer of a client, the same as the server's: with the default of 128 KiB the loader would need 2 GB.
pub const READ_BUFFER_BYTES: usize = 1024;

/// Loopback addresses that clients come from, one after the other. One address has about 28,000 ports for one server.
const SOURCES: u8 = 8;

/// How long one step of a client (connect, upgrade, answer) may take before it counts as an error.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

pub type Socket = WebSocketStream<TcpStream>;

/// What a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The bare echo server: no subprotocol, no join.
    Floor,
    Rollcall,
}

impl Target {
    fn path(self) -> &'static str {
        match self {
            Self::Floor => "/",
            Self::Rollcall => "/v1/ws",
        }
    }
}

/// Connects and upgrades.
///
/// # Errors
/// The server cannot be reached, or does not upgrade within [`STEP_TIMEOUT`].
pub async fn connect(target: Target, server: SocketAddr, index: usize) -> anyhow::Result<Socket> {
    let attempt = async {
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (index % usize::from(SOURCES)) as u8);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        let stream = socket.connect(server).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}{}", target.path()).into_client_request()?;
        if target == Target::Rollcall {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await.context("upgrade")?;
        anyhow::Ok(socket)
    };
    tokio::time::timeout(STEP_TIMEOUT, attempt).await.map_err(|_| anyhow!("connect timed out"))?
}

/// The join frame of a client.
///
/// # Errors
/// Never for tokens and identities of ours; encoding is fallible by type.
pub fn join_frame(token: &str, identity: Option<String>) -> anyhow::Result<Message> {
    let request = JoinRequest { token: token.to_owned(), identity, name: None, state: None, client: None };
    let mut frame = serde_json::to_value(request)?;
    frame["type"] = Value::from("join");
    Ok(Message::text(frame.to_string()))
}

/// Sends the join frame and waits for `joined`.
///
/// # Errors
/// Any other answer; the text names its code.
pub async fn join(socket: &mut Socket, frame: Message) -> anyhow::Result<Value> {
    socket.send(frame).await.context("send join")?;
    let text = next_text(socket).await?;
    let value: Value = serde_json::from_str(&text)?;
    match value["type"].as_str() {
        Some("joined") => Ok(value),
        Some("error") => bail!("refused: {}", value["code"].as_str().unwrap_or("?")),
        other => bail!("unexpected answer to join: {other:?}"),
    }
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
