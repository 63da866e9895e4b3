//! Housekeeping that the server does now and then.

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
}
