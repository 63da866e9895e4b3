//! The proof: the log exported and verified offline by the program that auditors use, and its longest chain in SQL.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

use super::figures::Budget;
use super::{Books, Figure, Figures};
use crate::clock;

/// # Errors
/// The export or the verification fails.
pub async fn measure(books: &Books, server: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let rows = books.number("select count(*)::float8 from rollcall.session_audit_log").await?;
    let folder = tempfile::Builder::new().prefix("rollcall-proof-").tempdir()?;
    let file = folder.path().join("audit.jsonl");
    let file = file.to_str().context("a path that is no text")?;
    let exported = seconds(books, server, &["audit", "export", "--output", file]).await?;
    figures.add(Figure::new("audit export", rows / exported, "rows/s").note("grows with the log"));
    let verified = seconds(books, server, &["audit", "verify", "--export", file]).await?;
    figures.add(
        Figure::new("audit verify, offline", rows / verified, "rows/s")
            .against(Budget::AtLeast(100_000.0))
            .note(format!("100 million rows: {:.0} min", 100e6 / (rows / verified) / 60.0)),
    );
    measure_in_sql(books, figures).await
}

/// `verify_audit_chain()` over the longest chain: all of them would take minutes and say the same.
///
/// # Errors
/// A statement fails, or the chain is not intact.
pub async fn measure_in_sql(books: &Books, figures: &mut Figures) -> anyhow::Result<()> {
    let (epoch, rows): (i64, i64) = sqlx::query_as(
        "select b.epoch, sum(b.records)::bigint from rollcall.audit_batches b group by b.epoch order by 2 desc, 1 limit 1",
    )
    .fetch_one(&books.pool)
    .await?;
    let started_at = clock::now();
    let problems: i64 = sqlx::query_scalar("select count(*) from rollcall.verify_audit_chain($1)")
        .bind(epoch)
        .fetch_one(&books.pool)
        .await?;
    let seconds = clock::micros_between(started_at, clock::now()) as f64 / 1e6;
    ensure!(problems == 0, "verify_audit_chain() found {problems} problems in epoch {epoch}");
    figures.add(
        Figure::new("audit verify, in SQL", rows as f64 / seconds, "rows/s")
            .note(format!("verify_audit_chain() over the longest chain, {rows} rows")),
    );
    Ok(())
}

async fn seconds(books: &Books, server: &Path, arguments: &[&str]) -> anyhow::Result<f64> {
    let started_at = clock::now();
    let output = Command::new(server)
        .args(arguments)
        .env("DATABASE_URL", &books.url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("rollcall {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(clock::micros_between(started_at, clock::now()) as f64 / 1e6)
}
