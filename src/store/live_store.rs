//! What live sessions ask of Postgres. The simulation has a model of it, with faults.

use std::future::Future;

use rollcall_core::{Epoch, InviteId, ParticipantId, SessionId, TenantId, Timestamp};

use super::changes::Change;
use super::{Consumed, LoadedSession, Store, StoreError, StoredInvite};

/// Sessions, invites and the feed of changes. The methods of [`Store`] by the same names say more.
pub trait LiveStore: Clone + Send + Sync + 'static {
    fn load_session(
        &self,
        session: SessionId,
    ) -> impl Future<Output = Result<Option<LoadedSession>, StoreError>> + Send;

    fn load_session_whole(
        &self,
        session: SessionId,
        epoch: Epoch,
        applied_seq: i64,
    ) -> impl Future<Output = Result<Option<LoadedSession>, StoreError>> + Send;

    fn load_active_sessions(
        &self,
        after: Option<SessionId>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<LoadedSession>, StoreError>> + Send;

    fn load_invite_by_hash(
        &self,
        token_hash: [u8; 32],
    ) -> impl Future<Output = Result<Option<StoredInvite>, StoreError>> + Send;

    fn load_live_invites(
        &self,
        after: Option<InviteId>,
        expired_before: Timestamp,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<StoredInvite>, StoreError>> + Send;

    fn consume_invite(
        &self,
        invite: InviteId,
        participant: ParticipantId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Consumed, StoreError>> + Send;

    fn release_invite_use(
        &self,
        invite: InviteId,
        participant: ParticipantId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    fn is_invite_revoked(&self, invite: InviteId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    fn signing_secret_version(&self, tenant: TenantId) -> impl Future<Output = Result<i32, StoreError>> + Send;

    fn changes_since(&self, seq: i64, limit: i64) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;

    fn latest_change(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
}

impl LiveStore for Store {
    async fn load_session(&self, session: SessionId) -> Result<Option<LoadedSession>, StoreError> {
        Store::load_session(self, session).await
    }

    async fn load_session_whole(
        &self,
        session: SessionId,
        epoch: Epoch,
        applied_seq: i64,
    ) -> Result<Option<LoadedSession>, StoreError> {
        Store::load_session_whole(self, session, epoch, applied_seq).await
    }

    async fn load_active_sessions(
        &self,
        after: Option<SessionId>,
        limit: i64,
    ) -> Result<Vec<LoadedSession>, StoreError> {
        Store::load_active_sessions(self, after, limit).await
    }

    async fn load_invite_by_hash(&self, token_hash: [u8; 32]) -> Result<Option<StoredInvite>, StoreError> {
        Store::load_invite_by_hash(self, token_hash).await
    }

    async fn load_live_invites(
        &self,
        after: Option<InviteId>,
        expired_before: Timestamp,
        limit: i64,
    ) -> Result<Vec<StoredInvite>, StoreError> {
        Store::load_live_invites(self, after, expired_before, limit).await
    }

    async fn consume_invite(
        &self,
        invite: InviteId,
        participant: ParticipantId,
        now: Timestamp,
    ) -> Result<Consumed, StoreError> {
        Store::consume_invite(self, invite, participant, now).await
    }

    async fn release_invite_use(&self, invite: InviteId, participant: ParticipantId) -> Result<bool, StoreError> {
        Store::release_invite_use(self, invite, participant).await
    }

    async fn is_invite_revoked(&self, invite: InviteId) -> Result<bool, StoreError> {
        Store::is_invite_revoked(self, invite).await
    }

    async fn signing_secret_version(&self, tenant: TenantId) -> Result<i32, StoreError> {
        Store::signing_secret_version(self, tenant).await
    }

    async fn changes_since(&self, seq: i64, limit: i64) -> Result<Vec<Change>, StoreError> {
        Store::changes_since(self, seq, limit).await
    }

    async fn latest_change(&self) -> Result<i64, StoreError> {
        Store::latest_change(self).await
    }
}
