//! From an HTTP request to a joined socket.
//!
//! A browser cannot read the status of a failed upgrade, so refusals come after it: an `error` frame with a sentence,
//! then a close code.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
pub(super) use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Body;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, StatusCode};
use rollcall_core::{Event, Join, LeaveReason, Member, Testimony, Timestamp, planted};
use rollcall_protocol::{ClientMessage, ErrorCode, JoinRequest, SUBPROTOCOL};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{Instrument, debug, info_span};

use super::SharedWs;
use super::close_guard::CloseGuard;
use super::connection::Connection;
use super::convert::{JoinedExtras, encode_error, encode_joined};
use super::environment::Environment;
use super::gate::{Turned, Unauthenticated};
use super::rate::{Bucket, Rate};
use super::socket::{Inbound, Socket, Wire};
use crate::admission::{AdmissionError, Grant, join_refusal_code};
use crate::config::OriginPolicy;
use crate::http::limits::client_address;
use crate::http::problem;
use crate::hub::{DispatchError, Outgoing, Taken};

/// The version of the WebSocket protocol.
const VERSION: &str = "13";

/// Bytes of the nonce in `Sec-WebSocket-Key`.
const KEY_BYTES: usize = 16;

/// `GET /v1/ws`.
pub async fn upgrade(State(ws): State<SharedWs>, mut request: Request) -> Response {
    let Some(accept) = accept_key(&request) else {
        let why = "this is a WebSocket endpoint: send an upgrade request, version 13";
        // RFC 6455, 4.2.2: who is refused for its version is told which would do.
        let version = [(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION))];
        return (version, problem(ErrorCode::InvalidRequest, why)).into_response();
    };
    if !offers_subprotocol(request.headers()) {
        return problem(ErrorCode::InvalidRequest, "offer the WebSocket subprotocol rollcall.v1");
    }
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return problem(ErrorCode::InvalidRequest, "the connection cannot be upgraded");
    };
    // Waiting here costs the client time and the server nothing; running all at once would fragment memory for good.
    let Ok(permit) = ws.gate.handshakes.clone().acquire_owned().await else {
        return problem(ErrorCode::Overloaded, "the server is stopping");
    };
    let visit = Visit {
        address: client_address(request.headers(), request.extensions(), &*ws.options.is_trusted_proxy),
        origin_allowed: is_origin_allowed(request.headers(), &ws.options.origins),
        // The client cannot have sent its join before it has the answer below.
        upgraded_at: ws.hub.clock().now(),
    };
    let task = ws.clone();
    let span = info_span!("ws.connection");
    ws.environment.tasks.spawn(
        async move {
            let upgraded = match on_upgrade.await {
                Ok(upgraded) => upgraded,
                Err(error) => return debug!(error = &error as &dyn std::error::Error, "upgrade failed"),
            };
            let Ok(socket) = Socket::new(upgraded, &task.options) else { return };
            drop(permit);
            // A second, smaller task: the memory of the handshake is not kept for the life of the socket.
            if let Some(connection) = Box::pin(admit(&task, socket, visit)).await {
                let _thread = task.environment.threads.enter_next();
                match connection.settle() {
                    Ok(connection) => drop(task.environment.tasks.spawn(connection.run())),
                    Err(error) => debug!(error = &error as &dyn std::error::Error, "a socket could not be moved"),
                }
            }
        }
        .instrument(span),
    );
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Why a socket is not let in.
struct Refused {
    code: ErrorCode,
    detail: Option<String>,
    retry_after: Option<Duration>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { code, detail: None, retry_after: None }
    }
}

/// Whom the upgrade let through to the door.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    pub address: IpAddr,
    pub origin_allowed: bool,
    /// When the upgrade was answered.
    pub upgraded_at: Timestamp,
}

