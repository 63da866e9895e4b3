//! Create, read and change sessions.

mod input;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::{Command, SessionId, SessionSpec, TenantId};
use serde_json::{Map, Value, json};

pub use input::{NewSession, SessionChanges};

use super::validation::Violations;
use super::views::SessionView;
use super::{Call, Control, ControlError, Done, date_time, timestamp};
use crate::store::audit::{self, ControlEvent};
use crate::store::sessions::{self, SessionFilter, SessionRow};
use input::new_row;

impl Control {
    /// # Errors
    /// Invalid input, the external id is taken by another active session, or the database is away.
    pub async fn create_session(&self, call: &Call, new: NewSession) -> Result<Done<SessionView>, ControlError> {
        let mut violations = Violations::default();
        new.check(&mut violations);
        violations.into_result()?;
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer(&mut transaction, call).await? {
            return Ok(earlier);
        }
        let now = self.now();
        let row = new_row(call.tenant, self.clock.uuid_v7(), new, now);
        if !sessions::insert(&mut transaction, &row).await? {
            return Err(ControlError::ExternalIdTaken);
        }
        let session = SessionId(row.session_id);
        let view = self.session_view(row);
        self.keep_answer(&mut transaction, call, 201, &view).await?;
        let event = ControlEvent {
            tenant: call.tenant,
            session: Some(session),
            participant: None,
            event_type: "session_created",
            actor: &call.actor,
            metadata: json!({
                "external_id": view.external_id,
                "idle_timeout_s": view.idle_timeout_s,
                "max_duration_s": view.max_duration_s,
                "max_participants": view.max_participants,
            }),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        self.adopt(session).await;
        Ok(Done::fresh(view))
    }

    /// # Errors
    /// The tenant has no such session, or the database is away.
    pub async fn session(&self, tenant: TenantId, session: SessionId) -> Result<SessionView, ControlError> {
        let row = sessions::find(&self.store, tenant, session).await?.ok_or(ControlError::SessionNotFound)?;
        Ok(self.session_view(row))
    }

    /// The active session with this external id.
    ///
    /// # Errors
    /// The database is away.
    pub async fn active_session_named(
        &self,
        tenant: TenantId,
        external_id: &str,
    ) -> Result<Option<SessionView>, ControlError> {
        let row = sessions::find_active(&self.store, tenant, external_id).await?;
        Ok(row.map(|row| self.session_view(row)))
    }

    /// Newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sessions(&self, tenant: TenantId, filter: &SessionFilter) -> Result<Vec<SessionView>, ControlError> {
        let rows = sessions::list(&self.store, tenant, filter).await?;
        Ok(rows.into_iter().map(|row| self.session_view(row)).collect())
    }

    /// # Errors
    /// Invalid input, no such session, the session has ended, or the database is away.
    pub async fn change_session(
        &self,
        call: &Call,
        session: SessionId,
        changes: SessionChanges,
    ) -> Result<Done<SessionView>, ControlError> {
        let mut violations = Violations::default();
        changes.check(&mut violations);
        violations.into_result()?;
        let _gate = self.gate(session).await;
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer(&mut transaction, call).await? {
            return Ok(earlier);
        }
        let now = self.now();
        let mut row = self.active_row(&mut transaction, call.tenant, session).await?;
        let names = changes.names();
        let moves_end = changes.max_duration_s.is_some();
        changes.apply_to(&mut row);
        if moves_end && row.expires_at.is_some_and(|expires_at| expires_at <= now) {
            let detail = "would end the session in the past; end it instead";
            return Err(Violations::one("/max_duration_s", detail).into());
        }
        sessions::update(&mut transaction, &row).await?;
        row.version += 1;
        let spec = spec_of(&row);
        let view = self.session_view(row);
        self.keep_answer(&mut transaction, call, 200, &view).await?;
        let event = ControlEvent {
            tenant: call.tenant,
            session: Some(session),
            participant: None,
            event_type: "session_updated",
            actor: &call.actor,
            metadata: json!({ "changed": names }),
            at: now,
        };
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        self.tell(session, Command::Configure(Box::new(spec))).await;
        Ok(Done::fresh(view))
    }

