//! What the control plane decides: one transaction in Postgres, the same in the model, and then the node hears of it.

use std::time::Duration;

use rollcall::store::audit::{self, ControlEvent};
use rollcall::store::mapping::to_utc;
use rollcall::store::sessions::{self, SessionRow};
use rollcall::store::{invites, participants};
use rollcall_core::{Actor, Command, ParticipantId, SessionEndReason, SessionId};
use serde_json::{Value, json};

use super::super::plan::{Change, NODES, SESSIONS};
use super::{World, end_command, invite_id, participant_id, session_id, wall};

impl World {
    pub(super) async fn control(&mut self, session: usize, change: Change) {
        match change {
            Change::End => self.end(session).await,
            Change::Extend { by_s } => self.extend(session, Duration::from_secs(by_s)).await,
            Change::Recover => self.recover(session).await,
            Change::Bar { person } => self.bar(session, person).await,
            Change::Revoke { invite } => self.revoke(invite).await,
        }
    }

    async fn end(&mut self, session: usize) {
        let (id, at) = (session_id(session), self.now);
        let node = &self.nodes[session % NODES];
        let live = node.sessions.get(&id).is_some_and(|live| live.ended().is_none());
        let mut transaction = self.store.begin().await.expect("begins");
        let ended = sessions::end(&mut transaction, self.tenant, id, to_utc(at)).await.expect("answers");
        if ended {
            if !live {
                participants::leave_all(&mut transaction, self.tenant, id, to_utc(at)).await.expect("answers");
            }
            let event = self.event(id, None, "session_ended", json!({ "reason": "completed" }));
            audit::log_control(&mut transaction, event).await.expect("logs");
        }
        audit::commit(transaction).await.expect("commits");
        assert_eq!(self.model.end_session(id, live, &Actor::Operator, at), ended);
        if ended {
            self.apply(session, end_command(SessionEndReason::Completed, at));
        }
    }

    async fn extend(&mut self, session: usize, by: Duration) {
        let (id, at) = (session_id(session), self.now);
        let node = &self.nodes[session % NODES];
        let Some(live) = node.sessions.get(&id).filter(|live| live.ended().is_none()) else { return };
        let (hold_until, expires_at) = live.extended_by(by);
        let mut transaction = self.store.begin().await.expect("begins");
        let row = sessions::get_for_update(&mut transaction, self.tenant, id).await.expect("answers");
        let extended = match row.filter(SessionRow::is_active) {
            None => false,
            Some(mut row) => {
                (row.hold_until, row.expires_at) = (to_utc(hold_until), expires_at.map(to_utc));
                sessions::update(&mut transaction, &row).await.expect("updates");
                let event = self.event(id, None, "session_extended", json!({}));
                audit::log_control(&mut transaction, event).await.expect("logs");
                true
            }
        };
        audit::commit(transaction).await.expect("commits");
        assert_eq!(self.model.extend_session(id, (hold_until, expires_at), &Actor::Operator, at), extended);
        if extended {
            self.apply(session, Command::Hold { hold_until, expires_at });
        }
    }

    async fn recover(&mut self, session: usize) {
        let (id, at) = (session_id(session), self.now);
        let expires_at = (session % 2 == 1).then(|| at + Duration::from_secs(1_800));
        let mut transaction = self.store.begin().await.expect("begins");
        let row = sessions::get_for_update(&mut transaction, self.tenant, id).await.expect("answers");
        let is_ended = row.is_some_and(|row| !row.is_active());
        if is_ended {
            let expires_at = expires_at.map(to_utc);
            sessions::recover(&mut transaction, self.tenant, id, to_utc(at), expires_at).await.expect("answers");
            let event = self.event(id, None, "session_recovered", json!({}));
            audit::log_control(&mut transaction, event).await.expect("logs");
        }
        audit::commit(transaction).await.expect("commits");
        assert_eq!(self.model.recover_session(id, expires_at, &Actor::Operator, at), is_ended);
        let node = &mut self.nodes[session % NODES];
        if is_ended && node.sessions.get(&id).is_none_or(|live| live.ended().is_some()) {
            if node.sessions.get(&id).is_some_and(|live| !live.is_finished()) {
                node.apply(id, Command::Recover { expires_at }, at);
            } else {
                let loaded = self.store.load_session(id).await.expect("answers");
                assert_eq!(self.model.load_session(id, wall()), loaded);
                node.adopt(loaded.expect("there is one"), at);
            }
        }
    }

    async fn bar(&mut self, session: usize, person: usize) {
        let (id, participant, at) = (session_id(session), participant_id(session, person), self.now);
        let mut transaction = self.store.begin().await.expect("begins");
        sessions::get_for_update(&mut transaction, self.tenant, id).await.expect("answers");
        let barred = participants::bar(&mut transaction, self.tenant, id, participant, to_utc(at)).await;
        let barred = barred.expect("answers") == participants::Barred::Now;
        if barred {
            let event = self.event(id, Some(participant), "participant_barred", json!({}));
            audit::log_control(&mut transaction, event).await.expect("logs");
        }
        audit::commit(transaction).await.expect("commits");
        assert_eq!(self.model.bar_participant(id, participant, &Actor::Operator, at), barred);
    }

    async fn revoke(&mut self, invite: usize) {
        let (id, session, at) = (invite_id(invite), session_id(invite % SESSIONS), self.now);
        let mut transaction = self.store.begin().await.expect("begins");
        let row = invites::get_for_update(&mut transaction, self.tenant, id).await.expect("answers");
        let was_good = row.is_some_and(|row| row.revoked_at.is_none());
        if was_good {
            invites::revoke(&mut transaction, self.tenant, id, to_utc(at)).await.expect("revokes");
            let event = self.event(session, None, "invite_revoked", json!({ "invite_id": id }));
            audit::log_control(&mut transaction, event).await.expect("logs");
        }
        audit::commit(transaction).await.expect("commits");
        assert_eq!(self.model.revoke_invite(id, &Actor::Operator, at), was_good);
        self.apply(invite % SESSIONS, Command::RevokeInvite { invite: id });
    }

    pub(super) async fn consume(&mut self, invite: usize, person: usize) {
        let (id, participant) = (invite_id(invite), participant_id(invite % SESSIONS, person));
        let consumed = self.store.consume_invite(id, participant, self.now).await.ok();
        assert_eq!(self.model.consume_invite(id, participant, self.now), consumed);
        let revoked = self.store.is_invite_revoked(id).await.expect("answers");
        assert_eq!(self.model.is_invite_revoked(id), revoked);
    }

    pub(super) fn event<'a>(
        &self,
        session: SessionId,
        participant: Option<ParticipantId>,
        event_type: &'static str,
        metadata: Value,
    ) -> ControlEvent<'a> {
        let (tenant, session, at) = (self.tenant, Some(session), to_utc(self.now));
        ControlEvent { tenant, session, participant, event_type, actor: &Actor::Operator, metadata, at }
    }
}
