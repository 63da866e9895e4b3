//! Participants as the control plane lists and removes them. Their comings and goings are written by the ledger.

use chrono::{DateTime, Utc};
use rollcall_core::{ParticipantId, SessionId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `rollcall.participants` with the person's name, where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct ParticipantRow {
    pub participant_id: Uuid,
    pub identity: String,
    pub identity_verified: bool,
    pub name: Option<String>,
    pub role: String,
    pub status: String,
    pub state: Option<Value>,
    pub first_joined_at: DateTime<Utc>,
    pub joined_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub left_at: Option<DateTime<Utc>>,
    pub leave_reason: Option<String>,
    pub kicked_at: Option<DateTime<Utc>>,
}

/// Everybody who ever was in the session, in the order of their first join.
pub async fn list(
    store: &Store,
    tenant: TenantId,
    session: SessionId,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<ParticipantRow>, StoreError> {
    let (after_at, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        ParticipantRow,
        r#"select p.participant_id, p.identity, p.identity_verified, n.name as "name?", p.role, p.status, p.state,
             p.first_joined_at, p.joined_at, p.last_seen_at, p.left_at, p.leave_reason, p.kicked_at
         from rollcall.participants p
         left join rollcall.participant_pii n using (session_id, participant_id)
         where p.tenant_id = $1 and p.session_id = $2
           and ($3::timestamptz is null or (p.first_joined_at, p.participant_id) > ($3, $4::uuid))
         order by p.first_joined_at, p.participant_id
         limit $5"#,
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

/// Those whom the database last knew as present.
pub async fn present(
    store: &Store,
    tenant: TenantId,
    session: SessionId,
    limit: i64,
) -> Result<Vec<ParticipantRow>, StoreError> {
    let rows = sqlx::query_as!(
        ParticipantRow,
        r#"select p.participant_id, p.identity, p.identity_verified, n.name as "name?", p.role, p.status, p.state,
             p.first_joined_at, p.joined_at, p.last_seen_at, p.left_at, p.leave_reason, p.kicked_at
         from rollcall.participants p
         left join rollcall.participant_pii n using (session_id, participant_id)
         where p.tenant_id = $1 and p.session_id = $2 and p.status <> 'left'
         order by p.joined_at, p.participant_id
         limit $3"#,
        tenant.0,
        session.0,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// What came of an attempt to bar a participant that is not present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    Now,
    Before,
    Unknown,
}

/// Keeps a participant from coming back.
pub async fn bar(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
    participant: ParticipantId,
    at: DateTime<Utc>,
) -> Result<Barred, StoreError> {
    let kicked_at = sqlx::query_scalar!(
        "select kicked_at from rollcall.participants
         where tenant_id = $1 and session_id = $2 and participant_id = $3 for update",
        tenant.0,
        session.0,
        participant.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    match kicked_at {
        None => return Ok(Barred::Unknown),
        Some(Some(_)) => return Ok(Barred::Before),
        Some(None) => {}
    }
    sqlx::query!(
        "update rollcall.participants set kicked_at = $4
         where tenant_id = $1 and session_id = $2 and participant_id = $3",
        tenant.0,
        session.0,
        participant.0,
        at,
    )
    .execute(connection)
    .await?;
    Ok(Barred::Now)
}

/// Marks everybody as gone in a session that ended while no node had it in memory. Returns who was still shown.
pub async fn leave_all(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let left = sqlx::query!(
        "update rollcall.participants
         set status = 'left', left_at = greatest($3, joined_at), leave_reason = 'session_ended'
         where tenant_id = $1 and session_id = $2 and status <> 'left'",
        tenant.0,
        session.0,
        at,
    )
    .execute(connection)
    .await?;
    Ok(left.rows_affected())
}

/// Erases what is known of an identity in all sessions of a tenant; returns `(session, participant)` of each.
///
/// # Errors
/// [`StoreError::Unavailable`]; [`StoreError::Database`] when the person is present, see [`is_present`].
pub async fn erase_identity(
    store: &Store,
    tenant: TenantId,
    identity: &str,
    actor: &str,
) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
    let rows = sqlx::query!(
        r#"select session_id as "session_id!", participant_id as "participant_id!"
           from rollcall.erase_identity($1, $2, $3)"#,
        tenant.0,
        identity,
        actor,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.session_id, row.participant_id)).collect())
}

/// Whether an erasure was refused because the person is present.
pub fn is_present(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55006"))
}
