//! The few things that a join needs of the database beyond sessions and invites.

use rollcall_core::{InviteId, TenantId};

use super::{Store, StoreError};

impl Store {
    /// Whether an invite was revoked; one that does not exist counts as revoked.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn is_invite_revoked(&self, invite: InviteId) -> Result<bool, StoreError> {
        let revoked = sqlx::query_scalar!(
            r#"select revoked_at is not null as "revoked!" from rollcall.invites where invite_id = $1"#,
            invite.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(revoked.unwrap_or(true))
    }

    /// The version of a tenant's signing secret.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such tenant; [`StoreError::Unavailable`].
    pub async fn signing_secret_version(&self, tenant: TenantId) -> Result<i32, StoreError> {
        let version =
            sqlx::query_scalar!("select signing_secret_version from rollcall.tenants where tenant_id = $1", tenant.0)
                .fetch_one(&self.pool)
                .await?;
        Ok(version)
    }
}
