//! The tail of epoch 0: what was decided by other nodes, by the command line and in SQL.

use rollcall_core::SessionId;

use super::{Store, StoreError};

#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub seq: i64,
    pub event_type: String,
    /// `None` for events of a tenant.
    pub session: Option<SessionId>,
    pub metadata: serde_json::Value,
}

impl Store {
    /// Changes after `seq`, in order, at most `limit`. None is ever missed: a number is given under a lock that is held
    /// until commit, so what is committed later has a later number.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn changes_since(&self, seq: i64, limit: i64) -> Result<Vec<Change>, StoreError> {
        let rows = sqlx::query!(
            "select seq, event_type, session_id, metadata from rollcall.session_audit_log
             where epoch = 0 and seq > $1 order by seq limit $2",
            seq,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        let changes = rows.into_iter().map(|row| Change {
            seq: row.seq,
            event_type: row.event_type,
            session: row.session_id.map(SessionId),
            metadata: row.metadata,
        });
        Ok(changes.collect())
    }

    /// The latest change, from which a node that has just loaded everything goes on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn latest_change(&self) -> Result<i64, StoreError> {
        let seq = sqlx::query_scalar!("select applied_seq from rollcall.node_epochs where epoch = 0")
            .fetch_one(&self.pool)
            .await?;
        Ok(seq)
    }
}
