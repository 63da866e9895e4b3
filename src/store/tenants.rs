//! Tenants.

use chrono::{DateTime, Utc};
use rollcall_core::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `rollcall.tenants`, without the salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    pub tenant_id: Uuid,
    pub name: String,
    pub signing_secret_version: i32,
    pub created_at: DateTime<Utc>,
}

/// False: the name is taken, and nothing was written.
pub async fn insert(
    connection: &mut PgConnection,
    row: &TenantRow,
    identity_salt: &[u8; 32],
) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "insert into rollcall.tenants (tenant_id, name, identity_salt, signing_secret_version, created_at)
         values ($1, $2, $3, $4, $5) on conflict (name) do nothing",
        row.tenant_id,
        row.name,
        identity_salt.as_slice(),
        row.signing_secret_version,
        row.created_at,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub async fn list(store: &Store) -> Result<Vec<TenantRow>, StoreError> {
    let rows = sqlx::query_as!(
        TenantRow,
        "select tenant_id, name, signing_secret_version, created_at from rollcall.tenants order by created_at, tenant_id",
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

pub async fn get(store: &Store, tenant: TenantId) -> Result<Option<TenantRow>, StoreError> {
    let row = sqlx::query_as!(
        TenantRow,
        "select tenant_id, name, signing_secret_version, created_at from rollcall.tenants where tenant_id = $1",
        tenant.0,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}

pub async fn get_by_name(store: &Store, name: &str) -> Result<Option<TenantRow>, StoreError> {
    let row = sqlx::query_as!(
        TenantRow,
        "select tenant_id, name, signing_secret_version, created_at from rollcall.tenants where name = $1",
        name,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}
