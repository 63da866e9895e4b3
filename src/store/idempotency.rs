//! Answers of API writes, kept so that a repeated request gets the same answer.
//!
//! The answer is written in the transaction that does the work, so it exists exactly if the work was done: a crash in
//! between leaves neither. An advisory lock tells a request under way from one that never happened, without waiting.

use chrono::{DateTime, Utc};
use rollcall_core::TenantId;
use serde_json::Value;
use sqlx::PgConnection;

use super::{Store, StoreError};

/// Namespace of the advisory locks, so that they do not meet those of an app in the same database.
const LOCK_NAMESPACE: &str = "rollcall.idempotency_keys";

/// What is known about a key at the start of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// Nothing. The lock is held until the transaction ends.
    New,
    /// The same request was carried out; this was its answer.
    Answered(Value),
    /// Another request used the key.
    OtherRequest,
    /// The same key is being worked on at this moment.
    InProgress,
}

/// `kept_since`: answers older than this are forgotten.
pub async fn claim(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    request_hash: &[u8],
    kept_since: DateTime<Utc>,
) -> Result<Claim, StoreError> {
    // Looked up first, so that repetitions of a finished request never meet the lock.
    if let Some(found) = find(connection, tenant, key, request_hash, kept_since).await? {
        return Ok(found);
    }
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended($1 || $2 || ':' || $3, 0)) as "locked!""#,
        LOCK_NAMESPACE,
        tenant.0.to_string(),
        key,
    )
    .fetch_one(&mut *connection)
    .await?;
    if !locked {
        return Ok(Claim::InProgress);
    }
    // The request before us may have finished between the look-up and the lock.
    Ok(find(connection, tenant, key, request_hash, kept_since).await?.unwrap_or(Claim::New))
}

async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    request_hash: &[u8],
    kept_since: DateTime<Utc>,
) -> Result<Option<Claim>, StoreError> {
    let stored = sqlx::query!(
        "select request_hash, body from rollcall.idempotency_keys where tenant_id = $1 and key = $2 and created_at >= $3",
        tenant.0,
        key,
        kept_since,
    )
    .fetch_optional(connection)
    .await?;
    Ok(stored.map(|stored| match stored.body {
        _ if stored.request_hash != request_hash => Claim::OtherRequest,
        Some(body) => Claim::Answered(body),
        None => Claim::InProgress,
    }))
}

/// Keeps the answer. The caller holds the claim.
pub async fn keep_answer(
    connection: &mut PgConnection,
    tenant: TenantId,
    key: &str,
    request_hash: &[u8],
    status: i32,
    body: &Value,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into rollcall.idempotency_keys (tenant_id, key, request_hash, status, body, created_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, key) do update
         set request_hash = excluded.request_hash, status = excluded.status, body = excluded.body,
             created_at = excluded.created_at",
        tenant.0,
        key,
        request_hash,
        status,
        body,
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes answers older than `before`, at most `limit` at a time so that no transaction grows long. Returns how many.
pub async fn forget(store: &Store, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    let deleted = sqlx::query!(
        "delete from rollcall.idempotency_keys where (tenant_id, key) in (
             select tenant_id, key from rollcall.idempotency_keys where created_at < $1 order by created_at limit $2)",
        before,
        limit,
    )
    .execute(&store.pool)
    .await?;
    Ok(deleted.rows_affected())
}
