//! Who may come in, as whom, and into which session. Joins the hub's memory with the store where memory does not know.
//!
//! Three kinds of tokens: invites (`rci_…`), resume tokens (`rcr_…`) and JWTs of the app. Each becomes a [`Grant`].

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identity;
mod jwt;
mod resume;

use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{
    Actor, Command, ConnectionId, InviteId, ParticipantId, Refusal, Role, SessionEndReason, SessionId, TenantId,
    Timestamp, planted,
};
use rollcall_protocol::{ErrorCode, JoinRequest};

pub use identity::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX, participant_id};
pub use jwt::{JwtKey, JwtKeysError, load_jwt_keys};

use crate::control::{InviteToken, RootKey};
use crate::hub::{DispatchError, Hub, InviteEntry, InviteProblem};
use crate::ledger::ADMISSION_RETRY_AFTER;
use crate::store::{Consumed, LiveStore, LoadedSession, Store, StoreError};
use identity::{checked_identity, checked_name};
use jwt::JwtVerifier;
use resume::ResumeSigner;

/// What clients are told to wait while Postgres is away.
const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(3);

/// Decides joins.
#[derive(Clone)]
pub struct Admission<S = Store> {
    hub: Hub,
    store: S,
    resume: Arc<ResumeSigner>,
    jwt: Arc<JwtVerifier>,
}

/// A decided join.
#[derive(Debug, Clone)]
pub struct Grant {
    pub tenant: TenantId,
    pub session: SessionId,
    pub participant: ParticipantId,
    pub identity: Arc<str>,
    /// Whether the token fixed the identity.
    pub verified: bool,
    pub name: Option<Arc<str>>,
    pub role: Role,
    pub invite: Option<InviteId>,
    /// When the connection must be closed because its token is over.
    pub stay_until: Option<Timestamp>,
    /// The connection that the client had before.
    pub resumed: Option<ConnectionId>,
    /// Whether this join counted as a use of a limited invite.
    counted: bool,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error("the token lets nobody in: {}", .0.as_str())]
    Token(ErrorCode),
    #[error("an unverified token names a session that is not there")]
    UnknownSession,
    #[error("the identity or name is not valid")]
    Identity,
    #[error("the server takes nobody in at the moment")]
    Overloaded,
    #[error("the database is needed for this join and cannot be reached")]
    Store(#[source] StoreError),
}

impl AdmissionError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Token(code) => *code,
            Self::UnknownSession => ErrorCode::SessionNotFound,
            Self::Identity => ErrorCode::InvalidRequest,
            Self::Overloaded | Self::Store(_) => ErrorCode::Overloaded,
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Token(_) | Self::UnknownSession | Self::Identity => None,
            Self::Overloaded => Some(ADMISSION_RETRY_AFTER),
            Self::Store(_) => Some(DATABASE_RETRY_AFTER),
        }
    }

    /// Whether guessing tokens looks like this.
    pub fn is_clients_fault(&self) -> bool {
        matches!(self, Self::Token(ErrorCode::TokenInvalid) | Self::UnknownSession | Self::Identity)
    }
}

impl From<InviteProblem> for AdmissionError {
    fn from(problem: InviteProblem) -> Self {
        Self::Token(problem.code())
    }
}

impl<S: LiveStore> Admission<S> {
    pub fn new(hub: Hub, store: S, root_key: Arc<RootKey>, jwt_keys: Vec<JwtKey>) -> Self {
        Self {
            resume: Arc::new(ResumeSigner::new(&root_key)),
            jwt: Arc::new(JwtVerifier::new(root_key, jwt_keys)),
            hub,
            store,
        }
    }

    /// Decides a join. The session is live on this node when this returns a grant.
    ///
    /// # Errors
    /// Why not; see [`AdmissionError::code`] for what the client is told.
    pub async fn admit(&self, request: &JoinRequest) -> Result<Grant, AdmissionError> {
        self.hub.ledger().admit().map_err(|_| AdmissionError::Overloaded)?;
        let token = request.token.as_str();
        match token.get(..4) {
            Some("rci_") => self.admit_invite(token, request).await,
            Some(resume::PREFIX) => self.admit_resume(token, request).await,
            _ if token.split('.').count() == 3 => self.admit_jwt(token, request).await,
            _ => Err(AdmissionError::Token(ErrorCode::TokenInvalid)),
        }
    }

    /// The token with which the client of this grant can come back as the same participant.
    pub fn resume_token(&self, grant: &Grant, connection: ConnectionId) -> String {
        self.resume.sign(grant, connection, self.now())
    }

