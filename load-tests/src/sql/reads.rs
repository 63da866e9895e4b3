//! What people wait for, as the roles that people have: rollcall_billing and rollcall_auditor, row-level security included.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::figures::{Budget, Latencies};
use super::{Books, Effort, Figure, Figures};
use crate::clock;

/// A question that takes very long is asked less often: so long in all, once to warm pages and plans, and once for the record.
const QUESTION_S_MAX: f64 = 30.0;

const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"];

const MONTH_FROM: &str = "(date_trunc('month', current_date - interval '31 days')) at time zone $2";
const MONTH_TO: &str = "(date_trunc('month', current_date - interval '31 days') + interval '1 month') at time zone $2";

struct Question {
    name: &'static str,
    role: &'static str,
    sql: String,
    budget_ms: Option<f64>,
    note: &'static str,
}

/// # Errors
/// A query fails.
pub async fn measure(books: &Books, effort: Effort, figures: &mut Figures) -> anyhow::Result<()> {
    let sessions = some_sessions(books).await?;
    let tenants: Vec<Uuid> =
        sqlx::query_scalar("select tenant_id from rollcall.sessions group by 1 order by count(*) desc, 1 limit 200")
            .fetch_all(&books.pool)
            .await?;
    for question in questions() {
        let ids = if question.name.contains("session's") { &sessions } else { &tenants };
        figures.add(ask(books, effort, &question, ids).await?);
    }
    Ok(())
}

/// A bill says how complete it is, and what is still open may add to it: asked while many connections are.
///
/// # Errors
/// A query fails.
pub async fn measure_bill_beside(books: &Books, effort: Effort, connections: usize) -> anyhow::Result<Figure> {
    let question = Question {
        name: "a session's bill beside many open connections",
        note: "what they can still add was measured by the flush",
        ..bill()
    };
    let mut figure = ask(books, effort, &question, &some_sessions(books).await?).await?;
    figure.note = format!("{connections} open; {}", figure.note);
    Ok(figure)
}

async fn some_sessions(books: &Books) -> anyhow::Result<Vec<Uuid>> {
    let sql = "select session_id from rollcall.sessions where started_at is not null and status = 'ended'
               order by md5(session_id::text) limit 400";
    Ok(sqlx::query_scalar(sql).fetch_all(&books.pool).await?)
}

/// The ids and zones in turns.
async fn ask(books: &Books, effort: Effort, question: &Question, ids: &[Uuid]) -> anyhow::Result<Figure> {
    let mut conn = PgConnection::connect(&books.url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set role {}", question.role))).execute(&mut conn).await?;
    let mut latencies = Latencies::default();
    let mut rows_max = 0;
    for is_recorded in [false, true] {
        let began_at = clock::now();
        for run in 0..effort.runs {
            let is_late = clock::micros_between(began_at, clock::now()) as f64 / 1e6 > QUESTION_S_MAX;
            if is_late && run >= ZONES.len() {
                break;
            }
            let (id, zone) = (ids[run % ids.len()], ZONES[run % ZONES.len()]);
            let query = sqlx::query(sqlx::AssertSqlSafe(question.sql.clone())).bind(id).bind(zone);
            let started_at = clock::now();
            let rows = query.fetch_all(&mut conn).await?;
            if is_recorded {
                latencies.record(clock::micros_between(started_at, clock::now()));
                rows_max = rows_max.max(rows.len());
            }
        }
    }
    conn.close().await?;
    let note = format!(
        "p50 {:.2} ms, {} runs, up to {rows_max} rows; {}",
        latencies.quantile_ms(0.5),
        latencies.len(),
        question.note
    );
    let figure = Figure::new(question.name, latencies.quantile_ms(0.99), "ms p99").note(note);
    Ok(match question.budget_ms {
        Some(limit) => figure.against(Budget::AtMost(limit)),
        None => figure,
    })
}

fn bill() -> Question {
    Question {
        name: "a session's bill",
        role: "rollcall_billing",
        sql: "select * from rollcall.get_session_billing_data($1) where $2::text is not null".to_owned(),
        budget_ms: Some(5.0),
        note: "reads the rows of one session: the same at 100 million",
    }
}

fn questions() -> Vec<Question> {
    let (billing, auditor) = ("rollcall_billing", "rollcall_auditor");
    vec![
        bill(),
        Question {
            name: "a tenant's month in any zone",
            role: billing,
            sql: format!("select * from rollcall.get_usage($1, {MONTH_FROM}, {MONTH_TO}, 'day', $2::text)"),
            budget_ms: Some(10.0),
            note: "reads a tenant's days, and quarters of an hour beside each bound: grows with days, not with rows",
        },
        Question {
            name: "all tenants' month",
            role: billing,
            sql: format!(
                "select * from rollcall.get_usage(null, {MONTH_FROM}, {MONTH_TO}, 'tenant', $2::text) where $1::uuid is not null"
            ),
            budget_ms: Some(50.0),
            note: "reads tenants times days, and quarters of an hour beside the ends: the same at 100 million",
        },
        Question {
            name: "30 days of analytics by day, all tenants",
            role: billing,
            sql: "select * from rollcall.get_session_analytics(current_date - interval '30 days', current_date::timestamptz, null, 'day')
                  where $1::uuid is not null and $2::text is not null"
                .to_owned(),
            budget_ms: Some(50.0),
            note: "days of UTC; reads daily statistics: the same at 100 million",
        },
        Question {
            name: "a month of analytics in one row, all tenants, any zone",
            role: billing,
            sql: format!("select * from rollcall.get_session_analytics({MONTH_FROM}, {MONTH_TO}) where $1::uuid is not null"),
            budget_ms: Some(50.0),
            note: "reads daily statistics, and quarters of an hour between the ends and the nearest midnights: the same at 100 million",
        },
        Question {
            name: "30 days of analytics by day of any zone, all tenants",
            role: billing,
            sql: "select * from rollcall.get_session_analytics(current_date - interval '30 days', current_date::timestamptz, null, 'day', $2::text)
                  where $1::uuid is not null"
                .to_owned(),
            budget_ms: None,
            note: "no day of such a zone is one of UTC: reads quarters of an hour between each bound and the nearest midnight",
        },
        Question {
            name: "30 days of analytics by day of any zone, one tenant",
            role: billing,
            sql: "select * from rollcall.get_session_analytics(current_date - interval '30 days', current_date::timestamptz, $1, 'day', $2::text)"
                .to_owned(),
            budget_ms: Some(50.0),
            note: "reads the tenant's sessions between each bound and the nearest midnight",
        },
        Question {
            name: "a session's trail",
            role: auditor,
            sql: "select * from rollcall.session_audit_log where session_id = $1 and $2::text is not null
                  order by occurred_at, epoch, seq"
                .to_owned(),
            budget_ms: Some(5.0),
            note: "one index descent for each month kept: one level more at 100 million",
        },
    ]
}
