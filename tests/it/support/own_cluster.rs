//! A Postgres of one test's own, which can be stopped, killed and hung without anybody else noticing.

use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollcall::embedded_pg::{self, EmbeddedPostgres, Lifetime};

use super::{Database, eventually};

pub struct OwnCluster {
    pub database: Arc<Database>,
    /// `None` between an end and the next start.
    postgres: Option<EmbeddedPostgres>,
    folder: tempfile::TempDir,
}

impl OwnCluster {
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("rollcall-own-").tempdir().expect("temporary folder");
        let postgres = start(&folder).await;
        let url = postgres.database_url(embedded_pg::DATABASE);
        let database = Arc::new(Database::at(embedded_pg::DATABASE, url).await);
        Self { database, postgres: Some(postgres), folder }
    }

    /// Ends it with this signal to the postmaster and waits until it is gone.
    pub async fn end(&mut self, how: Signal) {
        let postgres = self.postgres.take().expect("running");
        let died = postgres.died();
        kill(Pid::from_raw(postgres.pid()), how).expect("signalled");
        died.await;
    }

    /// At the same place, with the same files.
    pub async fn start_again(&mut self) {
        self.postgres = Some(start(&self.folder).await);
    }

    /// To the postmaster first, so that it starts nobody whom we would miss.
    pub fn signal_all(&self, signal: Signal) {
        let postmaster = self.postgres.as_ref().expect("running").pid();
        // It, or one of them, may have just ended.
        kill(Pid::from_raw(postmaster), signal).ok();
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            kill(Pid::from_raw(child.parse().expect("a number")), signal).ok();
        }
    }

    pub async fn stop(mut self) {
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await.expect("stopped");
        }
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        // A test that failed may have left it hanging, and one that hangs cannot end.
        if self.postgres.is_some() {
            self.signal_all(Signal::SIGCONT);
        }
    }
}

/// The processes of one that was killed may hold its files for a moment.
async fn start(folder: &tempfile::TempDir) -> EmbeddedPostgres {
    eventually("Postgres starts", || async {
        let mut options = embedded_pg::Options::new(folder.path());
        options.lifetime = Lifetime::Process;
        // Processes are killed here, not the machine: what they gave to the system is kept.
        options.throw_away = true;
        embedded_pg::start(options).await.ok()
    })
    .await
}
