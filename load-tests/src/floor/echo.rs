//! Floor (a): what a WebSocket echo server costs with the same runtime, library, buffers, options and allocator as
//! Rollcall, and with nothing else.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::client::READ_BUFFER_BYTES;

/// Limits of the server's sockets.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const FRAME_BYTES_MAX: usize = 16 * 1024;
const WRITE_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Runs until standard input is closed.
pub(super) async fn run(listener: TcpListener) -> anyhow::Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut rest = Vec::new();
    let mut end = std::pin::pin!(stdin.read_to_end(&mut rest));
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(serve(stream));
            }
            _ = &mut end => return Ok(()),
        }
    }
}

async fn serve(stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    // A second task, as in the server: the memory of the handshake is not kept for the life of the socket.
    if let Ok(socket) = Box::pin(accept_async_with_config(stream, Some(config))).await {
        tokio::spawn(echo(socket));
    }
}

async fn echo(mut socket: tokio_tungstenite::WebSocketStream<TcpStream>) {
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() && socket.send(message).await.is_err() {
            return;
        }
    }
}
