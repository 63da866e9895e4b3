//! The end of a session: move it, bring it about, take it back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall_core::{Command, Refusal, SessionEndReason, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::sessions::ends_at;
use super::validation::{ENDS_IN_S_MAX, EXTEND_BY_S, REASON_CHARACTERS_MAX, Violations};
use super::views::SessionView;
use super::{Call, Control, ControlError, Done, LiveError, date_time, timestamp};
use crate::store::audit::{self, Change, ControlEvent};
use crate::store::participants;
use crate::store::sessions::{self, Recovered, SessionRow};

/// How long a recovery waits for an end that Postgres does not know yet.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// How far to move the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// The session ends this much later than it would have: `ends_at` moves, and a hard end with it.
    #[schema(minimum = 1, maximum = 604_800, example = 900)]
    pub by_s: i64,
}

/// An end by the app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Free text for the audit trail. Not for names or e-mail addresses.
    #[schema(max_length = 200, example = "lesson over")]
    pub reason: Option<String>,
}

impl Extension {
    pub fn check(self, violations: &mut Violations) {
        violations.number("/by_s", self.by_s, &EXTEND_BY_S);
    }
}

impl EndRequest {
    pub fn check(&self, violations: &mut Violations) {
        if let Some(reason) = &self.reason {
            violations.characters("/reason", reason, REASON_CHARACTERS_MAX);
        }
    }
}

impl Control {
    /// # Errors
    /// Invalid input, no such session, the session has ended or is just being ended, or the database is away.
    pub async fn extend_session(
        &self,
        call: &Call,
        session: SessionId,
        extension: Extension,
    ) -> Result<Done<SessionView>, ControlError> {
        let mut violations = Violations::default();
        extension.check(&mut violations);
        violations.into_result()?;
        let _gate = self.gate(session).await;
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer(&mut transaction, call).await? {
            return Ok(earlier);
        }
        let now = self.now();
        let mut row = self.active_row(&mut transaction, call.tenant, session).await?;
        let (hold_until, expires_at) = self.extended(&row, extension.by_s);
        if hold_until > now + TimeDelta::seconds(ENDS_IN_S_MAX) {
            let detail = format!("would move the end more than {ENDS_IN_S_MAX} seconds into the future");
            return Err(Violations::one("/by_s", detail).into());
        }
        row.hold_until = hold_until;
        row.expires_at = expires_at;
        sessions::update(&mut transaction, &row).await?;
        row.version += 1;
        let mut view = self.session_view(row);
        // The hub does not know yet; it will say the same.
        view.ends_at = Some(hold_until);
        self.keep_answer(&mut transaction, call, 200, &view).await?;
        let metadata = json!({ "by_s": extension.by_s, "ends_at": hold_until });
        let event = session_event(call, session, "session_extended", metadata, now);
        audit::log_control(&mut transaction, event).await?;
        self.commit(transaction).await?;
        let hold = Command::Hold { hold_until: timestamp(hold_until), expires_at: expires_at.map(timestamp) };
        self.tell(session, hold).await;
        if self.live.ended(session) == Some(true) {
            // Its timer was faster: the end stands, and the extension is only in the trail.
            return Err(ControlError::SessionEnded);
        }
        Ok(Done::fresh(view))
    }

    /// Ends a session now. Everybody in it is told and closed.
    ///
    /// # Errors
    /// Invalid input, no such session, the session has ended or is just being ended, or the database is away.
    pub async fn end_session(
        &self,
        call: &Call,
        session: SessionId,
        request: EndRequest,
    ) -> Result<Done<SessionView>, ControlError> {
        let mut violations = Violations::default();
        request.check(&mut violations);
        violations.into_result()?;
        let _gate = self.gate(session).await;
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer(&mut transaction, call).await? {
            return Ok(earlier);
        }
        let row = sessions::get_for_update(&mut transaction, call.tenant, session).await?;
        let row = row.ok_or(ControlError::SessionNotFound)?;
        // Frozen, no timer can end the session while the end is written, and nobody comes in.
        let live = match self.live.dispatch(session, Command::Freeze).await {
            Ok(()) => true,
            Err(LiveError::NotLive) => false,
            // The hub knows the end already; Postgres learns of it with the next flush.
            Err(LiveError::Refused(Refusal::SessionEnded(_))) if row.is_active() => {
                return Err(ControlError::SessionEnded);
            }
            Err(LiveError::Refused(Refusal::SessionEnded(_))) => false,
            Err(error) => return Err(error.into()),
        };
        match self.write_end(transaction, call, row, request, live).await {
            Ok((view, at)) => {
                if live {
                    let reason = SessionEndReason::Completed;
                    let by = call.actor.clone();
                    self.tell(session, Command::End { reason, by, at: timestamp(at), recorded: true }).await;
                }
                Ok(Done::fresh(view))
            }
            Err(error) => {
                if live {
                    self.tell(session, Command::Thaw).await;
                }
                Err(error)
            }
        }
    }

