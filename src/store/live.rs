//! What the hub needs of the database: sessions as they stand, and invites with their uses.

mod rows;

use std::sync::Arc;

use rollcall_core::{
    Epoch, InviteId, ParticipantId, RestoredParticipant, Role, SessionEndReason, SessionId, SessionSpec, TenantId,
    Timestamp,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::mapping::to_utc;
use super::{Store, StoreError};
use rows::{InviteRow, RestoredRow, SessionRow};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedSession {
    pub spec: SessionSpec,
    /// Set once the session has ended.
    pub ended: Option<(SessionEndReason, Timestamp)>,
    /// Key of the tenant's participant ids.
    pub identity_salt: [u8; 32],
    /// Who was present when the server stopped. Empty for an ended session.
    pub restored: Vec<RestoredParticipant>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredInvite {
    pub invite: InviteId,
    pub tenant: TenantId,
    pub session: SessionId,
    pub token_hash: [u8; 32],
    pub role: Role,
    pub identity: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub revoked_at: Option<Timestamp>,
}

/// What became of the attempt to use an invite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consumed {
    /// Counted now, or by this participant before; `first` tells which, so that only a counted use is given back.
    Consumed {
        first: bool,
    },
    UsedUp,
    Revoked,
    Expired,
    NotYetValid,
    SessionEnded,
}

impl Store {
    /// One session with everything that the hub keeps of it; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Unreadable`].
    pub async fn load_session(&self, session: SessionId) -> Result<Option<LoadedSession>, StoreError> {
        Ok(self.load_sessions(&[session.0], None).await?.pop())
    }

    /// As [`Store::load_session`], where Postgres has at least the records of the epoch up to `applied_seq`: somebody who
    /// was sent away stays away also while a database that was put back to an earlier point is fed again.
    ///
    /// # Errors
    /// [`StoreError::Behind`]; [`StoreError::Unavailable`]; [`StoreError::Unreadable`].
    pub async fn load_session_whole(
        &self,
        session: SessionId,
        epoch: Epoch,
        applied_seq: i64,
    ) -> Result<Option<LoadedSession>, StoreError> {
        Ok(self.load_sessions(&[session.0], Some((epoch, applied_seq))).await?.pop())
    }

    /// Active sessions by id, at most `limit` of those after `after`. An empty page is the last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Unreadable`].
    pub async fn load_active_sessions(
        &self,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Vec<LoadedSession>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select session_id from rollcall.sessions
             where status = 'active' and ($1::uuid is null or session_id > $1) order by session_id limit $2",
            after.map(|session| session.0),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        self.load_sessions(&ids, None).await
    }

    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Unreadable`].
    pub async fn load_invite_by_hash(&self, token_hash: [u8; 32]) -> Result<Option<StoredInvite>, StoreError> {
        let row = sqlx::query_file_as!(InviteRow, "src/store/queries/live_invite_by_hash.sql", &token_hash[..])
            .fetch_optional(&self.pool)
            .await?;
        row.map(StoredInvite::try_from).transpose()
    }

    /// Invites of active sessions by id, at most `limit` of those after `after`, without those that expired before
    /// `expired_before`. An empty page is the last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; [`StoreError::Unreadable`].
    pub async fn load_live_invites(
        &self,
        after: Option<InviteId>,
        expired_before: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredInvite>, StoreError> {
        let rows = sqlx::query_file_as!(
            InviteRow,
            "src/store/queries/live_invites.sql",
            after.map(|invite| invite.0),
            to_utc(expired_before),
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(StoredInvite::try_from).collect()
    }

    /// Counts a use of an invite by a participant, unless it has used it before. Whoever comes at the same time waits
    /// for the row, so `max_uses` holds over all nodes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such invite; [`StoreError::Unavailable`].
    pub async fn consume_invite(
        &self,
        invite: InviteId,
        participant: ParticipantId,
        now: Timestamp,
    ) -> Result<Consumed, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query_file!("src/store/queries/live_invite_lock.sql", invite.0, to_utc(now))
            .fetch_one(&mut *tx)
            .await?;
        // A statement of its own: it must see the use of whoever held the lock before.
        let used = sqlx::query_scalar!(
            r#"select exists (select from rollcall.invite_uses where invite_id = $1 and participant_id = $2) as "used!""#,
            invite.0,
            participant.0,
        )
        .fetch_one(&mut *tx)
        .await?;
        // The lasting reasons first: what the visitor is told must not change when it tries again.
        let refusal = match () {
            () if row.session_ended => Some(Consumed::SessionEnded),
            () if row.revoked => Some(Consumed::Revoked),
            () if row.expired => Some(Consumed::Expired),
            () if row.early => Some(Consumed::NotYetValid),
            () if used => Some(Consumed::Consumed { first: false }),
            () if row.used_up => Some(Consumed::UsedUp),
            () => None,
        };
        if let Some(outcome) = refusal {
            tx.rollback().await?;
            return Ok(outcome);
        }
        count_use(&mut tx, invite, participant, now).await?;
        tx.commit().await?;
        Ok(Consumed::Consumed { first: true })
    }

    /// Gives a use back that did not lead to an admission. Returns whether there was one; twice is as good as once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn release_invite_use(&self, invite: InviteId, participant: ParticipantId) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        // The invite first, as in consume_invite, so that the two never wait for each other.
        sqlx::query!("select invite_id from rollcall.invites where invite_id = $1 for no key update", invite.0)
            .fetch_optional(&mut *tx)
            .await?;
        let gone = sqlx::query!(
            "delete from rollcall.invite_uses where invite_id = $1 and participant_id = $2",
            invite.0,
            participant.0,
        )
        .execute(&mut *tx)
        .await?;
        if gone.rows_affected() == 1 {
            sqlx::query!("update rollcall.invites set uses = uses - 1 where invite_id = $1", invite.0)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(gone.rows_affected() == 1)
    }

    async fn load_sessions(
        &self,
        ids: &[Uuid],
        at_least: Option<(Epoch, i64)>,
    ) -> Result<Vec<LoadedSession>, StoreError> {
        // Session and participants as of one instant.
        let mut tx = self.pool.begin_with("begin isolation level repeatable read read only").await?;
        if let Some((epoch, least)) = at_least {
            let applied = sqlx::query_scalar!("select applied_seq from rollcall.node_epochs where epoch = $1", epoch.0)
                .fetch_optional(&mut *tx)
                .await?;
            if applied.unwrap_or(0) < least {
                return Err(StoreError::Behind);
            }
        }
        let rows =
            sqlx::query_file_as!(SessionRow, "src/store/queries/live_sessions.sql", ids).fetch_all(&mut *tx).await?;
        let mut sessions = rows.into_iter().map(LoadedSession::try_from).collect::<Result<Vec<_>, _>>()?;
        let restored =
            sqlx::query_file_as!(RestoredRow, "src/store/queries/live_restored.sql", ids).fetch_all(&mut *tx).await?;
        tx.commit().await?;
        for row in restored {
            // Both lists are sorted by session.
            let place = sessions.binary_search_by_key(&row.session_id, |session| session.spec.session.0);
            if let Ok(index) = place {
                sessions[index].restored.push(row.try_into()?);
            }
        }
        Ok(sessions)
    }
}

async fn count_use(
    conn: &mut PgConnection,
    invite: InviteId,
    participant: ParticipantId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into rollcall.invite_uses (invite_id, participant_id, used_at) values ($1, $2, $3)",
        invite.0,
        participant.0,
        to_utc(now),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("update rollcall.invites set uses = uses + 1 where invite_id = $1", invite.0).execute(conn).await?;
    Ok(())
}
