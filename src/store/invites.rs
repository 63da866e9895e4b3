//! Invites as the control plane writes, lists and checks them.

use chrono::{DateTime, Utc};
use rollcall_core::{InviteId, SessionId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `rollcall.invites`, without the token's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteRow {
    pub invite_id: Uuid,
    pub tenant_id: Uuid,
    pub session_id: Uuid,
    pub token_hint: String,
    pub role: String,
    pub identity: Option<String>,
    pub name: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    pub max_uses: Option<i32>,
    pub uses: i32,
    pub revoked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// What a landing page needs to know of an invite and its session.
#[derive(Debug, Clone)]
pub struct InviteCheckRow {
    pub session_id: Uuid,
    pub title: Option<String>,
    pub session_active: bool,
    pub role: String,
    pub not_before: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    pub max_uses: Option<i32>,
    pub uses: i32,
    pub revoked_at: Option<DateTime<Utc>>,
}

pub async fn insert(connection: &mut PgConnection, row: &InviteRow, token_hash: &[u8]) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into rollcall.invites (invite_id, tenant_id, session_id, token_hash, token_hint, role, identity, name,
             not_before, expires_at, max_uses, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        row.invite_id,
        row.tenant_id,
        row.session_id,
        token_hash,
        row.token_hint,
        row.role,
        row.identity,
        row.name,
        row.not_before,
        row.expires_at,
        row.max_uses,
        row.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `None`: there is none, or it belongs to another tenant.
pub async fn get_for_update(
    connection: &mut PgConnection,
    tenant: TenantId,
    invite: InviteId,
) -> Result<Option<InviteRow>, StoreError> {
    let row = sqlx::query_as!(
        InviteRow,
        "select invite_id, tenant_id, session_id, token_hint, role, identity, name, not_before, expires_at, max_uses,
             uses, revoked_at, created_at
         from rollcall.invites where tenant_id = $1 and invite_id = $2 for update",
        tenant.0,
        invite.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// The session of an invite of this tenant.
pub async fn session_of(
    connection: &mut PgConnection,
    tenant: TenantId,
    invite: InviteId,
) -> Result<Option<Uuid>, StoreError> {
    let session = sqlx::query_scalar!(
        "select session_id from rollcall.invites where tenant_id = $1 and invite_id = $2",
        tenant.0,
        invite.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(session)
}

pub async fn revoke(
    connection: &mut PgConnection,
    tenant: TenantId,
    invite: InviteId,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update rollcall.invites set revoked_at = $3 where tenant_id = $1 and invite_id = $2 and revoked_at is null",
        tenant.0,
        invite.0,
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Oldest first.
pub async fn list(
    store: &Store,
    tenant: TenantId,
    session: SessionId,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<InviteRow>, StoreError> {
    let (after_at, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        InviteRow,
        "select invite_id, tenant_id, session_id, token_hint, role, identity, name, not_before, expires_at, max_uses,
             uses, revoked_at, created_at
         from rollcall.invites
         where tenant_id = $1 and session_id = $2
           and ($3::timestamptz is null or (created_at, invite_id) > ($3, $4::uuid))
         order by created_at, invite_id
         limit $5",
        tenant.0,
        session.0,
        after_at,
        after_id,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// By the hash of a token that somebody holds, so of any tenant.
pub async fn check(store: &Store, token_hash: &[u8]) -> Result<Option<InviteCheckRow>, StoreError> {
    let row = sqlx::query_as!(
        InviteCheckRow,
        r#"select i.session_id, s.title, s.status = 'active' as "session_active!", i.role, i.not_before, i.expires_at,
             i.max_uses, i.uses, i.revoked_at
         from rollcall.invites i join rollcall.sessions s using (session_id)
         where i.token_hash = $1"#,
        token_hash,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}
