//! What is shown of the books, and how rows become it.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::control::ControlError;
use crate::control::views::AuditEventView;
use crate::store::analytics::AnalyticsRow;
use crate::store::audit::AuditRow;
use crate::store::usage::{BillingRow, UsageRow};

/// A number exactly as Postgres wrote it.
pub type Decimal = Box<RawValue>;

/// What a participant of a session used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SessionUsageRow)]
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
#[schema(as = SessionUsage)]
pub struct SessionUsage {
    pub data: Vec<SessionUsageRow>,
    /// Up to this instant the numbers are final.
    pub complete_through: DateTime<Utc>,
}

/// What a day, a session or a participant used.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageRow)]
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
#[schema(as = Usage)]
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
#[schema(as = AnalyticsRow)]
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
    /// Ended without anybody ever having come in, whatever the reason.
    pub no_shows: i64,
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
#[schema(as = Analytics)]
pub struct Analytics {
    pub data: Vec<AnalyticsBucket>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub tz: String,
    pub complete_through: DateTime<Utc>,
}

fn decimal(text: String) -> Result<Decimal, ControlError> {
    Ok(RawValue::from_string(text)?)
}

pub(super) fn session_usage_row(row: BillingRow) -> Result<SessionUsageRow, ControlError> {
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

pub(super) fn usage_row(row: UsageRow) -> Result<TenantUsageRow, ControlError> {
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

pub(super) fn analytics_bucket(row: AnalyticsRow) -> Result<AnalyticsBucket, ControlError> {
    Ok(AnalyticsBucket {
        bucket: row.bucket,
        started: row.started,
        ended: row.ended,
        completed: row.completed,
        expired: row.expired,
        abandoned: row.abandoned,
        no_shows: row.no_shows,
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

pub(super) fn audit_view(row: AuditRow) -> AuditEventView {
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
