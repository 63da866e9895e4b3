//! What every scenario is given: the server it measures, the floors beside it, somebody who watches.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::bail;

use super::source::Source;
use super::subject::{Subject, all_in};
use super::watch::Watch;
use crate::adapter::Target;
use crate::control::Api;
use crate::measure;
use crate::progress::Progress;
use crate::report::Series;
use crate::server::Server;
use crate::swarm::{Connect, Swarm};

/// Memory has settled when it moves by less than this from one look to the next.
const SETTLED_BYTES: u64 = 256 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const LOOKS_MAX: usize = 20;

/// Connections opened a second to the floor, which answers no joins.
const FLOOR_CONNECTS_PER_S: f64 = 2_000.0;

/// The highest that the server's setting allows.
const CONNECTIONS_MAX: &str = "10000000";

/// What every scenario is given.
#[derive(Debug)]
pub struct Stage {
    pub progress: Progress,
    source: Source,
    pub(super) watch: Watch,
    /// Whether some figure could not be had because the process of the server is unknown.
    is_blind: AtomicBool,
}

impl Stage {
    pub fn new(name: &str, source: Source) -> Self {
        let progress = Progress::new(name);
        let watch = Watch::start(progress.clone());
        Self { progress, source, watch, is_blind: AtomicBool::new(false) }
    }

    /// The server, started unless it runs already. `environment` is for a server of ours; another is as it is.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn subject(&self, environment: &[(&str, String)]) -> anyhow::Result<Subject<'_>> {
        let subject = match &self.source {
            Source::Program(program) => {
                self.progress.step("the server starts");
                // How many there are is the scenario's to say.
                let mut all = vec![("ROLLCALL_WS__CONNECTIONS_MAX", CONNECTIONS_MAX.to_owned())];
                all.extend_from_slice(environment);
                let server = Server::start(program, &all).await?;
                let (address, api, pid) = (server.listen(), server.api()?, Some(server.pid()));
                Subject { stage: self, server: Some(server), address, api, pid }
            }
            Source::Running { url, address, key, pid } => {
                let api = Api::new(url, key)?;
                Subject { stage: self, server: None, address: *address, api, pid: *pid }
            }
        };
        self.watch.with(|watched| {
            watched.api = Some(subject.api.clone());
            watched.pid = subject.pid;
        });
        Ok(subject)
    }

    /// Connects a swarm to the floor.
    ///
    /// # Errors
    /// Any connection failed.
    pub async fn crowd_floor(&self, listen: SocketAddr, count: usize) -> anyhow::Result<Swarm> {
        self.progress.step(format!("{count} connections to the floor"));
        let mut swarm = Swarm::start(count)?;
        let connect = Connect {
            target: Target::echo(listen),
            count,
            per_s: FLOOR_CONNECTS_PER_S,
            tokens: Vec::new(),
            room_size: 1,
            track_members: false,
        };
        all_in(swarm.connect(connect).await?)?;
        Ok(swarm)
    }

    /// Waits until the private memory of a process stands still, and returns it.
    ///
    /// # Errors
    /// The process is gone.
    pub async fn settled_memory(&self, pid: u32) -> anyhow::Result<u64> {
        let mut last = measure::rss_anon_bytes(pid)?;
        for _ in 0..LOOKS_MAX {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = measure::rss_anon_bytes(pid)?;
            if now.abs_diff(last) < SETTLED_BYTES {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    /// The program of the server, for a scenario that starts its own.
    ///
    /// # Errors
    /// The server runs already, and is not ours to kill.
    pub fn program(&self) -> anyhow::Result<&Path> {
        match &self.source {
            Source::Program(program) => Ok(program),
            Source::Running { url, .. } => bail!("this scenario kills the server, and does not do that to {url}"),
        }
    }

    /// Nothing is watched or shown any more.
    pub async fn finish(&mut self) {
        self.watch.stop().await;
        self.progress.finish();
    }

    pub fn series(&self) -> Vec<Series> {
        self.watch.series()
    }

    /// Some figure is left out, because nobody said which process the server is.
    pub(super) fn blind(&self) {
        self.is_blind.store(true, Relaxed);
    }

    pub fn is_blind(&self) -> bool {
        self.is_blind.load(Relaxed)
    }
}
