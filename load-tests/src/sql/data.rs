//! The data set: sessions, people and their connections over two months, in 200 tenants of very different size. Facts are
//! made day by day in SQL (`data.sql`); what is counted from them is counted by the triggers that count in production.

use sqlx::Row as _;

use super::{Books, Figure, Figures};
use crate::clock;

/// Days with sessions; the last ends yesterday, so that all are over.
const DAYS: u64 = 60;

pub const TENANTS: i32 = 200;

/// Audit rows of a session on average: what `data.sql` makes of a session with 2.9 people.
const ROWS_PER_SESSION: f64 = 31.0;

/// # Errors
/// A statement fails; the data set is of no use then.
pub async fn make(books: &Books, rows: u64, figures: &mut Figures) -> anyhow::Result<()> {
    let started_at = clock::now();
    let mut conn = books.pool.acquire().await?;
    sqlx::raw_sql(include_str!("data.sql")).execute(&mut *conn).await?;
    sqlx::query("select load.make_tenants($1, $2)").bind(TENANTS).bind(DAYS as i32).execute(&mut *conn).await?;
    let sessions = (rows as f64 / DAYS as f64 / ROWS_PER_SESSION).ceil().max(1.0) as i32;
    let mut made = 0_i64;
    for day in 0..DAYS {
        let (audit, spans): (i64, i64) =
            sqlx::query_as("select audit_rows, spans from load.make_day(current_date - $1, $2, $3, $4)")
                .bind((DAYS - day) as i32)
                .bind(1_000 + day as i64)
                .bind(sessions)
                .bind(TENANTS)
                .fetch_one(&mut *conn)
                .await?;
        made += audit;
        let seconds = clock::micros_between(started_at, clock::now()) as f64 / 1e6;
        eprintln!(
            "sql: day {} of {DAYS}: {made} audit rows, {spans} spans on this day, {:.0} rows/s",
            day + 1,
            made as f64 / seconds
        );
    }
    // As autovacuum would have done by now.
    for table in [
        "session_audit_log",
        "participation_spans",
        "participant_coverage",
        "sessions",
        "participants",
        "session_usage_day",
        "usage_15m",
        "usage_day",
        "session_stats_day",
        "session_durations_day",
        "session_duration_bands_day",
        "total_15m",
        "total_stats_15m",
        "total_duration_bands_15m",
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("vacuum analyze rollcall.{table}"))).execute(&mut *conn).await?;
    }
    let seconds = clock::micros_between(started_at, clock::now()) as f64 / 1e6;
    figures.add(Figure::new("data set made in", seconds, "s").note("spans counted by the production triggers"));
    Ok(())
}

/// How big it is, and whether what is counted is what the spans say.
///
/// # Errors
/// A query fails.
pub async fn describe(books: &Books, figures: &mut Figures) -> anyhow::Result<()> {
    for (name, sql) in [
        ("audit rows", "select count(*)::float8 from rollcall.session_audit_log"),
        ("sessions", "select count(*)::float8 from rollcall.sessions"),
        ("spans", "select count(*)::float8 from rollcall.participation_spans"),
    ] {
        figures.add(Figure::new(name, books.number(sql).await?, ""));
    }
    let bytes = "select sum(pg_total_relation_size(c.oid))::float8 / 1e6 from pg_class c
                 where c.relnamespace = 'rollcall'::regnamespace and c.relkind = 'r'";
    figures.add(Figure::new("all tables and indexes", books.number(bytes).await?, "MB").note("grows with the log"));
    let sample = sqlx::query("select t.tenant_id from rollcall.tenants t order by md5(t.tenant_id::text) limit 3")
        .fetch_all(&books.pool)
        .await?;
    let mut differences = 0_i64;
    for row in sample {
        let found: i64 = sqlx::query_scalar(
            "select count(*) from rollcall.recompute_billing($1, current_date::timestamptz - interval '31 days', current_date::timestamptz)",
        )
        .bind(row.get::<uuid::Uuid, _>(0))
        .fetch_one(&books.pool)
        .await?;
        differences += found;
    }
    let budget = super::figures::Budget::AtMost(0.0);
    figures.add(
        Figure::new("differences recompute_billing finds", differences as f64, "")
            .against(budget)
            .note("3 tenants, 30 days"),
    );
    Ok(())
}
