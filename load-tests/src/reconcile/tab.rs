//! One tab of a participant: a real WebSocket that joins, lives for a while, and ends in one of the ways in which tabs do.
//! It notes what it provably saw, to the microsecond.

mod ending;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use chrono::DateTime;
use futures_util::{SinkExt, StreamExt};
use rollcall_protocol::SUBPROTOCOL;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::dice::Dice;
use super::pipe::{Pipe, connect_from};
use super::stage::{self, Stage};
use super::truth::{ConnectionTruth, End, Joined, Order, Scope};
use crate::clock::{self, steady_us};

/// How long a server that runs may take for one step of a client. A frozen Postgres holds up some of them.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// How a tab ends unless something else ends it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Close,
    /// The end of the stream without a close frame, as when a browser crashes.
    Finish,
    /// A TCP reset.
    Reset,
    Leave,
    /// The network goes away without a word; the client notices after a while and comes back. Needs a pipe.
    Hole,
    /// It stays until something else ends it, and closes in good order when nothing does for long.
    Stay,
}

/// What a tab is to do.
#[derive(Debug)]
pub struct TabPlan {
    pub identity: String,
    pub session: String,
    pub invite: String,
    /// An invite token or a resume token.
    pub token: String,
    /// The connection that the resume token continues; if the server still holds it open, it closes it.
    pub resumes: Option<String>,
    /// The connection whose end is testified: its id, and when it was seen to end.
    pub testimony: Option<(String, i64)>,
    pub piped: bool,
    pub stay: Duration,
    pub ending: Ending,
    /// Whether the person does anything; else only the liveness of the page shows.
    pub active: bool,
    /// Told once the tab has joined.
    pub joined: Option<oneshot::Sender<Seat>>,
}

/// What a tab holds once it has joined.
#[derive(Debug, Clone)]
pub struct Seat {
    pub resume: String,
    pub connection: String,
}

/// How a tab's life went.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub seat: Option<Seat>,
    pub end: End,
    /// When the client knew that its connection was over.
    pub gone_at: i64,
}

struct Tab<'a> {
    stage: &'a Stage,
    socket: WebSocketStream<TcpStream>,
    pipe: Option<Pipe>,
    truth: ConnectionTruth,
    /// Pings without a pong: number and when it was sent.
    waiting: Vec<(u64, i64)>,
    pings: u64,
    /// The server has asked whether we are there since our latest ping: the answer may still be on its way.
    is_probed: bool,
    /// The code of the `error` or `ended` that announced a close.
    closed_by: Option<u16>,
}

/// Runs a tab to its end and notes the truth about it.
///
/// # Errors
/// The server could not be reached at all; then there is nothing to note.
pub async fn run(stage: &Stage, mut plan: TabPlan, dice: &mut Dice) -> anyhow::Result<Outcome> {
    let sources: Vec<_> = stage::sources().collect();
    let source = sources[dice.index(sources.len())];
    let dialled = tokio::time::timeout(STEP_TIMEOUT, dial(stage.server, source, plan.piped)).await;
    let (socket, pipe) = dialled.map_err(|_| anyhow!("connect timed out"))??;
    let now = steady_us();
    let truth = ConnectionTruth {
        identity: plan.identity.clone(),
        session: plan.session.clone(),
        invite: plan.invite.clone(),
        join_sent: now,
        joined: None,
        heard_until: i64::MIN,
        there_until: now,
        gone_at: i64::MAX,
        testified_until: None,
        asked: None,
        end: End::Lost,
    };
    let mut tab = Tab { stage, socket, pipe, truth, waiting: Vec::new(), pings: 0, is_probed: false, closed_by: None };
    let seat = tab.join(&mut plan).await;
    if let Some(resumed) = plan.resumes.take() {
        let (at, until) = (tab.truth.join_sent, steady_us());
        stage.witness.order(Order { at, until, scope: Scope::Connection(resumed), reason: "replaced" });
    }
    if let Some(seat) = &seat {
        if let Some(tell) = plan.joined.take() {
            // Who wanted to take over may be gone already.
            tell.send(seat.clone()).ok();
        }
        tab.live(&plan, dice).await;
    }
    let mut truth = tab.truth.clone();
    drop(tab);
    truth.there_until = truth.there_until.min(truth.gone_at);
    // Behind a hole the client took its connection for open until it gave up.
    let gone_at = if truth.end == End::Hole { steady_us() } else { truth.gone_at };
    let outcome = Outcome { seat, end: truth.end, gone_at };
    stage.witness.note(truth);
    Ok(outcome)
}

async fn dial(
    server: SocketAddr,
    source: Ipv4Addr,
    piped: bool,
) -> anyhow::Result<(WebSocketStream<TcpStream>, Option<Pipe>)> {
    let (stream, pipe) = if piped {
        let (stream, pipe) = Pipe::dial(server, source).await?;
        (stream, Some(pipe))
    } else {
        (connect_from(server, source).await?, None)
    };
    let mut request = format!("ws://{server}/v1/ws").into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let (socket, _) = client_async(request, stream).await.context("upgrade")?;
    Ok((socket, pipe))
}

