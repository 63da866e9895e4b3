//! The calls of the app's backend: sessions, invites, removals. The server may be down or hang at any of them.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Longer than any outage that is made here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Rest {
    client: reqwest::Client,
    url: String,
    key: String,
}

/// A link into a session.
#[derive(Debug, Clone)]
pub struct Invite {
    pub id: String,
    pub token: String,
}

impl Rest {
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        // A kept connection would often be one to a server that is gone.
        let client =
            reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).pool_max_idle_per_host(0).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// # Errors
    /// The server refuses, or is away.
    pub async fn create_session(&self, idle_timeout_s: u64, max_duration_s: Option<u64>) -> anyhow::Result<String> {
        let mut body = json!({ "idle_timeout_s": idle_timeout_s, "warn_before_s": [1] });
        if let Some(max_duration_s) = max_duration_s {
            body["max_duration_s"] = Value::from(max_duration_s);
        }
        let (_, session) = self.call(Method::POST, "/v1/sessions", Some(&body)).await?;
        Ok(session["id"].as_str().context("a session without an id")?.to_owned())
    }

    /// # Errors
    /// The server refuses, or is away.
    pub async fn create_invite(&self, session: &str, identity: &str, expires_in_s: u64) -> anyhow::Result<Invite> {
        let body = json!({ "identity": identity, "expires_in_s": expires_in_s });
        let (_, invite) = self.call(Method::POST, &format!("/v1/sessions/{session}/invites"), Some(&body)).await?;
        let text = |name: &str| invite[name].as_str().map(str::to_owned).context("an invite that lacks a part");
        Ok(Invite { id: text("id")?, token: text("token")? })
    }

    /// Ends a session; an end that came before is as good.
    ///
    /// # Errors
    /// The server refuses, or is away: then it may or may not have ended.
    pub async fn end_session(&self, session: &str) -> anyhow::Result<()> {
        let path = format!("/v1/sessions/{session}/end");
        match self.call(Method::POST, &path, Some(&json!({}))).await {
            Err(error) if error.to_string().contains("409") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// # Errors
    /// The participant is not there, or the server is away: then it may or may not have been removed.
    pub async fn kick(&self, session: &str, participant: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, &format!("/v1/sessions/{session}/participants/{participant}"), None).await.map(drop)
    }

    /// # Errors
    /// The server is away: then it may or may not have been revoked.
    pub async fn revoke(&self, invite: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, &format!("/v1/invites/{invite}"), None).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{method} {path}: {}: {text}", status.as_u16());
        }
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}
