//! The audit trail, as a read.

use rollcall_core::TenantId;

use super::views::AuditEventView;
use super::{Control, ControlError};
use crate::store::audit::{self, AuditFilter, AuditRow};

impl Control {
    /// # Errors
    /// The filter names a session that the tenant does not have, or the database is away.
    pub async fn audit(&self, tenant: TenantId, filter: &AuditFilter) -> Result<Vec<AuditEventView>, ControlError> {
        if let Some(session) = filter.session {
            self.session(tenant, session.into()).await?;
        }
        Ok(audit::list(&self.store, tenant, filter).await?.into_iter().map(audit_view).collect())
    }
}

fn audit_view(row: AuditRow) -> AuditEventView {
    AuditEventView {
        epoch: row.epoch,
        seq: row.seq,
        occurred_at: row.occurred_at,
        recorded_at: row.recorded_at,
        event_type: row.event_type,
        actor: row.actor,
        session_id: row.session_id,
        participant_id: row.participant_id,
        connection_id: row.connection,
        metadata: row.metadata,
    }
}
