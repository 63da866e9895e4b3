//! Postgres: the model of its tables behind a connection with faults. A statement that has been sent is carried out even
//! when the process that sent it dies meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rollcall::ledger::LedgerStore;
use rollcall::store::changes::Change;
use rollcall::store::epochs::UnfinishedEpoch;
use rollcall::store::{
    BatchOutcome, Consumed, EpochState, LiveStore, LoadedSession, OpenSpan, StoreError, StoredInvite,
};
use rollcall_core::{Epoch, InviteId, ParticipantId, Record, SessionId, TenantId, Timestamp};
use tokio::sync::oneshot;

use super::executor::Group;
use super::model::Model;
use super::world::World;

/// After this time Postgres cancels a statement. Shorter than in a server, so that it fits into a seed.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub struct Database {
    pub model: Model,
    /// Nobody reaches it; `true`: connections hang, else they are refused.
    pub down: Option<bool>,
    /// Takes no more faults: everything heals.
    pub is_calm: bool,
    /// An earlier point to which it may be put back.
    pub snapshot: Option<Model>,
    pub snapshot_at: Option<Timestamp>,
    /// How often it was put back. That needs a restart, so nothing under way survives it.
    pub restores: u64,
}

/// Postgres as the process of one boot reaches it.
#[derive(Debug, Clone)]
pub struct SimulatedStore {
    pub world: World,
    pub boot: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Not carried out.
    Lost,
    /// Carried out, but the answer is lost.
    Unknown,
    /// Neither answered nor refused until the statement's time is over.
    Hangs,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}

impl SimulatedStore {
    fn draw(&self) -> (Fate, Duration, Duration) {
        let (is_calm, down) = {
            let database = self.world.database();
            (database.is_calm, database.down)
        };
        let plan = &self.world.plan;
        let mut dice = self.world.dice();
        let (mut there, back) = (dice.mostly_short(plan.limits.store_max), dice.mostly_short(plan.limits.store_max));
        let faults = &plan.faults;
        let fate = match down {
            Some(true) => Fate::Hangs,
            Some(false) => Fate::Lost,
            None if is_calm => Fate::Answered,
            None if dice.permille(faults.store_hangs) => Fate::Hangs,
            None if dice.permille(faults.store_fails_before) => Fate::Lost,
            None if dice.permille(faults.store_fails_after) => Fate::Unknown,
            None => Fate::Answered,
        };
        if !is_calm && dice.permille(faults.store_is_slow) {
            there += dice.duration(Duration::ZERO..=Duration::from_secs(2));
        }
        (fate, there, back)
    }

    /// Carries out `work` on the tables as one transaction.
    async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Model, Timestamp) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (fate, there, back) = self.draw();
        self.carry_out(what, (fate, there, back), work).await
    }

    async fn carry_out<T: Send + 'static>(
        &self,
        what: &'static str,
        (fate, there, back): (Fate, Duration, Duration),
        work: impl FnOnce(&mut Model, Timestamp) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let name = match fate {
            Fate::Answered => what,
            Fate::Lost => "store.fails_before",
            Fate::Unknown => "store.fails_after",
            Fate::Hangs => "store.hangs",
        };
        if fate == Fate::Answered {
            self.world.count(name, self.boot);
        } else {
            self.world.note(name, self.boot, || what.to_owned());
        }
        if fate == Fate::Hangs {
            self.world.sleep(STATEMENT_TIMEOUT).await;
            return Err(unavailable());
        }
        let (sender, receiver) = oneshot::channel();
        let world = self.world.clone();
        let restores = world.database().restores;
        let on_the_server = async move {
            world.sleep(there).await;
            // It may have gone down, or been put back, while the statement was on its way.
            let is_there = {
                let database = world.database();
                database.down.is_none() && database.restores == restores
            };
            if fate != Fate::Lost && is_there {
                let now = world.now();
                let done = work(&mut world.database().model, now);
                sender.send(done).ok();
            }
        };
        self.world.spawner.spawn(Group::World, on_the_server);
        let done = receiver.await;
        self.world.sleep(back).await;
        match (done, fate) {
            (Ok(done), Fate::Answered) => Ok(done),
            _ => Err(unavailable()),
        }
    }
}

fn name_of(outcome: &BatchOutcome) -> &'static str {
    match outcome {
        BatchOutcome::Applied { .. } => "applied",
        BatchOutcome::AlreadyApplied { .. } => "already applied",
        BatchOutcome::Regressed { .. } => "regressed",
        BatchOutcome::Fenced { state: None } => "epoch unknown",
        BatchOutcome::Fenced { .. } => "fenced",
    }
}

impl LedgerStore for SimulatedStore {
    /// What went ahead over it.
    type Connection = Option<(Epoch, i64, Arc<Vec<Record>>)>;

    async fn flush_connection(&self) -> Result<Self::Connection, StoreError> {
        self.call("store.connect", |_, _| None).await
    }

    async fn apply(
        &self,
        ahead: &mut Self::Connection,
        epoch: Epoch,
        first_seq: i64,
        records: &Arc<Vec<Record>>,
        next: Option<Arc<Vec<Record>>>,
        lease: Duration,
    ) -> Result<(BatchOutcome, u64), StoreError> {
        if let Some((of, at, sent)) = ahead.take() {
            let is_this_one = (of, at, sent.len()) == (epoch, first_seq, records.len());
            assert!(!is_this_one || sent == *records, "other records than these went ahead");
            self.world.count("ahead", at as u64);
        }
        *ahead = next.map(|next| (epoch, first_seq + records.len() as i64, next));
        let records = records.clone();
        let world = self.world.clone();
        self.call("store.apply", move |model, now| {
            let outcome = model.apply_batch(epoch, first_seq, &records, lease, now);
            match outcome.0 {
                BatchOutcome::Applied { .. } => world.count("batch", first_seq as u64),
                _ => world.note("batch", first_seq as u64, || format!("{} of {epoch}: {outcome:?}", records.len())),
            }
            world.trace().meet("batch", name_of(&outcome.0));
            outcome
        })
        .await
    }

