//! The store against a real Postgres, one database per test.
//!
//! `ROLLCALL_TEST_DATABASE_URL` names a server on which databases may be made; without it a throw-away cluster is
//! started from the installed binaries and stops with the test program.

mod access;
mod ahead;
mod books;
mod chain;
mod cleanup;
mod documents;
mod functions;
pub(crate) mod history;
mod ledger;
mod live;

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rollcall_core::{SessionId, TenantId, Timestamp};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::mapping::to_utc;
use super::{Store, StoreOptions};

pub const LEASE: Duration = Duration::from_secs(30);

/// A migrated database of its own.
pub async fn database() -> Store {
    let store = empty_database().await;
    store.migrate().await.expect("migrations apply");
    store
}

pub async fn empty_database() -> Store {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let server = server_url();
    let name = format!("store_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(server).await.expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.expect("may create");
    let options = StoreOptions {
        database_url: database_url(server, &name).into(),
        max_connections: 5,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(60),
        application_name: "rollcall-test".to_owned(),
    };
    Store::connect(&options).await.expect("the new database answers")
}

fn database_url(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').map_or((server, String::new()), |(base, q)| (base, format!("?{q}")));
    let (authority, _) = base.rsplit_once('/').expect("the URL names a database");
    format!("{authority}/{name}{query}")
}

fn server_url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| std::env::var("ROLLCALL_TEST_DATABASE_URL").unwrap_or_else(|_| start_cluster()))
}

/// The cluster hangs on a pipe: when this program ends, however it ends, the shell stops the server and tidies up.
fn start_cluster() -> String {
    const SCRIPT: &str = r#"
        set -eu
        bin=${ROLLCALL_PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)}
        folder=$(mktemp -d /tmp/rollcall-test.XXXXXX)
        as=""
        if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; as="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi
        cd "$folder"
        $as "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C --no-sync > "$folder/initdb.log"
        $as "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=300 \
            > "$folder/postgres.log" 2>&1 < /dev/null &
        server=$!
        until "$bin/pg_isready" -q -h "$folder"; do kill -0 $server; sleep 0.1; done
        echo "$folder"
        cat > /dev/null || true
        kill -INT $server
        wait $server || true
        rm -rf "$folder"
    "#;
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell is there");
    let mut folder = String::new();
    let out = shell.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut folder).expect("the shell answers");
    assert!(!folder.trim().is_empty(), "Postgres did not start; set ROLLCALL_TEST_DATABASE_URL");
    // The shell lives as long as its input is open, which is until this program ends.
    std::mem::forget(shell);
    format!("postgres://postgres@localhost/postgres?host={}", folder.trim())
}

/// The present, because the clean-up judges by the clock of the database.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    Timestamp(chrono::Utc::now().timestamp_micros())
}

#[allow(clippy::disallowed_methods)]
pub fn fresh_id() -> Uuid {
    Uuid::new_v4()
}

pub async fn make_tenant(store: &Store) -> TenantId {
    let id = fresh_id();
    sqlx::query("insert into rollcall.tenants (tenant_id, name, identity_salt) values ($1, $2, $3)")
        .bind(id)
        .bind(id.to_string())
        .bind([7_u8; 32].as_slice())
        .execute(&store.pool)
        .await
        .expect("tenant");
    TenantId(id)
}

/// A session that nobody joined yet, with an idle timeout of 60 s.
pub async fn make_session(store: &Store, tenant: TenantId, id: Uuid, at: Timestamp) -> SessionId {
    sqlx::query(
        "insert into rollcall.sessions (session_id, tenant_id, idle_timeout_s, created_at, last_activity_at,
                                        last_seen_at, hold_until)
         values ($1, $2, 60, $3, $3, $3, $3)",
    )
    .bind(id)
    .bind(tenant.0)
    .bind(to_utc(at))
    .execute(&store.pool)
    .await
    .expect("session");
    SessionId(id)
}

/// Runs SQL text with the connection's rights; for what the store itself never does.
pub async fn run(store: &Store, sql: impl Into<String>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&store.pool).await.map(|_| ())
}

/// The single value of a query, as text.
pub async fn value(store: &Store, sql: impl Into<String>) -> String {
    let sql = format!("select coalesce((select x::text from ({}) as q (x)), 'null')", sql.into());
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&store.pool).await.expect("the query runs")
}

pub async fn verify(store: &Store) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(super::migrate::VERIFY_SQL).execute(&store.pool).await.map(|_| ())
}
