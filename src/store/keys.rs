//! API keys. Only their hashes are here.

use chrono::{DateTime, Utc};
use rollcall_core::TenantId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `rollcall.api_keys`, without the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub key_id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub key_hint: String,
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// False: the key is known already, and nothing was written.
pub async fn insert(connection: &mut PgConnection, row: &KeyRow, key_hash: &[u8]) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "insert into rollcall.api_keys (key_id, tenant_id, name, key_hash, key_hint, scopes, created_at)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (key_hash) do nothing",
        row.key_id,
        row.tenant_id,
        row.name,
        key_hash,
        row.key_hint,
        &row.scopes,
        row.created_at,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub async fn list(store: &Store, tenant: TenantId) -> Result<Vec<KeyRow>, StoreError> {
    let rows = sqlx::query_as!(
        KeyRow,
        "select key_id, tenant_id, name, key_hint, scopes, created_at, revoked_at
         from rollcall.api_keys where tenant_id = $1 order by created_at, key_id",
        tenant.0,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// A key of this tenant by its hash, revoked or not.
pub async fn find(store: &Store, tenant: TenantId, key_hash: &[u8]) -> Result<Option<KeyRow>, StoreError> {
    let row = sqlx::query_as!(
        KeyRow,
        "select key_id, tenant_id, name, key_hint, scopes, created_at, revoked_at
         from rollcall.api_keys where tenant_id = $1 and key_hash = $2",
        tenant.0,
        key_hash,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}

/// The key with this hash, as long as it is good. Equality of hashes is decided by an index: what timing could tell
/// about a hash does not lead back to the key.
pub async fn find_usable(store: &Store, key_hash: &[u8]) -> Result<Option<KeyRow>, StoreError> {
    let row = sqlx::query_as!(
        KeyRow,
        "select key_id, tenant_id, name, key_hint, scopes, created_at, revoked_at
         from rollcall.api_keys where key_hash = $1 and revoked_at is null",
        key_hash,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}

/// What came of an attempt to revoke a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    Now,
    Before,
    Unknown,
}

pub async fn revoke(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: Uuid,
    at: DateTime<Utc>,
) -> Result<Revoked, StoreError> {
    let revoked_at = sqlx::query_scalar!(
        "select revoked_at from rollcall.api_keys where tenant_id = $1 and key_id = $2 for update",
        tenant.0,
        key,
    )
    .fetch_optional(&mut *connection)
    .await?;
    match revoked_at {
        None => return Ok(Revoked::Unknown),
        Some(Some(_)) => return Ok(Revoked::Before),
        Some(None) => {}
    }
    sqlx::query!("update rollcall.api_keys set revoked_at = $2 where key_id = $1", key, at).execute(connection).await?;
    Ok(Revoked::Now)
}
