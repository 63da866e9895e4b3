//! All contact of the control plane with the hub: the sessions that this node has in memory.

use std::time::Duration;

use rollcall_core::{Command, InviteId, Refusal, Role, SessionId, Snapshot, TenantId, Timestamp};

use super::secrets::SecretHash;
use super::{date_time, timestamp};
use crate::hub::{DispatchError, Hub, InviteEntry};
use crate::store::invites::{InviteCheckRow, InviteRow};
use crate::store::{Store, StoreError};

/// Where the live sessions are. Cheap to clone.
#[derive(Clone)]
pub enum Live {
    /// No hub in this process, as in the command line tools: a running server learns of changes from the database.
    Detached,
    /// The hub of this server.
    Hub(Hub),
    /// The real state machine without timers, sockets or journal.
    #[cfg(test)]
    Rehearsal(std::sync::Arc<rehearsal::Rehearsal>),
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
            Self::Hub(hub) => hub.dispatch(session, command).await.map_err(|error| match error {
                DispatchError::NotLive => LiveError::NotLive,
                DispatchError::Refused(refusal) => LiveError::Refused(refusal),
                DispatchError::Ledger(_) => LiveError::NotRecorded,
                DispatchError::SessionsFull => LiveError::Full,
            }),
            #[cfg(test)]
            Self::Rehearsal(hub) => hub.dispatch(session, command),
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

    /// Takes a session that was just created or recovered into memory.
    ///
    /// # Errors
    /// The database could not be read; the session is taken in when somebody joins.
    pub async fn adopt(&self, store: &Store, session: SessionId) -> Result<(), StoreError> {
        match self {
            Self::Detached => Ok(()),
            Self::Hub(hub) => {
                if let Some(loaded) = store.load_session(session).await?
                    && let Err(error) = hub.adopt(loaded)
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, session.id = %session, "session not taken in");
                }
                Ok(())
            }
            #[cfg(test)]
            Self::Rehearsal(hub) => hub.adopt(store, session).await,
        }
    }

    /// Makes a new invite usable at once.
    pub fn remember_invite(&self, invite: &InviteRow, token_hash: SecretHash) {
        match self {
            Self::Detached => {}
            Self::Hub(hub) => {
                // What the control plane wrote is valid; a role that is not would be found when the invite is used.
                let Ok(role) = Role::parse(&invite.role) else { return };
                let entry = InviteEntry {
                    token_hash,
                    invite: InviteId(invite.invite_id),
                    tenant: TenantId(invite.tenant_id),
                    session: SessionId(invite.session_id),
                    role,
                    identity: invite.identity.as_deref().map(Into::into),
                    name: invite.name.as_deref().map(Into::into),
                    not_before: invite.not_before.map(timestamp),
                    expires_at: timestamp(invite.expires_at),
                    max_uses: invite.max_uses.and_then(|max_uses| u32::try_from(max_uses).ok()),
                    revoked: invite.revoked_at.is_some(),
                };
                hub.remember_invite(entry, hub.clock().now());
            }
            #[cfg(test)]
            Self::Rehearsal(_) => {}
        }
    }

    /// Makes an invite unusable at once. Those who came by it are closed by [`Command::RevokeInvite`].
    pub fn forget_invite(&self, invite: InviteId) {
        match self {
            Self::Detached => {}
            Self::Hub(hub) => hub.invites().revoke(invite),
            #[cfg(test)]
            Self::Rehearsal(_) => {}
        }
    }

    /// What memory knows of an invite. `None`: ask the database.
    pub fn invite(&self, token_hash: &SecretHash) -> Option<InviteCheckRow> {
        match self {
            Self::Detached => None,
            Self::Hub(hub) => {
                let entry = hub.invites().get(token_hash)?;
                // How often a limited invite was used only Postgres knows; that it is over needs no count.
                if entry.max_uses.is_some() && entry.check(hub.clock().now()).is_ok() {
                    return None;
                }
                let (title, active) =
                    hub.read(entry.session, |session| (session.spec().title.clone(), session.ended().is_none()))?;
                Some(InviteCheckRow {
                    session_id: entry.session.0,
                    title: title.as_deref().map(str::to_owned),
                    session_active: active,
                    role: entry.role.to_string(),
                    not_before: entry.not_before.map(date_time),
                    expires_at: date_time(entry.expires_at),
                    max_uses: None,
                    uses: 0,
                    revoked_at: entry.revoked.then(|| date_time(hub.clock().now())),
                })
            }
            #[cfg(test)]
            Self::Rehearsal(_) => None,
        }
    }

    fn read<R>(&self, session: SessionId, look: impl FnOnce(&rollcall_core::Session) -> R) -> Option<R> {
        match self {
            Self::Detached => None,
            Self::Hub(hub) => hub.read(session, look),
            #[cfg(test)]
            Self::Rehearsal(hub) => hub.read(session, look),
        }
    }
}

/// A stand-in for the hub in tests of the control plane: real sessions, nothing around them.
#[cfg(test)]
pub mod rehearsal {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use rollcall_core::{Command, Effect, PresencePolicy, Session, SessionId, SessionSpec, TenantId, Timestamp};
    use uuid::Uuid;

    use super::LiveError;
    use crate::clock::Clock;
    use crate::store::{Store, StoreError};

    pub struct Rehearsal {
        clock: Clock,
        sessions: Mutex<HashMap<SessionId, Session>>,
        effects: Mutex<Vec<Effect>>,
    }

    impl Rehearsal {
        pub fn new(clock: Clock) -> Arc<Self> {
            Arc::new(Self { clock, sessions: Mutex::default(), effects: Mutex::default() })
        }

        pub fn dispatch(&self, session: SessionId, command: Command) -> Result<(), LiveError> {
            let mut sessions = lock(&self.sessions);
            let session = sessions.get_mut(&session).ok_or(LiveError::NotLive)?;
            session.apply(command, self.clock.now(), &mut lock(&self.effects)).map_err(LiveError::Refused)
        }

        pub fn read<R>(&self, session: SessionId, look: impl FnOnce(&Session) -> R) -> Option<R> {
            lock(&self.sessions).get(&session).map(look)
        }

        /// What the sessions asked for since the last call.
        pub fn take_effects(&self) -> Vec<Effect> {
            std::mem::take(&mut *lock(&self.effects))
        }

        pub async fn adopt(&self, store: &Store, session: SessionId) -> Result<(), StoreError> {
            let mut change = store.begin().await?;
            let tenant: Uuid = sqlx::query_scalar("select tenant_id from rollcall.sessions where session_id = $1")
                .bind(session.0)
                .fetch_one(&mut *change)
                .await?;
            let row = crate::store::sessions::get(&mut change, TenantId(tenant), session).await?;
            let spec: SessionSpec = crate::control::sessions::spec_of(&row.expect("just read"));
            let policy = Arc::new(PresencePolicy { grace: Duration::ZERO, ..PresencePolicy::default() });
            let now: Timestamp = self.clock.now();
            lock(&self.sessions).insert(session, Session::new(spec, policy, now));
            Ok(())
        }
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
