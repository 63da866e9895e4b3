//! The flush with everything it does (rows, coverage, rollups, chain) through the server's own code, against a plain insert
//! of the same audit rows into a table with the same indexes, in turns. Batches wait in line, as after an outage, so the
//! flush uses its two connections; the plain insert has one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rollcall::store::{BatchOutcome, FlushConnection, apply_batch};
use rollcall_core::{
    Actor, ConnectionId, Epoch, Fact, LeaveReason, ParticipantId, Record, Role, SessionFact, SessionId, Status,
    TenantId, Timestamp,
};
use sqlx::Connection as _;
use uuid::Uuid;

use super::figures::{Budget, Latencies};
use super::{Books, Effort, Figure, Figures};
use crate::clock;

/// Turns: flush, plain, flush, plain … so that both meet the same machine.
const TURNS: usize = 4;

const LEASE: Duration = Duration::from_secs(3600);

/// People of a session, one connection each.
const PEOPLE: usize = 3;

/// Records of a batch, as the server ships.
fn batch_rows() -> usize {
    rollcall::config::Ledger::default().flush_rows_max as usize
}

/// # Errors
/// A batch was not applied.
pub async fn measure(books: &Books, effort: Effort, figures: &mut Figures) -> anyhow::Result<()> {
    let tenant: Uuid =
        sqlx::query_scalar("select tenant_id from rollcall.tenants order by 1 limit 1").fetch_one(&books.pool).await?;
    let now = Timestamp(clock::wall_us());
    let epoch = books.store.open_epoch("bench", now, LEASE).await?;
    let mut flusher = FlushConnection::open(&books.store).await?;
    let mut conn = books.store.dedicated().await?;
    sqlx::raw_sql(
        "drop table if exists load.plain; drop schema if exists load cascade; create schema load;
         create table load.plain (like rollcall.session_audit_log including all);",
    )
    .execute(&mut conn)
    .await?;

    let mut history = History { tenant: TenantId(tenant), epoch, now, counter: 0, records: Vec::new() };
    let (mut flush_us, mut plain_us, mut records) = (0, 0, 0_usize);
    let mut latencies = Latencies::default();
    let mut first_seq = 1_i64;
    for _ in 0..TURNS {
        let turn_from = first_seq;
        let mut batches = Vec::new();
        for _ in 0..effort.batches {
            batches.push(Arc::new(history.batch(books).await?));
        }
        let mut batches = batches.into_iter().peekable();
        while let Some(batch) = batches.next() {
            let started_at = clock::now();
            match flusher.apply(epoch, first_seq, &batch, batches.peek().cloned(), LEASE).await? {
                (BatchOutcome::Applied { .. }, 0) => {}
                other => bail!("a batch was not applied: {other:?}"),
            }
            let micros = clock::micros_between(started_at, clock::now());
            latencies.record(micros);
            flush_us += micros;
            records += batch.len();
            first_seq += batch.len() as i64;
        }
        plain_us += plain(&mut conn, epoch, turn_from, first_seq).await?;
    }
    sqlx::raw_sql("drop schema load cascade").execute(&mut conn).await?;
    conn.close().await?;
    books.store.close_epoch(epoch, rollcall::store::EpochState::Drained, first_seq - 1).await?;

    let rate = |micros: u64| records as f64 / (micros as f64 / 1e6);
    let note = format!(
        "{records} records in batches of {}, p50 {:.0} ms, p99 {:.0} ms a batch",
        batch_rows(),
        latencies.quantile_ms(0.5),
        latencies.quantile_ms(0.99)
    );
    figures.add(Figure::new("flush", rate(flush_us), "records/s").against(Budget::AtLeast(15_000.0)).note(note));
    figures
        .add(Figure::new("plain insert of the same audit rows", rate(plain_us), "rows/s").note("UNNEST, same indexes"));
    figures.add(
        Figure::new("flush to plain insert", plain_us as f64 / flush_us as f64, "×")
            .against(Budget::AtLeast(0.5))
            .note("same rows, in turns; the flush on two connections, the insert on one; both into the newest partition: the same at 100 million"),
    );
    Ok(())
}

/// Returns how many microseconds it took.
///
/// # Errors
/// The batch was not applied.
pub async fn apply(
    conn: &mut sqlx::PgConnection,
    epoch: Epoch,
    first_seq: i64,
    batch: &[Record],
) -> anyhow::Result<u64> {
    let started_at = clock::now();
    match apply_batch(conn, epoch, first_seq, batch, LEASE).await? {
        BatchOutcome::Applied { .. } => Ok(clock::micros_between(started_at, clock::now())),
        other => bail!("a batch was not applied: {other:?}"),
    }
}