/// The whole life of a socket after its upgrade, in one task.
pub async fn converse<W: Wire, E: Environment>(ws: SharedWs<E>, wire: W, visit: Visit) {
    let socket = Socket::over(wire, ws.options.frame_bytes_max, ws.options.message_bytes_max);
    if let Some(connection) = admit(&ws, socket, visit).await {
        connection.run().await;
    }
}

/// Everything between the upgrade and the `joined` frame.
async fn admit<W: Wire, E: Environment>(
    ws: &SharedWs<E>,
    mut socket: Socket<W>,
    visit: Visit,
) -> Option<Connection<W, E>> {
    let outcome = match enter(ws, visit) {
        Err(refused) => Err(refused),
        Ok(unauthenticated) => match first_frame(ws, &mut socket).await {
            Some(Ok(request)) => {
                let outcome = join(ws, &mut socket, *request, visit).await;
                drop(unauthenticated);
                outcome
            }
            Some(Err(refused)) => Err(refused),
            // Gone before it said anything.
            None => return None,
        },
    };
    match outcome {
        Ok((outbox, clock, guard)) => {
            ws.metrics.connection_opened();
            Some(Connection::new(socket, outbox, clock, guard, visit.upgraded_at, ws.hub.clock().now()))
        }
        // It did not even read its `joined`: words would be lost on it.
        Err(Refused { code: ErrorCode::SlowConsumer, .. }) => None,
        Err(refused) => {
            refuse(ws, socket, refused).await;
            None
        }
    }
}

fn enter<E: Environment>(ws: &SharedWs<E>, visit: Visit) -> Result<Unauthenticated, Refused> {
    if !visit.origin_allowed {
        return Err(ErrorCode::OriginRefused.into());
    }
    if ws.hub.is_draining() {
        return Err(ErrorCode::Restarting.into());
    }
    let now = ws.hub.clock().now();
    ws.gate.enter(visit.address, ws.hub.connections_open(), now).map_err(|turned| refusal_of(turned, now))
}

fn refusal_of(turned: Turned, now: Timestamp) -> Refused {
    match turned {
        Turned::Limited(until) => {
            Refused { code: ErrorCode::RateLimited, detail: None, retry_after: Some(until.since(now)) }
        }
        Turned::Overloaded => ErrorCode::Overloaded.into(),
    }
}

/// Waits for the first frame, which must be a join. `None` when the peer went away.
async fn first_frame<W: Wire, E: Environment>(
    ws: &SharedWs<E>,
    socket: &mut Socket<W>,
) -> Option<Result<Box<JoinRequest>, Refused>> {
    /// What the first frame is, with its text owned: it is looked at once for a connection.
    enum First {
        Control,
        Gone,
        Text(String),
        Refused(ErrorCode),
    }
    let rate = Rate::new(ws.options.messages_per_s, ws.options.messages_burst);
    let mut bucket = Bucket::new(ws.hub.clock().now());
    let wait = async {
        loop {
            let first = socket.receive(|inbound| match inbound {
                Inbound::Control => First::Control,
                Inbound::Text(text) => First::Text(text.to_owned()),
                Inbound::Closed | Inbound::Broken => First::Gone,
                Inbound::Binary => First::Refused(ErrorCode::BinaryRefused),
                Inbound::TooBig => First::Refused(ErrorCode::MessageTooBig),
                Inbound::Violation => First::Refused(ErrorCode::ProtocolViolation),
            });
            match first.await {
                // A stranger's pings and parts of messages count as much as those of a participant.
                First::Control if bucket.take(rate, ws.hub.clock().now()).is_ok() => {}
                First::Control => return First::Refused(ErrorCode::RateLimited),
                first => return first,
            }
        }
    };
    let text = match ws.hub.clock().timeout(ws.options.first_frame_timeout, wait).await {
        Ok(First::Text(text)) => text,
        Ok(First::Refused(code)) => return Some(Err(code.into())),
        Ok(First::Gone) => {
            socket.answer_close();
            return None;
        }
        Ok(First::Control) | Err(_) => return Some(Err(ErrorCode::JoinRequired.into())),
    };
    if text.len() > ws.options.join_bytes_max {
        return Some(Err(ErrorCode::MessageTooBig.into()));
    }
    Some(match ClientMessage::decode(&text) {
        Ok(ClientMessage::Join(request)) => Ok(request),
        Ok(_) => Err(ErrorCode::JoinRequired.into()),
        Err(_) => Err(ErrorCode::ProtocolViolation.into()),
    })
}

