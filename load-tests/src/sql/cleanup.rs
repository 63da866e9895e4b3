//! The clean-up of many idle sessions at once, while others join through the flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use rollcall::store::{EpochState, Store};
use rollcall_core::{Epoch, Fact, ParticipantId, Record, SessionId, TenantId, Timestamp};
use uuid::Uuid;

use super::figures::{Budget, Latencies};
use super::flush::{History, apply, make_sessions};
use super::{Books, Effort, Figure, Figures, reads};
use crate::clock;

/// Sessions that people join meanwhile.
const BUSY_SESSIONS: usize = 100;

const LEASE: Duration = Duration::from_secs(3600);

/// # Errors
/// A statement fails, or the clean-up did not end exactly the idle sessions.
pub async fn measure(books: &Books, effort: Effort, figures: &mut Figures) -> anyhow::Result<()> {
    let tenant: Uuid =
        sqlx::query_scalar("select tenant_id from rollcall.tenants order by 1 limit 1").fetch_one(&books.pool).await?;
    let tenant = TenantId(tenant);
    let (connected, mut joins) = clean_up(books, effort, tenant, true, figures).await?;
    figures.add(clean_up_took("clean-up of idle sessions, a connection open in each", connected, effort.idle_sessions));
    let plain = write_plainly(books, effort, tenant).await?;
    figures.add(
        Figure::new("clean-up to plain writes", connected / plain, "×")
            .against(Budget::AtMost(2.5))
            .note(format!("the same six rows of a session in {plain:.2} s, uncounted, unproved, nobody beside it")),
    );
    let (left, others) = clean_up(books, effort, tenant, false, figures).await?;
    figures.add(clean_up_took("clean-up of idle sessions that all have left", left, 0));
    joins.append(others);
    figures.add(
        // A join that had to wait for the clean-up would take as long as the clean-up.
        Figure::new("slowest join meanwhile", joins.quantile_ms(1.0), "ms")
            .against(Budget::AtMost(250.0))
            .note(format!("{} flushes of one join each, p50 {:.1} ms", joins.len(), joins.quantile_ms(0.5))),
    );
    Ok(())
}

fn clean_up_took(name: &'static str, seconds: f64, spans: usize) -> Figure {
    let note = format!("{spans} open connections closed; finds the sessions among the active ones only");
    Figure::new(name, seconds, "s").against(Budget::AtMost(1.0)).note(note)
}

fn ids(word: u128, epoch: Epoch, count: usize) -> Vec<Uuid> {
    (0..count).map(|n| Uuid::from_u128((word << 96) | ((epoch.0 as u128) << 32) | n as u128)).collect()
}

