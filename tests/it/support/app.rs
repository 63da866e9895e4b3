//! A running server and what a developer's backend would do with it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollcall::clock::Clock;
use rollcall::control::keys::Scope;
use rollcall::control::{Control, ControlSettings, Live, RootKey};
use rollcall_core::{Actor, TenantId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Client, Database, PATIENCE, SmallDisk};

/// The root key of every test server.
pub const ROOT_KEY: &str = "integration-tests-integration-tests-integration-tests";

/// `rollcall serve` with a database and a data folder of its own.
pub struct TestApp {
    pub url: String,
    pub database: Arc<Database>,
    pub api: Api,
    pub data_dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
    /// Variables that are no settings.
    environment: Vec<(String, String)>,
    /// Runs the server; its arguments begin with the program.
    wrapper: Vec<String>,
    server: Option<Child>,
    log: Arc<std::sync::Mutex<String>>,
}

/// An API key and where to use it.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    pub key: String,
    pub tenant: TenantId,
    http: reqwest::Client,
}

/// An invite as its creation answers.
#[derive(Debug, Clone)]
pub struct Invite {
    pub id: String,
    pub token: String,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings as the environment names them, `("WS__ORIGINS", "…")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new().await);
        Self::start_on(database, settings).await
    }

    pub async fn start_on(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let mut app = Self::prepare(database, settings).await;
        app.run().await;
        app
    }

    /// With variables in its environment that are no settings.
    pub async fn start_in(environment: &[(&str, &str)]) -> Self {
        let mut app = Self::prepare(Arc::new(Database::new().await), &[]).await;
        app.environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        app.run().await;
        app
    }

    /// With a data folder on a disk that can be filled; `None` where that cannot be made.
    pub async fn start_on_small_disk(settings: &[(&str, &str)]) -> Option<(Self, SmallDisk)> {
        let mut app = Self::prepare(Arc::new(Database::new().await), settings).await;
        let disk = SmallDisk::mount(app.data_dir.path())?;
        app.wrapper = disk.wrapper();
        app.run().await;
        Some((app, disk))
    }

    async fn prepare(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let (tenant, key) = new_tenant(&database, "app").await;
        let api = Api { url: String::new(), key, tenant, http: reqwest::Client::new() };
        Self {
            url: String::new(),
            database,
            api,
            data_dir: tempfile::Builder::new().prefix("rollcall-app-").tempdir().expect("temporary folder"),
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            server: None,
            log: Arc::default(),
        }
    }

    /// Starts the server, again if it was stopped.
    pub async fn run(&mut self) {
        if self.try_run().await.is_err() {
            panic!("the server did not become ready:\n{}", self.log());
        }
    }

    /// As [`TestApp::run`]; with the exit code when it does not become ready.
    pub async fn try_run(&mut self) -> Result<(), Option<i32>> {
        let program = env!("CARGO_BIN_EXE_rollcall").to_owned();
        let mut words = self.wrapper.iter().chain([&program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command
            .args(words)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data_dir.path())
            .env("DATABASE_URL", &self.database.url)
            .env("ROLLCALL_AUTH__ROOT_KEY", ROOT_KEY)
            .env("ROLLCALL_LOG__FILTER", "info,rollcall=debug")
            .env("ROLLCALL_WS__CONNECTIONS_PER_ADDRESS_PER_S", "0")
            .env("ROLLCALL_WS__UNAUTHENTICATED_PER_ADDRESS_MAX", "0")
            .env("ROLLCALL_WS__FAILED_JOINS_PER_ADDRESS_PER_MIN", "0")
            .env("ROLLCALL_HTTP__INVITE_CHECKS_PER_ADDRESS_PER_MIN", "0")
            .env("ROLLCALL_HTTP__CONNECTIONS_PER_ADDRESS_MAX", "0")
            .env("ROLLCALL_HTTP__REQUESTS_PER_KEY_PER_S", "0")
            .env("ROLLCALL_HTTP__FAILED_KEYS_PER_ADDRESS_PER_MIN", "0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.settings.iter().map(|(name, value)| (format!("ROLLCALL_{name}"), value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the server starts");
        let mut stderr = child.stderr.take().expect("piped");
        let log = self.log.clone();
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                log.lock().expect("log").push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        let ready = tokio::time::timeout(PATIENCE, BufReader::new(stdout).read_line(&mut line)).await;
        if !matches!(ready, Ok(Ok(1..))) {
            // One that hangs has no code, and is killed with its handle.
            let status = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            return Err(status.ok().and_then(|status| status.expect("status").code()));
        }
        let ready: Value = serde_json::from_str(&line).expect("one JSON line");
        self.url = ready["url"].as_str().expect("url").trim_end_matches('/').to_owned();
        self.api.url.clone_from(&self.url);
        self.server = Some(child);
        Ok(())
    }

    /// Everything the server wrote to its log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.server.as_ref().and_then(Child::id).expect("running") as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signalled");
    }

    /// SIGSTOP. Returns when every thread stands still: the signal is sent before the last of them takes notice.
    pub async fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        let is_running = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default();
            // "id (name) state …"; a thread that has just ended has no stat.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('T'))
        };
        let frozen = async {
            while std::fs::read_dir(&tasks).expect("the server's threads").any(is_running) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, frozen).await.expect("frozen in time");
    }

    /// `kill -9`.
    pub async fn crash(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait().await;
    }

    /// Waits for the end; gives the exit code.
    pub async fn wait(&mut self) -> Option<i32> {
        let mut server = self.server.take().expect("running");
        let status = tokio::time::timeout(PATIENCE * 2, server.wait()).await.expect("ended in time").expect("status");
        status.code()
    }

    pub async fn session(&self, fields: Value) -> String {
        self.api.session(fields).await
    }

    pub async fn invite(&self, session: &str, fields: Value) -> Invite {
        self.api.invite(session, fields).await
    }

    /// A session and an open invite into it.
    pub async fn room(&self) -> (String, String) {
        let session = self.session(json!({})).await;
        let invite = self.invite(&session, json!({})).await;
        (session, invite.token)
    }

    pub async fn join(&self, token: &str, name: &str) -> Client {
        Client::join(&self.url, token, name).await
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.api.get("/metrics").await;
        let line = text.as_str()?.lines().find(|line| line.split(' ').next() == Some(name))?.to_owned();
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Runs a verb of the command line against this server's database.
    pub async fn command(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall"));
        command
            .args(arguments)
            .env("DATABASE_URL", &self.database.url)
            .env("ROLLCALL_AUTH__ROOT_KEY", ROOT_KEY)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        tokio::time::timeout(PATIENCE, command.output()).await.expect("ended in time").expect("ran")
    }

    /// The secret with which a tenant signs its JWTs.
    pub async fn signing_secret(&self, tenant: TenantId) -> String {
        use secrecy::ExposeSecret;
        RootKey::from_text(&ROOT_KEY.into()).signing_secret(tenant, 1).expose_secret().to_owned()
    }

    /// A second tenant with a key of its own.
    pub async fn other_tenant(&self) -> Api {
        let (tenant, key) = new_tenant(&self.database, "other").await;
        Api { key, tenant, ..self.api.clone() }
    }

    /// Waits until this many rows answer the condition.
    pub async fn eventually_counts(&self, sql: &str, expected: i64) {
        let database = &self.database;
        super::eventually(&format!("{sql} = {expected}"), || async move {
            (database.number(sql).await == expected).then_some(())
        })
        .await;
    }
}

impl Api {
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("method");
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.timeout(PATIENCE).send().await.expect("answered");
        let status = response.status().as_u16();
        let text = response.text().await.expect("body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    pub async fn session(&self, fields: Value) -> String {
        let (status, session) = self.post("/v1/sessions", fields).await;
        assert_eq!(status, 201, "{session}");
        session["id"].as_str().expect("id").to_owned()
    }

    pub async fn invite(&self, session: &str, fields: Value) -> Invite {
        let (status, invite) = self.post(&format!("/v1/sessions/{session}/invites"), fields).await;
        assert_eq!(status, 201, "{invite}");
        let text = |field: &str| invite[field].as_str().expect("text").to_owned();
        Invite { id: text("id"), token: text("token") }
    }
}

async fn new_tenant(database: &Database, name: &str) -> (TenantId, String) {
    let root_key = Arc::new(RootKey::from_text(&ROOT_KEY.into()));
    let settings = ControlSettings { recover_window: Duration::from_secs(3600), join_url: String::new() };
    let store = database.store().await;
    let control = Control::new(store.clone(), Live::Detached, Clock::system(), root_key, settings, Default::default());
    let tenant = control.create_tenant(&Actor::Operator, name).await.expect("tenant");
    let tenant = TenantId(tenant.id);
    let key = control.create_key(&Actor::Operator, tenant, "tests", &[Scope::Admin]).await.expect("key");
    let key = key.1.expose().to_owned();
    store.close().await;
    (tenant, key)
}
