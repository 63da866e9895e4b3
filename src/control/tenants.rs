//! Tenants: the customer accounts everything belongs to.

use rollcall_core::{Actor, TenantId};
use secrecy::SecretString;
use serde_json::json;

use super::validation::{LABEL_CHARACTERS_MAX, Violations};
use super::views::TenantView;
use super::{Control, ControlError};
use crate::store::audit::{self, ControlEvent};
use crate::store::tenants::{self, TenantRow};

impl Control {
    /// # Errors
    /// The name is not valid or taken, or the database is away.
    pub async fn create_tenant(&self, actor: &Actor, name: &str) -> Result<TenantView, ControlError> {
        let mut violations = Violations::default();
        violations.characters("/name", name, LABEL_CHARACTERS_MAX);
        violations.into_result()?;
        let now = self.now();
        let row = TenantRow {
            tenant_id: self.clock.uuid_v7(),
            name: name.to_owned(),
            signing_secret_version: 1,
            created_at: now,
        };
        let mut transaction = self.begin().await?;
        if !tenants::insert(&mut transaction, &row, &self.clock.random_bytes()).await? {
            return Err(ControlError::TenantNameTaken);
        }
        let event = ControlEvent {
            tenant: TenantId(row.tenant_id),
            session: None,
            participant: None,
            event_type: "tenant_created",
            actor,
            metadata: json!({}),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        Ok(tenant_view(row))
    }

    /// Oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tenants(&self) -> Result<Vec<TenantView>, ControlError> {
        Ok(tenants::list(&self.store).await?.into_iter().map(tenant_view).collect())
    }

    /// # Errors
    /// There is none of this name, or the database is away.
    pub async fn tenant_named(&self, name: &str) -> Result<TenantView, ControlError> {
        let row = tenants::get_by_name(&self.store, name).await?;
        row.map(tenant_view).ok_or(ControlError::TenantNotFound)
    }

    /// # Errors
    /// There is none, or the database is away.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantView, ControlError> {
        tenants::get(&self.store, tenant).await?.map(tenant_view).ok_or(ControlError::TenantNotFound)
    }

    /// The secret with which the app's backend signs join tokens.
    ///
    /// # Errors
    /// There is no such tenant, or the database is away.
    pub async fn signing_secret(&self, tenant: TenantId) -> Result<SecretString, ControlError> {
        let row = self.tenant(tenant).await?;
        Ok(self.root_key.signing_secret(tenant, row.signing_secret_version))
    }
}

fn tenant_view(row: TenantRow) -> TenantView {
    TenantView {
        id: row.tenant_id,
        name: row.name,
        signing_secret_version: row.signing_secret_version,
        created_at: row.created_at,
    }
}
