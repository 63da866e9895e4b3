//! Usage: the SQL functions that billing departments call, read on their behalf. Seconds come as the exact decimal text
//! of Postgres; they are never floating point.

use chrono::{DateTime, NaiveDate, Utc};
use rollcall_core::{SessionId, TenantId};
use uuid::Uuid;

use super::{Store, StoreError};

/// One row of `get_session_billing_data`.
#[derive(Debug, Clone, PartialEq)]
pub struct BillingRow {
    pub participant_id: Uuid,
    pub identity: Option<String>,
    pub first_joined_at: DateTime<Utc>,
    pub last_left_at: Option<DateTime<Utc>>,
    pub connections: i64,
    pub connected_seconds: String,
    pub billable_seconds: String,
    pub overlap_seconds: String,
    pub gap_seconds: String,
    pub billed_units: String,
    pub uncertainty_seconds: String,
    pub uncertainty_ms: i64,
    pub is_open: bool,
    pub adjustments_seconds: String,
}

/// One row of `get_usage`.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRow {
    pub day: Option<NaiveDate>,
    pub session_id: Option<Uuid>,
    pub participant_id: Option<Uuid>,
    pub identity: Option<String>,
    pub sessions: i64,
    pub participants: i64,
    pub connections: i64,
    pub connected_seconds: String,
    pub billable_seconds: String,
    pub overlap_seconds: String,
    pub billed_units: String,
    pub uncertainty_seconds: String,
    pub uncertainty_ms: i64,
    pub is_open: bool,
    pub adjustments_seconds: String,
}

/// A half-open period.
pub type Period = (DateTime<Utc>, DateTime<Utc>);

/// The caller has checked that the session is the tenant's.
pub async fn session(
    store: &Store,
    session: SessionId,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    rounding: &str,
) -> Result<Vec<BillingRow>, StoreError> {
    let rows = sqlx::query_as!(
        BillingRow,
        r#"select participant_id as "participant_id!", identity, first_joined_at as "first_joined_at!", last_left_at,
             connections as "connections!", trim_scale(connected_seconds)::text as "connected_seconds!",
             trim_scale(billable_seconds)::text as "billable_seconds!",
             trim_scale(overlap_seconds)::text as "overlap_seconds!", trim_scale(gap_seconds)::text as "gap_seconds!",
             trim_scale(billed_units)::text as "billed_units!",
             trim_scale(uncertainty_seconds)::text as "uncertainty_seconds!",
             ceil(uncertainty_seconds * 1000)::bigint as "uncertainty_ms!", is_open as "is_open!",
             trim_scale(adjustments_seconds)::text as "adjustments_seconds!"
         from rollcall.get_session_billing_data($1, $2, $3, $4)"#,
        session.0,
        from,
        to,
        rounding,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// At most `limit` rows.
pub async fn tenant(
    store: &Store,
    tenant: TenantId,
    (from, to): Period,
    group: &str,
    time_zone: &str,
    rounding: &str,
    limit: i64,
) -> Result<Vec<UsageRow>, StoreError> {
    let rows = sqlx::query_as!(
        UsageRow,
        r#"select day, session_id, participant_id, identity, sessions as "sessions!", participants as "participants!",
             connections as "connections!", trim_scale(connected_seconds)::text as "connected_seconds!",
             trim_scale(billable_seconds)::text as "billable_seconds!",
             trim_scale(overlap_seconds)::text as "overlap_seconds!", trim_scale(billed_units)::text as "billed_units!",
             trim_scale(uncertainty_seconds)::text as "uncertainty_seconds!",
             ceil(uncertainty_seconds * 1000)::bigint as "uncertainty_ms!", is_open as "is_open!",
             trim_scale(adjustments_seconds)::text as "adjustments_seconds!"
         from rollcall.get_usage($1, $2, $3, $4, $5, $6) limit $7"#,
        tenant.0,
        from,
        to,
        group,
        time_zone,
        rounding,
        limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

/// Up to this instant all usage is in the database.
pub async fn complete_through(store: &Store) -> Result<DateTime<Utc>, StoreError> {
    let at = sqlx::query_scalar!(r#"select complete_through as "at!" from rollcall.get_billing_watermark()"#)
        .fetch_one(&store.pool)
        .await?;
    Ok(at)
}

/// The sentence of a SQL function that refused its arguments; `None` for every other error.
pub fn refused_argument(error: &StoreError) -> Option<&str> {
    const INVALID_PARAMETER_VALUE: &str = "22023";
    match error {
        StoreError::Database(sqlx::Error::Database(database))
            if database.code().as_deref() == Some(INVALID_PARAMETER_VALUE) =>
        {
            Some(database.message())
        }
        _ => None,
    }
}