impl Tab<'_> {
    async fn join(&mut self, plan: &mut TabPlan) -> Option<Seat> {
        let mut frame = json!({ "type": "join", "token": plan.token, "identity": plan.identity });
        if let Some((connection, ended_at)) = &plan.testimony {
            // Rounded up: a client must not claim a moment that it was not there.
            let ago_ms = (steady_us() - ended_at).max(0) as u64 / 1_000 + 1;
            frame["client"] = json!({ "closed_ms_ago": ago_ms });
            self.stage.witness.testify(connection, *ended_at);
        }
        self.truth.join_sent = steady_us();
        if self.socket.send(Message::text(frame.to_string())).await.is_err() {
            self.gone(End::Lost);
            return None;
        }
        let answer = tokio::time::timeout(STEP_TIMEOUT, self.answer()).await;
        let Ok(Some(frame)) = answer else {
            if answer.is_err() {
                self.reset_now();
            }
            self.gone(self.closed_by.map_or(End::Lost, End::Refused));
            return None;
        };
        let at = steady_us();
        let text = |pointer: &str| frame.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let seat = Seat { resume: text("/resume")?, connection: text("/self/connection_id")? };
        let participant = text("/self/participant_id")?;
        self.truth.joined = Some(Joined { at, connection: seat.connection.clone(), participant: participant.clone() });
        self.truth.heard_until = self.truth.join_sent;
        self.truth.there_until = at;
        self.stage.seen(&self.truth.session, &participant);
        Some(seat)
    }

    /// The `joined` frame; `None` once the server has refused and closed, or is gone.
    async fn answer(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).ok()?;
                    if frame["type"] == "joined" {
                        return Some(frame);
                    }
                }
                Ok(Message::Close(frame)) => self.closed_by = frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Pings, updates and listens until it is time to go or the server ends it.
    async fn live(&mut self, plan: &TabPlan, dice: &mut Dice) {
        let leave_at = clock::now() + plan.stay;
        let over = self.stage.ended();
        tokio::pin!(over);
        let mut next_ping = clock::now() + dice.millis(20..400);
        let mut held_until = None;
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    if !self.take(message) {
                        return;
                    }
                }
                () = tokio::time::sleep_until(next_ping) => {
                    next_ping = clock::now() + dice.millis(100..900);
                    self.speak(plan.active, dice).await;
                    if held_until.is_none() && dice.percent(5) && let Some(pipe) = &self.pipe {
                        pipe.hold();
                        held_until = Some(clock::now() + dice.millis(50..900));
                    }
                }
                () = sleep_until_some(held_until) => {
                    held_until = None;
                    if let Some(pipe) = &self.pipe {
                        pipe.release();
                    }
                }
                () = tokio::time::sleep_until(leave_at) => break,
                () = &mut over => break,
            }
        }
        if let Some(pipe) = &self.pipe {
            pipe.release();
        }
        // A server that is killed meanwhile shows as an end of the stream; one that runs answers in time.
        if tokio::time::timeout(STEP_TIMEOUT, self.end(plan.ending, dice)).await.is_err() {
            self.reset_now();
            self.gone(End::Lost);
        }
    }

    async fn speak(&mut self, active: bool, dice: &mut Dice) {
        if active && dice.percent(20) {
            let state = json!({ "type": "update", "state": { "step": self.pings } });
            self.send(Message::text(state.to_string())).await;
        }
        self.pings += 1;
        let mut ping = json!({ "type": "ping", "id": self.pings });
        if active && dice.percent(60) {
            ping["active"] = Value::from(true);
        } else if dice.percent(5) {
            ping["active"] = Value::from(false);
        }
        if self.is_probed {
            // The answer goes out before the ping whose pong says that both have arrived.
            self.socket.flush().await.ok();
            self.is_probed = false;
        }
        self.waiting.push((self.pings, steady_us()));
        self.send(Message::text(ping.to_string())).await;
    }

    /// A failed write shows up as the end of the stream at the next read.
    async fn send(&mut self, message: Message) {
        self.socket.send(message).await.ok();
    }

    /// Takes note of what came in. False once the connection is over.
    fn take(&mut self, message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> bool {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.hear(&text);
                true
            }
            Some(Ok(Message::Close(frame))) => {
                self.closed_by = Some(frame.map_or(1005, |frame| frame.code.into()));
                // The answer goes out with the next read.
                true
            }
            Some(Ok(Message::Ping(_))) => {
                self.is_probed = true;
                true
            }
            Some(Ok(_)) => true,
            Some(Err(_)) | None => {
                self.gone(self.closed_by.map_or(End::Lost, End::ByServer));
                false
            }
        }
    }

    fn hear(&mut self, text: &Utf8Bytes) {
        let received = steady_us();
        let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
        let (Some("pong"), Some(id)) = (frame["type"].as_str(), frame["id"].as_u64()) else { return };
        let Some(index) = self.waiting.iter().position(|(number, _)| *number == id) else { return };
        let (_, sent) = self.waiting.swap_remove(index);
        // The server answers in order, but a pong may replace an earlier one that could not be sent.
        self.waiting.retain(|(number, _)| *number > id);
        self.truth.heard_until = self.truth.heard_until.max(sent);
        // What comes in after we have begun to end it does not say that we are still there.
        if self.truth.asked.is_none() {
            self.truth.there_until = self.truth.there_until.max(received);
        }
        let server_time = frame["server_time"].as_str().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        if let Some(time) = server_time {
            self.stage.witness.compare_clocks(sent, time.timestamp_micros(), received);
        }
    }
}

async fn sleep_until_some(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
