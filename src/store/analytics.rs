//! Analytics: how sessions went.

use chrono::{DateTime, Utc};
use rollcall_core::TenantId;

use super::usage::Period;
use super::{Store, StoreError};

/// One row of `get_session_analytics`. Decimal numbers come as their exact text.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalyticsRow {
    pub bucket: DateTime<Utc>,
    pub started: i64,
    pub ended: i64,
    pub completed: i64,
    pub expired: i64,
    pub abandoned: i64,
    pub no_shows: i64,
    pub completion_rate: Option<String>,
    pub avg_duration_seconds: Option<String>,
    pub p50_duration_seconds: Option<String>,
    pub p95_duration_seconds: Option<String>,
    pub max_duration_seconds: Option<String>,
    pub participants: i64,
    pub participant_seconds: String,
    pub peak_concurrent: i64,
}

/// One row for each bucket, or a single one without.
pub async fn tenant(
    store: &Store,
    tenant: TenantId,
    (from, to): Period,
    bucket: Option<&str>,
    time_zone: &str,
) -> Result<Vec<AnalyticsRow>, StoreError> {
    let rows = sqlx::query_as!(
        AnalyticsRow,
        r#"select bucket as "bucket!", started as "started!", ended as "ended!", completed as "completed!",
             expired as "expired!", abandoned as "abandoned!", no_shows as "no_shows!", trim_scale(completion_rate)::text as completion_rate,
             trim_scale(round(avg_duration_seconds, 6))::text as avg_duration_seconds,
             trim_scale(p50_duration_seconds)::text as p50_duration_seconds,
             trim_scale(p95_duration_seconds)::text as p95_duration_seconds,
             trim_scale(max_duration_seconds)::text as max_duration_seconds, participants as "participants!",
             trim_scale(participant_seconds)::text as "participant_seconds!", peak_concurrent as "peak_concurrent!"
         from rollcall.get_session_analytics($1, $2, $3, $4, $5)"#,
        from,
        to,
        tenant.0,
        bucket,
        time_zone,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}
