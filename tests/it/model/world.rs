//! The two databases, the nodes that feed both of them, and the steps of a history.

mod control;
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rollcall::store::audit;
use rollcall::store::mapping::{from_utc, to_utc};
use rollcall::store::sessions::{self, SessionRow};
use rollcall::store::{FlushConnection, Store, StoredInvite, invites};
use rollcall_core::{
    Actor, CloseProof, Command, ConnectionClock, InviteId, Join, LeaveReason, Member, ParticipantId, Role, Session,
    SessionEndReason, SessionId, SessionSpec, TenantId, Testimony, Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use super::model::Model;
use super::model::batch::POISON;
use super::node::Node;
use super::plan::{Frame, INVITES, NODES, SESSIONS, Step};
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
    connection: Option<FlushConnection>,
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
        let connection = FlushConnection::open(&store).await.expect("connection");
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
        self.connection = Some(FlushConnection::open(&self.store).await.expect("connection"));
    }

    async fn disconnect(&mut self) {
        self.store.close().await;
        self.database.pool.close().await;
        self.connection = None;
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
