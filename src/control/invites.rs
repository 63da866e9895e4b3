//! Invites: create, list, revoke, and the check that a landing page makes.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::{Command, InviteId, Role, SessionId, TenantId};
use rollcall_protocol::ErrorCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::validation::{
    IDENTITY_BYTES_MAX, INVITE_EXPIRES_IN_S, INVITE_EXPIRES_IN_S_DEFAULT, INVITE_MAX_USES, NAME_CHARACTERS_MAX,
    Violations,
};
use super::views::{InviteCheckView, InviteCreatedView, InviteView, InvitedSessionView};
use super::{Call, Control, ControlError, Done, InviteToken};
use crate::store::audit::{self, ControlEvent};
use crate::store::invites::{self, InviteCheckRow, InviteRow};
use crate::store::sessions;

/// An invite to create.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewInvite {
    /// `host` may end, extend and kick; every other name is the app's own.
    #[schema(max_length = 32, default = "guest", pattern = "^[a-z0-9_-]{1,32}$")]
    pub role: String,
    /// The invite is good for this long from now. Not together with `expires_at`.
    #[schema(minimum = 1, maximum = 31_622_400, default = 86400)]
    pub expires_in_s: Option<i64>,
    /// The instant up to which the invite is good.
    pub expires_at: Option<DateTime<Utc>>,
    /// Nobody comes in by it before this instant.
    pub not_before: Option<DateTime<Utc>>,
    /// How many different participants may come in by it. Whoever came in may return.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub max_uses: Option<i64>,
    /// Fixes the identity of whoever comes in by it: the app's stable name for the person.
    #[schema(max_length = 255)]
    pub identity: Option<String>,
    /// The name that others see.
    #[schema(max_length = 100)]
    pub name: Option<String>,
}

impl Default for NewInvite {
    fn default() -> Self {
        Self {
            role: Role::guest().as_str().to_owned(),
            expires_in_s: None,
            expires_at: None,
            not_before: None,
            max_uses: None,
            identity: None,
            name: None,
        }
    }
}

impl NewInvite {
    pub fn check(&self, violations: &mut Violations, now: DateTime<Utc>) {
        violations.role("/role", &self.role);
        if let Some(expires_in_s) = self.expires_in_s {
            violations.number("/expires_in_s", expires_in_s, &INVITE_EXPIRES_IN_S);
            if self.expires_at.is_some() {
                violations.add("/expires_at", "give either expires_in_s or expires_at, not both");
            }
        }
        if let Some(expires_at) = self.expires_at {
            let seconds = (expires_at - now).num_seconds();
            if expires_at <= now || seconds > *INVITE_EXPIRES_IN_S.end() {
                violations.add(
                    "/expires_at",
                    format!("must lie in the future, at most {} seconds away", INVITE_EXPIRES_IN_S.end()),
                );
            }
        }
        if self.not_before.is_some_and(|not_before| not_before >= self.expiry(now)) {
            violations.add("/not_before", "must be earlier than the expiry");
        }
        if let Some(max_uses) = self.max_uses {
            violations.number("/max_uses", max_uses, &INVITE_MAX_USES);
        }
        if let Some(identity) = &self.identity {
            violations.bytes("/identity", identity, IDENTITY_BYTES_MAX);
        }
        if let Some(name) = &self.name {
            violations.characters("/name", name, NAME_CHARACTERS_MAX);
        }
    }

    fn expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        // Out of range is a violation of its own; here it only must not overflow.
        let seconds = self.expires_in_s.unwrap_or(INVITE_EXPIRES_IN_S_DEFAULT).clamp(0, *INVITE_EXPIRES_IN_S.end());
        self.expires_at.unwrap_or_else(|| now + TimeDelta::seconds(seconds))
    }
}

