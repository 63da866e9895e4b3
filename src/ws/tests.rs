//! Sockets where what happens inside must be met to the moment: a bug in one of them, and words for a peer that does not read.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use rollcall_core::{Actor, Command, Epoch, PresencePolicy, SessionId, TenantId};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;

use super::handshake::{Visit, converse};
use super::socket::Wire;
use super::{AddressLimits, Gate, Server, SharedWs, SocketThreads, WsOptions, WsState, upgrade};
use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::{OriginPolicy, Ws};
use crate::control::invites::NewInvite;
use crate::control::sessions::NewSession;
use crate::control::{Call, Control, ControlSettings, Live, RootKey};
use crate::hub::{Hub, HubLimits};
use crate::ledger::{Journal, JournalWriter, Ledger, LedgerLimits};
use crate::store::tests::database;

/// A frame that panics, in tests only.
pub const BUG: &str = "a frame that hits a bug";

const PATIENCE: Duration = Duration::from_secs(20);

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server with its sockets, and a token into one session.
struct World {
    ws: SharedWs,
    address: SocketAddr,
    session: SessionId,
    token: String,
    _folder: tempfile::TempDir,
}

fn options() -> WsOptions {
    let ws = Ws::default();
    WsOptions {
        origins: OriginPolicy::new(&ws, &"http://127.0.0.1".parse().expect("a URL")),
        is_trusted_proxy: Arc::new(|_| false),
        first_frame_timeout: ws.first_frame_timeout_s.duration(),
        frame_bytes_max: ws.frame_bytes_max.as_usize(),
        message_bytes_max: ws.message_bytes_max.as_usize(),
        join_bytes_max: ws.join_bytes_max.as_usize(),
        state_bytes_max: ws.state_bytes_max.as_usize(),
        messages_per_s: ws.messages_per_s,
        messages_burst: ws.messages_burst,
        ping_interval: ws.ping_interval_ms.duration(),
        probe_after: ws.probe_after_ms.duration(),
        dead_after: ws.dead_after_ms.duration(),
        slow_consumer_timeout: ws.slow_consumer_timeout_s.duration(),
        // Nothing here waits for it to pass.
        close_confirm_timeout: PATIENCE,
        restart_spread: Duration::ZERO,
        ack_in_postgres: false,
    }
}

async fn world(stop: &CancellationToken) -> World {
    let (store, clock) = (database().await, Clock::system());
    let folder = tempfile::tempdir().expect("a folder");
    let limits = LedgerLimits { journal_bytes_max: 1 << 30, journal_refuse_percent: 90, journal_tail_records: 1_000 };
    let ledger = Ledger::new(Epoch(1), limits);
    let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a journal");
    JournalWriter::new(journal, ledger.clone(), CancellationToken::new()).spawn().expect("a thread");
    let limits = HubLimits { sessions_live_max: 10, invites_live_max: 10, outbox_bytes_max: 1 << 20 };
    let hub = Hub::new(clock, ledger, PresencePolicy::default(), limits);
    let root_key = Arc::new(RootKey::from_text(&"a root key for tests".into()));
    let settings = ControlSettings { recover_window: Duration::from_secs(60), join_url: String::new() };
    let live = Live::Hub(hub.clone());
    let control = Control::new(store.clone(), live, clock, root_key.clone(), settings, Default::default());
    let tenant = control.create_tenant(&Actor::Operator, "tests").await.expect("a tenant");
    let call = Call::new(TenantId(tenant.id), Actor::Operator);
    let session = control.create_session(&call, NewSession::default()).await.expect("a session");
    let session = SessionId(session.value.id);
    let invite = control.create_invite(&call, session, NewInvite::default()).await.expect("an invite");
    let (_, metrics) = crate::metrics::registry(hub.clone());
    let lifted =
        AddressLimits { connections_per_s: 0, connections_burst: 0, unauthenticated_max: 0, failed_joins_per_min: 0 };
    let state = Arc::new(WsState {
        admission: Admission::new(hub.clone(), store, root_key, Vec::new()),
        hub,
        options: options(),
        gate: Arc::new(Gate::new(8, 100, 100, lifted)),
        metrics,
        environment: Server {
            control,
            tasks: Default::default(),
            threads: SocketThreads::start(clock, stop).expect("threads"),
        },
    });
    let listener = super::Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = listener.address();
    let lobby = super::LobbyLimits {
        connections_max: 100,
        connections_per_address_max: 0,
        is_trusted_proxy: Arc::new(|_| false),
    };
    let limits = super::HttpConnections {
        header_timeout: PATIENCE,
        answer_stall_timeout: PATIENCE,
        lobby: Arc::new(super::Lobby::new(lobby)),
    };
    let router = Router::new().route("/v1/ws", get(upgrade)).with_state(state.clone());
    tokio::spawn(super::serve(listener, router, limits, state.environment.tasks.clone(), stop.clone()));
    World { ws: state, address, session, token: invite.value.token, _folder: folder }
}

