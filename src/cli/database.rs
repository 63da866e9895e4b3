//! The database that a verb works on: the configured one, else the embedded Postgres of the data folder, which is attached
//! to when it runs and started for the moment when it does not.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::task::TaskTracker;

use super::output::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Control, ControlSettings, Live, RootKey};
use crate::embedded_pg::{self, EmbeddedPostgres};
use crate::store::{Store, StoreOptions};

/// A verb does one thing after the other.
const CONNECTIONS_MAX: u32 = 2;

/// Longer than any statement of a verb takes, and short enough for somebody who waits.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a database that does not exist yet is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Make,
    Refuse,
}

/// A database URL, and the server behind it if this process runs it.
pub struct Database {
    pub url: SecretString,
    embedded: Option<EmbeddedPostgres>,
}

impl Database {
    /// Finds the database; starts the embedded one if it does not run.
    ///
    /// # Errors
    /// There is none, or the embedded Postgres cannot be started.
    pub async fn find(config: &Config, missing: Missing) -> Result<Self, Failure> {
        if let Some(url) = &config.database.url {
            return Ok(Self { url: SecretString::from(url.expose()), embedded: None });
        }
        Self::find_embedded(config, missing).await
    }

    /// As [`Database::find`], without regard to a configured URL.
    ///
    /// # Errors
    /// There is no embedded Postgres in the data folder, or it cannot be started.
    pub async fn find_embedded(config: &Config, missing: Missing) -> Result<Self, Failure> {
        if let Some(running) = embedded_pg::attach(&config.data_dir).await? {
            let url = SecretString::from(running.database_url(embedded_pg::DATABASE));
            return Ok(Self { url, embedded: None });
        }
        if missing == Missing::Refuse && !config.data_dir.join("postgres").is_dir() {
            let message =
                format!("there is no database: DATABASE_URL is not set, and {} holds none", config.data_dir.display());
            let hint = "set DATABASE_URL, name another --data-dir, or make a database with `rollcall dev` or `rollcall migrate`";
            return Err(Failure::new(Exit::ServiceMissing, message).hint(hint));
        }
        let embedded = embedded_pg::start(embedded_options(config)).await?;
        let url = SecretString::from(embedded.database_url(embedded_pg::DATABASE));
        Ok(Self { url, embedded: Some(embedded) })
    }

    /// Connects without looking at the schema.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn connect(&self, config: &Config) -> Result<Store, Failure> {
        let options = StoreOptions {
            database_url: self.url.clone(),
            max_connections: CONNECTIONS_MAX,
            acquire_timeout: config.database.connect_timeout_s.duration(),
            statement_timeout: STATEMENT_TIMEOUT,
            application_name: "rollcall command line".to_owned(),
        };
        Ok(Store::connect(&options).await?)
    }

    /// Ends an embedded Postgres that was started for the moment.
    ///
    /// # Errors
    /// It does not end.
    pub async fn release(self) -> Result<(), Failure> {
        match self.embedded {
            Some(embedded) => Ok(embedded.stop().await?),
            None => Ok(()),
        }
    }
}

/// How the embedded Postgres of this configuration is run.
pub fn embedded_options(config: &Config) -> embedded_pg::Options {
    let mut options = embedded_pg::Options::new(&config.data_dir);
    options.bin_dir = config.database.pg_bin.clone();
    options
}

/// Carries out `work` with the operations of the control plane, and leaves the database as it was found: running or not.
///
/// # Errors
/// There is no database, its schema is not current, or those of `work`.
pub async fn with_control<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Control) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_store(config, Missing::Refuse, async |store| {
        if !store.schema_is_current().await? {
            let message = "the schema of the database is not that of this program";
            return Err(Failure::new(Exit::Failed, message).hint("run `rollcall migrate` first"));
        }
        work(&control(config, store)).await
    })
    .await
}

/// Carries out `work` with a connection, and leaves the database as it was found: running or not.
///
/// # Errors
/// There is no database, or those of `work`.
pub async fn with_store<T>(
    config: &Config,
    missing: Missing,
    work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let database = Database::find(config, missing).await?;
    let result = match database.connect(config).await {
        Ok(store) => {
            let result = work(&store).await;
            store.close().await;
            result
        }
        Err(failure) => Err(failure),
    };
    let released = database.release().await;
    // The failure of the work tells more than that of the end.
    let value = result?;
    released.map(|()| value)
}

/// No hub: a running server learns of the changes from the database.
fn control(config: &Config, store: &Store) -> Control {
    let settings = ControlSettings {
        recover_window: config.sessions.recover_window_h.duration(),
        join_url: config.join_url(config.listen),
    };
    let root_key = Arc::new(RootKey::from_text(&config.auth.root_key));
    Control::new(store.clone(), Live::Detached, Clock::system(), root_key, settings, TaskTracker::new())
}
