//! Whether this server should get traffic: what `/readyz` answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::Ledger;
use crate::store::Store;

/// How long the database may take to answer before it counts as away.
const DATABASE_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Handle that the parts of the server write to and `/readyz` reads. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    store: Store,
    ledger: Ledger,
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

/// The state of the server, check by check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessView {
    pub ready: bool,
    pub checks: Checks,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checks {
    pub database: Check,
    pub migrations: Check,
    pub journal: Check,
    pub draining: Check,
}

/// One check with a sentence on what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    pub ok: bool,
    #[schema(example = "answers")]
    pub detail: String,
}

impl Readiness {
    /// Not ready before [`Readiness::set_ready`].
    pub fn new(store: Store, ledger: Ledger) -> Self {
        Self { store, ledger, started: Arc::default(), draining: Arc::default() }
    }

    /// Migrations are applied and everything is loaded.
    pub fn set_ready(&self) {
        self.started.store(true, Relaxed);
    }

    /// The server is about to stop: load balancers should send nobody any more.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    pub async fn look(&self) -> ReadinessView {
        let started = self.started.load(Relaxed);
        let draining = self.draining.load(Relaxed);
        let checks = Checks {
            database: self.look_at_database().await,
            migrations: check(started, "applied", "the server is still starting"),
            journal: self.look_at_journal(),
            draining: check(!draining, "no", "the server is stopping"),
        };
        let ready = checks.database.ok && checks.migrations.ok && checks.journal.ok && checks.draining.ok;
        ReadinessView { ready, checks }
    }

    fn look_at_journal(&self) -> Check {
        let status = self.ledger.status();
        if status.broken {
            return check(false, "", "cannot store records any more; the server is going down");
        }
        if status.journal_full {
            return check(false, "", "the disk of the journal is full");
        }
        check(status.admitting, "takes records", "near its limit: joins are refused until Postgres has caught up")
    }

    async fn look_at_database(&self) -> Check {
        match tokio::time::timeout(DATABASE_ANSWER_MAX, self.store.ping()).await {
            Ok(Ok(())) => check(true, "answers", ""),
            // The error may name hosts and users; it is for the log of whoever uses the database.
            Ok(Err(_)) => check(false, "", "cannot be reached"),
            Err(_) => check(false, "", "does not answer in time"),
        }
    }
}

fn check(ok: bool, good: &str, bad: &str) -> Check {
    Check { ok, detail: if ok { good } else { bad }.to_owned() }
}