impl World {
    async fn join(&self) -> Client {
        let mut request = format!("ws://{}/v1/ws", self.address).into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "rollcall.v1".parse().expect("a header"));
        let (mut client, _) = connect_async(request).await.expect("upgraded");
        let join = json!({ "type": "join", "token": self.token });
        client.send(Message::text(join.to_string())).await.expect("sent");
        assert_eq!(next(&mut client).await["type"], "joined");
        client
    }

    fn present(&self) -> usize {
        self.ws.hub.connections_open()
    }
}

/// A wire that holds few bytes: whoever does not read blocks the other side at once.
impl Wire for DuplexStream {
    fn settle(self) -> io::Result<Self> {
        Ok(self)
    }

    fn send_last(&self, _bytes: &[u8]) {}
}

async fn message<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>) -> Message {
    tokio::time::timeout(PATIENCE, client.next()).await.expect("in time").expect("a frame").expect("whole")
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(client: &mut WebSocketStream<S>) -> Value {
    serde_json::from_str(message(client).await.to_text().expect("text")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_in_one_socket_costs_that_socket() {
    let stop = CancellationToken::new();
    let world = world(&stop).await;
    let (mut ann, mut bob) = (world.join().await, world.join().await);
    assert_eq!(next(&mut ann).await["joins"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.present(), 2);
    bob.send(Message::text(BUG)).await.expect("sent");
    let end = tokio::time::timeout(PATIENCE, bob.next()).await.expect("in time");
    assert!(!matches!(end, Some(Ok(Message::Text(_)))), "the socket is lost: {end:?}");
    // The others are told, as of any connection that is gone.
    let change = next(&mut ann).await;
    assert_eq!(change["updates"][0]["status"], "reconnecting", "{change}");
    // The connection is forgotten after that.
    let forgotten = async {
        while world.present() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("forgotten");
    // And the thread that the bug was on goes on with others: as many as there are threads, and one more.
    for _ in 0..=std::thread::available_parallelism().map_or(1, usize::from) {
        let mut carol = world.join().await;
        carol.send(Message::text(r#"{"type":"ping"}"#)).await.expect("sent");
        while next(&mut carol).await["type"] != "pong" {}
    }
    assert!(world.ws.hub.is_live(world.session));
    stop.cancel();
}

// On one thread, so that the socket's task has looked at the order to close when the test goes on.
#[tokio::test]
async fn who_reads_again_in_time_is_told_why_it_has_to_go() {
    let stop = CancellationToken::new();
    let world = world(&stop).await;
    let (near, far) = tokio::io::duplex(1_024);
    let visit =
        Visit { address: Ipv4Addr::LOCALHOST.into(), origin_allowed: true, upgraded_at: world.ws.hub.clock().now() };
    tokio::spawn(converse(world.ws.clone(), far, visit));
    let mut deaf = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let join = json!({ "type": "join", "token": world.token });
    deaf.send(Message::text(join.to_string())).await.expect("sent");
    let joined = next(&mut deaf).await;
    let participant = joined["self"]["participant_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");

    // More than its wire holds, and then the end.
    let mut ann = world.join().await;
    ann.send(Message::text(json!({ "type": "update", "state": "x".repeat(2_000) }).to_string())).await.expect("sent");
    while next(&mut ann).await["updates"][0]["state"].is_null() {}
    let kick = Command::Kick { participant, by: Actor::Operator };
    world.ws.hub.dispatch(world.session, kick).await.expect("kicked");
    let error = loop {
        let frame = next(&mut deaf).await;
        if frame["type"] == "error" {
            break frame;
        }
    };
    assert_eq!(error["code"], "kicked");
    let Message::Close(Some(close)) = message(&mut deaf).await else { panic!("no close") };
    assert_eq!(u16::from(close.code), 4001);
    stop.cancel();
}