/// Of sessions in which somebody is still connected, or which all have left. Returns how many seconds it took, and how long
/// joins took meanwhile.
async fn clean_up(
    books: &Books,
    effort: Effort,
    tenant: TenantId,
    is_connected: bool,
    figures: &mut Figures,
) -> anyhow::Result<(f64, Latencies)> {
    // What an earlier measurement left would be ended in place of these.
    while end_idle_sessions(books, effort.idle_sessions).await?.0 > 0 {}
    let (epoch, idle) = make_idle_sessions(books, effort, tenant).await?;
    let busy = ids(0xC1EA_0002, epoch, BUSY_SESSIONS);
    make_sessions(books, tenant, &busy, "now()").await?;
    // As a node does every second: its flush measures what is open.
    let mark = Record { at: Timestamp(clock::wall_us()), fact: Fact::EvidenceMark { heard: Vec::new() } };
    apply(&mut books.store.dedicated().await?, epoch, 1, &[mark]).await?;
    if is_connected {
        figures.add(reads::measure_bill_beside(books, effort, idle.len()).await?);
    } else {
        close_connections(books, epoch).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let joins = tokio::spawn(join_on(books.store.clone(), epoch, tenant, busy, stop.clone()));
    let started_at = clock::now();
    let (ended, spans) = end_idle_sessions(books, effort.idle_sessions).await?;
    let micros = clock::micros_between(started_at, clock::now());
    stop.store(true, Ordering::Relaxed);
    let joins = joins.await??;
    books.store.close_epoch(epoch, EpochState::Drained, 0).await?;
    ensure!(ended as usize == effort.idle_sessions, "{ended} of {} idle sessions were ended", effort.idle_sessions);
    let open = if is_connected { effort.idle_sessions } else { 0 };
    ensure!(spans as usize == open, "{spans} of {open} open connections were closed");
    Ok((micros as f64 / 1e6, joins))
}

/// The floor: the rows that such a clean-up writes, written plainly, and taken back. Returns seconds.
async fn write_plainly(books: &Books, effort: Effort, tenant: TenantId) -> anyhow::Result<f64> {
    let (epoch, _) = make_idle_sessions(books, effort, tenant).await?;
    let mut transaction = books.pool.begin().await?;
    sqlx::query(
        "create temp table idle on commit drop as
         select p.session_id, p.participant_id, p.tenant_id, p.epoch, p.connection
         from rollcall.participation_spans p where p.epoch = $1",
    )
    .bind(epoch.0)
    .execute(&mut *transaction)
    .await?;
    // By the same indexes as the clean-up. No plan is compiled: with a scan that is forbidden it would seem worth it.
    let like_the_clean_up = "analyze idle; set local session_replication_role = replica; set local enable_seqscan = off; set local jit = off";
    sqlx::raw_sql(like_the_clean_up).execute(&mut *transaction).await?;
    let started_at = clock::now();
    sqlx::raw_sql(include_str!("plain_writes.sql")).execute(&mut *transaction).await?;
    let micros = clock::micros_between(started_at, clock::now());
    transaction.rollback().await?;
    books.store.close_epoch(epoch, EpochState::Drained, 0).await?;
    Ok(micros as f64 / 1e6)
}

/// Of a node of its own, a connection open in each.
async fn make_idle_sessions(books: &Books, effort: Effort, tenant: TenantId) -> anyhow::Result<(Epoch, Vec<Uuid>)> {
    let epoch = books.store.open_epoch("bench-cleanup", Timestamp(clock::wall_us()), LEASE).await?;
    let idle = ids(0xC1EA_0001, epoch, effort.idle_sessions);
    make_sessions(books, tenant, &idle, "now() - interval '3 hours'").await?;
    open_connections(books, tenant, epoch, &idle).await?;
    Ok((epoch, idle))
}

/// How many sessions were ended, and how many connections in them.
async fn end_idle_sessions(books: &Books, limit: usize) -> anyhow::Result<(i64, i64)> {
    let ended = sqlx::query_as(
        "select count(*), coalesce(sum(spans_closed), 0)::bigint from rollcall.cleanup_inactive_sessions('1 hour', $1)",
    );
    Ok(ended.bind(i32::try_from(limit)?).fetch_one(&books.pool).await?)
}

/// One silent person in each session.
async fn open_connections(books: &Books, tenant: TenantId, epoch: Epoch, sessions: &[Uuid]) -> anyhow::Result<()> {
    sqlx::query(
        "with person as (
             select s.id, md5(s.id::text)::uuid as participant_id, s.n, now() - interval '3 hours' as at
             from unnest($3::uuid[]) with ordinality as s (id, n)
         ), joined as (
             insert into rollcall.participants (session_id, participant_id, tenant_id, identity, identity_verified, role, status,
                                                first_joined_at, joined_at, last_seen_at)
             select id, participant_id, $1, 'silent', true, 'guest', 'active', at, at, at from person
         )
         insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role, connected_at,
                                                   last_evidence_at)
         select $2, 1000000 + n, id, $1, participant_id, 'guest', at, at + interval '30 minutes' from person",
    )
    .bind(tenant.0)
    .bind(epoch.0)
    .bind(sessions)
    .execute(&books.pool)
    .await?;
    sqlx::query("update rollcall.sessions set started_at = created_at where session_id = any ($1)")
        .bind(sessions)
        .execute(&books.pool)
        .await?;
    Ok(())
}

/// And they all leave again, as the flush would have written it.
async fn close_connections(books: &Books, epoch: Epoch) -> anyhow::Result<()> {
    sqlx::query(
        "with closed as (
             update rollcall.participation_spans s set disconnected_at = s.last_evidence_at, end_reason = 'left'
             where s.epoch = $1 and s.disconnected_at is null
             returning s.session_id, s.participant_id, s.disconnected_at
         )
         update rollcall.participants p set status = 'left', left_at = c.disconnected_at, leave_reason = 'left'
         from closed c where p.session_id = c.session_id and p.participant_id = c.participant_id",
    )
    .bind(epoch.0)
    .execute(&books.pool)
    .await?;
    Ok(())
}

/// Joins one person after the other until it is told to stop; then all go.
async fn join_on(
    store: Store,
    epoch: Epoch,
    tenant: TenantId,
    sessions: Vec<Uuid>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Latencies> {
    let mut conn = store.dedicated().await?;
    let now = Timestamp(clock::wall_us());
    let mut history = History { tenant, epoch, now, counter: 0, records: Vec::new() };
    let mut latencies = Latencies::default();
    // The first is the mark.
    let mut first_seq = 2;
    let mut open = Vec::new();
    // At least one more than needed, so that there is a figure on a fast machine.
    while !stop.load(Ordering::Relaxed) || latencies.len() == 0 {
        let session = SessionId(sessions[history.counter as usize % sessions.len()]);
        let participant = ParticipantId(Uuid::from_u128(session.0.as_u128() ^ ((history.counter as u128 + 1) << 64)));
        let (connection, connected_at) = history.join(session, participant);
        open.push((session, participant, connection, connected_at));
        let batch = std::mem::take(&mut history.records);
        latencies.record(apply(&mut conn, epoch, first_seq, &batch).await?);
        first_seq += batch.len() as i64;
    }
    for (session, participant, connection, connected_at) in open {
        history.close(session, participant, connection, connected_at);
    }
    apply(&mut conn, epoch, first_seq, &history.records).await?;
    Ok(latencies)
}
