//! Brings the schema up to date: numbered migrations once, and the SQL functions whenever their text changed.
//!
//! Safe to run twice and from several programs at once: an advisory lock lets one after the other do the work.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};

use super::{Store, StoreError};

/// Checks a whole installation and fails with every fault in its message; the same file works in psql.
pub const VERIFY_SQL: &str = include_str!("../../migrations/verify.sql");

/// Key of the advisory lock. Any number will do; this one reads "rollcall" in ASCII.
const MIGRATE_LOCK: i64 = 0x726f_6c6c_6361_6c6c;

macro_rules! functions {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../migrations/functions/", $name, ".sql")))),+]
    };
}

/// In order of use: a function comes after those its text needs at creation.
const FUNCTIONS: &[(&str, &str)] = functions![
    "is_passive_event",
    "is_app_event",
    "epoch_lost_after",
    "coverage_seconds",
    "scope_tenant_id",
    "check_may_write",
    "us_between",
    "quarters_touched",
    "check_arguments",
    "check_session",
    "bridge_gaps",
    "coverage_of",
    "time_buckets",
    "usage_shard",
    "apply_session_changes",
    "count_sessions",
    "settle_first_days",
    "apply_span_changes",
    "fill_usage_sums",
    "roll_up_spans",
    "get_billing_watermark",
    "ensure_audit_partitions",
    "touch_last_seen",
    "audit_leaf",
    "merkle_root",
    "audit_log_all",
    "seal_audit_batch",
    "audit_checkpoint_leaf",
    "verify_audit_triggers",
    "verify_audit_epoch",
    "verify_audit_checkpoints",
    "verify_audit_chain",
    "detach_audit_partitions",
    "log_control_event",
    "log_control_events",
    "log_session_event",
    "erase_identity",
    "sessions_due",
    "cleanup_inactive_sessions",
    "get_session_billing_data",
    "usage_pieces",
    "open_sessions",
    "usage_parts",
    "sessions_during",
    "usage_stays",
    "whole_quarters",
    "sessions_in_cut_quarters",
    "usage_flows",
    "adjustments_in",
    "round_usage",
    "get_usage",
    "get_usage_of_tenants",
    "session_outcomes",
    "count_participants",
    "open_minutes",
    "quarter_peaks",
    "presence_sums",
    "get_session_analytics",
    "close_billing_period",
    "compare_spans_with_trail",
    "recompute_billing",
    "usage_event_id",
    "usage_slices",
    "usage_cells_that_differ",
    "add_usage_sink",
    "fill_usage_cell",
    "fill_usage_outbox",
    "correct_usage_outbox",
    "acknowledge_usage",
    "presence_at",
    "time_together",
    "privileges",
];

/// What a migrate run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrateReport {
    /// The newest migration that is applied now.
    pub version: i64,
    pub migrations_applied: usize,
    pub functions_applied: usize,
}

impl Store {
    /// Applies what is missing. Waits as long as another program is migrating.
    ///
    /// # Errors
    /// [`StoreError::Migration`] when the database has migrations that this program does not know, or others than it
    /// knows under the same number. What was applied before the error stays.
    pub async fn migrate(&self) -> Result<MigrateReport, StoreError> {
        let mut conn = self.dedicated().await?;
        // Building an index on a grown table takes its time.
        sqlx::query("set statement_timeout = 0").execute(&mut conn).await?;
        sqlx::query("select pg_advisory_lock($1)").bind(MIGRATE_LOCK).execute(&mut conn).await?;
        let report = migrate_locked(&mut conn).await;
        // Ends the lock, too.
        conn.close().await?;
        report
    }