type Joined<E> = (std::sync::Arc<crate::hub::Outbox>, std::sync::Arc<rollcall_core::ConnectionClock>, CloseGuard<E>);

async fn join<W: Wire, E: Environment>(
    ws: &SharedWs<E>,
    socket: &mut Socket<W>,
    request: JoinRequest,
    visit: Visit,
) -> Result<Joined<E>, Refused> {
    let Visit { address, upgraded_at, .. } = visit;
    let started_at = ws.hub.clock().now();
    ws.gate.may_join(address, started_at).map_err(|turned| refusal_of(turned, started_at))?;
    let state = request.state.as_ref().map(|state| state.get());
    if state.is_some_and(|state| state.len() > ws.options.state_bytes_max) {
        return Err(ErrorCode::StateTooLarge.into());
    }
    let permit = ws.gate.handshakes.acquire().await;
    let grant = ws.admission.admit(&request).await.map_err(|error| {
        if error.is_clients_fault() {
            ws.gate.join_failed(address, started_at);
        }
        ws.metrics.join_refused(error.code());
        refused_by(&error)
    })?;
    drop(permit);
    let testimony = testimony(&request, upgraded_at, started_at);
    let joined = enter_session(ws, socket, &request, grant, testimony).await;
    ws.metrics.join_took(ws.hub.clock().now().since(started_at));
    joined
}

fn refused_by(error: &AdmissionError) -> Refused {
    Refused { code: error.code(), detail: None, retry_after: error.retry_after() }
}

/// Lets the granted join into its session and answers when it is durable.
async fn enter_session<W: Wire, E: Environment>(
    ws: &SharedWs<E>,
    socket: &mut Socket<W>,
    request: &JoinRequest,
    grant: Grant,
    testimony: Option<Testimony>,
) -> Result<Joined<E>, Refused> {
    let (connection, clock) = ws.hub.open_connection();
    let outbox = ws.hub.outbox();
    let resume = ws.admission.resume_token(&grant, connection);
    let member = Member { participant: grant.participant, connection };
    let session = grant.session;
    let join = Join {
        connection,
        participant: grant.participant,
        identity: grant.identity.clone(),
        verified: grant.verified,
        name: grant.name.clone(),
        role: grant.role.clone(),
        state: request.state.as_ref().map(|state| state.get().into()),
        invite: grant.invite,
        token_expires_at: grant.stay_until,
        resumed: grant.resumed,
        testimony,
        clock: clock.clone(),
    };
    let applied = match ws.hub.join(session, join, outbox.clone()) {
        Ok(applied) => applied,
        Err(error) => {
            ws.admission.give_back(&grant).await;
            return Err(dispatch_code(error).into());
        }
    };
    // From here on the end is reported whatever happens, also if the join never becomes durable.
    let mut guard = CloseGuard::new(ws.clone(), session, member);
    let durable = async {
        if ws.options.ack_in_postgres { applied.receipt.in_postgres().await } else { applied.receipt.durable().await }
    };
    // Nobody waits for ever in front of a full disk or a Postgres that is away.
    if !matches!(ws.hub.clock().timeout(ws.options.slow_consumer_timeout, durable).await, Ok(Ok(()))) {
        // The use of a limited invite stays counted: the join is on record and may still reach the books, and given back
        // it would let in more people there than the invite allows.
        return Err(ErrorCode::Overloaded.into());
    }
    if planted!("use_is_given_back") {
        ws.admission.give_back(&grant).await;
    }
    let first = std::future::poll_fn(|context| outbox.poll_take(context)).await;
    let Taken::Send(Outgoing::Frame(frame)) = first else { return Err(ErrorCode::Internal.into()) };
    let Event::Joined(joined) = frame.event() else { return Err(ErrorCode::Internal.into()) };
    let extras = JoinedExtras {
        resume: &resume,
        ping_interval: ws.options.ping_interval,
        durability: if ws.options.ack_in_postgres { "postgres" } else { "local" },
        server_time: ws.hub.clock().now(),
    };
    let sending = socket.send_text_when_ready(encode_joined(joined, &extras));
    match ws.hub.clock().timeout(ws.options.slow_consumer_timeout, sending).await {
        Ok(Ok(())) => Ok((outbox, clock, guard)),
        // Gone meanwhile.
        Ok(Err(())) => Err(ErrorCode::SlowConsumer.into()),
        // A part of the frame is out: nothing that the peer could understand can follow.
        Err(_) => {
            guard.end_as(LeaveReason::SlowConsumer);
            Err(ErrorCode::SlowConsumer.into())
        }
    }
}

