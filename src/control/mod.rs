//! Operations of the control plane: create, change, extend, end and recover sessions; invites, keys, tenants.
//!
//! Each operation is one Postgres transaction that writes the object and its audit row, and then the hub. The HTTP
//! routes, the hosts on a socket and the command line call the same operations; who called is the [`Call`].
//!
//! **Invariant:** an object and its trail cannot disagree, because they are written in one transaction.
//!
//! Operations are not cancel safe: between the commit and the hub lies an await. Run them with [`Control::run`] where
//! the caller may vanish.

pub mod ending;
pub mod error;
pub mod invites;
pub mod keys;
pub mod live;
pub mod participants;
pub mod reads;
pub mod secrets;
pub mod sessions;
pub mod tenants;
pub mod validation;
pub mod views;

use std::future::Future;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall_core::{Actor, SessionId, TenantId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgConnection;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::task::TaskTracker;

pub use crate::store::mapping::{from_utc as timestamp, to_utc as date_time};
pub use error::ControlError;
pub use live::{Live, LiveError};
pub use secrets::{ApiKey, InviteToken, RootKey};
pub use validation::{Violation, Violations};

use crate::clock::Clock;
use crate::store::Store;
use crate::store::audit::{self, Change};
use crate::store::idempotency::{self, Claim};

/// How long the answer to a request with an Idempotency-Key is kept. Later the same key starts a new request.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Answers deleted in one statement by [`Control::forget_answers`].
const ANSWERS_DELETED_MAX: i64 = 1_000;
/// Locks that keep the changes of one session in order. Sessions share them by hash; more only cost memory.
const GATES: usize = 256;

/// What an operator may decide about the control plane.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// How long after its end a session may be recovered.
    pub recover_window: Duration,
    /// The page behind invite links, without `#`.
    pub join_url: String,
}

/// Who asks, for which tenant, and under which Idempotency-Key.
#[derive(Debug, Clone)]
pub struct Call {
    pub tenant: TenantId,
    pub actor: Actor,
    pub repeatable: Option<Repeatable>,
}

/// A request that may come again and must then get the same answer.
#[derive(Debug, Clone)]
pub struct Repeatable {
    pub key: String,
    /// SHA-256 of everything that makes the request what it is.
    pub request_hash: [u8; 32],
}

impl Call {
    pub fn new(tenant: TenantId, actor: Actor) -> Self {
        Self { tenant, actor, repeatable: None }
    }
}

/// The result of an operation, and whether it is the stored one of an earlier identical request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    pub value: T,
    pub replayed: bool,
}

impl<T> Done<T> {
    fn fresh(value: T) -> Self {
        Self { value, replayed: false }
    }
}

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    store: Store,
    live: Live,
    clock: Clock,
    root_key: Arc<RootKey>,
    settings: Arc<ControlSettings>,
    tasks: TaskTracker,
    gates: Arc<[Mutex<()>]>,
}

impl Control {
    /// `tasks` is waited for at shutdown, so that no operation stops between its commit and the hub.
    pub fn new(
        store: Store,
        live: Live,
        clock: Clock,
        root_key: Arc<RootKey>,
        settings: ControlSettings,
        tasks: TaskTracker,
    ) -> Self {
        let gates = (0..GATES).map(|_| Mutex::new(())).collect();
        Self { store, live, clock, root_key, settings: Arc::new(settings), tasks, gates }
    }

    /// Carries an operation to its end even when the caller stops waiting.
    ///
    /// # Errors
    /// Those of the operation, and [`ControlError::Interrupted`] when it panicked.
    pub async fn run<T, F>(&self, operation: F) -> Result<T, ControlError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        match self.tasks.spawn(operation).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ControlError::Interrupted),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn live(&self) -> &Live {
        &self.live
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    pub fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// Deletes answers that are older than [`ANSWERS_KEPT`]. Returns how many; call again while it is not zero.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forget_answers(&self) -> Result<u64, ControlError> {
        let before = date_time(self.clock.now() - ANSWERS_KEPT);
        Ok(idempotency::forget(&self.store, before, ANSWERS_DELETED_MAX).await?)
    }

    fn now(&self) -> DateTime<Utc> {
        date_time(self.clock.now())
    }

    async fn begin(&self) -> Result<Change, ControlError> {
        Ok(self.store.begin().await?)
    }

    async fn commit(&self, change: Change) -> Result<(), ControlError> {
        Ok(audit::commit(change).await?)
    }

    /// Keeps two changes of one session from reaching the hub in another order than Postgres.
    async fn gate(&self, session: SessionId) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(session);
        self.gates[(hash % GATES as u64) as usize].lock().await
    }

    /// The stored answer, if this very request was carried out before.
    async fn earlier_answer<T: DeserializeOwned>(
        &self,
        connection: &mut PgConnection,
        call: &Call,
    ) -> Result<Option<Done<T>>, ControlError> {
        let Some(repeatable) = &call.repeatable else { return Ok(None) };
        let kept_since = date_time(self.clock.now() - ANSWERS_KEPT);
        let claim =
            idempotency::claim(connection, call.tenant, &repeatable.key, &repeatable.request_hash, kept_since).await?;
        match claim {
            Claim::New => Ok(None),
            Claim::Answered(body) => Ok(Some(Done { value: serde_json::from_value(body)?, replayed: true })),
            Claim::OtherRequest => Err(ControlError::IdempotencyKeyReused),
            Claim::InProgress => Err(ControlError::RequestInProgress),
        }
    }

    async fn keep_answer<T: Serialize>(
        &self,
        connection: &mut PgConnection,
        call: &Call,
        status: i32,
        answer: &T,
    ) -> Result<(), ControlError> {
        let Some(repeatable) = &call.repeatable else { return Ok(()) };
        let body = serde_json::to_value(answer)?;
        let Repeatable { key, request_hash } = repeatable;
        idempotency::keep_answer(connection, call.tenant, key, request_hash, status, &body, self.now()).await?;
        Ok(())
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("settings", &self.settings).finish_non_exhaustive()
    }
}
