//! The composition root: the only file that names every part. Three phases: build every part, connect them, start them.
//! Then it waits, and ends them in an order in which nothing acknowledged is lost.

mod boot;
mod data_dir;
mod dev;
mod node_lock;
mod shutdown;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::routing::get;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admission::Admission;
use crate::audit::AuditError;
use crate::audit::checkpointer::Checkpointer;
use crate::cli::banner::{self, OutputFormat};
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::control::{Control, ControlSettings, Live, RootKey};
use crate::embedded_pg::EmbeddedPostgres;
use crate::http::{ApiState, HttpMetrics, HttpSettings, Readiness};
use crate::hub::{Hub, HubLimits};
use crate::ledger::{FlusherOptions, Journal, JournalError, Ledger, LedgerLimits, RecoveryError};
use crate::lifecycle::Lifecycle;
use crate::store::{Store, StoreError};
use crate::ws::{Gate, Listener, WsOptions, WsState};

pub use data_dir::DataDirError;

/// Why the server could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the address {address} cannot be listened on; is another server running there?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("the embedded Postgres did not start")]
    Embedded(#[from] crate::embedded_pg::Error),
    #[error(
        "there is no database: set DATABASE_URL, or pass --embedded-db to run a private Postgres in the data folder"
    )]
    NoDatabase,
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("the journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("an earlier run cannot be brought to its end")]
    Recovery(#[from] RecoveryError),
    #[error("checkpoints of the audit trail cannot be written")]
    Checkpoints(#[from] AuditError),
    #[error("the demo tenant could not be made")]
    Demo(#[source] crate::control::ControlError),
    #[error(transparent)]
    JwtKeys(#[from] crate::admission::JwtKeysError),
    #[error("the system refused a thread or signal handler")]
    System(#[source] std::io::Error),
    #[error(
        "another server with node_name {name} uses this database; stop it, or give this one a node_name of its own"
    )]
    NodeNameTaken { name: String },
    #[error("a part of the server failed; see the log")]
    PartFailed,
}

impl AppError {
    /// Whether a service that the server needs is missing, rather than something being wrong with it.
    pub fn is_missing_service(&self) -> bool {
        match self {
            Self::Embedded(error) => error.needs_installation(),
            Self::NoDatabase => true,
            Self::Store(StoreError::EpochActive { .. }) => true,
            Self::Store(error) => error.is_unavailable(),
            Self::Recovery(RecoveryError::Store(error)) => error.is_unavailable(),
            Self::Recovery(RecoveryError::Moved { .. }) => true,
            _ => false,
        }
    }
}

/// Everything that runs.
struct App {
    config: Config,
    clock: Clock,
    lifecycle: Lifecycle,
    readiness: Readiness,
    store: Store,
    ledger: Ledger,
    hub: Hub,
    control: Control,
    ws: Arc<WsState>,
    /// Resolves once everything durable is in Postgres after `finish_flush`.
    flushed: Arc<Notify>,
    finish_flush: CancellationToken,
    checkpointer: Arc<Checkpointer>,
    /// Tasks of connections and of operations under way.
    connections: TaskTracker,
    /// Ends the threads of the sockets, once nobody is on them.
    sockets_over: CancellationToken,
    accepting: CancellationToken,
    embedded: Option<EmbeddedPostgres>,
    database_url: String,
    api: ApiState,
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// It could not start, or something broke for good while it ran.
pub async fn run(config: Config, mode: Mode, output: OutputFormat) -> Result<(), AppError> {
    let lifecycle = Lifecycle::default();
    lifecycle.listen_for_signals().map_err(AppError::System)?;
    raise_descriptor_limit();
    // Bound first, so that a taken address is found before anything is started; nobody is accepted yet.
    let listener =
        Listener::bind(config.listen).map_err(|source| AppError::Listen { address: config.listen, source })?;
    let _folder = data_dir::prepare(&config.data_dir)?;
    let address = listener.address();
    let app = boot::build(config, mode, address, lifecycle).await?;
    let demo = match mode {
        Mode::Dev => Some(dev::prepare_demo(&app).await?),
        Mode::Serve => None,
    };
    app.start(listener);
    let public_url = app.config.public_url(address);
    banner::print_ready(
        output,
        &banner::Ready {
            url: public_url.as_str(),
            listen: address,
            database_url: &app.database_url,
            database: app.database_words(),
            data_dir: &app.config.data_dir,
            demo: demo.as_ref(),
        },
    );
    app.lifecycle.soft.cancelled().await;
    let failed = app.lifecycle.failed.clone();
    shutdown::end(app).await;
    if failed.is_cancelled() { Err(AppError::PartFailed) } else { Ok(()) }
}

/// Every socket is a descriptor, and the soft limit of many systems is a few of them only.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

impl App {
    /// Phase three: from here on people are let in.
    fn start(&self, listener: Listener) {
        let stop = self.lifecycle.soft.clone();
        self.lifecycle.spawn("hub.timers", crate::hub::run_timers(self.hub.clone(), self.accepting.clone()));
        self.lifecycle.spawn(
            "ledger.marks",
            crate::hub::run_marks(
                self.hub.clone(),
                self.config.ledger.mark_interval_ms.duration(),
                self.accepting.clone(),
            ),
        );
        self.lifecycle.spawn("audit.checkpoints", self.checkpointer.clone().run(stop.clone()));
        self.lifecycle.spawn(
            "store.upkeep",
            upkeep::keep_store(
                self.store.clone(),
                self.control.clone(),
                self.clock,
                self.config.audit.keep_months,
                self.config.sessions.cleanup_interval_s.duration(),
                stop.clone(),
            ),
        );
        let router = self.router();
        let limits = boot::http_connections(&self.config);
        let accept = crate::ws::serve(listener, router, limits, self.connections.clone(), self.accepting.clone());
        self.lifecycle.spawn("ws.accept", accept);
        if let Some(embedded) = &self.embedded {
            let (died, lifecycle) = (embedded.died(), self.lifecycle.clone());
            tokio::spawn(async move {
                let reason = died.await;
                tracing::error!(reason, "the embedded Postgres is gone; stopping");
                lifecycle.fail();
            });
        }
        self.readiness.set_ready();
        info!("accepting connections");
    }

    fn router(&self) -> axum::Router {
        let sockets = axum::Router::new().route("/v1/ws", get(crate::ws::upgrade)).with_state(self.ws.clone());
        crate::http::router_with(self.api.clone(), sockets.merge(crate::ui::router()))
    }

    fn database_words(&self) -> String {
        match &self.embedded {
            Some(embedded) => format!("embedded PostgreSQL {}", embedded.version()),
            None => "the PostgreSQL of DATABASE_URL".to_owned(),
        }
    }
}
