//! The books, as reads: the audit trail, usage, analytics.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rollcall_core::{SessionId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::views::AuditEventView;
use super::{Control, ControlError, Violations};
use crate::store::audit::{self, AuditFilter, AuditRow};
use crate::store::usage::{BillingRow, UsageRow, refused_argument};
use crate::store::{StoreError, analytics, usage};

/// How usage may be grouped.
pub const GROUPS: [&str; 3] = ["day", "session", "participant"];
/// How usage may be rounded into units.
pub const ROUNDINGS: [&str; 5] =
    ["exact", "second", "minute_per_connection", "minute_per_participant", "minute_per_session"];
/// Spans of time of analytics.
pub const BUCKETS: [&str; 4] = ["hour", "day", "week", "month"];
/// Longest period of one read, in days. Longer ones are refused; ask in parts.
pub const PERIOD_DAYS_MAX: i64 = 366;
/// Longest period in buckets of an hour, in days.
pub const PERIOD_HOURLY_DAYS_MAX: i64 = 31;
/// Most rows of usage in one answer. More are refused rather than cut off: a bill must not be incomplete.
pub const USAGE_ROWS_MAX: i64 = 10_000;

/// A number exactly as Postgres wrote it.
pub type Decimal = Box<RawValue>;

/// What a participant of a session used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "SessionUsageRow")]
pub struct SessionUsageRow {
    pub participant_id: Uuid,
    pub identity: Option<String>,
    pub first_joined_at: DateTime<Utc>,
    /// Null while a connection is open.
    pub last_left_at: Option<DateTime<Utc>>,
    pub connections: i64,
    /// Sum over all connections; two tabs count twice.
    #[schema(value_type = f64, example = 7200.5)]
    pub connected_seconds: Decimal,
    /// Union of all connections; two tabs count once.
    #[schema(value_type = f64, example = 3600.25)]
    pub billable_seconds: Decimal,
    #[schema(value_type = f64)]
    pub overlap_seconds: Decimal,
    #[schema(value_type = f64)]
    pub gap_seconds: Decimal,
    /// `billable_seconds` after rounding: seconds for `exact` and `second`, else minutes.
    #[schema(value_type = f64)]
    pub billed_units: Decimal,
    #[schema(value_type = f64)]
    pub uncertainty_seconds: Decimal,
    /// How much longer somebody may have been there, unproven and unbilled.
    pub uncertainty_ms: i64,
    pub is_open: bool,
    #[schema(value_type = f64)]
    pub adjustments_seconds: Decimal,
}

/// The usage of one session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "SessionUsage")]
pub struct SessionUsage {
    pub data: Vec<SessionUsageRow>,
    /// Up to this instant the numbers are final.
    pub complete_through: DateTime<Utc>,
}

/// What a day, a session or a participant used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "UsageRow")]
pub struct TenantUsageRow {
    /// With `group=day`.
    pub day: Option<NaiveDate>,
    /// With `group=session` and `group=participant`.
    pub session_id: Option<Uuid>,
    /// With `group=participant`.
    pub participant_id: Option<Uuid>,
    pub identity: Option<String>,
    pub sessions: i64,
    pub participants: i64,
    pub connections: i64,
    #[schema(value_type = f64)]
    pub connected_seconds: Decimal,
    #[schema(value_type = f64)]
    pub billable_seconds: Decimal,
    #[schema(value_type = f64)]
    pub overlap_seconds: Decimal,
    #[schema(value_type = f64)]
    pub billed_units: Decimal,
    #[schema(value_type = f64)]
    pub uncertainty_seconds: Decimal,
    pub uncertainty_ms: i64,
    pub is_open: bool,
    #[schema(value_type = f64)]
    pub adjustments_seconds: Decimal,
}

/// The usage of a tenant in a period.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "Usage")]
pub struct TenantUsage {
    pub data: Vec<TenantUsageRow>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub group: String,
    pub tz: String,
    pub rounding: String,
    /// Up to this instant the numbers are final.
    pub complete_through: DateTime<Utc>,
}

