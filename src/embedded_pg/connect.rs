//! The first connections: wait until the server answers, make the database, read the version.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::binaries::Version;
use super::error::Error;
use super::{DATABASE, SUPERUSER};

/// How long the server may take until it answers. Long, because recovery after a power cut replays
/// up to a whole `max_wal_size` from a disk that may be slow.
pub(super) const START_LIMIT: Duration = Duration::from_secs(300);

/// Pause between two tries to connect.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// How long one try may take. A server that accepts and says nothing counts as not ready.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// `cannot_connect_now`: the server is starting or stopping.
const NOT_NOW: &str = "57P03";

/// Why no connection came about.
pub(super) enum NotReady {
    /// `is_gone` said so, with its reason.
    Gone(String),
    TimedOut,
    /// The server answers and says no, which waiting does not change.
    Refused(sqlx::Error),
}

/// Connects to the database `postgres` as soon as the server answers.
pub(super) async fn when_ready(
    socket_dir: &Path,
    port: u16,
    limit: Duration,
    is_gone: impl Fn() -> Option<String>,
) -> Result<PgConnection, NotReady> {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(port)
        .username(SUPERUSER)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .application_name("rollcall start")
        .disable_statement_logging();
    let try_until_it_answers = async {
        loop {
            // Asked before the try: a server that ends in between is seen by the next round.
            let gone = is_gone();
            match timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if is_final(&error) => return Err(NotReady::Refused(error)),
                Ok(Err(_)) | Err(_) => {}
            }
            if let Some(reason) = gone {
                return Err(NotReady::Gone(reason));
            }
            sleep(CONNECT_RETRY).await;
        }
    };
    timeout(limit, try_until_it_answers).await.unwrap_or(Err(NotReady::TimedOut))
}

/// Makes the database if it is missing, so that an interrupted first start is completed by the next,
/// and returns the server's version.
pub(super) async fn complete(mut connection: PgConnection, socket_dir: &Path) -> Result<Version, Error> {
    let work = async {
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            sqlx::query("CREATE DATABASE rollcall").execute(&mut connection).await?;
        }
        let version = version(&mut connection).await?;
        connection.close().await?;
        Ok(version)
    };
    work.await.map_err(|source| Error::Connect { socket_dir: socket_dir.to_owned(), source })
}

async fn version(connection: &mut PgConnection) -> Result<Version, sqlx::Error> {
    let text: String = sqlx::query_scalar("SHOW server_version").fetch_one(connection).await?;
    Version::parse(&text).ok_or_else(|| sqlx::Error::Protocol(format!("unknown server_version {text:?}")))
}

/// Anything the server itself answers is final, unless it says "not now".
fn is_final(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() != Some(NOT_NOW))
}