    /// A granted join was not let in after all: its use of the invite does not count.
    pub async fn give_back(&self, grant: &Grant) {
        if let (true, Some(invite)) = (grant.counted, grant.invite)
            && let Err(error) = self.store.release_invite_use(invite, grant.participant).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, invite.id = %invite, "use of an invite not given back");
        }
    }

    /// The invite behind a token, from memory or else from Postgres.
    async fn find_invite(&self, token: &InviteToken) -> Result<Option<InviteEntry>, StoreError> {
        let token_hash = token.hash();
        if let Some(entry) = self.hub.invites().get(&token_hash) {
            return Ok(Some(entry));
        }
        Ok(self.store.load_invite_by_hash(token_hash).await?.map(InviteEntry::from))
    }

    async fn admit_invite(&self, token: &str, request: &JoinRequest) -> Result<Grant, AdmissionError> {
        // The checksum tells a typing error from a token without asking the database.
        let token = InviteToken::parse(token).map_err(|_| AdmissionError::Token(ErrorCode::TokenInvalid))?;
        let found = self.find_invite(&token).await.map_err(AdmissionError::Store)?;
        let entry = found.ok_or(AdmissionError::Token(ErrorCode::TokenInvalid))?;
        entry.check(self.now())?;
        self.make_live(entry.session).await?;
        // Only now: links into sessions that are long over must not fill the memory of those that are not.
        self.hub.remember_invite(entry.clone(), self.now());
        let (identity, verified) = match (&entry.identity, checked_identity(request)?) {
            (Some(fixed), _) => (fixed.clone(), true),
            (None, Some(chosen)) => (chosen, false),
            (None, None) => (self.anonymous(), false),
        };
        let mut grant = Grant {
            tenant: entry.tenant,
            session: entry.session,
            participant: self.participant(entry.session, &identity, verified)?,
            identity,
            verified,
            name: checked_name(request)?.or(entry.name),
            role: entry.role,
            invite: Some(entry.invite),
            stay_until: None,
            resumed: None,
            counted: false,
        };
        if entry.max_uses.is_some() && !planted!("use_is_not_counted") {
            self.check_room(&grant)?;
            grant.counted = self.count_use(entry.invite, &grant).await?;
        }
        Ok(grant)
    }

    /// Counts the use of a limited invite. Only Postgres can decide who is the last, so without it nobody is.
    async fn count_use(&self, invite: InviteId, grant: &Grant) -> Result<bool, AdmissionError> {
        match self.store.consume_invite(invite, grant.participant, self.now()).await {
            // In memory still, but the database was put back to a point before it, and nothing brings it again.
            Err(StoreError::NotFound) => Err(AdmissionError::Token(ErrorCode::TokenInvalid)),
            Err(error) => Err(AdmissionError::Store(error)),
            // Whoever chooses an identity proves nothing by it: its second way in is the resume token.
            Ok(Consumed::Consumed { first: false }) if !grant.verified => Err(InviteProblem::UsedUp.into()),
            Ok(Consumed::Consumed { first }) => Ok(first),
            Ok(Consumed::UsedUp) => Err(InviteProblem::UsedUp.into()),
            Ok(Consumed::Revoked) => Err(InviteProblem::Revoked.into()),
            Ok(Consumed::Expired) => Err(InviteProblem::Expired.into()),
            Ok(Consumed::NotYetValid) => Err(InviteProblem::NotYetValid.into()),
            Ok(Consumed::SessionEnded) => Err(AdmissionError::Token(ErrorCode::SessionNotFound)),
        }
    }

    async fn admit_resume(&self, token: &str, request: &JoinRequest) -> Result<Grant, AdmissionError> {
        let claims = self.resume.verify(token, self.now()).map_err(AdmissionError::Token)?;
        if let Some(invite) = claims.invite {
            let known = self.hub.invites().by_id(invite);
            let revoked = match known {
                Some(entry) => entry.revoked,
                None => self.store.is_invite_revoked(invite).await.map_err(AdmissionError::Store)?,
            };
            if revoked && !planted!("resume_after_revocation") {
                return Err(InviteProblem::Revoked.into());
            }
        }
        self.make_live(claims.session).await?;
        Ok(Grant {
            tenant: claims.tenant,
            session: claims.session,
            participant: claims.participant,
            identity: claims.identity,
            verified: claims.verified,
            name: checked_name(request)?.or(claims.name),
            role: claims.role,
            invite: claims.invite,
            stay_until: claims.stay_until,
            resumed: Some(claims.connection),
            counted: false,
        })
    }

    async fn admit_jwt(&self, token: &str, request: &JoinRequest) -> Result<Grant, AdmissionError> {
        let invalid = AdmissionError::Token(ErrorCode::TokenInvalid);
        let session = jwt::claimed_session(token).ok_or(invalid)?;
        // The session names the tenant, and the tenant the key: whatever else the token claims is believed only then.
        self.make_live(session).await.map_err(|error| match error {
            // Nothing is proven yet: guessing must cost.
            AdmissionError::Token(ErrorCode::SessionNotFound) => AdmissionError::UnknownSession,
            error => error,
        })?;
        let tenant = self.hub.read(session, |session| session.spec().tenant);
        let tenant = tenant.ok_or(AdmissionError::Token(ErrorCode::SessionNotFound))?;
        let version = self.store.signing_secret_version(tenant).await.map_err(AdmissionError::Store)?;
        let claims = self.jwt.verify(token, tenant, version, self.now()).map_err(AdmissionError::Token)?;
        let identity: Arc<str> = claims.identity.into();
        Ok(Grant {
            tenant,
            session,
            participant: self.participant(session, &identity, true)?,
            identity,
            verified: true,
            name: claims.name.map(Arc::from).or(checked_name(request)?),
            role: claims.role,
            invite: None,
            stay_until: Some(claims.stay_until),
            resumed: None,
            counted: false,
        })
    }

    /// Before a use is counted: whether the session would let this participant in at all.
    fn check_room(&self, grant: &Grant) -> Result<(), AdmissionError> {
        let now = self.now();
        let room = self.hub.read(grant.session, |session| session.admits(grant.participant, now, grant.stay_until));
        match room {
            Some(Ok(())) => Ok(()),
            Some(Err(refusal)) => Err(AdmissionError::Token(join_refusal_code(refusal))),
            None => Err(AdmissionError::Token(ErrorCode::SessionNotFound)),
        }
    }

    /// Loads the session if this node does not have it.
    async fn make_live(&self, session: SessionId) -> Result<(), AdmissionError> {
        if self.hub.is_live(session) {
            return Ok(());
        }
        if self.hub.is_over(session) {
            return Err(AdmissionError::Token(ErrorCode::SessionNotFound));
        }
        let loaded = self.load_active(session).await?;
        match self.hub.adopt(loaded) {
            // An end that was committed between the load and the adoption passed by a hub that did not have the session.
            Ok(()) => self.load_active(session).await.map(drop).inspect_err(|error| {
                // A database that went away just now says nothing about the session.
                if matches!(error, AdmissionError::Token(_)) {
                    self.let_go(session);
                }
            }),
            Err(DispatchError::SessionsFull) => Err(AdmissionError::Overloaded),
            Err(_) => Err(AdmissionError::Token(ErrorCode::SessionNotFound)),
        }
    }

    async fn load_active(&self, session: SessionId) -> Result<LoadedSession, AdmissionError> {
        let ledger = self.hub.ledger();
        let loaded = self.store.load_session_whole(session, ledger.epoch(), ledger.applied_max()).await;
        let loaded = loaded.map_err(AdmissionError::Store)?;
        loaded.filter(|loaded| loaded.ended.is_none()).ok_or(AdmissionError::Token(ErrorCode::SessionNotFound))
    }

    /// Postgres has the end of a session that was just made live; nobody is in it yet.
    fn let_go(&self, session: SessionId) {
        let reason = SessionEndReason::Completed;
        let end = Command::End { reason, by: Actor::Operator, at: self.now(), recorded: true };
        if let Ok(applied) = self.hub.apply(session, end) {
            drop(applied);
        }
    }

    fn participant(&self, session: SessionId, identity: &str, verified: bool) -> Result<ParticipantId, AdmissionError> {
        let salt = self.hub.identity_salt(session);
        let salt = salt.ok_or(AdmissionError::Token(ErrorCode::SessionNotFound))?;
        Ok(participant_id(&salt, session, identity, verified))
    }

    fn anonymous(&self) -> Arc<str> {
        use base64::Engine;
        let random: [u8; 12] = self.hub.clock().random_bytes();
        format!("anonymous-{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random)).into()
    }

    fn now(&self) -> Timestamp {
        self.hub.clock().now()
    }
}

/// The public code of a join that the session refused.
pub fn join_refusal_code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::SessionEnded(_) | Refusal::SessionActive => ErrorCode::SessionNotFound,
        // In a moment it is decided.
        Refusal::SessionEnding => ErrorCode::Overloaded,
        Refusal::SessionFull => ErrorCode::SessionFull,
        Refusal::Kicked => ErrorCode::Kicked,
        Refusal::ParticipantUnknown | Refusal::ConnectionUnknown => ErrorCode::ParticipantNotFound,
        Refusal::Forbidden => ErrorCode::Forbidden,
        Refusal::TokenExpired => ErrorCode::TokenExpired,
    }
}
