//! The two databases, the nodes that feed both of them, and the steps of a history.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall::ledger::{JournalRead, recover};
use rollcall::store::audit::{self, ControlEvent};
use rollcall::store::mapping::{from_utc, to_utc};
use rollcall::store::sessions::{self, SessionRow};
use rollcall::store::{BatchOutcome, EpochState, Store, StoredInvite, apply_or_set_aside, invites, participants};
use rollcall_core::{
    Actor, CloseProof, Command, ConnectionClock, Epoch, InviteId, Join, LeaveReason, Member, ParticipantId, Record,
    Role, Session, SessionEndReason, SessionId, SessionSpec, TenantId, Testimony, Timestamp,
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::model::Model;
use super::model::batch::POISON;
use super::model::cleanup::CleanUp;
use super::node::Node;
use super::plan::{Change, Frame, INVITES, NODES, Order, SESSIONS, Step};
use super::tables;
use crate::support::Database;

const LEASE: Duration = Duration::from_secs(30);
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// Histories begin this long ago, so that they lie in the past as a whole, and are over by then.
const BEGIN_BEFORE: Duration = Duration::from_secs(10 * 3600);
const OVER_BEFORE: Duration = Duration::from_secs(600);
const SALT: [u8; 32] = [7; 32];
/// Even, so that the last bit tells the node.
const FIRST_SESSION: u128 = 0x5e55_0000_0000;

pub struct World {
    database: Database,
    store: Store,
    connection: Option<PgConnection>,
    model: Model,
    nodes: Vec<Node>,
    now: Timestamp,
    over_at: Timestamp,
    up_since: Timestamp,
    tenant: TenantId,
    /// The copy of the database, if there is one, with the model of then.
    copy: Option<(Database, Model)>,
}

impl World {
    pub async fn new() -> Self {
        let database = Database::new().await;
        let store = database.store().await;
        let connection = store.dedicated().await.expect("connection");
        let up_since = "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint";
        let up_since = Timestamp(database.number(&format!("select {up_since}")).await);
        let mut world = Self {
            database,
            store,
            connection: Some(connection),
            model: Model::default(),
            nodes: (0..NODES).map(|node| Node::new(&format!("node-{node}"))).collect(),
            now: wall() - BEGIN_BEFORE,
            over_at: wall() - OVER_BEFORE,
            up_since,
            tenant: TenantId(Uuid::from_u128(1)),
            copy: None,
        };
        world.prepare().await;
        world
    }

    pub async fn close(mut self) {
        self.disconnect().await;
        self.database.discard().await;
        if let Some((copy, _)) = self.copy {
            copy.discard().await;
        }
    }

    async fn prepare(&mut self) {
        let tenant = self.tenant;
        sqlx::query("insert into rollcall.tenants (tenant_id, name, identity_salt) values ($1, 'tenant', $2)")
            .bind(tenant.0)
            .bind(&SALT[..])
            .execute(&self.database.pool)
            .await
            .expect("tenant");
        self.model.add_tenant(tenant, SALT);
        let rule = format!(
            "alter table rollcall.session_audit_log
             add constraint no_poison check (event_type <> 'state_updated' or metadata ->> 'bytes' <> '{}')",
            POISON.len()
        );
        self.database.execute(&rule).await;
        for place in 0..SESSIONS {
            self.create_session(place).await;
        }
        for place in 0..INVITES {
            self.create_invite(place).await;
        }
        for node in 0..NODES {
            self.start(node).await;
        }
    }

    async fn create_session(&mut self, place: usize) {
        let spec = SessionSpec {
            tenant: self.tenant,
            session: session_id(place),
            title: Some(format!("Session {place}").into()),
            created_at: self.now,
            idle_timeout: Duration::from_secs(if place < 2 { 120 } else { 1_200 }),
            expires_at: (place % 4 == 1).then(|| self.now + Duration::from_secs(3_600)),
            hold_until: self.now + Duration::from_secs(300),
            participants_max: (place == 2).then_some(3),
            warn_before: vec![Duration::from_secs(60)],
            started: false,
            last_activity_at: self.now,
            kicked: Vec::new(),
        };
        let mut change = self.store.begin().await.expect("begins");
        assert!(sessions::insert(&mut change, &row_of(&spec)).await.expect("inserts"));
        let event = self.event(spec.session, None, "session_created", json!({}));
        audit::log_control(&mut change, event).await.expect("logs");
        audit::commit(change).await.expect("commits");
        assert!(self.model.create_session(&spec, &Actor::Operator));
    }

    async fn create_invite(&mut self, place: usize) {
        let invite = StoredInvite {
            invite: invite_id(place),
            tenant: self.tenant,
            session: session_id(place % SESSIONS),
            token_hash: [place as u8; 32],
            role: Role::guest(),
            identity: None,
            name: None,
            not_before: (place == 1).then(|| self.now + Duration::from_secs(60)),
            expires_at: self.now + Duration::from_secs(1_800),
            max_uses: (place != 0).then_some(place as u32),
            uses: 0,
            revoked_at: None,
        };
        let row = invites::InviteRow {
            invite_id: invite.invite.0,
            tenant_id: invite.tenant.0,
            session_id: invite.session.0,
            token_hint: "hint".to_owned(),
            role: invite.role.as_str().to_owned(),
            identity: None,
            name: None,
            not_before: invite.not_before.map(to_utc),
            expires_at: to_utc(invite.expires_at),
            max_uses: invite.max_uses.map(|max| max as i32),
            uses: 0,
            revoked_at: None,
            created_at: to_utc(self.now),
        };
        let mut change = self.store.begin().await.expect("begins");
        invites::insert(&mut change, &row, &invite.token_hash).await.expect("inserts");
        let event = self.event(invite.session, None, "invite_created", json!({ "invite_id": invite.invite }));
        audit::log_control(&mut change, event).await.expect("logs");
        audit::commit(change).await.expect("commits");
        self.model.create_invite(invite, &Actor::Operator, self.now);
    }

    pub async fn step(&mut self, step: &Step) {
        match step {
            Step::Wait { milliseconds } => self.wait(Duration::from_millis(*milliseconds)),
            Step::Join { session, person, invite, resumes, closed_ms_ago } => {
                self.join(*session, *person, *invite, *resumes, *closed_ms_ago);
            }
            Step::Frame { pick, frame } => self.frame(*pick, *frame),
            Step::Close { pick, how } => self.close_connection(*pick, *how),
            Step::Kick { session, person } => {
                let participant = participant_id(*session, *person);
                self.apply(*session, Command::Kick { participant, by: Actor::Operator });
            }
            Step::Control { session, change } => self.control(*session, *change).await,
            Step::Consume { invite, person } => self.consume(*invite, *person).await,
            Step::Release { invite, person } => {
                let (invite, participant) = (invite_id(*invite), participant_id(*invite % SESSIONS, *person));
                let released = self.store.release_invite_use(invite, participant).await.expect("answers");
                assert_eq!(self.model.release_invite_use(invite, participant), released);
            }
            Step::Mark { node } => self.nodes[*node].mark(self.now),
            Step::Write { node } => self.nodes[*node].write(),
            Step::Flush { node, rows, order } => self.flush(*node, *rows, *order).await,
            Step::Late { node, rows } => self.late(*node, *rows).await,
            Step::Crash { node, loses_memory } => self.crash(*node, *loses_memory).await,
            Step::Drain { node } => self.drain(*node).await,
            Step::Lapse { node } => self.lapse(*node).await,
            Step::CleanUp { inactivity_s, sessions_max, gives_up_on_lost } => {
                self.clean_up(*inactivity_s, *sessions_max, *gives_up_on_lost).await;
            }
            Step::Snapshot => self.snapshot().await,
            Step::Restore => self.restore().await,
        }
    }

    // --- people ---

    fn wait(&mut self, duration: Duration) {
        let until = (self.now + duration).min(self.over_at);
        for node in &mut self.nodes {
            node.tick_until(until);
        }
        self.now = until;
    }

    fn apply(&mut self, session: usize, command: Command) {
        self.nodes[session % NODES].apply(session_id(session), command, self.now);
    }

    fn join(
        &mut self,
        session: usize,
        person: usize,
        invite: Option<usize>,
        resumes: Option<usize>,
        closed_ms_ago: Option<u64>,
    ) {
        let (id, participant, now) = (session_id(session), participant_id(session, person), self.now);
        let invite = invite.map(invite_id);
        let node = &mut self.nodes[session % NODES];
        let member = Member { participant, connection: node.next_connection() };
        let clock = Arc::new(ConnectionClock::new(now));
        // From this life of the node or from an earlier one, as the model of the database has it.
        let of_person = self.model.spans.iter().filter(|(_, span)| span.participant == participant);
        let resumed = resumes.and_then(|pick| of_person.rev().map(|(id, _)| *id).nth(pick));
        let testimony = closed_ms_ago.map(|ms| Testimony {
            closed_after: now - Duration::from_millis(ms + 40),
            closed_before: now - Duration::from_millis(ms),
        });
        let join = Join {
            connection: member.connection,
            participant,
            identity: format!("person-{person}").into(),
            verified: person.is_multiple_of(2),
            name: person.is_multiple_of(3).then(|| format!("Person at {}", now.0).into()),
            role: if person == 0 { Role::host() } else { Role::guest() },
            state: (person == 1).then(|| r#"{"hand":true,"b":[1,"x"]}"#.into()),
            invite,
            token_expires_at: (person == 3).then(|| now + Duration::from_secs(90)),
            resumed,
            testimony,
            clock: clock.clone(),
        };
        let before = node.sessions.get(&id).map_or(0, Session::connections_open);
        node.apply(id, Command::Join(Box::new(join)), now);
        let is_in = node.sessions.get(&id).is_some_and(|live| live.role_of(member).is_some());
        if is_in {
            assert!(before < 100, "the node keeps few");
            node.note_opened(id, member, clock);
        }
    }

    /// One of the latest connections, open or not.
    fn picked(&self, pick: usize) -> Option<(usize, SessionId, Member, Arc<ConnectionClock>)> {
        let (node, pick) = (pick % NODES, pick / NODES);
        let opened = self.nodes[node].opened.iter().rev().nth(pick)?;
        Some((node, opened.session, opened.member, opened.clock.clone()))
    }

    fn frame(&mut self, pick: usize, frame: Frame) {
        let Some((node, session, member, clock)) = self.picked(pick) else { return };
        if self.nodes[node].sessions.get(&session).is_none_or(|live| live.role_of(member).is_none()) {
            return;
        }
        clock.hear(self.now);
        let command = match frame {
            Frame::Act if clock.act(self.now) => Command::Activity { member },
            Frame::Ping | Frame::Act => return,
            Frame::Hide => Command::Hide { member },
            Frame::Update(value) => {
                Command::Update { member, state: format!(r#"{{"value":{value},"of":[null,1.5]}}"#).into() }
            }
            Frame::Poison => Command::Update { member, state: POISON.into() },
        };
        self.nodes[node].apply(session, command, self.now);
    }

    fn close_connection(&mut self, pick: usize, how: usize) {
        let Some((node, session, member, clock)) = self.picked(pick) else { return };
        let (reason, proof) = [
            (LeaveReason::Left, CloseProof::Observed),
            (LeaveReason::Closed, CloseProof::Observed),
            (LeaveReason::Closed, CloseProof::Silent),
            (LeaveReason::LivenessTimeout, CloseProof::Silent),
            (LeaveReason::SlowConsumer, CloseProof::Silent),
            (LeaveReason::Closed, CloseProof::Observed),
        ][how];
        if proof == CloseProof::Observed {
            clock.hear(self.now);
        }
        self.nodes[node].apply(session, Command::Closed { member, reason, proof }, self.now);
    }

    // --- the control plane ---

    async fn control(&mut self, session: usize, change: Change) {
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

    async fn consume(&mut self, invite: usize, person: usize) {
        let (id, participant) = (invite_id(invite), participant_id(invite % SESSIONS, person));
        let consumed = self.store.consume_invite(id, participant, self.now).await.ok();
        assert_eq!(self.model.consume_invite(id, participant, self.now), consumed);
        let revoked = self.store.is_invite_revoked(id).await.expect("answers");
        assert_eq!(self.model.is_invite_revoked(id), revoked);
    }

    fn event<'a>(
        &self,
        session: SessionId,
        participant: Option<ParticipantId>,
        event_type: &'static str,
        metadata: Value,
    ) -> ControlEvent<'a> {
        let (tenant, session, at) = (self.tenant, Some(session), to_utc(self.now));
        ControlEvent { tenant, session, participant, event_type, actor: &Actor::Operator, metadata, at }
    }

    // --- nodes ---

    async fn start(&mut self, node: usize) {
        // The journal keeps a tail of the epoch that is running, so a copy is good for as long as nobody restarts.
        if let Some((copy, _)) = self.copy.take() {
            copy.discard().await;
        }
        let name = self.nodes[node].name.clone();
        let epoch = self.store.open_epoch(&name, self.now, LEASE).await.expect("opens");
        assert_eq!(self.model.open_epoch(&name, self.now, LEASE, wall()), epoch);
        let loaded = self.store.load_active_sessions(None, 100).await.expect("answers");
        assert_eq!(self.model.load_active_sessions(None, 100, wall()), loaded);
        let is_ours = |session: SessionId| session.0.as_u128() as usize % NODES == node;
        let loaded = loaded.into_iter().filter(|loaded| is_ours(loaded.spec.session)).collect();
        self.nodes[node].start(epoch, loaded, self.now);
        let expired_before = self.now - Duration::from_secs(60);
        let invites = self.store.load_live_invites(None, expired_before, 100).await.expect("answers");
        assert_eq!(self.model.load_live_invites(None, expired_before, 100), invites);
    }

    async fn flush(&mut self, node: usize, rows: usize, order: Order) {
        let epoch = self.nodes[node].epoch;
        let applied = self.store.applied_seq(epoch).await.expect("answers");
        assert_eq!(self.model.applied_seq(epoch), applied);
        let Some(applied) = applied else { return self.reinstate(node).await };
        let (after, rows) = match order {
            Order::Next => (applied, rows),
            Order::Overlapping(back) => ((applied - back).max(0), rows + back as usize),
            Order::Again(back) => ((applied - back).max(0), back.min(applied) as usize),
            Order::Early(skipped) => (applied + skipped, rows),
        };
        let batch = self.nodes[node].reader.read(epoch, after, rows).expect("readable");
        if batch.records.is_empty() {
            let renewed =
                rollcall::store::epochs::renew_lease(self.connection.as_mut().expect("connected"), epoch, LEASE).await;
            assert_eq!(self.model.renew_lease(epoch, LEASE, wall()), renewed.expect("answers"));
        } else {
            self.send(epoch, batch.first_seq, &batch.records).await;
        }
    }

    /// A batch from an epoch that is over.
    async fn late(&mut self, node: usize, rows: usize) {
        let node = &self.nodes[node];
        let earlier = node.over.iter().chain(&node.written).filter(|(epoch, _)| **epoch < node.epoch);
        let Some((epoch, records)) = earlier.max_by_key(|(epoch, _)| **epoch) else { return };
        let (epoch, first) = (*epoch, records.len().saturating_sub(rows));
        let mut records = records[first..].to_vec();
        // And one that nobody ever sent.
        records.extend(records.last().cloned());
        self.send(epoch, first as i64 + 1, &records).await;
    }

    async fn send(&mut self, epoch: Epoch, first_seq: i64, records: &[Record]) {
        let (outcome, refused) =
            apply_or_set_aside(self.connection.as_mut().expect("connected"), epoch, first_seq, records, LEASE)
                .await
                .expect("answers");
        let expected = self.model.apply_batch(epoch, first_seq, records, LEASE, wall());
        assert_eq!(expected.1, refused);
        match (expected.0, outcome) {
            // Where a batch was split, only the rows of its last part are told.
            (BatchOutcome::Applied { .. }, BatchOutcome::Applied { .. }) if refused > 0 => {}
            (expected, outcome) => assert_eq!(expected, outcome),
        }
    }

    async fn crash(&mut self, node: usize, loses_memory: bool) {
        if !loses_memory {
            self.nodes[node].write();
        }
        let name = self.nodes[node].name.clone();
        self.reinstate(node).await;
        let Node { journal, written, .. } = &mut self.nodes[node];
        let report = recover(journal, &self.store, &name, MARK_INTERVAL, LEASE, self.now).await.expect("recovers");
        let spans_closed = self.model.recover(&name, written, MARK_INTERVAL, LEASE, wall());
        assert_eq!(spans_closed, report.spans_closed);
        self.nodes[node].forget();
        self.start(node).await;
    }

    async fn drain(&mut self, node: usize) {
        let now = self.now;
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            self.nodes[node].apply(session, Command::Drain, now);
        }
        let closes: Vec<_> = self.nodes[node].opened.iter().map(|opened| (opened.session, opened.member)).collect();
        for (session, member) in closes {
            let proof = if member.connection.counter % 2 == 0 { CloseProof::Observed } else { CloseProof::Silent };
            let close = Command::Closed { member, reason: LeaveReason::Closed, proof };
            self.nodes[node].apply(session, close, now);
        }
        self.nodes[node].write();
        self.reinstate(node).await;
        self.flush(node, usize::MAX >> 1, Order::Next).await;
        let epoch = self.nodes[node].epoch;
        let closed = self.store.close_epoch(epoch, EpochState::Drained).await.expect("answers");
        assert_eq!(self.model.close_epoch(epoch, EpochState::Drained, wall()), closed);
        self.start(node).await;
    }

    async fn lapse(&mut self, node: usize) {
        let epoch = self.nodes[node].epoch;
        let long_ago = wall() - Duration::from_secs(3 * 86_400);
        sqlx::query("update rollcall.node_epochs set lease_until = $2 where epoch = $1")
            .bind(epoch.0)
            .bind(to_utc(long_ago))
            .execute(&self.database.pool)
            .await
            .expect("updates");
        if let Some(row) = self.model.epochs.get_mut(&epoch) {
            row.lease_until = long_ago;
        }
    }

    async fn clean_up(&mut self, inactivity_s: u64, sessions_max: usize, gives_up_on_lost: bool) {
        let lost_after = if gives_up_on_lost { Duration::from_millis(1) } else { Duration::from_secs(86_400) };
        let request = CleanUp {
            inactivity: Duration::from_secs(inactivity_s),
            sessions_max,
            lost_after,
            up_since: self.up_since,
        };
        let ended: Vec<Uuid> = sqlx::query_scalar(
            "select c.session_id from (select set_config('rollcall.epoch_lost_after', $1, true)) x,
                    lateral rollcall.cleanup_inactive_sessions(make_interval(secs => $2), $3) c
             where x is not null order by 1",
        )
        .bind(format!("{} ms", lost_after.as_millis()))
        .bind(inactivity_s as f64)
        .bind(sessions_max as i32)
        .fetch_all(&self.database.pool)
        .await
        .expect("cleans up");
        let expected = self.model.clean_up(request, wall());
        assert_eq!(expected.iter().map(|session| session.0).collect::<Vec<_>>(), ended);
        // As the feed tells the nodes.
        for session in expected {
            let place = (session.0.as_u128() - FIRST_SESSION) as usize;
            if let Some((at, reason)) = self.model.sessions.get(&session).and_then(|row| row.ended) {
                self.apply(place, end_command(reason, at));
            }
        }
    }

    // --- the database as a whole ---

    async fn snapshot(&mut self) {
        // A database can be copied while nobody is connected.
        self.disconnect().await;
        self.copy = Some((self.database.copy().await, self.model.clone()));
        self.database = self.database.reopened();
        self.connect().await;
    }

    async fn restore(&mut self) {
        let Some((database, model)) = self.copy.take() else { return };
        self.disconnect().await;
        std::mem::replace(&mut self.database, database.reopened()).discard().await;
        self.model = model;
        self.connect().await;
        // Every node notices at its next flush.
        for node in 0..NODES {
            self.reinstate(node).await;
        }
    }

    async fn connect(&mut self) {
        self.store = self.database.store().await;
        self.connection = Some(self.store.dedicated().await.expect("connection"));
    }

    async fn disconnect(&mut self) {
        self.store.close().await;
        self.database.pool.close().await;
        if let Some(connection) = self.connection.take() {
            connection.close().await.expect("closes");
        }
    }

    /// Does nothing where the epoch is known.
    async fn reinstate(&mut self, node: usize) {
        let (epoch, name) = (self.nodes[node].epoch, self.nodes[node].name.clone());
        if self.store.applied_seq(epoch).await.expect("answers").is_none() {
            self.store.reinstate_epoch(epoch, &name, self.now).await.expect("reinstates");
            self.model.reinstate_epoch(epoch, &name, self.now, wall());
        }
    }

    pub async fn compare(&self) {
        let (expected, found) = (tables::of_model(&self.model), tables::of_postgres(&self.database.pool).await);
        let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
        let surplus: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "only in the model: {missing:#?}\nonly in Postgres: {surplus:#?}"
        );
        let changes = self.store.changes_since(0, 10_000).await.expect("answers");
        assert_eq!(self.model.changes_since(0, 10_000), changes);
        assert_eq!(self.model.latest_change(), self.store.latest_change().await.expect("answers"));
        let watermark: DateTime<Utc> =
            sqlx::query_scalar("select complete_through from rollcall.get_billing_watermark()")
                .fetch_one(&self.database.pool)
                .await
                .expect("answers");
        let expected = self.model.billing_watermark(wall());
        // Where nothing is on the way it is the present, and that has moved on.
        if expected <= self.over_at {
            assert_eq!(expected, from_utc(watermark));
        }
    }

    /// Everybody goes and all that waits is flushed.
    pub async fn finish(&mut self) {
        for node in 0..NODES {
            self.drain(node).await;
        }
        self.compare().await;
    }
}

fn row_of(spec: &SessionSpec) -> SessionRow {
    SessionRow {
        session_id: spec.session.0,
        tenant_id: spec.tenant.0,
        external_id: None,
        title: spec.title.as_deref().map(str::to_owned),
        metadata: json!({}),
        status: "active".to_owned(),
        idle_timeout_s: spec.idle_timeout.as_secs() as i32,
        max_duration_s: None,
        max_participants: spec.participants_max.map(|max| max as i32),
        warn_before_s: spec.warn_before.iter().map(|lead| lead.as_secs() as i32).collect(),
        created_at: to_utc(spec.created_at),
        started_at: None,
        ended_at: None,
        end_reason: None,
        last_activity_at: to_utc(spec.last_activity_at),
        hold_until: to_utc(spec.hold_until),
        expires_at: spec.expires_at.map(to_utc),
        version: 1,
    }
}

fn end_command(reason: SessionEndReason, at: Timestamp) -> Command {
    Command::End { reason, by: Actor::Operator, at, recorded: true }
}

fn session_id(place: usize) -> SessionId {
    SessionId(Uuid::from_u128(FIRST_SESSION + place as u128))
}

fn invite_id(place: usize) -> InviteId {
    InviteId(Uuid::from_u128(0x1417_0000_0000 + place as u128))
}

fn participant_id(session: usize, person: usize) -> ParticipantId {
    ParticipantId(Uuid::from_u128(((session as u128 + 1) << 64) + person as u128 + 1))
}

/// The clock of the database: the same machine.
fn wall() -> Timestamp {
    from_utc(Utc::now())
}
