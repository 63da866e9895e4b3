//! Phases one and two: build every part and connect them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::PresencePolicy;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::node_lock::NodeLock;
use super::{
    Admission, ApiState, App, AppError, Clock, Config, Control, ControlSettings, FlusherOptions, Gate, HttpMetrics,
    HttpSettings, Hub, HubLimits, Journal, Ledger, LedgerLimits, Lifecycle, Live, Mode, Readiness, RootKey, Store,
    WsOptions, WsState,
};
use crate::admission::load_jwt_keys;
use crate::audit::AuditError;
use crate::audit::checkpointer::Checkpointer;
use crate::audit::key::SigningKey;
use crate::config::OriginPolicy;
use crate::embedded_pg::{self, EmbeddedPostgres};
use crate::ledger::{Flusher, JournalStorage, JournalWriter, recover, spawn_flusher};
use crate::store::{StoreError, StoreOptions};
use crate::ws::{AddressLimits, HttpConnections, Lobby, LobbyLimits, Server, SocketThreads};

/// Pause between attempts to reach the database at start.
const DATABASE_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A statement that takes longer than this is stuck; Postgres cancels it and the work is tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// Builds everything. When this returns, earlier runs are brought to their end and the live state is loaded.
pub(super) async fn build(
    config: Config,
    mode: Mode,
    address: SocketAddr,
    lifecycle: Lifecycle,
) -> Result<App, AppError> {
    let clock = Clock::system();
    let embedded = start_embedded(&config, mode).await?;
    let database_url = match (&config.database.url, &embedded) {
        (Some(url), _) => url.expose().to_owned(),
        (None, Some(embedded)) => embedded.database_url(embedded_pg::DATABASE),
        (None, None) => return Err(AppError::NoDatabase),
    };
    let store = connect(&config, &database_url, clock).await?;
    // A role that may only use the schema can run the server once somebody else has migrated.
    if store.schema_is_current().await.unwrap_or(false) {
        store.ensure_audit_partitions().await?;
    } else {
        let migrated = store.migrate().await?;
        info!(applied = migrated.migrations_applied, functions = migrated.functions_applied, "schema migrated");
    }
    let checkpointer = checkpointer(&config, &store, clock).await?;
    let node_lock = NodeLock::take(&store, &config.node_name, clock).await?;

    let lease = config.ledger.lease_s.duration();
    let mut journal = Journal::open(&config.data_dir.join("journal.sqlite"))?;
    let mark_interval = config.ledger.mark_interval_ms.duration();
    let report = recover(&mut journal, &store, &config.node_name, mark_interval, lease, clock.now()).await?;
    let epoch = store.open_epoch(&config.node_name, clock.now(), lease).await?;
    let ledger = Ledger::new(
        epoch,
        LedgerLimits {
            journal_bytes_max: config.ledger.journal_bytes_max.0,
            journal_refuse_percent: u64::from(config.ledger.journal_refuse_percent),
            journal_tail_records: i64::from(config.ledger.tail_records_max),
        },
    );
    info!(epoch = epoch.0, node = config.node_name, "epoch opened");

    let hub = Hub::new(
        clock,
        ledger.clone(),
        presence_policy(&config),
        HubLimits {
            sessions_live_max: config.sessions.sessions_live_max as usize,
            invites_live_max: config.sessions.invites_live_max as usize,
            outbox_bytes_max: config.ws.outbox_bytes_max.as_usize(),
        },
    );
    let connections = TaskTracker::new();
    let root_key = Arc::new(RootKey::from_text(&config.auth.root_key));
    let public_url = config.public_url(address);
    let settings = ControlSettings {
        recover_window: config.sessions.recover_window_h.duration(),
        join_url: config.join_url(address).to_string(),
    };
    let live = Live::Hub(hub.clone());
    let control = Control::new(store.clone(), live, clock, root_key.clone(), settings, connections.clone());
    let jwt_keys = match &config.auth.jwt_keys_file {
        Some(path) => load_jwt_keys(path)?,
        None => Vec::new(),
    };
    let admission = Admission::new(hub.clone(), store.clone(), root_key, jwt_keys);
    let (mut registry, metrics) = crate::metrics::registry(hub.clone());
    let http_metrics = HttpMetrics::register(&mut registry);
    let sockets_over = CancellationToken::new();
    let ws = Arc::new(WsState {
        hub: hub.clone(),
        admission,
        options: ws_options(&config, OriginPolicy::new(&config.ws, &public_url)),
        gate: Arc::new(gate(&config)),
        metrics,
        environment: Server {
            control: control.clone(),
            tasks: connections.clone(),
            threads: SocketThreads::start(clock, &sockets_over).map_err(AppError::System)?,
        },
    });

    let (flushed, finish_flush) = (Arc::new(Notify::new()), CancellationToken::new());
    let fatal = CancellationToken::new();
    start_ledger(&config, clock, &store, &ledger, journal, &flushed, &finish_flush, &fatal)?;
    let after = store.latest_change().await?;
    crate::feed::load(&hub, &store, report.attested_until).await?;
    lifecycle.spawn("feed", crate::feed::follow(hub.clone(), store.clone(), after, lifecycle.soft.clone()));
    lifecycle.spawn("node.lock", node_lock.keep(store.clone(), lifecycle.soft.clone()));
    let failing = lifecycle.clone();
    tokio::spawn(async move {
        fatal.cancelled().await;
        failing.fail();
    });
    let readiness = Readiness::new(store.clone(), ledger.clone());
    let api =
        ApiState::new(control.clone(), readiness.clone(), Arc::new(registry), http_metrics, http_settings(&config));
    Ok(App {
        accepting: CancellationToken::new(),
        config,
        clock,
        lifecycle,
        readiness,
        store,
        ledger,
        hub,
        control,
        ws,
        flushed,
        finish_flush,
        checkpointer,
        connections,
        sockets_over,
        embedded,
        database_url,
        api,
    })
}

