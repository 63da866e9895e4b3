//! The server's HTTP side: sessions, invites, metrics.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Requests under way at once when many objects are made.
const CONCURRENT_REQUESTS: usize = 32;

#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    key: String,
}

/// What a session is created with.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionOptions {
    /// `None`: no hard end.
    pub max_duration_s: Option<u64>,
    pub invite_expires_in_s: Option<u64>,
}

impl Api {
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Creates sessions with one invite each; `progress` hears of every one. Returns the tokens in the order of creation.
    ///
    /// # Errors
    /// The first request that fails.
    pub async fn create_rooms(
        &self,
        count: usize,
        options: SessionOptions,
        progress: impl Fn(usize),
    ) -> anyhow::Result<Vec<String>> {
        let mut tokens = vec![String::new(); count];
        let mut rooms = self.in_parallel(count, move |api| async move {
            let session = api.create_session(options).await?;
            api.create_invite(&session, options).await
        });
        let mut done = 0;
        while let Some(room) = rooms.join_next().await {
            let (index, token) = room?;
            tokens[index] = token?;
            done += 1;
            progress(done);
        }
        Ok(tokens)
    }

    /// Creates sessions that nobody is invited to.
    ///
    /// # Errors
    /// The first request that fails.
    pub async fn create_sessions(
        &self,
        count: usize,
        options: SessionOptions,
        progress: impl Fn(usize),
    ) -> anyhow::Result<()> {
        let mut sessions = self.in_parallel(count, move |api| async move { api.create_session(options).await });
        let mut done = 0;
        while let Some(session) = sessions.join_next().await {
            session?.1?;
            done += 1;
            progress(done);
        }
        Ok(())
    }

    /// The unlabelled figures of /metrics by name, without the suffix `_total`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn metrics(&self) -> anyhow::Result<HashMap<String, f64>> {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await?.error_for_status()?.text().await?;
        let figures = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.trim_end_matches("_total").to_owned(), value.parse().ok()?))
        });
        Ok(figures.collect())
    }

    async fn create_session(&self, options: SessionOptions) -> anyhow::Result<String> {
        let mut body = json!({ "warn_before_s": [] });
        if let Some(max_duration_s) = options.max_duration_s {
            body["max_duration_s"] = Value::from(max_duration_s);
        }
        let session = self.post("/v1/sessions", &body).await?;
        Ok(session["id"].as_str().context("a session without an id")?.to_owned())
    }

    async fn create_invite(&self, session: &str, options: SessionOptions) -> anyhow::Result<String> {
        let body = json!({ "expires_in_s": options.invite_expires_in_s.unwrap_or(86_400) });
        let invite = self.post(&format!("/v1/sessions/{session}/invites"), &body).await?;
        Ok(invite["token"].as_str().context("an invite without a token")?.to_owned())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body);
        let response = request.send().await.with_context(|| format!("POST {path}"))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("POST {path}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    fn in_parallel<T, F>(&self, count: usize, work: impl Fn(Api) -> F) -> JoinSet<(usize, anyhow::Result<T>)>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(CONCURRENT_REQUESTS));
        let mut tasks = JoinSet::new();
        for index in 0..count {
            let (permits, work) = (permits.clone(), work(self.clone()));
            tasks.spawn(async move {
                // The semaphore is never closed; without a permit the request would only come earlier.
                let _permit = permits.acquire_owned().await;
                (index, work.await)
            });
        }
        tasks
    }
}
