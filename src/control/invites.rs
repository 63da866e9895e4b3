//! Invites: create, list, revoke, and the check that a landing page makes.

mod check;
mod input;

use chrono::{DateTime, Utc};
use rollcall_core::{Command, InviteId, SessionId, TenantId};
use serde_json::json;
use uuid::Uuid;

pub use input::NewInvite;

use super::validation::Violations;
use super::views::{InviteCreatedView, InviteView};
use super::{Call, Control, ControlError, Done, InviteToken};
use crate::store::audit::{self, ControlEvent};
use crate::store::invites::{self, InviteRow};
use crate::store::sessions;

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