impl Control {
    /// The answer carries the token. With an Idempotency-Key the token is derived from the root key, so that a repeated
    /// request shows the same one although it is stored nowhere.
    ///
    /// # Errors
    /// Invalid input, no such session, the session has ended, or the database is away.
    pub async fn create_invite(
        &self,
        call: &Call,
        session: SessionId,
        new: NewInvite,
    ) -> Result<Done<InviteCreatedView>, ControlError> {
        let mut violations = Violations::default();
        let now = self.now();
        new.check(&mut violations, now);
        // An expiry of a repeated request may have passed meanwhile; what counts is the answer given then.
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer::<InviteView>(&mut transaction, call).await? {
            return self.shown_again(call, earlier.value);
        }
        violations.into_result()?;
        self.active_row(&mut transaction, call.tenant, session).await?;
        let invite = InviteId(self.clock.uuid_v7());
        let token = match &call.repeatable {
            Some(repeatable) => self.root_key.repeatable_invite_token(call.tenant, &repeatable.key, invite),
            None => InviteToken::from_random(self.clock.random_bytes()),
        };
        let row = new_row(call.tenant, session, invite, &token, new, now);
        invites::insert(&mut transaction, &row, &token.hash()).await?;
        let view = invite_view(row.clone());
        self.keep_answer(&mut transaction, call, 201, &view).await?;
        let event = ControlEvent {
            tenant: call.tenant,
            session: Some(session),
            participant: None,
            event_type: "invite_created",
            actor: &call.actor,
            metadata: json!({
                "invite_id": view.id,
                "role": view.role,
                "not_before": view.not_before,
                "expires_at": view.expires_at,
                "max_uses": view.max_uses,
            }),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        self.live.remember_invite(&row, token.hash());
        Ok(Done { value: self.with_token(view, &token), replayed: false })
    }

    /// Oldest first.
    ///
    /// # Errors
    /// No such session, or the database is away.
    pub async fn invites(
        &self,
        tenant: TenantId,
        session: SessionId,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<InviteView>, ControlError> {
        self.session(tenant, session).await?;
        let rows = invites::list(&self.store, tenant, session, after, limit).await?;
        Ok(rows.into_iter().map(invite_view).collect())
    }

    /// Revokes an invite and closes the connections that came by it. Revoking twice changes nothing.
    ///
    /// # Errors
    /// No such invite, or the database is away.
    pub async fn revoke_invite(&self, call: &Call, invite: InviteId) -> Result<InviteView, ControlError> {
        let now = self.now();
        let mut transaction = self.begin().await?;
        let session = invites::session_of(&mut transaction, call.tenant, invite).await?;
        let session = SessionId(session.ok_or(ControlError::InviteNotFound)?);
        // Sessions are locked before what hangs on them, by every writer alike.
        sessions::get_for_update(&mut transaction, call.tenant, session).await?;
        let row = invites::get_for_update(&mut transaction, call.tenant, invite).await?;
        let mut row = row.ok_or(ControlError::InviteNotFound)?;
        if row.revoked_at.is_none() {
            invites::revoke(&mut transaction, call.tenant, invite, now).await?;
            row.revoked_at = Some(now);
            let event = ControlEvent {
                tenant: call.tenant,
                session: Some(session),
                participant: None,
                event_type: "invite_revoked",
                actor: &call.actor,
                metadata: json!({ "invite_id": invite }),
                at: now,
            };
            audit::log_control(&mut transaction, event).await?;
            self.commit(transaction).await?;
        }
        // Also for a repeated call: the first may have stopped between the database and the hub.
        self.live.forget_invite(invite);
        self.tell(session, Command::RevokeInvite { invite }).await;
        Ok(invite_view(row))
    }

    /// Tells the holder of a link whether it would let them in. A token that is none, or nobody's, gets the same answer.
    ///
    /// # Errors
    /// The database is away and memory does not know the invite.
    pub async fn check_invite(&self, token: &str) -> Result<InviteCheckView, ControlError> {
        let Ok(token) = InviteToken::parse(token.trim()) else { return Ok(unknown_token()) };
        let hash = token.hash();
        let found = match self.live.invite(&hash) {
            Some(found) => Some(found),
            None => invites::check(&self.store, &hash).await?,
        };
        Ok(found.map_or_else(unknown_token, |found| self.checked(found)))
    }

    fn checked(&self, found: InviteCheckRow) -> InviteCheckView {
        let now = self.now();
        // A timer may have ended the session a moment ago, before Postgres knows.
        let ended_in_memory = self.live.ended(SessionId(found.session_id)).unwrap_or(false);
        let refusal = refusal(&found, found.session_active && !ended_in_memory, now);
        // Whoever's invite was withdrawn learns nothing more of the session.
        let may_know = refusal != Some(ErrorCode::InviteRevoked);
        let status = if found.session_active && !ended_in_memory { "active" } else { "ended" };
        InviteCheckView {
            valid: refusal.is_none(),
            code: refusal.map(|code| code.as_str().to_owned()),
            message: refusal.map_or("This invite link is valid.", ErrorCode::message).to_owned(),
            session: may_know.then(|| InvitedSessionView {
                id: found.session_id,
                title: found.title,
                status: status.to_owned(),
            }),
            role: may_know.then_some(found.role),
            not_before: found.not_before.filter(|_| may_know),
            expires_at: Some(found.expires_at).filter(|_| may_know),
            expires_in_ms: may_know.then(|| (found.expires_at - now).num_milliseconds().max(0)),
        }
    }

    fn shown_again(&self, call: &Call, view: InviteView) -> Result<Done<InviteCreatedView>, ControlError> {
        let key = call.repeatable.as_ref().map_or("", |repeatable| &repeatable.key);
        let token = self.root_key.repeatable_invite_token(call.tenant, key, InviteId(view.id));
        if token.hint() != view.token_hint {
            return Err(ControlError::TokenNotRepeatable);
        }
        Ok(Done { value: self.with_token(view, &token), replayed: true })
    }

    fn with_token(&self, invite: InviteView, token: &InviteToken) -> InviteCreatedView {
        let url = format!("{}#{}", self.settings.join_url, token.expose());
        InviteCreatedView { invite, token: token.expose().to_owned(), url }
    }
}

/// Why this invite lets nobody in at `now`. The most final reason wins.
fn refusal(invite: &InviteCheckRow, session_active: bool, now: DateTime<Utc>) -> Option<ErrorCode> {
    if invite.revoked_at.is_some() {
        return Some(ErrorCode::InviteRevoked);
    }
    if !session_active {
        return Some(ErrorCode::SessionEnded);
    }
    if invite.expires_at <= now {
        return Some(ErrorCode::InviteExpired);
    }
    if invite.max_uses.is_some_and(|max_uses| invite.uses >= max_uses) {
        return Some(ErrorCode::InviteUsedUp);
    }
    if invite.not_before.is_some_and(|not_before| not_before > now) {
        return Some(ErrorCode::InviteNotYetValid);
    }
    None
}

fn unknown_token() -> InviteCheckView {
    InviteCheckView {
        valid: false,
        code: Some(ErrorCode::TokenInvalid.as_str().to_owned()),
        message: ErrorCode::TokenInvalid.message().to_owned(),
        session: None,
        role: None,
        not_before: None,
        expires_at: None,
        expires_in_ms: None,
    }
}

fn new_row(
    tenant: TenantId,
    session: SessionId,
    invite: InviteId,
    token: &InviteToken,
    new: NewInvite,
    now: DateTime<Utc>,
) -> InviteRow {
    let expires_at = new.expiry(now);
    InviteRow {
        invite_id: invite.0,
        tenant_id: tenant.0,
        session_id: session.0,
        token_hint: token.hint().to_owned(),
        role: new.role,
        identity: new.identity,
        name: new.name,
        not_before: new.not_before,
        expires_at,
        max_uses: new.max_uses.and_then(|most| i32::try_from(most).ok()),
        uses: 0,
        revoked_at: None,
        created_at: now,
    }
}

fn invite_view(row: InviteRow) -> InviteView {
    InviteView {
        id: row.invite_id,
        session_id: row.session_id,
        token_hint: row.token_hint,
        role: row.role,
        identity: row.identity,
        name: row.name,
        not_before: row.not_before,
        expires_at: row.expires_at,
        max_uses: row.max_uses.map(i64::from),
        uses: row.uses.into(),
        revoked_at: row.revoked_at,
        created_at: row.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("in the calendar")
    }

    fn invite() -> InviteCheckRow {
        InviteCheckRow {
            session_id: Uuid::from_u128(1),
            title: None,
            session_active: true,
            role: "guest".to_owned(),
            not_before: Some(at(10)),
            expires_at: at(20),
            max_uses: Some(2),
            uses: 1,
            revoked_at: None,
        }
    }

    #[test]
    fn an_invite_is_good_between_its_ends() {
        let when = |seconds| refusal(&invite(), true, at(seconds));
        assert_eq!(when(9), Some(ErrorCode::InviteNotYetValid));
        assert_eq!(when(10), None);
        assert_eq!(when(19), None);
        assert_eq!(when(20), Some(ErrorCode::InviteExpired));
    }

    #[test]
    fn the_most_final_reason_wins() {
        let used = InviteCheckRow { uses: 2, ..invite() };
        assert_eq!(refusal(&used, true, at(15)), Some(ErrorCode::InviteUsedUp));
        assert_eq!(refusal(&used, true, at(25)), Some(ErrorCode::InviteExpired));
        assert_eq!(refusal(&used, false, at(25)), Some(ErrorCode::SessionEnded));
        let revoked = InviteCheckRow { revoked_at: Some(at(0)), ..used };
        assert_eq!(refusal(&revoked, false, at(25)), Some(ErrorCode::InviteRevoked));
    }

    #[test]
    fn an_invite_names_all_its_faults_at_once() {
        let new = NewInvite {
            role: "Host".to_owned(),
            expires_in_s: Some(0),
            expires_at: Some(at(-1)),
            not_before: Some(at(5)),
            max_uses: Some(0),
            identity: Some(String::new()),
            name: Some("x".repeat(101)),
        };
        let mut violations = Violations::default();
        new.check(&mut violations, at(0));
        let mut pointers: Vec<_> = violations.0.iter().map(|violation| violation.pointer.as_str()).collect();
        pointers.sort_unstable();
        pointers.dedup();
        assert_eq!(
            pointers,
            ["/expires_at", "/expires_in_s", "/identity", "/max_uses", "/name", "/not_before", "/role"]
        );
    }

    #[test]
    fn extreme_instants_do_not_overflow() {
        for expires_at in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
            let new = NewInvite { expires_at: Some(expires_at), expires_in_s: Some(i64::MAX), ..NewInvite::default() };
            let mut violations = Violations::default();
            new.check(&mut violations, at(0));
            assert!(!violations.is_empty());
            let lone = NewInvite { expires_in_s: Some(i64::MAX), not_before: Some(at(1)), ..NewInvite::default() };
            lone.check(&mut violations, at(0));
        }
    }
}
