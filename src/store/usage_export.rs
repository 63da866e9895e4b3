//! Usage for other programs: slices of a period, and the outbox of a sink.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use rollcall_core::TenantId;
use sqlx::{Connection, PgConnection};

use super::{Store, StoreError};
use crate::usage_export::UsageEvent;

/// How a stateless export is cut.
#[derive(Debug, Clone)]
pub struct SliceRequest {
    /// `None`: all tenants.
    pub tenant: Option<TenantId>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// `hour` or `day`, in UTC.
    pub slice: &'static str,
    pub time_zone: String,
}

/// What is asked of a sink that may not exist yet.
#[derive(Debug, Clone)]
pub struct SinkRequest {
    pub name: String,
    pub tenant: Option<TenantId>,
    pub starts_at: DateTime<Utc>,
    pub slice: &'static str,
    pub time_zone: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    pub added: i64,
    pub is_done: bool,
    pub filled_through: DateTime<Utc>,
}

/// A connection for an export: without a limit for one statement, because a backlog may be long.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn connection(store: &Store) -> Result<PgConnection, StoreError> {
    let mut conn = store.dedicated().await?;
    sqlx::query("set statement_timeout = 0").execute(&mut conn).await?;
    Ok(conn)
}

/// Gives every slice of the period to `each`, in the order of time, out of one snapshot. Slices behind `complete` are
/// provisional.
///
/// # Errors
/// Those of `each`; [`StoreError::Database`] for a time zone that does not exist.
pub async fn slices<E: From<StoreError>>(
    conn: &mut PgConnection,
    request: &SliceRequest,
    complete: DateTime<Utc>,
    mut each: impl FnMut(UsageEvent) -> Result<(), E>,
) -> Result<(), E> {
    let mut tx = conn.begin().await.map_err(StoreError::from)?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(&mut *tx)
        .await
        .map_err(StoreError::from)?;
    let mut from = request.from;
    // Day by day, so that neither side holds a month at once. A UTC midnight is a cut anyway.
    while from < request.to {
        let to = (from + chrono::TimeDelta::days(1)).date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
        let to = to.min(request.to);
        let mut rows = sqlx::query_as!(
            UsageEvent,
            r#"select s.event_id as "event_id!", 'usage' as "kind!", null::bigint as position, s.tenant_id as "tenant_id!",
                 s.session_id as "session_id!", e.external_id, s.participant_id, s.slice_start as "slice_start!",
                 s.slice_end as "slice_end!", s.usage_us as "usage_us!", s.uncertainty_us as "uncertainty_us!",
                 s.slice_end > $6 as "is_provisional!", null::uuid as reverses
             from rollcall.usage_slices($1, $2, $3, $4, $5) s
             left join rollcall.sessions e on e.session_id = s.session_id
             order by s.slice_start, s.session_id, s.participant_id"#,
            request.tenant.map(|tenant| tenant.0),
            from,
            to,
            request.slice,
            request.time_zone,
            complete,
        )
        .fetch(&mut *tx);
        while let Some(event) = rows.try_next().await.map_err(StoreError::from)? {
            each(event)?;
        }
        drop(rows);
        from = to;
    }
    tx.commit().await.map_err(StoreError::from)?;
    Ok(())
}

/// Whether there is such a sink.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn sink_exists(conn: &mut PgConnection, sink: &str) -> Result<bool, StoreError> {
    let exists =
        sqlx::query_scalar!(r#"select exists (select from rollcall.usage_sinks where sink = $1) as "exists!""#, sink)
            .fetch_one(conn)
            .await?;
    Ok(exists)
}

/// Makes the sink, or checks that it is as asked for.
///
/// # Errors
/// [`StoreError::Database`] with a sentence when it is another.
pub async fn add_sink(conn: &mut PgConnection, request: &SinkRequest) -> Result<(), StoreError> {
    sqlx::query!(
        "select rollcall.add_usage_sink($1, $2, $3, $4, $5)",
        request.name,
        request.starts_at,
        request.tenant.map(|tenant| tenant.0),
        request.slice,
        request.time_zone,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// One step of filling: one transaction, so whoever is killed in between has lost nothing and doubled nothing.
///
/// # Errors
/// [`StoreError::NotFound`] for an unknown sink.
pub async fn fill(conn: &mut PgConnection, sink: &str) -> Result<Filled, StoreError> {
    let filled = sqlx::query_as!(
        Filled,
        r#"select added as "added!", is_done as "is_done!", filled_through as "filled_through!"
           from rollcall.fill_usage_outbox($1)"#,
        sink,
    )
    .fetch_one(conn)
    .await?;
    Ok(filled)
}

/// Adds what came to light after it was told.
///
/// # Errors
/// [`StoreError::NotFound`] for an unknown sink.
pub async fn correct(conn: &mut PgConnection, sink: &str) -> Result<i64, StoreError> {
    let added =
        sqlx::query_scalar!(r#"select rollcall.correct_usage_outbox($1) as "added!""#, sink).fetch_one(conn).await?;
    Ok(added)
}

/// # Errors
/// [`StoreError::Database`] with a sentence when the sink has no such event.
pub async fn acknowledge(conn: &mut PgConnection, sink: &str, position: i64) -> Result<i64, StoreError> {
    let acknowledged =
        sqlx::query_scalar!(r#"select rollcall.acknowledge_usage($1, $2) as "acknowledged!""#, sink, position)
            .fetch_one(conn)
            .await?;
    Ok(acknowledged)
}

/// Gives the events that the sink has not acknowledged to `each`, in order, at most `limit`.
///
/// # Errors
/// Those of `each`.
pub async fn unacknowledged<E: From<StoreError>>(
    conn: &mut PgConnection,
    sink: &str,
    limit: Option<i64>,
    mut each: impl FnMut(UsageEvent) -> Result<(), E>,
) -> Result<(), E> {
    let mut rows = sqlx::query_as!(
        UsageEvent,
        r#"select o.event_id, o.kind, o.position as "position?", o.tenant_id, o.session_id, e.external_id as "external_id?",
             o.participant_id, o.slice_start, o.slice_end, o.usage_us, o.uncertainty_us, false as "is_provisional!",
             o.reverses
         from rollcall.usage_outbox o
         left join rollcall.sessions e on e.session_id = o.session_id
         where o.sink = $1 and o.position > (select s.acknowledged from rollcall.usage_sinks s where s.sink = $1)
         order by o.position
         limit $2"#,
        sink,
        limit,
    )
    .fetch(conn);
    while let Some(event) = rows.try_next().await.map_err(StoreError::from)? {
        each(event)?;
    }
    Ok(())
}
