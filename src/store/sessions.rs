//! Sessions as the control plane writes and lists them.

use chrono::{DateTime, Utc};
use rollcall_core::{SessionId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `rollcall.sessions`.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    pub session_id: Uuid,
    pub tenant_id: Uuid,
    pub external_id: Option<String>,
    pub title: Option<String>,
    pub metadata: Value,
    pub status: String,
    pub idle_timeout_s: i32,
    pub max_duration_s: Option<i32>,
    pub max_participants: Option<i32>,
    pub warn_before_s: Vec<i32>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_reason: Option<String>,
    pub last_activity_at: DateTime<Utc>,
    pub hold_until: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub version: i64,
}

impl SessionRow {
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }
}

/// Which sessions a list shows, newest first.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    pub status: Option<String>,
    /// A part of the title or external id, or a whole session id.
    pub text: Option<String>,
    /// Only sessions that come after this one in the list.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

/// False: another active session of the tenant has the external id, and nothing was written.
pub async fn insert(connection: &mut PgConnection, row: &SessionRow) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "insert into rollcall.sessions (session_id, tenant_id, external_id, title, metadata, idle_timeout_s,
             max_duration_s, max_participants, warn_before_s, created_at, last_activity_at, last_seen_at, hold_until,
             expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13)
         on conflict (tenant_id, external_id) where external_id is not null and status = 'active' do nothing",
        row.session_id,
        row.tenant_id,
        row.external_id,
        row.title,
        row.metadata,
        row.idle_timeout_s,
        row.max_duration_s,
        row.max_participants,
        &row.warn_before_s,
        row.created_at,
        row.last_activity_at,
        row.hold_until,
        row.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// `None`: there is none, or it belongs to another tenant.
pub async fn get(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
) -> Result<Option<SessionRow>, StoreError> {
    let row = sqlx::query_as!(
        SessionRow,
        "select session_id, tenant_id, external_id, title, metadata, status, idle_timeout_s, max_duration_s,
             max_participants, warn_before_s, created_at, started_at, ended_at, end_reason, last_activity_at, hold_until,
             expires_at, version
         from rollcall.sessions where tenant_id = $1 and session_id = $2",
        tenant.0,
        session.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row)
}

/// Like [`get`], and nobody else changes the row until the transaction ends.
pub async fn get_for_update(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
) -> Result<Option<SessionRow>, StoreError> {
    sqlx::query!(
        "select session_id from rollcall.sessions where tenant_id = $1 and session_id = $2 for update",
        tenant.0,
        session.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    get(connection, tenant, session).await
}

/// Writes what the control plane may change, the end excepted.
pub async fn update(connection: &mut PgConnection, row: &SessionRow) -> Result<(), StoreError> {
    sqlx::query!(
        "update rollcall.sessions
         set title = $3, metadata = $4, idle_timeout_s = $5, max_duration_s = $6, max_participants = $7,
             warn_before_s = $8, hold_until = $9, expires_at = $10, version = version + 1
         where tenant_id = $1 and session_id = $2",
        row.tenant_id,
        row.session_id,
        row.title,
        row.metadata,
        row.idle_timeout_s,
        row.max_duration_s,
        row.max_participants,
        &row.warn_before_s,
        row.hold_until,
        row.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The one conditional write that decides who ends the session. False: it was not active any more.
pub async fn end(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let ended = sqlx::query!(
        "update rollcall.sessions
         set status = 'ended', ended_at = $3, end_reason = 'completed', last_seen_at = greatest(last_seen_at, $3),
             version = version + 1
         where tenant_id = $1 and session_id = $2 and status = 'active'",
        tenant.0,
        session.0,
        at,
    )
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    mark_awaits_closes(connection, &[session.0]).await?;
    Ok(true)
}

/// Writes down which of these ended sessions have open connections. The caller holds their rows, since an earlier statement.
pub(super) async fn mark_awaits_closes(connection: &mut PgConnection, ended: &[Uuid]) -> Result<(), StoreError> {
    if !ended.is_empty() {
        sqlx::query_file!("src/store/queries/sessions_awaits_closes.sql", ended).execute(connection).await?;
    }
    Ok(())
}

/// What came of an attempt to bring a session back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    Yes,
    /// A newer active session has taken the external id.
    ExternalIdTaken,
}

/// Makes an ended session active again. The caller holds the row and has checked its state.
pub async fn recover(
    connection: &mut PgConnection,
    tenant: TenantId,
    session: SessionId,
    at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Recovered, StoreError> {
    let outcome = sqlx::query!(
        "update rollcall.sessions
         set status = 'active', ended_at = null, end_reason = null, last_activity_at = greatest(last_activity_at, $3),
             last_seen_at = greatest(last_seen_at, $3), hold_until = $3, expires_at = $4, version = version + 1,
             awaits_closes = false
         where tenant_id = $1 and session_id = $2 and status = 'ended'",
        tenant.0,
        session.0,
        at,
        expires_at,
    )
    .execute(connection)
    .await;
    match outcome.map_err(StoreError::from) {
        Ok(_) => Ok(Recovered::Yes),
        Err(StoreError::Conflict { .. }) => Ok(Recovered::ExternalIdTaken),
        Err(error) => Err(error),
    }
}

/// `None`: there is none, or it belongs to another tenant.
pub async fn find(store: &Store, tenant: TenantId, session: SessionId) -> Result<Option<SessionRow>, StoreError> {
    let mut connection = store.pool.acquire().await?;
    get(&mut connection, tenant, session).await
}

/// The active session with this external id.
pub async fn find_active(store: &Store, tenant: TenantId, external_id: &str) -> Result<Option<SessionRow>, StoreError> {
    let row = sqlx::query_as!(
        SessionRow,
        "select session_id, tenant_id, external_id, title, metadata, status, idle_timeout_s, max_duration_s,
             max_participants, warn_before_s, created_at, started_at, ended_at, end_reason, last_activity_at, hold_until,
             expires_at, version
         from rollcall.sessions where tenant_id = $1 and external_id = $2 and status = 'active'",
        tenant.0,
        external_id,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(row)
}

/// Newest first.
pub async fn list(store: &Store, tenant: TenantId, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
    let pattern = filter.text.as_deref().map(contains_pattern);
    let exact = filter.text.as_deref().and_then(|text| Uuid::parse_str(text).ok());
    let (after_at, after_id) = filter.after.unzip();
    let rows = sqlx::query_as!(
        SessionRow,
        r#"select session_id, tenant_id, external_id, title, metadata, status, idle_timeout_s, max_duration_s,
             max_participants, warn_before_s, created_at, started_at, ended_at, end_reason, last_activity_at, hold_until,
             expires_at, version
         from rollcall.sessions
         where tenant_id = $1
           and ($2::text is null or status = $2)
           and ($3::text is null or title ilike $3 or external_id ilike $3 or session_id = $4)
           and ($5::timestamptz is null or (created_at, session_id) < ($5, $6::uuid))
         order by created_at desc, session_id desc
         limit $7"#,
        tenant.0,
        filter.status,
        pattern,
        exact,
        after_at,
        after_id,
        filter.limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// `%text%` with the wildcards of LIKE taken literally.
fn contains_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::contains_pattern;

    #[test]
    fn wildcards_are_taken_literally() {
        assert_eq!(contains_pattern("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }
}
