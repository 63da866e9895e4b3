//! All contact of the control plane with the hub: the sessions that this node has in memory.

use std::time::Duration;

use rollcall_core::{Command, InviteId, Refusal, Role, Session, SessionId, Snapshot, TenantId, Timestamp};

use super::secrets::SecretHash;
use crate::hub::{DispatchError, Hub, InviteEntry};
use crate::store::invites::{InviteCheckRow, InviteRow};
use crate::store::mapping::{from_utc, to_utc};
use crate::store::{Store, StoreError};

/// Where the live sessions are. Cheap to clone.
#[derive(Clone)]
pub enum Live {
    /// No hub in this process, as in the command line tools: a running server learns of changes from the database.
    Detached,
    Hub(Hub),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error("the session is not in memory here")]
    NotLive,
    #[error("the session refused the command")]
    Refused(#[source] Refusal),
    /// The journal is full or has failed; the command had no effect that anybody was told of.
    #[error("the records of the command could not be made durable")]
    NotRecorded,
    /// As many sessions are in memory as may be.
    #[error("this node has as many live sessions as it may")]
    Full,
}

/// Why a session could not be taken into memory.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// What the list and read calls add to a row for a session in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFacts {
    pub ends_at: Timestamp,
    pub last_activity_at: Timestamp,
    pub participants_present: usize,
    pub connections_open: usize,
}

impl Live {
    /// Carries out a command; returns when its records are durable.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn dispatch(&self, session: SessionId, command: Command) -> Result<(), LiveError> {
        match self {
            Self::Detached => Err(LiveError::NotLive),
            Self::Hub(hub) => Ok(hub.dispatch(session, command).await?),
        }
    }

    /// Where an extension by this much would move the end: `hold_until, expires_at`. `None`: not in memory.
    pub fn extended_by(&self, session: SessionId, by: Duration) -> Option<(Timestamp, Option<Timestamp>)> {
        self.read(session, |session| session.extended_by(by))
    }

    /// Who is present. `None`: not in memory.
    pub fn presence(&self, session: SessionId, now: Timestamp) -> Option<Snapshot> {
        self.read(session, |session| session.snapshot(now))
    }

    /// `None`: not in memory, or ended.
    pub fn facts(&self, session: SessionId) -> Option<LiveFacts> {
        self.read(session, |session| {
            session.ended().is_none().then(|| LiveFacts {
                ends_at: session.ends_at().0,
                last_activity_at: session.last_activity_at(),
                participants_present: session.participants_present(),
                connections_open: session.connections_open(),
            })
        })
        .flatten()
    }

    /// Whether a session in memory has ended. `None`: not in memory.
    pub fn ended(&self, session: SessionId) -> Option<bool> {
        self.read(session, |session| session.ended().is_some())
    }

    /// Waits until everything that happened so far is in Postgres, or can no longer get there.
    pub async fn flushed(&self) {
        if let Self::Hub(hub) = self
            && let Err(error) = hub.ledger().flushed().await
        {
            tracing::warn!(error = %error, "not everything reached Postgres");
        }
    }

    /// Takes a session that was just created or recovered into memory.
    ///
    /// # Errors
    /// The database could not be read, or there is no room; the session is taken in when somebody joins.
    pub async fn adopt(&self, store: &Store, session: SessionId) -> Result<(), AdoptError> {
        let Self::Hub(hub) = self else { return Ok(()) };
        if let Some(loaded) = store.load_session(session).await? {
            hub.adopt(loaded).map_err(LiveError::from)?;
        }
        Ok(())
    }

    /// Makes a new invite usable at once.
    pub fn remember_invite(&self, row: &InviteRow, token_hash: SecretHash) {
        // The hub looks up what it does not know, so an invite whose role it cannot read is only slower.
        if let Self::Hub(hub) = self
            && let Ok(role) = Role::parse(&row.role)
        {
            let entry = InviteEntry {
                token_hash,
                invite: InviteId(row.invite_id),
                tenant: TenantId(row.tenant_id),
                session: SessionId(row.session_id),
                role,
                identity: row.identity.as_deref().map(Into::into),
                name: row.name.as_deref().map(Into::into),
                not_before: row.not_before.map(from_utc),
                expires_at: from_utc(row.expires_at),
                max_uses: row.max_uses.and_then(|most| u32::try_from(most).ok()),
                revoked: false,
            };
            hub.remember_invite(entry, hub.clock().now());
        }
    }

    /// Makes an invite unusable at once. Those who came by it are closed by [`Command::RevokeInvite`].
    pub fn forget_invite(&self, invite: InviteId) {
        if let Self::Hub(hub) = self {
            hub.invites().revoke(invite);
        }
    }

    /// What memory knows of an invite. `None`: ask the database, which alone counts the uses.
    pub fn invite(&self, token_hash: &SecretHash) -> Option<InviteCheckRow> {
        let Self::Hub(hub) = self else { return None };
        let entry = hub.invites().get(token_hash)?;
        if entry.max_uses.is_some() && entry.check(hub.clock().now()).is_ok() {
            return None;
        }
        let (title, session_active) =
            hub.read(entry.session, |session| (session.spec().title.clone(), session.ended().is_none()))?;
        let expires_at = to_utc(entry.expires_at);
        Some(InviteCheckRow {
            session_id: entry.session.0,
            title: title.as_deref().map(str::to_owned),
            session_active,
            role: entry.role.as_str().to_owned(),
            not_before: entry.not_before.map(to_utc),
            expires_at,
            max_uses: None,
            uses: 0,
            revoked_at: entry.revoked.then_some(expires_at),
        })
    }

    fn read<R>(&self, session: SessionId, look: impl FnOnce(&Session) -> R) -> Option<R> {
        match self {
            Self::Detached => None,
            Self::Hub(hub) => hub.read(session, look),
        }
    }
}

impl From<DispatchError> for LiveError {
    fn from(error: DispatchError) -> Self {
        match error {
            DispatchError::NotLive => Self::NotLive,
            DispatchError::Refused(refusal) => Self::Refused(refusal),
            DispatchError::Ledger(_) | DispatchError::Draining => Self::NotRecorded,
            DispatchError::SessionsFull => Self::Full,
        }
    }
}
