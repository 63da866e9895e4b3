//! Where the server comes from that is measured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

use super::file::ScenarioError;
use crate::control::Api;
use crate::report::ServerDescription;
use crate::server;

#[derive(Debug, Clone)]
pub enum Source {
    /// Started for each scenario and ended with it.
    Program(PathBuf),
    /// It runs already, wherever.
    Running { url: String, address: SocketAddr, key: String, pid: Option<u32> },
}

impl Source {
    /// A server that runs at `url`.
    ///
    /// # Errors
    /// The URL is none that the harness can reach ([`ScenarioError`]), or there is no such host.
    pub async fn running(url: &str, key: &str, pid: Option<u32>) -> anyhow::Result<Self> {
        let usage = |fault: String| ScenarioError { name: "--target".to_owned(), faults: vec![fault] };
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(usage(
                "write http://host:port; the harness speaks no TLS: measure behind the proxy".to_owned(),
            )
            .into());
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let mut addresses =
            tokio::net::lookup_host(&authority).await.with_context(|| format!("cannot find {authority}"))?;
        let address: SocketAddr = addresses.next().with_context(|| format!("{authority} has no address"))?;
        Ok(Self::Running { url: url.to_owned(), address, key: key.to_owned(), pid })
    }

    /// A server to start: `given`, or the one beside this program.
    ///
    /// # Errors
    /// There is none.
    pub fn program(given: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self::Program(server::find_program(given)?))
    }

    /// What the report says of it.
    ///
    /// # Errors
    /// It is no Rollcall, or does not answer.
    pub async fn describe(&self) -> anyhow::Result<ServerDescription> {
        match self {
            Self::Program(program) => {
                let output = Command::new(program).args(["version", "--json"]).output().await?;
                let version: serde_json::Value = serde_json::from_slice(&output.stdout)
                    .with_context(|| format!("{} is no rollcall", program.display()))?;
                let is_debug = program.components().any(|part| part.as_os_str() == "debug");
                Ok(ServerDescription {
                    version: version["version"].as_str().unwrap_or("?").to_owned(),
                    commit: commit().await,
                    target: None,
                    build: if is_debug { "debug" } else { "release" }.to_owned(),
                })
            }
            Self::Running { url, key, .. } => {
                const INFO: &str = "rollcall_build_info{version=\"";
                let metrics = Api::new(url, key)?.metrics().await.with_context(|| format!("{url} does not answer"))?;
                let version =
                    metrics.keys().find_map(|name| name.strip_prefix(INFO)?.split('"').next().map(str::to_owned));
                let version = version.with_context(|| format!("{url} is no rollcall"))?;
                Ok(ServerDescription { version, commit: None, target: Some(url.clone()), build: "running".to_owned() })
            }
        }
    }
}

/// The commit of the source tree around the working directory, when there is one and there is git.
async fn commit() -> Option<String> {
    let git = |arguments: &'static [&'static str]| async move {
        let output = Command::new("git").args(arguments).output().await.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"]).await?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).await?.is_empty();
    Some(if is_clean { head } else { format!("{head}-dirty") })
}
