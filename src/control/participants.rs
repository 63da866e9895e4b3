//! Who is in a session, who ever was, and the removal of one.

use chrono::{DateTime, Utc};
use rollcall_core::{Actor, Command, ParticipantId, Refusal, SessionId, SessionSpec, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::sessions::spec_of;
use super::views::{ParticipantView, PresenceView, PresentView};
use super::{Call, Control, ControlError, LiveError, date_time};
use crate::store::audit::{self, ControlEvent};
use crate::store::mapping::actor_text;
use crate::store::participants::{self, Barred, ParticipantRow};
use crate::store::sessions;

/// Most participants shown of a session that is not in memory. In memory there is no limit but that of the session.
const PRESENCE_FROM_DATABASE_MAX: i64 = 1_000;

/// What came of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// `(session, participant)` of everybody who was erased; empty when nobody had the identity.
    Done(Vec<(Uuid, Uuid)>),
    /// The person is in a session, so nothing was erased: the server would write the name again.
    Present,
}

impl Control {
    /// Who is present. From memory where the session is, else what the database last knew.
    ///
    /// # Errors
    /// No such session, or the database is away.
    pub async fn presence(&self, tenant: TenantId, session: SessionId) -> Result<PresenceView, ControlError> {
        self.session(tenant, session).await?;
        if let Some(snapshot) = self.live.presence(session, self.clock.now()) {
            let participants = snapshot.participants.into_iter().map(present_view).collect();
            return Ok(PresenceView { seq: snapshot.seq, participants });
        }
        let rows = participants::present(&self.store, tenant, session, PRESENCE_FROM_DATABASE_MAX).await?;
        Ok(PresenceView { seq: 0, participants: rows.into_iter().map(present_row_view).collect() })
    }

    /// Everybody who ever was in the session, in the order of their first join.
    ///
    /// # Errors
    /// No such session, or the database is away.
    pub async fn participants(
        &self,
        tenant: TenantId,
        session: SessionId,
        after: Option<(DateTime<Utc>, Uuid)>,
        limit: i64,
    ) -> Result<Vec<ParticipantView>, ControlError> {
        self.session(tenant, session).await?;
        let rows = participants::list(&self.store, tenant, session, after, limit).await?;
        Ok(rows.into_iter().map(participant_view).collect())
    }

    /// Removes a participant for good. One that is present is closed at once; one that is away is kept from coming back.
    /// Removing twice changes nothing.
    ///
    /// # Errors
    /// No such session or participant, the session has ended, or the database is away.
    pub async fn kick(&self, call: &Call, session: SessionId, participant: ParticipantId) -> Result<(), ControlError> {
        let known = self.session(call.tenant, session).await?;
        if known.status != "active" {
            return Err(ControlError::SessionEnded);
        }
        let _gate = self.gate(session).await;
        match self.live.dispatch(session, Command::Kick { participant, by: call.actor.clone() }).await {
            Ok(()) => Ok(()),
            Err(LiveError::NotLive | LiveError::Refused(Refusal::ParticipantUnknown)) => {
                self.bar(call, session, participant).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Erases what is known of a person under an identity, in all sessions of the tenant. The trail and the metered time stay.
    ///
    /// # Errors
    /// The identity cannot be one, or the database is away.
    pub async fn erase_identity(
        &self,
        actor: &Actor,
        tenant: TenantId,
        identity: &str,
    ) -> Result<Erasure, ControlError> {
        match participants::erase_identity(&self.store, tenant, identity, &actor_text(actor)).await {
            Ok(erased) => Ok(Erasure::Done(erased)),
            Err(error) if participants::is_present(&error) => Ok(Erasure::Present),
            Err(error) => Err(error.into()),
        }
    }

    async fn bar(&self, call: &Call, session: SessionId, participant: ParticipantId) -> Result<(), ControlError> {
        let now = self.now();
        let mut transaction = self.begin().await?;
        // Sessions are locked before what hangs on them, by every writer alike.
        let row = sessions::get_for_update(&mut transaction, call.tenant, session).await?;
        let row = row.ok_or(ControlError::SessionNotFound)?;
        match participants::bar(&mut transaction, call.tenant, session, participant, now).await? {
            Barred::Unknown => return Err(ControlError::ParticipantNotFound),
            Barred::Before => return Ok(()),
            Barred::Now => {}
        }
        let event = ControlEvent {
            tenant: call.tenant,
            session: Some(session),
            participant: Some(participant),
            event_type: "participant_barred",
            actor: &call.actor,
            metadata: json!({}),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        let spec = SessionSpec { kicked: vec![participant], ..spec_of(&row) };
        self.tell(session, Command::Configure(Box::new(spec))).await;
        Ok(())
    }
}

fn present_view(view: rollcall_core::ParticipantView) -> PresentView {
    PresentView {
        participant_id: view.participant.0,
        identity: view.identity.as_ref().to_owned(),
        identity_verified: view.verified,
        name: view.name.as_deref().map(str::to_owned),
        role: view.role.as_str().to_owned(),
        status: view.status.as_str().to_owned(),
        // The connection task lets only JSON in.
        state: view.state.as_deref().and_then(|state| serde_json::from_str(state).ok()),
        connections: view.connections,
        joined_at: date_time(view.joined_at),
        last_seen_at: date_time(view.last_seen_at),
    }
}

fn present_row_view(row: ParticipantRow) -> PresentView {
    PresentView {
        participant_id: row.participant_id,
        identity: row.identity,
        identity_verified: row.identity_verified,
        name: row.name,
        role: row.role,
        status: row.status,
        state: row.state,
        connections: 0,
        joined_at: row.joined_at,
        last_seen_at: row.last_seen_at,
    }
}

fn participant_view(row: ParticipantRow) -> ParticipantView {
    ParticipantView {
        participant_id: row.participant_id,
        identity: row.identity,
        identity_verified: row.identity_verified,
        name: row.name,
        role: row.role,
        status: row.status,
        state: row.state,
        first_joined_at: row.first_joined_at,
        joined_at: row.joined_at,
        last_seen_at: row.last_seen_at,
        left_at: row.left_at,
        leave_reason: row.leave_reason,
        kicked_at: row.kicked_at,
    }
}
