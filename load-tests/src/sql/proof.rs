//! The proof: the log exported and verified offline by the program that auditors use.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
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