/// The client's words were sent after the upgrade was answered, and were here when they were read; they are in whole
/// milliseconds, however the client rounds.
fn testimony(request: &JoinRequest, upgraded_at: Timestamp, received_at: Timestamp) -> Option<Testimony> {
    let ago = Duration::from_millis(request.client.as_ref()?.closed_ms_ago?);
    let rounding = Duration::from_millis(1);
    Some(Testimony { closed_after: upgraded_at - ago - rounding, closed_before: received_at - ago + rounding })
}

fn dispatch_code(error: DispatchError) -> ErrorCode {
    match error {
        DispatchError::NotLive => ErrorCode::SessionNotFound,
        DispatchError::Draining => ErrorCode::Restarting,
        DispatchError::Refused(refusal) => join_refusal_code(refusal),
        DispatchError::Ledger(_) | DispatchError::SessionsFull => ErrorCode::Overloaded,
    }
}

/// Says why, closes, and waits a moment for the answer so that the words are not lost with the connection.
async fn refuse<W: Wire, E: Environment>(ws: &SharedWs<E>, mut socket: Socket<W>, refused: Refused) {
    let Ok(_permit) = ws.gate.refusals.try_acquire() else { return };
    let Refused { code, detail, retry_after } = refused;
    let closing = async {
        socket.send_text_when_ready(encode_error(code, detail.as_deref(), retry_after)).await?;
        socket.close_when_ready(super::convert::close_of(code), code.message()).await?;
        socket.ended().await;
        Ok::<(), ()>(())
    };
    // A peer that does not listen is left alone after the time that every close gets.
    ws.hub.clock().timeout(ws.options.close_confirm_timeout, closing).await.ok();
}

/// The answer to the key of an upgrade; `None` for a request that is none. What RFC 6455 (4.2.1) wants once must be there
/// once, and a body would be taken for frames.
pub(super) fn accept_key(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let has = |name, token: &str| {
        let values = headers.get_all(name);
        values.iter().filter_map(|value| value.to_str().ok()).any(|value| lists(value, token))
    };
    let key = only(headers, SEC_WEBSOCKET_KEY)?;
    let asks = request.method() == Method::GET
        && has(CONNECTION, "upgrade")
        && has(UPGRADE, "websocket")
        && only(headers, SEC_WEBSOCKET_VERSION)? == VERSION
        && BASE64.decode(key).is_ok_and(|nonce| nonce.len() == KEY_BYTES)
        && request.body().is_end_stream();
    asks.then(|| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()).flatten()
}

/// The value of a header that may come only once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

pub(super) fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == SUBPROTOCOL)
}

fn lists(value: &str, token: &str) -> bool {
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// A client that sends no origin is no browser page: it holds a token or gets nowhere.
pub(super) fn is_origin_allowed(headers: &HeaderMap, origins: &OriginPolicy) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    origin.to_str().is_ok_and(|origin| origins.allows(origin))
}