/// Inserts the rows of the records again, into the plain table. Only the insert is timed.
async fn plain(conn: &mut sqlx::PgConnection, epoch: Epoch, from_seq: i64, to_seq: i64) -> anyhow::Result<u64> {
    let mut micros = 0;
    let mut seq = from_seq;
    while seq < to_seq {
        let upper = (seq + batch_rows() as i64).min(to_seq);
        type Row = (
            chrono::DateTime<chrono::Utc>,
            i64,
            Uuid,
            Option<Uuid>,
            Option<Uuid>,
            Option<String>,
            String,
            String,
            String,
            Vec<u8>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "select occurred_at, seq, tenant_id, session_id, participant_id, connection, event_type, actor, metadata::text, leaf
             from rollcall.session_audit_log where epoch = $1 and seq >= $2 and seq < $3 order by seq",
        )
        .bind(epoch.0)
        .bind(seq)
        .bind(upper)
        .fetch_all(&mut *conn)
        .await?;
        let started_at = clock::now();
        let mut tx = conn.begin().await?;
        sqlx::query(
            "insert into load.plain (occurred_at, epoch, seq, tenant_id, session_id, participant_id, connection, event_type,
                 actor, metadata, leaf)
             select occurred_at, $1, seq, tenant_id, session_id, participant_id, connection, event_type, actor,
                 metadata::jsonb, leaf
             from unnest($2::timestamptz[], $3::bigint[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                 $9::text[], $10::text[], $11::bytea[])
                 as u (occurred_at, seq, tenant_id, session_id, participant_id, connection, event_type, actor, metadata, leaf)",
        )
        .bind(epoch.0)
        .bind(rows.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.3).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.4).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.5.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.6.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.7.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.8.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.9.clone()).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        micros += clock::micros_between(started_at, clock::now());
        seq = upper;
    }
    Ok(micros)
}

/// Sessions from their first join to their last leave, record by record, as the state machine gives them.
pub struct History {
    pub tenant: TenantId,
    pub epoch: Epoch,
    pub now: Timestamp,
    pub counter: i64,
    pub records: Vec<Record>,
}

impl History {
    /// The next records; their sessions are made first.
    async fn batch(&mut self, books: &Books) -> anyhow::Result<Vec<Record>> {
        let mut sessions = Vec::new();
        while self.records.len() < batch_rows() {
            let session =
                SessionId(Uuid::from_u128(((self.epoch.0 as u128) << 64) | self.counter as u128 | (1 << 127)));
            sessions.push(session.0);
            self.session(session);
        }
        make_sessions(books, self.tenant, &sessions, "now()").await?;
        Ok(self.records.drain(..batch_rows()).collect())
    }

    fn session(&mut self, session: SessionId) {
        self.record(session, SessionFact::SessionStarted);
        let mut open = Vec::new();
        for person in 0..PEOPLE {
            let participant = ParticipantId(Uuid::from_u128(session.0.as_u128() ^ (person as u128 + 1)));
            let (connection, connected_at) = self.join(session, participant);
            open.push((participant, connection, connected_at));
        }
        for (participant, connection, connected_at) in open {
            self.record(session, SessionFact::PresenceChanged { participant, status: Status::Away });
            self.record(session, SessionFact::PresenceChanged { participant, status: Status::Active });
            for hand in [true, false] {
                let state: Arc<str> = format!("{{\"hand\":{hand}}}").into();
                self.record(session, SessionFact::StateUpdated { participant, state });
            }
            self.close(session, participant, connection, connected_at);
            let reason = LeaveReason::Closed;
            self.record(session, SessionFact::ParticipantLeft { participant, reason, by: Actor::Server });
        }
    }

    /// Two records: the participant and its connection.
    pub fn join(&mut self, session: SessionId, participant: ParticipantId) -> (ConnectionId, Timestamp) {
        self.counter += 1;
        let identity: Arc<str> = format!("user-{}", self.counter).into();
        let fact = SessionFact::ParticipantJoined {
            participant,
            identity,
            verified: true,
            name: None,
            role: Role::guest(),
            invite: None,
        };
        self.record(session, fact);
        let connection = ConnectionId { epoch: self.epoch, counter: self.counter };
        let connected_at = self.now;
        let role = Role::guest();
        self.record(
            session,
            SessionFact::ConnectionOpened { participant, connection, role, invite: None, resumed: None },
        );
        (connection, connected_at)
    }

    pub fn close(
        &mut self,
        session: SessionId,
        participant: ParticipantId,
        connection: ConnectionId,
        connected_at: Timestamp,
    ) {
        let reason = LeaveReason::Closed;
        let fact = SessionFact::ConnectionClosed { participant, connection, connected_at, reason, uncertainty_us: 0 };
        self.record(session, fact);
    }

    fn record(&mut self, session: SessionId, fact: SessionFact) {
        let fact = Fact::Session { tenant: self.tenant, session, fact };
        self.records.push(Record { at: self.now, fact });
        self.now = self.now + Duration::from_micros(137);
    }
}

/// Rows of active sessions, as the control plane would have made them; `active_at` is when somebody was last active.
pub async fn make_sessions(
    books: &Books,
    tenant: TenantId,
    sessions: &[Uuid],
    active_at: &'static str,
) -> anyhow::Result<()> {
    let sql = format!(
        "insert into rollcall.sessions (session_id, tenant_id, idle_timeout_s, created_at, last_activity_at, last_seen_at, hold_until)
         select s, $1, 3600, t.at, t.at, t.at, t.at from unnest($2::uuid[]) s, (select {active_at} as at) t"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.0).bind(sessions).execute(&books.pool).await?;
    Ok(())
}
