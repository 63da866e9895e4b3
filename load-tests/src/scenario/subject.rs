//! The server that is measured, and what is done to it: rooms, crowds, bystanders.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit};

use super::canary::{self, Canary};
use super::file::ScenarioError;
use super::stage::Stage;
use super::watch::Watched;
use crate::adapter::Target;
use crate::control::{Api, SessionOptions};
use crate::server::Server;
use crate::swarm::{Connect, Connected, Pace, Swarm};

/// Files of a server that are not connections: its journal, Postgres, the HTTP side, room for libraries.
const OTHER_FILES: usize = 200;

/// The server that is measured.
#[derive(Debug)]
pub struct Subject<'a> {
    pub(super) stage: &'a Stage,
    pub(super) server: Option<Server>,
    pub(super) address: SocketAddr,
    pub(super) api: Api,
    pub(super) pid: Option<u32>,
}

/// People who come in, and how.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    pub participants: usize,
    pub room_size: usize,
    pub joins_per_s: f64,
    pub options: SessionOptions,
    /// Whether clients follow who is in their room.
    pub track_members: bool,
}

impl Subject<'_> {
    pub fn target(&self) -> Target {
        Target::rollcall(self.address)
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The process, when it is known: figures that need it are left out otherwise.
    pub fn pid(&self) -> Option<u32> {
        if self.pid.is_none() {
            self.stage.blind();
        }
        self.pid
    }

    /// A server of ours, for scenarios that stop it or its Postgres.
    ///
    /// # Errors
    /// The server is not ours.
    pub fn own(&mut self) -> anyhow::Result<&mut Server> {
        self.server
            .as_mut()
            .context("this scenario stops the server or its Postgres, and does so only to one it started")
    }

    /// The process has changed.
    pub fn restarted(&mut self) {
        self.pid = self.server.as_ref().map(Server::pid);
        let pid = self.pid;
        self.stage.watch.with(|watched| watched.pid = pid);
    }

    /// Creates sessions with an invite each and returns the tokens.
    ///
    /// # Errors
    /// A session or invite could not be created.
    pub async fn rooms(&self, count: usize, options: SessionOptions) -> anyhow::Result<Vec<String>> {
        let progress = &self.stage.progress;
        progress.step_of("rooms are created", count);
        self.api.create_rooms(count, options, |done| progress.count(done)).await.context("create rooms")
    }

    /// Creates rooms and fills them; the answer says who did not get in.
    ///
    /// # Errors
    /// A room could not be created, or this machine cannot hold so many clients.
    pub async fn admit(&self, crowd: Crowd) -> anyhow::Result<(Swarm, Connected)> {
        self.ensure_space(crowd.participants)?;
        let mut swarm = Swarm::start(crowd.participants)?;
        let tokens = self.rooms(crowd.participants.div_ceil(crowd.room_size), crowd.options).await?;
        let connected = self.enter(&mut swarm, crowd, tokens).await?;
        Ok((swarm, connected))
    }

    /// A server of ours raises its own limit of open files as far as it may, and no further.
    ///
    /// # Errors
    /// It may not open so many connections: [`ScenarioError`].
    fn ensure_space(&self, participants: usize) -> anyhow::Result<()> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let wanted = participants + OTHER_FILES;
        if self.server.is_none() || usize::try_from(hard).unwrap_or(usize::MAX) >= wanted {
            return Ok(());
        }
        let fault = format!(
            "{participants} connections need a server that may open {wanted} files, and processes may open {hard} here: \
             `ulimit -n {wanted}` as root or LimitNOFILE={wanted} in systemd, or --set participants={}",
            (hard as usize).saturating_sub(OTHER_FILES)
        );
        Err(ScenarioError { name: "open files".to_owned(), faults: vec![fault] }.into())
    }

    /// As [`Subject::admit`], when everybody must get in.
    ///
    /// # Errors
    /// Also when somebody did not get in.
    pub async fn crowd(&self, crowd: Crowd) -> anyhow::Result<Swarm> {
        let (swarm, connected) = self.admit(crowd).await?;
        all_in(connected)?;
        Ok(swarm)
    }

    /// Lets people into rooms that exist.
    ///
    /// # Errors
    /// The swarm is gone or stuck.
    pub async fn enter(&self, swarm: &mut Swarm, crowd: Crowd, tokens: Vec<String>) -> anyhow::Result<Connected> {
        let progress = &self.stage.progress;
        progress.step_of(format!("people join, {} a second", crowd.joins_per_s), crowd.participants);
        let before = self.gauge("rollcall_connections").await.unwrap_or(0.0) as usize;
        self.stage.watch.with(|watched| watched.counts_from = Some(before));
        let connect = Connect {
            target: self.target(),
            count: crowd.participants,
            per_s: crowd.joins_per_s,
            tokens,
            room_size: crowd.room_size,
            track_members: crowd.track_members,
        };
        let connected = swarm.connect(connect).await;
        self.stage.watch.with(|watched| watched.counts_from = None);
        connected
    }

    /// Bystanders, whom the watch listens to as well.
    ///
    /// # Errors
    /// They cannot get in.
    pub async fn canary(&self) -> anyhow::Result<Canary> {
        self.canary_of(canary::PARTICIPANTS).await
    }

    /// With so many participants.
    ///
    /// # Errors
    /// They cannot get in.
    pub async fn canary_of(&self, participants: usize) -> anyhow::Result<Canary> {
        let canary = Canary::start(self, participants).await?;
        self.stage.watch.with(|watched| watched.pulse = Some(canary.pulse()));
        Ok(canary)
    }

    /// A figure of /metrics.
    ///
    /// # Errors
    /// The server does not answer, or has no such figure.
    pub async fn gauge(&self, name: &str) -> anyhow::Result<f64> {
        let metrics = self.api.metrics().await?;
        metrics.get(name).copied().with_context(|| format!("/metrics has no {name}"))
    }

    /// Ends a server of ours.
    ///
    /// # Errors
    /// It had to be killed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stage.watch.with(|watched| *watched = Watched::default());
        match self.server {
            Some(server) => {
                self.stage.progress.step("the server stops");
                server.stop().await
            }
            None => Ok(()),
        }
    }
}

/// # Errors
/// Somebody is missing.
pub fn all_in(connected: Connected) -> anyhow::Result<Connected> {
    if connected.failed > 0 {
        bail!("{} connections failed: {}", connected.failed, connected.errors.join("; "));
    }
    Ok(connected)
}

/// Lets everybody ping from now on, evenly spread.
///
/// # Errors
/// The swarm is gone or stuck.
pub async fn ping_all(swarm: &mut Swarm, participants: usize, interval_s: f64) -> anyhow::Result<()> {
    swarm.pace(Pace::Pings { per_s: participants as f64 / interval_s }).await
}
