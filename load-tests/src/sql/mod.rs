//! `rollcall-load sql`: the books at size. Makes a data set in a Postgres of its own (the embedded one, durable, as shipped),
//! and measures what people wait for: a bill, a month, the trail; the clean-up; the flush; the proof.
//!
//! Reading order: [`data`] (what is in it), [`reads`], [`cleanup`], [`flush`], [`proof`] (what is measured), [`figures`].

mod cleanup;
mod data;
mod figures;
mod flush;
mod proof;
mod reads;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rollcall::embedded_pg::{self, EmbeddedPostgres};
use rollcall::store::{Store, StoreOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use figures::{Figure, Figures};

use crate::server;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Rows of the audit log
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    rows: u64,
    /// Keep the data set and print where it is
    #[arg(long)]
    keep: bool,
    /// A folder in which an earlier run kept its data set; it is measured again and kept
    #[arg(long, value_name = "FOLDER", conflicts_with = "rows")]
    data: Option<PathBuf>,
    /// Write the figures as JSON to this file, `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The rollcall binary that exports and verifies the log [default: the one beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// How much is measured; the tests want less.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Recorded runs of each question.
    pub runs: usize,
    /// Batches of each turn of the flush.
    pub batches: usize,
    pub idle_sessions: usize,
}

/// As whoever keeps so many rows would have set it; a new cluster has 128 MB, whatever the machine has.
const SHARED_BUFFERS: &str = "alter system set shared_buffers = '1GB'";

const FULL: Effort = Effort { runs: 300, batches: 10, idle_sessions: 10_000 };

/// A data set and the ways to it.
pub struct Books {
    pub pool: PgPool,
    pub store: Store,
    pub url: String,
}

/// Returns whether all budgets were kept.
///
/// # Errors
/// Something could not be carried out.
pub async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    if cfg!(debug_assertions) {
        eprintln!("sql: this is a debug build; its figures say nothing about a release");
    }
    let server = server::find_program(arguments.server.as_deref())?;
    let (folder, is_new) = match &arguments.data {
        Some(folder) => (folder.clone(), false),
        None => (tempfile::Builder::new().prefix("rollcall-sql-").tempdir()?.keep(), true),
    };
    let outcome = tokio::select! {
        outcome = measure(&folder, is_new, &arguments, &server) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if is_new && !(arguments.keep && outcome.is_ok()) {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    } else {
        eprintln!("sql: the data set is in {}", folder.display());
    }
    let figures = outcome?;
    eprint!("{}", figures.table());
    if let Some(path) = arguments.json {
        figures.write_json(&path)?;
    }
    Ok(figures.passed())
}

async fn measure(
    folder: &std::path::Path,
    is_new: bool,
    arguments: &Arguments,
    server: &std::path::Path,
) -> anyhow::Result<Figures> {
    let start = || {
        let mut options = embedded_pg::Options::new(folder);
        options.lifetime = embedded_pg::Lifetime::Process;
        embedded_pg::start(options)
    };
    let postgres = start().await?;
    let books = Books::open(postgres.database_url(embedded_pg::DATABASE)).await?;
    sqlx::raw_sql(SHARED_BUFFERS).execute(&books.pool).await?;
    books.close().await;
    postgres.stop().await?;
    let postgres = start().await?;
    let outcome = measure_in(&postgres, is_new, arguments, server).await;
    let stopped = postgres.stop().await;
    let figures = outcome?;
    stopped?;
    Ok(figures)
}

async fn measure_in(
    postgres: &EmbeddedPostgres,
    is_new: bool,
    arguments: &Arguments,
    server: &std::path::Path,
) -> anyhow::Result<Figures> {
    let books = Books::open(postgres.database_url(embedded_pg::DATABASE)).await?;
    let mut figures = Figures::default();
    if is_new {
        data::make(&books, arguments.rows, &mut figures).await?;
    }
    data::describe(&books, &mut figures).await?;
    reads::measure(&books, FULL, &mut figures).await?;
    flush::measure(&books, FULL, &mut figures).await?;
    cleanup::measure(&books, FULL, &mut figures).await?;
    proof::measure(&books, server, &mut figures).await?;
    books.close().await;
    Ok(figures)
}

impl Books {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// The database does not answer, or a migration fails.
    pub async fn open(url: String) -> anyhow::Result<Self> {
        let options = StoreOptions {
            database_url: url.clone().into(),
            max_connections: 4,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::ZERO,
            application_name: "rollcall-load".to_owned(),
        };
        let store = Store::connect(&options).await?;
        store.migrate().await?;
        let connect = PgConnectOptions::from_str(&url)?.disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(4).connect_with(connect).await?;
        Ok(Self { pool, store, url })
    }

    pub async fn close(self) {
        self.pool.close().await;
        self.store.close().await;
    }

    /// One number.
    ///
    /// # Errors
    /// The query fails.
    pub async fn number(&self, sql: &'static str) -> anyhow::Result<f64> {
        Ok(sqlx::query_scalar::<_, f64>(sql).fetch_one(&self.pool).await?)
    }
}
