//! The books, as reads: the audit trail, usage, analytics.

mod views;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::{SessionId, TenantId};

pub use views::{Analytics, AnalyticsBucket, Decimal, SessionUsage, SessionUsageRow, TenantUsage, TenantUsageRow};

use super::views::AuditEventView;
use super::{Control, ControlError, Violations};
use crate::store::audit::{self, AuditFilter};
use crate::store::usage::refused_argument;
use crate::store::{StoreError, analytics, usage};
use views::{analytics_bucket, audit_view, session_usage_row, usage_row};

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