/// How sessions went in one span of time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "AnalyticsRow")]
pub struct AnalyticsBucket {
    /// Start of the span.
    pub bucket: DateTime<Utc>,
    pub started: i64,
    pub ended: i64,
    pub completed: i64,
    /// Ended idle or by their maximal duration.
    pub expired: i64,
    /// Nobody ever joined.
    pub abandoned: i64,
    /// `completed` of `ended`; null when none ended.
    #[schema(value_type = Option<f64>)]
    pub completion_rate: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    pub avg_duration_seconds: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    pub p50_duration_seconds: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    pub p95_duration_seconds: Option<Decimal>,
    #[schema(value_type = Option<f64>)]
    pub max_duration_seconds: Option<Decimal>,
    pub participants: i64,
    #[schema(value_type = f64)]
    pub participant_seconds: Decimal,
    pub peak_concurrent: i64,
}

/// How the sessions of a tenant went in a period.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(title = "Analytics")]
pub struct Analytics {
    pub data: Vec<AnalyticsBucket>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub tz: String,
    pub complete_through: DateTime<Utc>,
}

/// Which usage of a tenant to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub group: String,
    pub tz: String,
    pub rounding: String,
}

/// Which analytics of a tenant to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalyticsQuery {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub bucket: Option<String>,
    pub tz: String,
}

impl Control {
    /// # Errors
    /// The filter names a session that the tenant does not have, or the database is away.
    pub async fn audit(&self, tenant: TenantId, filter: &AuditFilter) -> Result<Vec<AuditEventView>, ControlError> {
        if let Some(session) = filter.session {
            self.session(tenant, session.into()).await?;
        }
        Ok(audit::list(&self.store, tenant, filter).await?.into_iter().map(audit_view).collect())
    }

    /// # Errors
    /// No such session, an unknown rounding, an empty period, or the database is away.
    pub async fn session_usage(
        &self,
        tenant: TenantId,
        session: SessionId,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        rounding: &str,
    ) -> Result<SessionUsage, ControlError> {
        let mut violations = Violations::default();
        one_of(&mut violations, "?rounding", rounding, &ROUNDINGS);
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            violations.add("?to", "must be later than from");
        }
        violations.into_result()?;
        self.session(tenant, session).await?;
        let complete_through = usage::complete_through(&self.store).await?;
        let rows = usage::session(&self.store, session, from, to, rounding).await.map_err(refused)?;
        let data = rows.into_iter().map(session_usage_row).collect::<Result<_, _>>()?;
        Ok(SessionUsage { data, complete_through })
    }

    /// # Errors
    /// A query that is not valid, more rows than [`USAGE_ROWS_MAX`], or the database is away.
    pub async fn usage(&self, tenant: TenantId, query: UsageQuery) -> Result<TenantUsage, ControlError> {
        let mut violations = Violations::default();
        period(&mut violations, query.from, query.to, PERIOD_DAYS_MAX);
        one_of(&mut violations, "?group", &query.group, &GROUPS);
        one_of(&mut violations, "?rounding", &query.rounding, &ROUNDINGS);
        violations.into_result()?;
        let UsageQuery { from, to, group, tz, rounding } = query;
        // Read before the rows: what is in them may be newer than promised, never older.
        let complete_through = usage::complete_through(&self.store).await?;
        let rows = usage::tenant(&self.store, tenant, (from, to), &group, &tz, &rounding, USAGE_ROWS_MAX + 1).await;
        let rows = rows.map_err(refused)?;
        if rows.len() as i64 > USAGE_ROWS_MAX {
            let detail = format!("the answer has more than {USAGE_ROWS_MAX} rows; ask for a shorter period");
            return Err(Violations::one("?to", detail).into());
        }
        let data = rows.into_iter().map(usage_row).collect::<Result<_, _>>()?;
        Ok(TenantUsage { data, from, to, group, tz, rounding, complete_through })
    }

    /// # Errors
    /// A query that is not valid, or the database is away.
    pub async fn analytics(&self, tenant: TenantId, query: AnalyticsQuery) -> Result<Analytics, ControlError> {
        let mut violations = Violations::default();
        let hourly = query.bucket.as_deref() == Some("hour");
        let days_max = if hourly { PERIOD_HOURLY_DAYS_MAX } else { PERIOD_DAYS_MAX };
        period(&mut violations, query.from, query.to, days_max);
        if let Some(bucket) = &query.bucket {
            one_of(&mut violations, "?bucket", bucket, &BUCKETS);
        }
        violations.into_result()?;
        let AnalyticsQuery { from, to, bucket, tz } = query;
        let complete_through = usage::complete_through(&self.store).await?;
        let rows = analytics::tenant(&self.store, tenant, (from, to), bucket.as_deref(), &tz).await.map_err(refused)?;
        let data = rows.into_iter().map(analytics_bucket).collect::<Result<_, _>>()?;
        Ok(Analytics { data, from, to, tz, complete_through })
    }
}

