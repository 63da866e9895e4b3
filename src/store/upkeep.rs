//! Housekeeping that the server does now and then.

use chrono::{DateTime, Utc};

use super::{Store, StoreError};

impl Store {
    /// Ends sessions that are over and that no node had in memory; returns how many. The SQL function documents what it
    /// leaves alone.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn cleanup_inactive_sessions(&self, sessions_max: i32) -> Result<i64, StoreError> {
        let ended = sqlx::query_scalar!(
            r#"select count(*) as "count!" from rollcall.cleanup_inactive_sessions(p_limit => $1)"#,
            sessions_max
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(ended)
    }

    /// Makes the audit log's partitions for the months ahead.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ensure_audit_partitions(&self) -> Result<(), StoreError> {
        sqlx::query("select rollcall.ensure_audit_partitions()").execute(&self.pool).await?;
        Ok(())
    }

    /// Detaches the months of the audit log that are older than `keep_months` whole months; with `dry_run` only says which.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], also when the log could not be locked within two seconds.
    pub async fn detach_audit_partitions(
        &self,
        keep_months: u32,
        dry_run: bool,
    ) -> Result<Vec<DetachedPartition>, StoreError> {
        let rows = sqlx::query_as!(
            DetachedPartition,
            r#"select partition_name as "name!", from_at as "from!", to_at as "to!", records as "records!"
               from rollcall.detach_audit_partitions($1, $2)"#,
            i32::try_from(keep_months).unwrap_or(i32::MAX),
            dry_run,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}

/// A month that left the audit log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DetachedPartition {
    pub name: String,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub records: i64,
}