    /// Whether every migration and function text of this program is in force.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; a database without Rollcall is not an error but `false`.
    pub async fn schema_is_current(&self) -> Result<bool, StoreError> {
        let mut conn = self.pool.acquire().await?;
        let exists: bool = sqlx::query_scalar(
            "select to_regclass('rollcall.schema_migrations') is not null
                and to_regclass('rollcall.applied_functions') is not null",
        )
        .fetch_one(&mut *conn)
        .await?;
        if !exists {
            return Ok(false);
        }
        let migrator = migrator();
        let applied: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("select version, checksum from rollcall.schema_migrations where success")
                .fetch_all(&mut *conn)
                .await?;
        let has = |migration: &sqlx::migrate::Migration| {
            applied.iter().any(|(version, sum)| *version == migration.version && **sum == *migration.checksum)
        };
        Ok(migrator.iter().all(has) && outdated_functions(&mut conn, newest(&migrator)).await?.is_empty())
    }
}

async fn migrate_locked(conn: &mut PgConnection) -> Result<MigrateReport, StoreError> {
    let migrator = migrator();
    let before = count_applied(conn).await?;
    migrator.run_direct(None, conn, false).await?;
    let migrations_applied = count_applied(conn).await? - before;

    let version = newest(&migrator);
    let mut tx = conn.begin().await?;
    let outdated = outdated_functions(&mut tx, version).await?;
    for (name, text, hash) in &outdated {
        sqlx::raw_sql(*text).execute(&mut *tx).await?;
        sqlx::query(
            "insert into rollcall.applied_functions (name, body_hash) values ($1, $2)
             on conflict (name) do update set body_hash = excluded.body_hash, applied_at = clock_timestamp()",
        )
        .bind(*name)
        .bind(hash)
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query("select rollcall.ensure_audit_partitions()").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(MigrateReport { version, migrations_applied, functions_applied: outdated.len() })
}

/// Keeps its table in schema rollcall too, so that nothing of ours is in `public`.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name("rollcall.schema_migrations");
    migrator.create_schema("rollcall");
    // The lock of this module covers the functions as well.
    migrator.set_locking(false);
    migrator
}

fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn count_applied(conn: &mut PgConnection) -> Result<usize, StoreError> {
    let exists: bool = sqlx::query_scalar("select to_regclass('rollcall.schema_migrations') is not null")
        .fetch_one(&mut *conn)
        .await?;
    if !exists {
        return Ok(0);
    }
    let count: i64 = sqlx::query_scalar("select count(*) from rollcall.schema_migrations").fetch_one(conn).await?;
    Ok(count as usize)
}

/// `(name, text, hash)` of the functions whose text is not in force. The hash takes in the newest migration: privileges
/// must be granted anew when there are new tables.
async fn outdated_functions(
    conn: &mut PgConnection,
    version: i64,
) -> Result<Vec<(&'static str, &'static str, String)>, StoreError> {
    let applied: Vec<(String, String)> =
        sqlx::query_as("select name, body_hash from rollcall.applied_functions").fetch_all(conn).await?;
    let mut outdated = Vec::new();
    for (name, text) in FUNCTIONS {
        let hash = body_hash(text, version);
        if !applied.iter().any(|(known, known_hash)| known == name && *known_hash == hash) {
            outdated.push((*name, *text, hash));
        }
    }
    // Privileges cover "all functions", so they must come again after a new one.
    if !outdated.is_empty() && outdated.iter().all(|(name, ..)| *name != "privileges") {
        let (name, text) = FUNCTIONS[FUNCTIONS.len() - 1];
        outdated.push((name, text, body_hash(text, version)));
    }
    Ok(outdated)
}

fn body_hash(text: &str, version: i64) -> String {
    let digest = Sha256::new().chain_update(text).chain_update(version.to_be_bytes()).finalize();
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::FUNCTIONS;

    #[test]
    fn every_function_file_is_applied() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/functions");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the functions are beside the sources")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".sql").map(str::to_owned))
            .collect();
        let listed: BTreeSet<String> = FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, listed);
        assert_eq!(FUNCTIONS.last().map(|(name, _)| *name), Some("privileges"), "privileges come last");
    }
}