async fn checkpointer(config: &Config, store: &Store, clock: Clock) -> Result<Arc<Checkpointer>, AuditError> {
    let (path, may_make) = config.checkpoint_key();
    let key = SigningKey::load(&path, &clock, may_make)?;
    let every = config.audit.checkpoint_interval_s.duration();
    Ok(Arc::new(Checkpointer::open(store.clone(), clock, key, &config.checkpoint_dir(), every).await?))
}

async fn start_embedded(config: &Config, mode: Mode) -> Result<Option<EmbeddedPostgres>, AppError> {
    let wanted = mode == Mode::Dev || config.database.embedded;
    if config.database.url.is_some() || !wanted {
        return Ok(None);
    }
    let mut options = embedded_pg::Options::new(&config.data_dir);
    options.bin_dir = config.database.pg_bin.clone();
    let embedded = embedded_pg::start(options).await?;
    info!(version = %embedded.version(), "embedded Postgres is running");
    Ok(Some(embedded))
}

/// Waits for a database that is just starting, but not for ever: the supervisor should see that something is missing.
async fn connect(config: &Config, database_url: &str, clock: Clock) -> Result<Store, StoreError> {
    let options = StoreOptions {
        database_url: SecretString::from(database_url),
        max_connections: config.database.max_connections,
        acquire_timeout: config.database.acquire_timeout_ms.duration(),
        statement_timeout: STATEMENT_TIMEOUT,
        application_name: format!("rollcall {}", config.node_name),
    };
    let give_up_at = clock.now() + config.database.connect_timeout_s.duration();
    loop {
        match Store::connect(&options).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_unavailable() && clock.now() < give_up_at => {
                warn!(error = &error as &dyn std::error::Error, "the database does not answer yet");
                tokio::time::sleep(DATABASE_RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

#[allow(clippy::too_many_arguments)] // Each part is named once, here.
fn start_ledger(
    config: &Config,
    clock: Clock,
    store: &Store,
    ledger: &Ledger,
    journal: Journal,
    flushed: &Arc<Notify>,
    finish: &CancellationToken,
    fatal: &CancellationToken,
) -> Result<(), AppError> {
    let flusher = Flusher {
        ledger: ledger.clone(),
        reader: journal.reader()?,
        store: store.clone(),
        clock,
        node_name: config.node_name.clone(),
        options: FlusherOptions {
            flush_rows_max: config.ledger.flush_rows_max as usize,
            flush_interval: config.ledger.flush_interval_ms.duration(),
            lease: config.ledger.lease_s.duration(),
            answer_timeout: config.database.answer_timeout_s.duration(),
        },
        fatal: fatal.clone(),
        finish: finish.clone(),
    };
    JournalWriter::new(journal, ledger.clone(), fatal.clone()).spawn().map_err(AppError::System)?;
    spawn_flusher(flusher, flushed.clone()).map_err(AppError::System)
}

fn presence_policy(config: &Config) -> PresencePolicy {
    PresencePolicy {
        grace: config.presence.grace_s.duration(),
        grace_hidden: config.presence.grace_hidden_s.duration(),
        away_after: config.presence.away_after_s.duration(),
        connections_per_participant_max: config.presence.connections_per_participant_max as usize,
        ..PresencePolicy::default()
    }
}

fn ws_options(config: &Config, origins: OriginPolicy) -> WsOptions {
    let ws = &config.ws;
    WsOptions {
        origins,
        is_trusted_proxy: trusted_proxies(config),
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
        close_confirm_timeout: ws.close_confirm_timeout_ms.duration(),
        restart_spread: config.shutdown.drain_ms.duration(),
        ack_in_postgres: config.ledger.acknowledge == crate::config::Acknowledge::Postgres,
    }
}

fn http_settings(config: &Config) -> HttpSettings {
    let http = &config.http;
    HttpSettings {
        body_bytes_max: http.body_bytes_max.as_usize(),
        request_timeout: http.request_timeout_s.duration(),
        requests_per_key_per_s: http.requests_per_key_per_s,
        requests_per_key_burst: http.requests_per_key_burst,
        invite_checks_per_address_per_min: http.invite_checks_per_address_per_min,
        failed_keys_per_address_per_min: http.failed_keys_per_address_per_min,
        is_trusted_proxy: trusted_proxies(config),
    }
}

pub(super) fn http_connections(config: &Config) -> HttpConnections {
    let http = &config.http;
    HttpConnections {
        header_timeout: config.ws.header_timeout_s.duration(),
        answer_stall_timeout: http.answer_stall_timeout_s.duration(),
        lobby: Arc::new(Lobby::new(LobbyLimits {
            connections_max: http.connections_max as usize,
            connections_per_address_max: http.connections_per_address_max,
            is_trusted_proxy: trusted_proxies(config),
        })),
    }
}

fn trusted_proxies(config: &Config) -> Arc<dyn Fn(IpAddr) -> bool + Send + Sync> {
    let ranges = config.http.trusted_proxies.clone();
    Arc::new(move |address| ranges.iter().any(|range| range.contains(address)))
}

fn gate(config: &Config) -> Gate {
    let ws = &config.ws;
    let limits = AddressLimits {
        connections_per_s: ws.connections_per_address_per_s,
        connections_burst: ws.connections_per_address_burst,
        unauthenticated_max: ws.unauthenticated_per_address_max,
        failed_joins_per_min: ws.failed_joins_per_address_per_min,
    };
    Gate::new(
        ws.handshakes_concurrent_max as usize,
        ws.unauthenticated_max as usize,
        ws.connections_max as usize,
        limits,
    )
}
