//! The only place with SQL. Reading order: [`error`], [`mapping`], [`migrate`], [`epochs`], [`ledger`] (the way of a
//! record into the tables), [`recovery`], [`live`] (what the hub reads), [`changes`] (what other nodes did).
//!
//! Every name in SQL is qualified with `rollcall.`; the search path is not relied upon. Futures of this module must not
//! be dropped half-way on a dedicated connection: a cancelled query leaves its answer on the wire. Time limits are set
//! in Postgres (`statement_timeout`), not around the calls.

mod admission;
pub mod analytics;
pub mod audit;
pub mod chain;
pub mod changes;
pub mod epochs;
pub mod error;
pub mod idempotency;
pub mod invites;
mod jsonb;
pub mod keys;
pub mod ledger;
pub mod live;
mod live_store;
pub mod mapping;
pub mod migrate;
pub mod participants;
pub mod recovery;
pub mod sessions;
pub mod tenants;
#[cfg(test)]
pub(crate) mod tests;
pub mod upkeep;
pub mod usage;
pub mod usage_export;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgConnection, PgPool};

pub use epochs::EpochState;
pub use error::StoreError;
pub use ledger::{BatchOutcome, FlushConnection, apply_batch};
pub use live::{Consumed, LoadedSession, StoredInvite};
pub use live_store::LiveStore;
pub use recovery::OpenSpan;

/// After so many seconds without a word Postgres asks whether we are there, so often, at these intervals: 25 s in all.
const KEEPALIVE_IDLE_S: u32 = 10;
const KEEPALIVE_INTERVAL_S: u32 = 5;
const KEEPALIVE_COUNT: u32 = 3;

#[derive(Clone)]
pub struct StoreOptions {
    /// `postgres://user:password@host/database`. Session state is used, so a pooler in between must be in session mode.
    pub database_url: secrecy::SecretString,
    /// Connections of the pool; a request that finds all busy waits for `acquire_timeout`. Dedicated connections (the
    /// flusher's) come on top.
    pub max_connections: u32,
    /// A request that waited this long for a connection fails with [`StoreError::Unavailable`].
    pub acquire_timeout: Duration,
    /// A statement that runs this long is cancelled by Postgres: [`StoreError::Unavailable`]. Zero: no limit.
    pub statement_timeout: Duration,
    /// How the connections appear in `pg_stat_activity`.
    pub application_name: String,
}

/// A handle on the database; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    pub(in crate::store) pool: PgPool,
    statement_timeout: Duration,
}

impl Store {
    /// Connects once, so that a wrong address or password shows at start.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection could be made within `acquire_timeout`; [`StoreError::Database`]
    /// when the URL cannot be read.
    pub async fn connect(options: &StoreOptions) -> Result<Self, StoreError> {
        use secrecy::ExposeSecret;
        let connect = PgConnectOptions::from_str(options.database_url.expose_secret())?
            .application_name(&options.application_name)
            .disable_statement_logging();
        let statement_timeout = options.statement_timeout;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .after_connect(move |conn, _| Box::pin(async move { prepare_connection(conn, statement_timeout).await }))
            .connect_with(connect)
            .await?;
        Ok(Self { pool, statement_timeout })
    }

    /// A connection of its own, outside the pool, for work that keeps state on it: flusher and migrations.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be made.
    pub async fn dedicated(&self) -> Result<PgConnection, StoreError> {
        let mut conn = self.pool.connect_options().connect().await?;
        prepare_connection(&mut conn, self.statement_timeout).await?;
        Ok(conn)
    }

    /// One round trip, for readiness.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when Postgres does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar!("select 1").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Waits for the connections in use and closes all.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Limits the time of a statement, and lets Postgres find out soon when our machine is gone: until then it holds what the
/// connection held, the name of the node among it. Over a Unix socket the latter is nothing.
async fn prepare_connection(conn: &mut PgConnection, statement_timeout: Duration) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('statement_timeout', $1, false), set_config('tcp_keepalives_idle', $2, false),
                set_config('tcp_keepalives_interval', $3, false), set_config('tcp_keepalives_count', $4, false)",
    )
    .bind(statement_timeout.as_millis().to_string())
    .bind(KEEPALIVE_IDLE_S.to_string())
    .bind(KEEPALIVE_INTERVAL_S.to_string())
    .bind(KEEPALIVE_COUNT.to_string())
    .execute(conn)
    .await?;
    Ok(())
}
