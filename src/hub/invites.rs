//! Invites known in memory, so that an expired or revoked one is refused at once and without a database.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use rollcall_core::{Fact, InviteId, Record, Role, SessionFact, SessionId, TenantId, Timestamp, planted};
use rollcall_protocol::ErrorCode;

use crate::ledger::Ledger;
use crate::store::StoredInvite;

/// SHA-256 of the whole token.
pub type TokenHash = [u8; 32];

/// An invite as a node needs it.
#[derive(Debug, Clone)]
pub struct InviteEntry {
    pub token_hash: TokenHash,
    pub invite: InviteId,
    pub tenant: TenantId,
    pub session: SessionId,
    pub role: Role,
    /// Fixes who comes by this invite.
    pub identity: Option<Arc<str>>,
    pub name: Option<Arc<str>>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub max_uses: Option<u32>,
    pub revoked: bool,
}

/// Why an invite lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteProblem {
    #[error("the invite has expired")]
    Expired,
    #[error("the invite was revoked")]
    Revoked,
    #[error("the invite is used up")]
    UsedUp,
    #[error("the invite is not yet valid")]
    NotYetValid,
}

impl InviteProblem {
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Expired => ErrorCode::InviteExpired,
            Self::Revoked => ErrorCode::InviteRevoked,
            Self::UsedUp => ErrorCode::InviteUsedUp,
            Self::NotYetValid => ErrorCode::InviteNotYetValid,
        }
    }
}

impl From<StoredInvite> for InviteEntry {
    fn from(stored: StoredInvite) -> Self {
        Self {
            token_hash: stored.token_hash,
            invite: stored.invite,
            tenant: stored.tenant,
            session: stored.session,
            role: stored.role,
            identity: stored.identity,
            name: stored.name,
            not_before: stored.not_before,
            expires_at: stored.expires_at,
            max_uses: stored.max_uses,
            revoked: stored.revoked_at.is_some(),
        }
    }
}

impl InviteEntry {
    /// # Errors
    /// What is wrong with the invite at `now`, the final before the temporary. Uses are counted in Postgres.
    pub fn check(&self, now: Timestamp) -> Result<(), InviteProblem> {
        if self.revoked && !planted!("revoked_invite_admits") {
            return Err(InviteProblem::Revoked);
        }
        let patience = Duration::from_secs(if planted!("invite_expires_late") { 5 } else { 0 });
        if self.expires_at + patience <= now {
            return Err(InviteProblem::Expired);
        }
        if self.not_before.is_some_and(|not_before| now < not_before) && !planted!("invite_works_early") {
            return Err(InviteProblem::NotYetValid);
        }
        Ok(())
    }
}

/// The invites of this node's memory.
pub struct Invites {
    by_hash: DashMap<TokenHash, InviteEntry>,
    hash_of: DashMap<InviteId, TokenHash>,
    of_session: DashMap<SessionId, Vec<InviteId>>,
    entries_max: usize,
}

impl Invites {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { by_hash: DashMap::new(), hash_of: DashMap::new(), of_session: DashMap::new(), entries_max }
    }

    /// Returns whether the entry is new. At the limit it is not kept: its use goes to Postgres.
    pub(super) fn insert(&self, entry: InviteEntry) -> bool {
        if self.by_hash.len() >= self.entries_max && !self.by_hash.contains_key(&entry.token_hash) {
            return false;
        }
        let (invite, session) = (entry.invite, entry.session);
        self.hash_of.insert(invite, entry.token_hash);
        let mut is_new = false;
        let revoked = entry.revoked;
        // A row that was read before a revocation must not take it back.
        self.by_hash.entry(entry.token_hash).and_modify(|known| known.revoked |= revoked).or_insert_with(|| {
            is_new = true;
            entry
        });
        if is_new {
            self.of_session.entry(session).or_default().push(invite);
        }
        is_new
    }

    pub fn get(&self, token_hash: &TokenHash) -> Option<InviteEntry> {
        self.by_hash.get(token_hash).map(|entry| entry.value().clone())
    }

    pub fn by_id(&self, invite: InviteId) -> Option<InviteEntry> {
        let hash = *self.hash_of.get(&invite)?.value();
        self.get(&hash)
    }

    /// From now on nobody comes in by it; those inside are for the session to close.
    pub fn revoke(&self, invite: InviteId) {
        let Some(hash) = self.hash_of.get(&invite).map(|hash| *hash.value()) else { return };
        if let Some(mut entry) = self.by_hash.get_mut(&hash) {
            entry.revoked = true;
        }
    }

    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The expiry timer fired. The entry stays, so that the next visitor reads "expired" and not "unknown".
    pub(super) fn expire(&self, invite: InviteId, at: Timestamp, ledger: &Ledger) {
        let Some(entry) = self.by_id(invite) else { return };
        if entry.revoked || entry.expires_at != at {
            return;
        }
        let fact = SessionFact::InviteExpired { invite };
        let record = Record { at, fact: Fact::Session { tenant: entry.tenant, session: entry.session, fact } };
        let receipt = ledger.append(&[record]);
        drop(receipt);
    }

    /// Forgets the invites of a session that has ended. Whoever comes with one is answered from Postgres.
    pub(super) fn forget_session(&self, session: SessionId) {
        let Some((_, invites)) = self.of_session.remove(&session) else { return };
        for invite in invites {
            if let Some((_, hash)) = self.hash_of.remove(&invite) {
                self.by_hash.remove(&hash);
            }
        }
    }
}
