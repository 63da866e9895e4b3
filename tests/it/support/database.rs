//! One throw-away Postgres for the whole run, one database for each test.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rollcall::embedded_pg::{self, EmbeddedPostgres};
use rollcall::store::{Store, StoreOptions};
use secrecy::SecretString;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;

/// The database that all others are copied from.
const TEMPLATE: &str = "rollcall_template";

struct Cluster {
    postgres: EmbeddedPostgres,
    _folder: tempfile::TempDir,
}

/// A migrated database of its own.
pub struct Database {
    name: String,
    pub url: String,
    pub pool: PgPool,
}

impl Database {
    pub async fn new() -> Self {
        Self::made_from(TEMPLATE).await
    }

    async fn made_from(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let cluster = cluster().await;
        let name = format!("test_{}", NEXT.fetch_add(1, Relaxed));
        let mut admin = admin().await;
        // Only names of our own making come in here.
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"));
        admin.execute(create).await.expect("database created");
        admin.close().await.expect("closed");
        let url = cluster.postgres.database_url(&name);
        let pool = PgPool::connect_lazy(&url).expect("a URL of ours");
        Self { name, url, pool }
    }

    /// A copy of this database. Nobody may be connected to it.
    pub async fn copy(&self) -> Self {
        Self::made_from(&self.name).await
    }

    /// Frees its disk space. Nobody may be connected to it.
    pub async fn discard(self) {
        let mut admin = admin().await;
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE {}", self.name));
        admin.execute(drop).await.expect("dropped");
        admin.close().await.expect("closed");
    }

    /// Takes connections again after its pool was closed.
    pub fn reopened(&self) -> Self {
        let pool = PgPool::connect_lazy(&self.url).expect("a URL of ours");
        Self { name: self.name.clone(), url: self.url.clone(), pool }
    }

    /// An empty database elsewhere than on the cluster that all tests share, migrated here.
    pub async fn at(name: &str, url: String) -> Self {
        let store = store_of(&url).await;
        store.migrate().await.expect("migrations apply");
        store.close().await;
        let pool = PgPool::connect_lazy(&url).expect("a URL of ours");
        Self { name: name.to_owned(), url, pool }
    }

    /// The server goes another way than we do.
    pub fn by_way_of(self, url: String) -> Self {
        Self { url, ..self }
    }

    pub async fn store(&self) -> Store {
        store_of(&self.url).await
    }

    /// Ends every other connection to this database and lets none in: to the server it is away.
    pub async fn refuse_connections(&self) {
        let mut admin = admin().await;
        let name = self.name();
        admin
            .execute(sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")))
            .await
            .expect("altered");
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        admin.execute(sqlx::AssertSqlSafe(end)).await.expect("terminated");
        admin.close().await.expect("closed");
    }

    pub async fn accept_connections(&self) {
        let mut admin = admin().await;
        let name = self.name();
        admin
            .execute(sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")))
            .await
            .expect("altered");
        admin.close().await.expect("closed");
    }

    /// A copy of everything as it is now; gives its name.
    pub async fn back_up(&self) -> String {
        let backup = format!("{}_backup", self.name());
        self.refuse_connections().await;
        // Whoever was sent away may take a moment to go.
        super::eventually("a backup", || async {
            let copy = format!("CREATE DATABASE {backup} TEMPLATE {}", self.name());
            admin().await.execute(sqlx::AssertSqlSafe(copy)).await.ok()
        })
        .await;
        self.accept_connections().await;
        backup
    }

    /// Puts the copy in the place of the database.
    pub async fn restore(&self, backup: String) {
        self.refuse_connections().await;
        let name = self.name();
        let mut admin = admin().await;
        for statement in
            [format!("DROP DATABASE {name} WITH (FORCE)"), format!("ALTER DATABASE {backup} RENAME TO {name}")]
        {
            admin.execute(sqlx::AssertSqlSafe(statement)).await.expect("restored");
        }
        admin.close().await.expect("closed");
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Statements without a result.
    pub async fn execute(&self, sql: &str) {
        self.pool.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.expect("executed");
    }

    /// A query with one column and one row, as text.
    pub async fn text(&self, sql: &str) -> String {
        let sql = sqlx::AssertSqlSafe(format!("SELECT ({sql})::text"));
        sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(&self.pool).await.expect("query").unwrap_or_default()
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.text(sql).await.parse().expect("a number")
    }

    /// As [`Database::number`]; `None` while the database does not answer.
    pub async fn try_number(&self, sql: &str) -> Option<i64> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT ({sql})::bigint"));
        sqlx::query_scalar::<_, Option<i64>>(sql).fetch_one(&self.pool).await.ok().flatten()
    }

    /// The first column of every row, as text.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(format!("SELECT x::text FROM ({sql}) AS t(x)"));
        sqlx::query_scalar::<_, String>(sql).fetch_all(&self.pool).await.expect("query")
    }
}

async fn admin() -> PgConnection {
    PgConnection::connect(&cluster().await.postgres.database_url("postgres")).await.expect("admin")
}

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let folder = tempfile::Builder::new().prefix("rollcall-it-").tempdir().expect("temporary folder");
            let mut options = embedded_pg::Options::new(folder.path());
            options.throw_away = true;
            let postgres = embedded_pg::start(options).await.expect("Postgres starts");
            let mut admin = PgConnection::connect(&postgres.database_url("postgres")).await.expect("admin");
            admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {TEMPLATE}"))).await.expect("created");
            admin.close().await.expect("closed");
            let store = store_of(&postgres.database_url(TEMPLATE)).await;
            store.migrate().await.expect("migrations apply");
            store.close().await;
            Cluster { postgres, _folder: folder }
        })
        .await
}

async fn store_of(url: &str) -> Store {
    let options = StoreOptions {
        database_url: SecretString::from(url),
        max_connections: 4,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        application_name: "rollcall tests".to_owned(),
    };
    Store::connect(&options).await.expect("connected")
}
