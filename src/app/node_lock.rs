//! One name, one server. Recovery closes the spans of earlier runs under the same node name; if that run were alive, it
//! would lose them. An advisory lock on a connection of its own tells: Postgres lets go of it when the connection, and so
//! the process, is gone.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::AppError;
use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// How long a start waits for the server before it to go, as in a rolling restart.
const NAME_WAIT: Duration = Duration::from_secs(10);
const NAME_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How often the connection is looked after.
const KEEP_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct NodeLock {
    connection: PgConnection,
    name: String,
}

impl NodeLock {
    /// # Errors
    /// The name is in use for longer than a restart takes, or Postgres is away.
    pub(super) async fn take(store: &Store, name: &str, clock: Clock) -> Result<Self, AppError> {
        let mut connection = store.dedicated().await?;
        let give_up_at = clock.now() + NAME_WAIT;
        while !Store::lock_node_name(&mut connection, name).await? {
            if clock.now() >= give_up_at {
                return Err(AppError::NodeNameTaken { name: name.to_owned() });
            }
            tokio::time::sleep(NAME_RETRY_PAUSE).await;
        }
        Ok(Self { connection, name: name.to_owned() })
    }

    /// Holds the name while Postgres comes and goes. Ends before `stop` only when somebody else has it: then this server
    /// must not go on.
    pub(super) async fn keep(mut self, store: Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(KEEP_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            if self.connection.ping().await.is_ok() {
                continue;
            }
            match self.take_again(&store).await {
                Ok(true) => {}
                Ok(false) => {
                    error!(node = self.name, "another server took the name of this node");
                    return;
                }
                // Nobody else can take it either while Postgres is away.
                Err(error) => warn!(error = &error as &dyn std::error::Error, "the name of this node is not held"),
            }
        }
    }

    async fn take_again(&mut self, store: &Store) -> Result<bool, StoreError> {
        let mut connection = store.dedicated().await?;
        let ours = Store::lock_node_name(&mut connection, &self.name).await?;
        self.connection = connection;
        Ok(ours)
    }
}