    async fn renew_lease(&self, _: &mut Self::Connection, epoch: Epoch, lease: Duration) -> Result<bool, StoreError> {
        self.call("store.renew_lease", move |model, now| model.renew_lease(epoch, lease, now)).await
    }

    async fn open_epoch(&self, node_name: &str, started_at: Timestamp, lease: Duration) -> Result<Epoch, StoreError> {
        let name = node_name.to_owned();
        let opened =
            self.call("store.open_epoch", move |model, now| model.open_epoch(&name, started_at, lease, now)).await?;
        opened.ok_or_else(|| StoreError::EpochActive { node_name: node_name.to_owned() })
    }

    async fn reinstate_epoch(&self, epoch: Epoch, node_name: &str, started_at: Timestamp) -> Result<(), StoreError> {
        let name = node_name.to_owned();
        self.call("store.reinstate_epoch", move |model, now| model.reinstate_epoch(epoch, &name, started_at, now)).await
    }

    async fn close_epoch(&self, epoch: Epoch, state: EpochState, through: i64) -> Result<bool, StoreError> {
        self.call("store.close_epoch", move |model, now| model.close_epoch(epoch, (state, through), now)).await
    }

    async fn unfinished_epochs(&self, node_name: &str) -> Result<Vec<UnfinishedEpoch>, StoreError> {
        let name = node_name.to_owned();
        self.call("store.unfinished_epochs", move |model, _| model.unfinished_epochs(&name)).await
    }

    async fn applied_seq(&self, epoch: Epoch) -> Result<Option<i64>, StoreError> {
        self.call("store.applied_seq", move |model, _| model.applied_seq(epoch)).await
    }

    async fn open_spans(&self, epoch: Epoch) -> Result<Vec<OpenSpan>, StoreError> {
        self.call("store.open_spans", move |model, _| model.open_spans(epoch)).await
    }

    async fn attested_until(&self, epoch: Epoch) -> Result<Option<Timestamp>, StoreError> {
        self.call("store.attested_until", move |model, _| model.attested_until(epoch)).await
    }
}

impl LiveStore for SimulatedStore {
    async fn load_session(&self, session: SessionId) -> Result<Option<LoadedSession>, StoreError> {
        self.call("store.load_session", move |model, now| model.load_session(session, now)).await
    }

    async fn load_session_whole(
        &self,
        session: SessionId,
        epoch: Epoch,
        applied_seq: i64,
    ) -> Result<Option<LoadedSession>, StoreError> {
        let load = move |model: &mut Model, now| {
            let is_whole = model.applied_seq(epoch).unwrap_or(0) >= applied_seq;
            is_whole.then(|| model.load_session(session, now))
        };
        self.call("store.load_session", load).await?.ok_or(StoreError::Behind)
    }

    async fn load_active_sessions(
        &self,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Vec<LoadedSession>, StoreError> {
        self.call("store.load_sessions", move |model, now| model.load_active_sessions(after, limit as usize, now)).await
    }

    async fn load_invite_by_hash(&self, token_hash: [u8; 32]) -> Result<Option<StoredInvite>, StoreError> {
        self.call("store.load_invite", move |model, _| model.load_invite_by_hash(token_hash)).await
    }

    async fn load_live_invites(
        &self,
        after: Option<InviteId>,
        expired_before: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredInvite>, StoreError> {
        self.call("store.load_invites", move |model, _| model.load_live_invites(after, expired_before, limit as usize))
            .await
    }

    async fn consume_invite(
        &self,
        invite: InviteId,
        participant: ParticipantId,
        now: Timestamp,
    ) -> Result<Consumed, StoreError> {
        let consumed =
            self.call("store.consume", move |model, _| model.consume_invite(invite, participant, now)).await?;
        consumed.ok_or(StoreError::NotFound)
    }

    async fn release_invite_use(&self, invite: InviteId, participant: ParticipantId) -> Result<bool, StoreError> {
        self.call("store.release", move |model, _| model.release_invite_use(invite, participant)).await
    }

    async fn is_invite_revoked(&self, invite: InviteId) -> Result<bool, StoreError> {
        self.call("store.is_revoked", move |model, _| model.is_invite_revoked(invite)).await
    }

    async fn signing_secret_version(&self, _: TenantId) -> Result<i32, StoreError> {
        self.call("store.secret_version", |_, _| 1).await
    }

    async fn changes_since(&self, seq: i64, limit: i64) -> Result<Vec<Change>, StoreError> {
        self.call("store.changes", move |model, _| {
            if model.control_seq > seq { model.changes_since(seq, limit as usize) } else { Vec::new() }
        })
        .await
    }

    async fn latest_change(&self) -> Result<i64, StoreError> {
        self.call("store.latest_change", |model, _| model.latest_change()).await
    }
}

impl SimulatedStore {
    /// A change of the control plane: object and trail in one transaction.
    pub async fn change<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Model) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(what, move |model, _| work(model)).await
    }

    /// A change of a row that the transaction has locked already: from what the caller saw on the clock until the commit
    /// nobody else writes it. So the way there takes no time, and the answer the longer.
    pub async fn change_locked<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Model) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (fate, there, back) = self.draw();
        self.carry_out(what, (fate, Duration::ZERO, there + back), move |model, _| work(model)).await
    }
}