    /// The row, locked.
    pub(super) async fn active_row(
        &self,
        connection: &mut sqlx::PgConnection,
        tenant: TenantId,
        session: SessionId,
    ) -> Result<SessionRow, ControlError> {
        let row = sessions::get_for_update(connection, tenant, session).await?;
        let row = row.ok_or(ControlError::SessionNotFound)?;
        if !row.is_active() || self.is_over(&row) {
            return Err(ControlError::SessionEnded);
        }
        Ok(row)
    }

    /// Whether a session has ended of which Postgres still thinks that it is active: the hub's timer was faster than the
    /// next flush, and the hub may have forgotten the session already.
    pub(super) fn is_over(&self, row: &SessionRow) -> bool {
        match self.live.ended(SessionId(row.session_id)) {
            Some(ended) => ended,
            None => row.is_active() && ends_at(row) <= self.now(),
        }
    }

    pub(super) async fn adopt(&self, session: SessionId) {
        if let Err(error) = self.live.adopt(&self.store, session).await {
            tracing::warn!(session.id = %session, error = %error, "session not in memory yet, the first join loads it");
        }
    }

    /// Tells the hub of what Postgres already has. A session that is elsewhere or just over needs no telling.
    pub(super) async fn tell(&self, session: SessionId, command: Command) {
        if let Err(error @ super::LiveError::NotRecorded) = self.live.dispatch(session, command).await {
            tracing::error!(session.id = %session, error = %error, "a change is in the database, its effects are not on record");
        }
    }

    pub(super) fn session_view(&self, row: SessionRow) -> SessionView {
        let active = row.is_active();
        let facts = if active { self.live.facts(SessionId(row.session_id)) } else { None };
        let ends_at = match facts {
            _ if !active => None,
            Some(facts) => Some(date_time(facts.ends_at)),
            None => Some(ends_at(&row)),
        };
        let last_activity_at = facts.map_or(row.last_activity_at, |facts| date_time(facts.last_activity_at));
        SessionView {
            id: row.session_id,
            external_id: row.external_id,
            title: row.title,
            metadata: if let Value::Object(metadata) = row.metadata { metadata } else { Map::new() },
            status: row.status,
            idle_timeout_s: row.idle_timeout_s.into(),
            max_duration_s: row.max_duration_s.map(i64::from),
            max_participants: row.max_participants.map(i64::from),
            warn_before_s: row.warn_before_s.into_iter().map(i64::from).collect(),
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            end_reason: row.end_reason,
            last_activity_at,
            ends_at,
            expires_at: row.expires_at,
            participants_present: facts.map(|facts| facts.participants_present as u64),
            version: row.version,
        }
    }
}

/// What the hub needs to know of a session.
pub fn spec_of(row: &SessionRow) -> SessionSpec {
    let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SessionSpec {
        tenant: TenantId(row.tenant_id),
        session: SessionId(row.session_id),
        title: row.title.as_deref().map(Into::into),
        created_at: timestamp(row.created_at),
        idle_timeout: seconds(row.idle_timeout_s),
        expires_at: row.expires_at.map(timestamp),
        hold_until: timestamp(row.hold_until),
        participants_max: row.max_participants.and_then(|most| u32::try_from(most).ok()),
        warn_before: row.warn_before_s.iter().copied().map(seconds).collect(),
        started: row.started_at.is_some(),
        last_activity_at: timestamp(row.last_activity_at),
        kicked: Vec::new(),
    }
}

/// When a session that is not in memory will end, by the same rule as in the core.
pub(super) fn ends_at(row: &SessionRow) -> DateTime<Utc> {
    let idle = (row.last_activity_at + TimeDelta::seconds(row.idle_timeout_s.into())).max(row.hold_until);
    row.expires_at.map_or(idle, |expires_at| expires_at.min(idle))
}
