//! Tests against a real PostgreSQL: `cargo test --lib embedded_pg`.
//!
//! What needs another process (a `kill -9`, another user, another working folder) runs this test
//! binary again as a helper, see [`Helper`]. What needs root is passed over, with a note, without it.

mod crash;
mod identity;
mod lifecycle;
mod refusal;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::{EmbeddedPostgres, Lifetime, Options, start};

/// No test may take longer; far above what a loaded machine needs.
const TEST_LIMIT: Duration = Duration::from_secs(150);

/// Pause between two looks at a state that a test waits for.
const LOOK: Duration = Duration::from_millis(10);

/// How long the end of a test waits for the server of a killed helper.
const SERVER_END_LIMIT: Duration = Duration::from_secs(20);

/// The helper's instructions: `start` or `detach`, and the data folder.
const HELPER_ROLE: &str = "ROLLCALL_TEST_PG_ROLE";
const HELPER_DATA_DIR: &str = "ROLLCALL_TEST_PG_DATA_DIR";

/// Starts the lines that the helper writes for the test, among those of the test harness.
const HELPER_MARK: &str = "helper: ";

/// A folder for one test, below a parent that everybody may enter, or root's alone.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn open() -> Self {
        Self::with_mode(0o755)
    }

    fn with_mode(mode: u32) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rollcall-pg-")
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempdir_in("/tmp")
            .expect("a folder in /tmp");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    fn cluster(&self) -> PathBuf {
        self.data_dir().join("postgres")
    }

    /// Tests are not about durability, but for the one that is.
    fn options(&self) -> Options {
        throw_away(self.data_dir())
    }
}

fn throw_away(data_dir: impl Into<PathBuf>) -> Options {
    Options { throw_away: true, ..Options::new(data_dir) }
}

/// This binary again, with one test that acts as an owner of an embedded Postgres. Killed by its pid when dropped.
struct Helper {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Pid and socket folder of its server.
    server: Option<(i32, PathBuf)>,
}

impl Helper {
    fn spawn(role: &str, data_dir: &Path, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("own path"));
        command
            .args(["--exact", "embedded_pg::tests::helper", "--nocapture"])
            .env(HELPER_ROLE, role)
            .env(HELPER_DATA_DIR, data_dir)
            .current_dir("/")
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        adjust(&mut command);
        let mut child = command.spawn().expect("the helper starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output, server: None }
    }

    fn as_uid(uid: u32) -> impl FnOnce(&mut Command) {
        move |command| {
            command.uid(uid).gid(uid);
        }
    }

    /// The next line for the test; `None` when the helper has ended. It ends itself after [`TEST_LIMIT`].
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("helper output") > 0 {
            if let Some((_, text)) = line.trim_end().split_once(HELPER_MARK) {
                self.server = server_of(text);
                return Some(text.to_owned());
            }
            line.clear();
        }
        None
    }

    /// The server's URL and pid.
    fn ready(&mut self) -> (String, i32) {
        let line = self.line().expect("the helper tells its server");
        let (url, pid) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let pid = pid.parse().unwrap_or_else(|_| panic!("{line}"));
        (url.to_owned(), pid)
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill the helper");
        self.child.wait().expect("reap the helper");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let Some((pid, socket_dir)) = self.server.take() else {
            return;
        };
        if std::thread::panicking() && is_alive(pid) {
            kill(Pid::from_raw(pid), Signal::SIGINT).ok();
        }
        for _ in 0..SERVER_END_LIMIT.as_millis() / LOOK.as_millis() {
            if !is_alive(pid) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        // A killed owner cannot do it; the next start would take it back, but there is none.
        std::fs::remove_dir(socket_dir).ok();
    }
}

fn server_of(line: &str) -> Option<(i32, PathBuf)> {
    let (url, pid) = line.rsplit_once(' ')?;
    let (_, parameters) = url.split_once("?host=")?;
    let (socket_dir, _) = parameters.split_once('&')?;
    Some((pid.parse().ok()?, socket_dir.into()))
}

/// Not a test by itself: the program of [`Helper`].
#[tokio::test]
async fn helper() {
    let Ok(role) = std::env::var(HELPER_ROLE) else {
        return;
    };
    let data_dir = PathBuf::from(std::env::var_os(HELPER_DATA_DIR).expect("data folder"));
    let lifetime = match role.as_str() {
        "detach" => Lifetime::Detached,
        _ => Lifetime::Process,
    };
    let options = Options { lifetime, ..throw_away(data_dir) };
    let postgres = match start(options).await {
        Ok(postgres) => postgres,
        Err(error) => {
            println!("\n{HELPER_MARK}{}", error.to_string().replace('\n', " "));
            return;
        }
    };
    let url = postgres.database_url("rollcall");
    println!("\n{HELPER_MARK}{url} {}", postgres.pid());
    if lifetime == Lifetime::Process {
        // Until the test kills us; bounded in case the test itself was killed.
        tokio::time::sleep(TEST_LIMIT).await;
    }
}

async fn limited<T>(test: impl Future<Output = T>) -> T {
    timeout(TEST_LIMIT, Box::pin(test)).await.expect("the test took too long")
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Runs a statement and returns the first column of its first row as text.
async fn ask(url: &str, sql: &str) -> String {
    let mut connection = connect(url).await;
    let answer = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .fetch_one(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection.close().await.expect("close");
    answer
}

async fn write_row(postgres: &EmbeddedPostgres) {
    let mut connection = connect(&postgres.database_url("rollcall")).await;
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
        .execute(&mut connection)
        .await
        .expect("write");
}

async fn assert_row_is_there(postgres: &EmbeddedPostgres) {
    let url = postgres.database_url("rollcall");
    assert_eq!(ask(&url, "SELECT n::text FROM kept").await, "42");
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(TEST_LIMIT, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A zombie that its new parent has not reaped yet is not alive.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    match stat {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => !cfg!(target_os = "linux") && kill(Pid::from_raw(pid), None).is_ok(),
    }
}

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill -9");
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("passed over: this test needs root");
    }
    root
}
