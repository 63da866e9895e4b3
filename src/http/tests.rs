//! The routes against a real Postgres, a real hub and a real journal, over a socket.

mod bodies;
mod documents;
mod idempotency;
mod isolation;
mod lists;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use reqwest::{Method, Response, StatusCode};
use rollcall_core::{Actor, ConnectionClock, Epoch, Join, ParticipantId, PresencePolicy, Role, SessionId, TenantId};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{ApiState, HttpMetrics, HttpSettings, Readiness};
use crate::clock::Clock;
use crate::control::keys::Scope;
use crate::control::{ApiKey, Control, ControlSettings, Live, RootKey};
use crate::hub::{Hub, HubLimits};
use crate::ledger::{
    Flusher, FlusherOptions, Journal, JournalStorage as _, JournalWriter, Ledger, LedgerLimits, spawn_flusher,
};
use crate::store::Store;
use crate::store::tests::database;

/// A server with two tenants.
pub struct World {
    pub base: String,
    pub client: reqwest::Client,
    pub control: Control,
    pub hub: Hub,
    pub store: Store,
    pub readiness: Readiness,
    pub tenant: TenantId,
    /// An admin key of the tenant.
    pub key: String,
    pub other_key: String,
    folder: tempfile::TempDir,
}

/// An answer read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("JSON: {}", self.text))
    }

    /// The answer is a problem with this code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("/docs#{code}"));
        for field in ["title", "detail", "hint"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
        }
        assert_eq!(body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        body
    }

    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Where the request is wrong.
    pub fn pointers(&self) -> Vec<String> {
        let body = self.refused(400, "invalid_request");
        let errors = body["errors"].as_array().expect("errors");
        errors.iter().map(|error| error["pointer"].as_str().expect("pointer").to_owned()).collect()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(HttpSettings {
            requests_per_key_per_s: 0,
            invite_checks_per_address_per_min: 0,
            failed_keys_per_address_per_min: 0,
            ..HttpSettings::default()
        })
        .await
    }

    pub async fn with(settings: HttpSettings) -> Self {
        let store = database().await;
        let clock = Clock::system();
        let folder = tempfile::tempdir().expect("a folder");
        let limits =
            LedgerLimits { journal_bytes_max: 1 << 30, journal_refuse_percent: 90, journal_tail_records: 1_000 };
        let ledger = Ledger::new(Epoch(1), limits);
        let journal = Journal::open(&folder.path().join("journal.sqlite")).expect("a journal");
        JournalWriter::new(journal, ledger.clone(), CancellationToken::new()).spawn().expect("a thread");
        let limits = HubLimits { sessions_live_max: 1_000, invites_live_max: 1_000, outbox_bytes_max: 1 << 20 };
        let hub = Hub::new(clock, ledger.clone(), PresencePolicy::default(), limits);
        let root_key = Arc::new(RootKey::from_text(&"a root key for tests".into()));
        let control_settings = ControlSettings {
            recover_window: Duration::from_secs(24 * 3600),
            join_url: "https://app.example.com/join".to_owned(),
        };
        let live = Live::Hub(hub.clone());
        let control = Control::new(store.clone(), live, clock, root_key, control_settings, Default::default());
        let readiness = Readiness::new(store.clone(), ledger);
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let state = ApiState::new(control.clone(), readiness.clone(), Arc::new(registry), metrics, settings);
        let panics = axum::Router::new().route("/test/panic", axum::routing::get(panicking));
        let router = super::router_with(state, panics);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let (tenant, key) = new_tenant(&control, "first").await;
        let (_, other_key) = new_tenant(&control, "second").await;
        let client = reqwest::Client::new();
        Self { base, client, control, hub, store, readiness, tenant, key, other_key, folder }
    }

    /// Until the guard is dropped, what is in the journal goes to Postgres, as in a server.
    pub async fn start_flusher(&self) -> DropGuard {
        let (clock, ledger) = (*self.hub.clock(), self.hub.ledger().clone());
        let (lease, finish) = (Duration::from_secs(30), CancellationToken::new());
        let epoch = self.store.open_epoch("tests", clock.now(), lease).await.expect("an epoch");
        assert_eq!(epoch, ledger.epoch());
        let journal = Journal::open(&self.folder.path().join("journal.sqlite")).expect("a journal");
        let flusher = Flusher {
            ledger,
            reader: journal.reader().expect("a reader"),
            store: self.store.clone(),
            clock,
            node_name: "tests".to_owned(),
            options: FlusherOptions {
                flush_rows_max: 100,
                flush_interval: Duration::from_millis(5),
                lease,
                answer_timeout: lease,
            },
            fatal: CancellationToken::new(),
            finish: finish.clone(),
        };
        spawn_flusher(flusher, Default::default()).expect("a thread");
        finish.drop_guard()
    }

    pub async fn send(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.expect("an answer")).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Some(&self.key), None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(&self.key), Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(&self.key), Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Some(&self.key), None).await
    }

    pub async fn post_with_key(&self, path: &str, idempotency_key: &str, body: Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let request = request.header("idempotency-key", idempotency_key).json(&body);
        read(request.send().await.expect("an answer")).await
    }

    /// Any bytes as a body.
    pub async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let request = request.header("content-type", content_type).body(body);
        read(request.send().await.expect("an answer")).await
    }

    pub async fn session(&self, fields: Value) -> String {
        self.post("/v1/sessions", fields).await.ok(201)["id"].as_str().expect("id").to_owned()
    }

    /// Lets a participant into a live session, as the socket would.
    pub async fn join(&self, session: &str, identity: &str) -> Uuid {
        let (connection, clock): (_, Arc<ConnectionClock>) = self.hub.open_connection();
        let participant = participant_of(identity);
        let join = Join {
            connection,
            participant,
            identity: identity.into(),
            verified: true,
            name: None,
            role: Role::guest(),
            state: None,
            invite: None,
            token_expires_at: None,
            resumed: None,
            testimony: None,
            clock,
        };
        let applied = self.hub.join(session_id(session), join, self.hub.outbox()).expect("let in");
        applied.receipt.durable().await.expect("durable");
        participant.0
    }

    pub async fn key_with(&self, scopes: &[Scope]) -> ApiKey {
        self.control.create_key(&Actor::Operator, self.tenant, "scoped", scopes).await.expect("a key").1
    }

    /// Event types of the session's trail, oldest first.
    pub async fn trail(&self, session: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/sessions/{session}/audit")).await.ok(200);
        let events = page["data"].as_array().expect("data");
        events.iter().map(|event| event["event_type"].as_str().expect("type").to_owned()).collect()
    }
}

/// The same id for the same identity, as the admission gives it.
fn participant_of(identity: &str) -> ParticipantId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(identity.bytes()).for_each(|(byte, from)| *byte = from);
    ParticipantId(Uuid::from_bytes(bytes))
}

pub fn session_id(text: &str) -> SessionId {
    text.parse().expect("a session id")
}

async fn new_tenant(control: &Control, name: &str) -> (TenantId, String) {
    let tenant = control.create_tenant(&Actor::Operator, name).await.expect("a tenant");
    let tenant = TenantId(tenant.id);
    let (_, key) = control.create_key(&Actor::Operator, tenant, "tests", &[Scope::Admin]).await.expect("a key");
    (tenant, key.expose().to_owned())
}

async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a text") }
}

async fn panicking() -> &'static str {
    panic!("a bug with a secret in it");
}