    async fn write_end(
        &self,
        mut transaction: Change,
        call: &Call,
        mut row: SessionRow,
        request: EndRequest,
        live: bool,
    ) -> Result<(SessionView, DateTime<Utc>), ControlError> {
        let session = SessionId(row.session_id);
        let at = self.now();
        if !sessions::end(&mut transaction, call.tenant, session, at).await? {
            return Err(ControlError::SessionEnded);
        }
        if !live {
            participants::leave_all(&mut transaction, call.tenant, session, at).await?;
        }
        row.status = "ended".to_owned();
        row.ended_at = Some(at);
        row.end_reason = Some(SessionEndReason::Completed.as_str().to_owned());
        row.version += 1;
        let view = self.session_view(row);
        self.keep_answer(&mut transaction, call, 200, &view).await?;
        let mut metadata = json!({ "reason": SessionEndReason::Completed.as_str() });
        if let Some(note) = request.reason {
            metadata["note"] = Value::String(note);
        }
        audit::log_control(&mut transaction, session_event(call, session, "session_ended", metadata, at)).await?;
        self.commit(transaction).await?;
        Ok((view, at))
    }

    /// Brings a recently ended session back: the same ids, the same participants, the gap on record. Time in the gap is
    /// nobody's: no span covers it.
    ///
    /// # Errors
    /// No such session, it has not ended, the window is over, its external id is taken, or the database is away.
    pub async fn recover_session(&self, call: &Call, session: SessionId) -> Result<Done<SessionView>, ControlError> {
        let _gate = self.gate(session).await;
        self.settle_end(call, session).await?;
        let mut transaction = self.begin().await?;
        if let Some(earlier) = self.earlier_answer(&mut transaction, call).await? {
            return Ok(earlier);
        }
        let now = self.now();
        let row = sessions::get_for_update(&mut transaction, call.tenant, session).await?;
        let mut row = row.ok_or(ControlError::SessionNotFound)?;
        let ended_at = row.ended_at.filter(|_| !row.is_active()).ok_or(ControlError::SessionNotEnded)?;
        let window = self.settings.recover_window;
        if timestamp(ended_at) + window < timestamp(now) {
            return Err(ControlError::RecoveryWindowOver { window_h: window.as_secs() / 3600 });
        }
        let expires_at = expiry_after_recovery(&row, now);
        if sessions::recover(&mut transaction, call.tenant, session, now, expires_at).await?
            == Recovered::ExternalIdTaken
        {
            return Err(ControlError::ExternalIdTaken);
        }
        let metadata = json!({
            "ended_at": ended_at,
            "end_reason": row.end_reason,
            "gap_us": (now - ended_at).num_microseconds(),
        });
        row.status = "active".to_owned();
        row.ended_at = None;
        row.end_reason = None;
        row.last_activity_at = row.last_activity_at.max(now);
        row.hold_until = now;
        row.expires_at = expires_at;
        row.version += 1;
        let view = self.session_view(row);
        self.keep_answer(&mut transaction, call, 200, &view).await?;
        audit::log_control(&mut transaction, session_event(call, session, "session_recovered", metadata, now)).await?;
        self.commit(transaction).await?;
        let recover = Command::Recover { expires_at: expires_at.map(timestamp) };
        match self.live.dispatch(session, recover).await {
            Ok(()) => {}
            Err(LiveError::NotLive) => self.adopt(session).await,
            Err(error) => {
                tracing::error!(session.id = %session, error = %error, "a recovered session is not in memory")
            }
        }
        Ok(Done::fresh(view))
    }

    /// People read "ended" the moment a timer ends a session, and may ask for it back before Postgres knows: waits for
    /// the flush that brings the end.
    async fn settle_end(&self, call: &Call, session: SessionId) -> Result<(), ControlError> {
        let row = sessions::find(&self.store, call.tenant, session).await?.ok_or(ControlError::SessionNotFound)?;
        // Also after an end by the API: the leaves of those who were inside may still be on their way.
        if !row.is_active() || self.is_over(&row) {
            // Without it, whoever was removed at the last moment would be let in again. Asking again helps.
            let settled = self.clock.timeout(SETTLE_MAX, self.live.flushed()).await;
            settled.map_err(|_| ControlError::Unsettled)?;
        }
        Ok(())
    }

    /// `hold_until, expires_at` after an extension: the hub's word where it has the session, for it knows the latest
    /// activity.
    fn extended(&self, row: &SessionRow, by_s: i64) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
        let by = Duration::from_secs(by_s.unsigned_abs());
        match self.live.extended_by(SessionId(row.session_id), by) {
            Some((hold_until, expires_at)) => (date_time(hold_until), expires_at.map(date_time)),
            None => {
                let target = ends_at(row) + TimeDelta::seconds(by_s);
                (target, row.expires_at.map(|expires_at| expires_at.max(target)))
            }
        }
    }
}

/// A hard end that has passed would end the session again at once: it gets its whole maximal duration anew.
fn expiry_after_recovery(row: &SessionRow, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let expires_at = row.expires_at?;
    if expires_at > now {
        return Some(expires_at);
    }
    row.max_duration_s.map(|seconds| now + TimeDelta::seconds(seconds.into()))
}

fn session_event<'a>(
    call: &'a Call,
    session: SessionId,
    event_type: &'static str,
    metadata: Value,
    at: DateTime<Utc>,
) -> ControlEvent<'a> {
    ControlEvent {
        tenant: call.tenant,
        session: Some(session),
        participant: None,
        event_type,
        actor: &call.actor,
        metadata,
        at,
    }
}
