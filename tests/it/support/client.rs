//! A client that speaks the protocol by hand, so that a mistake of the server's types cannot hide.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::PATIENCE;

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The `joined` frame, once there is one.
    pub joined: Value,
}

/// How the server said no.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `code` of the error frame, when one came.
    pub error: Option<String>,
    pub message: String,
    pub close: u16,
}

impl Client {
    /// An open socket that has not joined.
    pub async fn connect(url: &str) -> Self {
        Self::connect_from(url, None).await
    }

    pub async fn connect_from(url: &str, origin: Option<&str>) -> Self {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        Self::connect_with(url, &headers).await
    }

    pub async fn connect_with(url: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("{}/v1/ws", url.replacen("http", "ws", 1)).into_client_request().expect("request");
        request.headers_mut().insert("sec-websocket-protocol", "rollcall.v1".parse().expect("header"));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("header"));
        }
        let (socket, response) = connect_async(request).await.expect("upgraded");
        assert_eq!(response.headers()["sec-websocket-protocol"], "rollcall.v1");
        Self { socket, joined: Value::Null }
    }

    pub async fn join(url: &str, token: &str, name: &str) -> Self {
        Self::join_with(url, json!({ "token": token, "name": name })).await
    }

    /// Joins with these fields, and must be let in.
    pub async fn join_with(url: &str, fields: Value) -> Self {
        Self::try_join(url, fields).await.unwrap_or_else(|refusal| panic!("not let in: {refusal:?}"))
    }

    pub async fn try_join(url: &str, fields: Value) -> Result<Self, Refusal> {
        let mut client = Self::connect(url).await;
        client.send_join(fields).await;
        match client.next().await {
            Some(frame) if frame["type"] == "joined" => {
                client.joined = frame;
                Ok(client)
            }
            Some(frame) if frame["type"] == "error" => Err(client.refusal(Some(frame)).await),
            None => Err(client.refusal(None).await),
            Some(frame) => panic!("unexpected first frame {frame}"),
        }
    }

    pub async fn send_join(&mut self, mut fields: Value) {
        fields["type"] = "join".into();
        self.send(fields).await;
    }

    /// What the server says before it closes.
    pub async fn refused(mut self) -> Refusal {
        let frame = self.next().await;
        self.refusal(frame).await
    }

    async fn refusal(mut self, frame: Option<Value>) -> Refusal {
        let text = |field: &str| frame.as_ref().and_then(|frame| frame[field].as_str()).map(str::to_owned);
        let (error, message) = (text("code"), text("message").unwrap_or_default());
        Refusal { error, message, close: self.closed().await }
    }

    pub async fn send(&mut self, frame: Value) {
        self.send_raw(frame.to_string()).await;
    }

    pub async fn send_raw(&mut self, text: impl Into<String>) {
        self.socket.send(Message::Text(text.into().into())).await.expect("sent");
    }

    /// The next frame; `None` when the socket is closed.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_within(PATIENCE).await.expect("a frame in time")
    }

    /// `Err` when nothing came in time.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Option<Value>, tokio::time::error::Elapsed> {
        tokio::time::timeout(patience, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).expect("JSON")),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                    Some(Ok(_)) => {}
                }
            }
        })
        .await
    }

    /// The next frame of this type; others are passed over.
    pub async fn expect(&mut self, kind: &str) -> Value {
        self.expect_where(kind, |_| true).await
    }

    pub async fn expect_where(&mut self, kind: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let give_up_at = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < give_up_at {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed before {kind}"));
            if frame["type"] == kind && wanted(&frame) {
                return frame;
            }
            assert!(frame["type"] != "error", "told {frame} while waiting for {kind}");
        }
        panic!("no {kind} as wanted");
    }

    /// Pings and waits for that pong: everything sent before has been worked on.
    pub async fn ping(&mut self, active: Option<bool>) -> Value {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        let mut ping = json!({ "type": "ping", "id": id });
        if let Some(active) = active {
            ping["active"] = active.into();
        }
        self.send(ping).await;
        self.expect_where("pong", |pong| pong["id"] == id).await
    }

    /// Waits for the close and gives its code; 1006 when there was none.
    pub async fn closed(&mut self) -> u16 {
        let wait = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(Message::Close(None))) => return 1005,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return 1006,
                }
            }
        };
        let code = tokio::time::timeout(PATIENCE, wait).await.expect("closed in time");
        // Answers the close, as browsers do.
        self.socket.flush().await.ok();
        code
    }

    /// Goes away in an orderly way without saying `leave`, as a closed tab does.
    pub async fn close(mut self) {
        self.socket.close(None).await.ok();
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    pub fn participant(&self) -> &str {
        self.joined["self"]["participant_id"].as_str().expect("joined")
    }

    pub fn connection(&self) -> &str {
        self.joined["self"]["connection_id"].as_str().expect("joined")
    }

    pub fn resume(&self) -> &str {
        self.joined["resume"].as_str().expect("joined")
    }
}