fn period(violations: &mut Violations, from: DateTime<Utc>, to: DateTime<Utc>, days_max: i64) {
    if from >= to {
        violations.add("?to", "must be later than from");
    } else if to - from > TimeDelta::days(days_max) {
        violations.add("?to", format!("must be at most {days_max} days after from"));
    }
}

fn one_of(violations: &mut Violations, pointer: &str, text: &str, words: &[&str]) {
    if !words.contains(&text) {
        violations.add(pointer, format!("must be one of {}", words.join(", ")));
    }
}

/// What a SQL function says about its arguments is for the caller: a time zone that Postgres does not know.
fn refused(error: StoreError) -> ControlError {
    match refused_argument(&error) {
        Some(sentence) => Violations::one("?tz", sentence).into(),
        None => error.into(),
    }
}

fn decimal(text: String) -> Result<Decimal, ControlError> {
    Ok(RawValue::from_string(text)?)
}

fn session_usage_row(row: BillingRow) -> Result<SessionUsageRow, ControlError> {
    Ok(SessionUsageRow {
        participant_id: row.participant_id,
        identity: row.identity,
        first_joined_at: row.first_joined_at,
        last_left_at: row.last_left_at,
        connections: row.connections,
        connected_seconds: decimal(row.connected_seconds)?,
        billable_seconds: decimal(row.billable_seconds)?,
        overlap_seconds: decimal(row.overlap_seconds)?,
        gap_seconds: decimal(row.gap_seconds)?,
        billed_units: decimal(row.billed_units)?,
        uncertainty_seconds: decimal(row.uncertainty_seconds)?,
        uncertainty_ms: row.uncertainty_ms,
        is_open: row.is_open,
        adjustments_seconds: decimal(row.adjustments_seconds)?,
    })
}

fn usage_row(row: UsageRow) -> Result<TenantUsageRow, ControlError> {
    Ok(TenantUsageRow {
        day: row.day,
        session_id: row.session_id,
        participant_id: row.participant_id,
        identity: row.identity,
        sessions: row.sessions,
        participants: row.participants,
        connections: row.connections,
        connected_seconds: decimal(row.connected_seconds)?,
        billable_seconds: decimal(row.billable_seconds)?,
        overlap_seconds: decimal(row.overlap_seconds)?,
        billed_units: decimal(row.billed_units)?,
        uncertainty_seconds: decimal(row.uncertainty_seconds)?,
        uncertainty_ms: row.uncertainty_ms,
        is_open: row.is_open,
        adjustments_seconds: decimal(row.adjustments_seconds)?,
    })
}

fn analytics_bucket(row: analytics::AnalyticsRow) -> Result<AnalyticsBucket, ControlError> {
    Ok(AnalyticsBucket {
        bucket: row.bucket,
        started: row.started,
        ended: row.ended,
        completed: row.completed,
        expired: row.expired,
        abandoned: row.abandoned,
        completion_rate: row.completion_rate.map(decimal).transpose()?,
        avg_duration_seconds: row.avg_duration_seconds.map(decimal).transpose()?,
        p50_duration_seconds: row.p50_duration_seconds.map(decimal).transpose()?,
        p95_duration_seconds: row.p95_duration_seconds.map(decimal).transpose()?,
        max_duration_seconds: row.max_duration_seconds.map(decimal).transpose()?,
        participants: row.participants,
        participant_seconds: decimal(row.participant_seconds)?,
        peak_concurrent: row.peak_concurrent,
    })
}

fn audit_view(row: AuditRow) -> AuditEventView {
    AuditEventView {
        epoch: row.epoch,
        seq: row.seq,
        occurred_at: row.occurred_at,
        recorded_at: row.recorded_at,
        event_type: row.event_type,
        actor: row.actor,
        session_id: row.session_id,
        participant_id: row.participant_id,
        connection_id: row.connection,
        metadata: row.metadata,
    }
}
