//! Why a call to the store failed, split by what the caller can do about it.

/// The names of PostgreSQL's error codes are in its manual, appendix A.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres cannot be reached, is starting, stopping, full, read-only or too slow at the moment, or chose this
    /// transaction as the victim of a deadlock. Nothing is known to be wrong with the request: try again later.
    /// Whether a transaction that failed this way was committed is unknown.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A unique constraint, by name, already has such a row.
    #[error("conflicts with an existing row ({constraint})")]
    Conflict { constraint: String },
    /// What the request is about does not exist.
    #[error("no such row")]
    NotFound,
    /// Postgres refused a statement: a bug, a missing migration or a missing privilege. Trying again does not help.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// Postgres has less than it had: it was put back to an earlier point, and the journal is being fed to it again. Try
    /// again later.
    #[error("the database was put back to an earlier point and is not yet what it was")]
    Behind,
    /// The node has an active epoch that its recovery did not see.
    #[error("an earlier start of node {node_name} was cut off and reached the database only now; start again")]
    EpochActive { node_name: String },
    /// A row holds something that the domain does not know; written by a newer version or by hand.
    #[error("unreadable row: {0}")]
    Unreadable(String),
    #[error("a migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

impl StoreError {
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Behind)
    }
}

impl StoreError {
    /// Whether Postgres refused what was to be stored, rather than how: a value it cannot hold, or a constraint. Such a
    /// row is refused every time.
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            // 22 data exception, 23 integrity, 54 a limit of the program, such as the size of an index row.
            Self::Database(sqlx::Error::Database(error)) => {
                matches!(error.code().as_deref().and_then(|code| code.get(..2)), Some("22" | "23" | "54"))
            }
            _ => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("23505") => {
                    Self::Conflict { constraint: database.constraint().unwrap_or("unnamed constraint").to_owned() }
                }
                // Raised by the SQL functions for an unknown session.
                Some("P0002") => Self::NotFound,
                Some(code) if is_passing(code) => Self::Unavailable(error),
                _ => Self::Database(error),
            },
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Migration(other),
        }
    }
}

/// Whether an error is about the state of the server at this moment and not about the statement.
fn is_passing(code: &str) -> bool {
    // 08 connection, 28 log-in (a password being changed), 40 rolled back (deadlock), 53 resources (disk full, too many
    // connections), 57 operator intervention (shutdown, starting, statement timeout), 58 I/O errors of the server.
    matches!(code.get(..2), Some("08" | "28" | "40" | "53" | "57" | "58"))
        // A standby, before its promotion; a lock not granted in time; a database that takes no connections at the moment.
        || matches!(code, "25006" | "55P03" | "55000")
}

#[cfg(test)]
mod tests {
    use super::is_passing;

    #[test]
    fn passing_troubles_are_told_from_bugs() {
        for code in ["53100", "57P01", "57P03", "57014", "40P01", "08006", "25006", "28P01"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["23503", "42P01", "42501", "22023", ""] {
            assert!(!is_passing(code), "{code}");
        }
    }
}
