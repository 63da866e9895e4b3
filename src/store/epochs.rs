//! One row per boot of a node, and how far its records have come.

use std::time::Duration;

use rollcall_core::{Epoch, Timestamp};
use sqlx::PgConnection;

use super::mapping::{from_utc, parse, to_interval, to_utc};
use super::{Store, StoreError};

/// Where an epoch stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochState {
    /// Its node lives, or died and was not recovered yet. Only here records are accepted.
    Active,
    /// Its node stopped in order; all its records are applied.
    Drained,
    /// Its node crashed; its journal was applied and its open spans are closed.
    Recovered,
    /// Another node has taken over; what it still sends is refused.
    Fenced,
}

impl EpochState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Drained => "drained",
            Self::Recovered => "recovered",
            Self::Fenced => "fenced",
        }
    }
}

impl std::str::FromStr for EpochState {
    type Err = rollcall_core::words::UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Active, Self::Drained, Self::Recovered, Self::Fenced];
        all.into_iter().find(|state| state.as_str() == text).ok_or(rollcall_core::words::UnknownWord)
    }
}

/// An epoch of this node that no shutdown and no recovery has closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnfinishedEpoch {
    pub epoch: Epoch,
    /// The last record that is in Postgres.
    pub applied_seq: i64,
    /// Up to here everything the node heard is in Postgres.
    pub attested_until: Timestamp,
}

impl Store {
    /// A new epoch that has heard nothing before `now`, the only active one of its node. A start that was cut off here may get
    /// through to Postgres late, after the recovery of the next start, and nobody would ever close its epoch: so whichever of
    /// the two comes second is refused.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]. A number may be lost by it, which does no harm. [`StoreError::EpochActive`]: recover, and
    /// open again.
    pub async fn open_epoch(&self, node_name: &str, now: Timestamp, lease: Duration) -> Result<Epoch, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Held until the commit, so the second one sees the first.
        sqlx::query!("select pg_advisory_xact_lock(hashtext('rollcall.open_epoch'), hashtext($1))", node_name)
            .fetch_one(&mut *tx)
            .await?;
        let epoch = sqlx::query_scalar!(
            "insert into rollcall.node_epochs (node_name, started_at, attested_until, lease_until)
             select $1::text, $2::timestamptz, $2, clock_timestamp() + $3::interval
             where not exists (select from rollcall.node_epochs e where e.node_name = $1 and e.state = 'active')
             returning epoch",
            node_name,
            to_utc(now),
            to_interval(lease),
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        epoch.map(Epoch).ok_or_else(|| StoreError::EpochActive { node_name: node_name.to_owned() })
    }

    /// Takes the name of a node for as long as this connection lives: two servers under one name would close each other's
    /// spans. Returns whether it was free.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn lock_node_name(conn: &mut PgConnection, node_name: &str) -> Result<bool, StoreError> {
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtext('rollcall.node'), hashtext($1)) as "free!""#,
            node_name
        )
        .fetch_one(conn)
        .await?;
        Ok(free)
    }

    /// Puts back an epoch that a restore of the database to an earlier point has forgotten, with nothing applied, and
    /// makes sure that its number is not handed out again. It attests to nothing until its marks are fed again. Does nothing
    /// when the epoch is known.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reinstate_epoch(&self, epoch: Epoch, node_name: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        // Two nodes at once must not set the sequence back.
        sqlx::query!("lock table rollcall.node_epochs in share row exclusive mode").execute(&mut *tx).await?;
        sqlx::query!(
            "insert into rollcall.node_epochs (epoch, node_name, started_at, attested_until) values ($1, $2, $3, 'epoch')
             on conflict (epoch) do nothing",
            epoch.0,
            node_name,
            to_utc(now),
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query_scalar!(
            "select setval(pg_get_serial_sequence('rollcall.node_epochs', 'epoch'),
                           greatest((select max(epoch) from rollcall.node_epochs),
                                    nextval(pg_get_serial_sequence('rollcall.node_epochs', 'epoch'))))"
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Epochs of a node that ended without a word, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unfinished_epochs(&self, node_name: &str) -> Result<Vec<UnfinishedEpoch>, StoreError> {
        let rows = sqlx::query!(
            "select epoch, applied_seq, attested_until from rollcall.node_epochs
             where node_name = $1 and state = 'active' order by epoch",
            node_name,
        )
        .fetch_all(&self.pool)
        .await?;
        let unfinished = rows.into_iter().map(|row| UnfinishedEpoch {
            epoch: Epoch(row.epoch),
            applied_seq: row.applied_seq,
            attested_until: from_utc(row.attested_until),
        });
        Ok(unfinished.collect())
    }

    /// Closes an active epoch; nothing is accepted from it afterwards. Returns whether it was active and has
    /// all records up to `through`: closing twice changes nothing, and an epoch that a restore has set back stays open, so
    /// that its journal is kept.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Database`] when `state` is [`EpochState::Active`].
    pub async fn close_epoch(&self, epoch: Epoch, state: EpochState, through: i64) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update rollcall.node_epochs set state = $2, closed_at = clock_timestamp()
             where epoch = $1 and state = 'active' and applied_seq >= $3",
            epoch.0,
            state.as_str(),
            through,
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The last record of the epoch that is in Postgres; `None` when Postgres does not know the epoch.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn applied_seq(&self, epoch: Epoch) -> Result<Option<i64>, StoreError> {
        let seq = sqlx::query_scalar!("select applied_seq from rollcall.node_epochs where epoch = $1", epoch.0)
            .fetch_optional(&self.pool)
            .await?;
        Ok(seq)
    }
}

/// Moves the lease on while there is nothing to flush. Returns whether the epoch is still active.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn renew_lease(conn: &mut PgConnection, epoch: Epoch, lease: Duration) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "update rollcall.node_epochs set lease_until = greatest(lease_until, clock_timestamp() + $2)
         where epoch = $1 and state = 'active'",
        epoch.0,
        to_interval(lease),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The state of an epoch; `None` when Postgres does not know it.
pub(in crate::store) async fn position(
    conn: &mut PgConnection,
    epoch: Epoch,
) -> Result<Option<(i64, EpochState)>, StoreError> {
    let row = sqlx::query!("select applied_seq, state from rollcall.node_epochs where epoch = $1", epoch.0)
        .fetch_optional(conn)
        .await?;
    row.map(|row| Ok((row.applied_seq, parse("node_epochs.state", &row.state)?))).transpose()
}
