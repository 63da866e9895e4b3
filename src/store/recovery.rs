//! What a crashed node left open.

use rollcall_core::{ConnectionId, Epoch, ParticipantId, SessionId, TenantId, Timestamp};

use super::mapping::from_utc;
use super::{Store, StoreError};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSpan {
    pub session: SessionId,
    pub tenant: TenantId,
    pub participant: ParticipantId,
    pub connection: ConnectionId,
    pub connected_at: Timestamp,
    pub last_evidence_at: Timestamp,
}

impl Store {
    /// The spans of an epoch that nobody has closed, by connection. To be asked once its journal is applied.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn open_spans(&self, epoch: Epoch) -> Result<Vec<OpenSpan>, StoreError> {
        let rows = sqlx::query!(
            "select session_id, tenant_id, participant_id, connection, connected_at, last_evidence_at
             from rollcall.participation_spans where epoch = $1 and disconnected_at is null order by connection",
            epoch.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let spans = rows.into_iter().map(|row| OpenSpan {
            session: row.session_id.into(),
            tenant: row.tenant_id.into(),
            participant: row.participant_id.into(),
            connection: ConnectionId { epoch, counter: row.connection },
            connected_at: from_utc(row.connected_at),
            last_evidence_at: from_utc(row.last_evidence_at),
        });
        Ok(spans.collect())
    }

    /// Up to which instant everything that the epoch heard is in Postgres; `None` for an unknown epoch.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn attested_until(&self, epoch: Epoch) -> Result<Option<Timestamp>, StoreError> {
        let at = sqlx::query_scalar!("select attested_until from rollcall.node_epochs where epoch = $1", epoch.0)
            .fetch_optional(&self.pool)
            .await?;
        Ok(at.map(from_utc))
    }
}
