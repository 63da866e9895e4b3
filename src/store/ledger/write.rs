//! The statements of a batch, one a table, over arrays.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use rollcall_core::{Epoch, Heard, LeaveReason, Record, SessionId, Timestamp};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use uuid::Uuid;

use super::fold::{Arrival, Folded, ParticipantFold, Person};
use super::{Moved, audit, chain, rollups};
use crate::store::StoreError;
use crate::store::mapping::to_utc;
use crate::store::sessions::mark_awaits_closes;

/// The rows of a batch whose place in the sequence is taken. `stored` is what of the trail is in already, if it went ahead.
/// Returns the number of audit rows.
pub(super) async fn write(
    conn: &mut PgConnection,
    epoch: Epoch,
    first_seq: i64,
    records: &[Record],
    folded: Folded,
    stored: Option<Vec<audit::Row>>,
    moved: &Moved,
) -> Result<u64, StoreError> {
    rollups::count_as(conn, epoch).await?;
    let mut ended = lock_sessions(conn, epoch, &folded).await?;
    ended.extend(folded.sessions.iter().filter(|(_, fold)| fold.ended.is_some()).map(|(session, _)| session.0));
    let effective_ends = write_sessions(conn, &folded).await?;
    write_joined(conn, &folded).await?;
    write_uses(conn, &folded).await?;
    write_changed(conn, &folded).await?;
    write_names(conn, &folded).await?;
    let spans = async {
        write_opened(conn, &folded).await?;
        write_closed(conn, &folded).await?;
        mark_awaits_closes(conn, &ended).await?;
        write_heard(conn, epoch, &folded).await?;
        write_marks(conn, epoch, &folded).await
    };
    // While Postgres counts the spans, the rest of the trail is made ready to send.
    let (spans, (rows, insert, root)) = tokio::join!(spans, async {
        let mut missing = audit::end_rows(epoch, first_seq, records, &effective_ends);
        let mut rows = stored.unwrap_or_else(|| {
            missing.append(&mut audit::rows(epoch, first_seq, records));
            missing.sort_unstable_by_key(|row| row.seq);
            Vec::new()
        });
        let insert = insert_audit(epoch, &missing);
        rows.append(&mut missing);
        let root = chain::root(epoch, &rows, &folded.marks);
        (rows, insert, root)
    });
    spans?;
    if let Some(insert) = insert {
        insert.execute(&mut *conn).await?;
    }
    // Last: it reads back what the batch brought.
    chain::seal(&mut *conn, epoch, first_seq, records, root).await?;
    if moved.measures_open {
        sqlx::query_file!("src/store/queries/ledger_open.sql", epoch.0).execute(conn).await?;
    }
    Ok(rows.len() as u64)
}

/// Returns the sessions that had ended before.
async fn lock_sessions(conn: &mut PgConnection, epoch: Epoch, folded: &Folded) -> Result<Vec<Uuid>, StoreError> {
    let sessions: Vec<Uuid> = folded.sessions.keys().map(|session| session.0).collect();
    let connections: Vec<i64> = folded.heard.keys().copied().collect();
    if sessions.is_empty() && connections.is_empty() {
        return Ok(Vec::new());
    }
    let ended =
        sqlx::query_file_scalar!("src/store/queries/ledger_lock_sessions.sql", &sessions, epoch.0, &connections)
            .fetch_one(conn)
            .await?;
    Ok(ended)
}

/// Returns the positions of the records whose end of a session took effect.
async fn write_sessions(conn: &mut PgConnection, folded: &Folded) -> Result<HashSet<usize>, StoreError> {
    let sessions: Vec<Uuid> = folded.sessions.keys().map(|session| session.0).collect();
    if sessions.is_empty() {
        return Ok(HashSet::new());
    }
    let seen: Vec<_> = folded.sessions.values().map(|fold| fold.seen_at.map(to_utc)).collect();
    let activity: Vec<_> = folded.sessions.values().map(|fold| fold.activity_at.map(to_utc)).collect();
    let started: Vec<_> = folded.sessions.values().map(|fold| fold.started_at.map(to_utc)).collect();
    sqlx::query_file!(
        "src/store/queries/ledger_sessions.sql",
        &sessions,
        &seen as &[Option<DateTime<Utc>>],
        &activity as &[Option<DateTime<Utc>>],
        &started as &[Option<DateTime<Utc>>],
    )
    .execute(&mut *conn)
    .await?;

    let ends: Vec<_> =
        folded.sessions.iter().filter_map(|(session, fold)| fold.ended.map(|end| (*session, end))).collect();
    if ends.is_empty() {
        return Ok(HashSet::new());
    }
    let ended = sqlx::query_file_scalar!(
        "src/store/queries/ledger_session_ends.sql",
        &ends.iter().map(|(session, _)| session.0).collect::<Vec<_>>(),
        &ends.iter().map(|(_, (_, at, _))| to_utc(*at)).collect::<Vec<_>>(),
        &ends.iter().map(|(_, (_, _, reason))| reason.as_str().to_owned()).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    let ended: HashSet<SessionId> = ended.into_iter().map(SessionId).collect();
    Ok(ends.iter().filter(|(session, _)| ended.contains(session)).map(|(_, (index, ..))| *index).collect())
}

async fn write_joined(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    let joined: Vec<(&Person, &Arrival, &ParticipantFold)> = folded
        .participants
        .iter()
        .filter_map(|(person, fold)| fold.arrived.as_ref().map(|arrival| (person, arrival, fold)))
        .collect();
    if joined.is_empty() {
        return Ok(());
    }
    let status = |fold: &ParticipantFold| match (fold.left, fold.status) {
        (Some(_), _) => "left",
        (None, status) => status.map_or("active", |status| status.as_str()),
    };
    let column = Columns(&joined);
    sqlx::query_file!(
        "src/store/queries/ledger_participants_joined.sql",
        &column.of(|(person, ..)| person.0.0),
        &column.of(|(person, ..)| person.1.0),
        &column.of(|(_, arrival, _)| arrival.tenant.0),
        &column.of(|(_, arrival, _)| arrival.identity.clone()),
        &column.of(|(_, arrival, _)| arrival.verified),
        &column.of(|(_, arrival, _)| arrival.role.as_str().to_owned()),
        &column.of(|(_, arrival, _)| arrival.invite.map(|invite| invite.0)) as &[Option<Uuid>],
        &column.of(|(.., fold)| fold.state.clone()) as &[Option<String>],
        &column.of(|(.., fold)| status(fold).to_owned()),
        &column.of(|(_, arrival, _)| to_utc(arrival.first_at)),
        &column.of(|(_, arrival, _)| to_utc(arrival.at)),
        &column.of(|(_, arrival, fold)| to_utc(fold.seen_at.unwrap_or(arrival.at))),
        &column.of(|(.., fold)| fold.left.map(|(at, _)| to_utc(at))) as &[Option<DateTime<Utc>>],
        &column.of(|(.., fold)| left_reason(fold)) as &[Option<String>],
        &column.of(|(.., fold)| fold.kicked_at.map(to_utc)) as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_uses(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    if folded.uses.is_empty() {
        return Ok(());
    }
    sqlx::query_file!(
        "src/store/queries/ledger_invite_uses.sql",
        &folded.uses.keys().map(|(invite, _)| invite.0).collect::<Vec<_>>(),
        &folded.uses.keys().map(|(_, participant)| participant.0).collect::<Vec<_>>(),
        &folded.uses.values().map(|(_, at)| to_utc(*at)).collect::<Vec<_>>(),
        &folded.uses.values().map(|(index, _)| *index as i64).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_changed(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    let changed: Vec<(&Person, &ParticipantFold)> =
        folded.participants.iter().filter(|(_, fold)| fold.arrived.is_none()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let column = Columns(&changed);
    sqlx::query_file!(
        "src/store/queries/ledger_participants_changed.sql",
        &column.of(|(person, _)| person.0.0),
        &column.of(|(person, _)| person.1.0),
        &column.of(|(_, fold)| fold.state.clone()) as &[Option<String>],
        &column.of(|(_, fold)| fold.status.map(|status| status.as_str().to_owned())) as &[Option<String>],
        &column.of(|(_, fold)| fold.left.map(|(at, _)| to_utc(at))) as &[Option<DateTime<Utc>>],
        &column.of(|(_, fold)| left_reason(fold)) as &[Option<String>],
        &column.of(|(_, fold)| fold.kicked_at.map(to_utc)) as &[Option<DateTime<Utc>>],
        &column.of(|(_, fold)| fold.seen_at.map(to_utc)) as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn left_reason(fold: &ParticipantFold) -> Option<String> {
    fold.left.map(|(_, reason): (Timestamp, LeaveReason)| reason.as_str().to_owned())
}

async fn write_names(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    if folded.names.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = folded.names.iter().collect();
    let column = Columns(&names);
    sqlx::query_file!(
        "src/store/queries/ledger_names.sql",
        &column.of(|(person, _)| person.0.0),
        &column.of(|(person, _)| person.1.0),
        &column.of(|(_, fold)| fold.tenant.0),
        &column.of(|(_, fold)| fold.name.clone()),
        &column.of(|(_, fold)| to_utc(fold.at)),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_opened(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    if folded.opened.is_empty() {
        return Ok(());
    }
    let spans: Vec<_> = folded.opened.iter().collect();
    let column = Columns(&spans);
    sqlx::query_file!(
        "src/store/queries/ledger_spans_opened.sql",
        &column.of(|(id, _)| id.epoch.0),
        &column.of(|(id, _)| id.counter),
        &column.of(|(_, span)| span.session.0),
        &column.of(|(_, span)| span.tenant.0),
        &column.of(|(_, span)| span.participant.0),
        &column.of(|(_, span)| span.role.as_str().to_owned()),
        &column.of(|(_, span)| span.invite.map(|invite| invite.0)) as &[Option<Uuid>],
        &column.of(|(_, span)| to_utc(span.connected_at)),
        &column.of(|(_, span)| span.end.map(|end| to_utc(end.at))) as &[Option<DateTime<Utc>>],
        &column.of(|(_, span)| to_utc(span.evidence_at)),
        &column.of(|(_, span)| span.end.map(|end| end.reason.as_str().to_owned())) as &[Option<String>],
        &column.of(|(_, span)| span.end.map_or(0, |end| end.uncertainty_us)),
        &column.of(|(_, span)| span.resumed.map(|id| id.to_string())) as &[Option<String>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_closed(conn: &mut PgConnection, folded: &Folded) -> Result<(), StoreError> {
    if !folded.closed.is_empty() {
        let ends: Vec<_> = folded.closed.iter().collect();
        let column = Columns(&ends);
        sqlx::query_file!(
            "src/store/queries/ledger_spans_closed.sql",
            &column.of(|(id, _)| id.epoch.0),
            &column.of(|(id, _)| id.counter),
            &column.of(|(_, end)| to_utc(end.at)),
            &column.of(|(_, end)| end.reason.as_str().to_owned()),
            &column.of(|(_, end)| end.uncertainty_us),
        )
        .execute(&mut *conn)
        .await?;
    }
    if !folded.amended.is_empty() {
        let amended: Vec<_> = folded.amended.iter().collect();
        let column = Columns(&amended);
        sqlx::query_file!(
            "src/store/queries/ledger_spans_amended.sql",
            &column.of(|(id, _)| id.epoch.0),
            &column.of(|(id, _)| id.counter),
            &column.of(|(_, amendment)| to_utc(amendment.at)),
            &column.of(|(_, amendment)| amendment.uncertainty_us),
        )
        .execute(conn)
        .await?;
    }
    Ok(())
}

async fn write_heard(conn: &mut PgConnection, epoch: Epoch, folded: &Folded) -> Result<(), StoreError> {
    if folded.heard.is_empty() {
        return Ok(());
    }
    let lines: Vec<&Heard> = folded.heard.values().collect();
    let column = Columns(&lines);
    sqlx::query_file!(
        "src/store/queries/ledger_heard.sql",
        epoch.0,
        &column.of(|line| line.counter),
        &column.of(|line| to_utc(line.evidence_at)),
        &column.of(|line| line.activity_at.map(to_utc)) as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn write_marks(conn: &mut PgConnection, epoch: Epoch, folded: &Folded) -> Result<(), StoreError> {
    if folded.marks.is_empty() {
        return Ok(());
    }
    let column = Columns(&folded.marks);
    sqlx::query_file!(
        "src/store/queries/ledger_marks.sql",
        epoch.0,
        &column.of(|(seq, ..)| *seq),
        &column.of(|(_, at, _)| to_utc(*at)),
        &column.of(|(.., connections)| *connections),
        &column.of(|mark| chain::mark_leaf(epoch, mark).to_vec()),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The statement with its arguments encoded; none without rows.
pub(super) fn insert_audit(epoch: Epoch, rows: &[audit::Row]) -> Option<Query<'static, Postgres, PgArguments>> {
    if rows.is_empty() {
        return None;
    }
    let column = Columns(rows);
    Some(sqlx::query_file!(
        "src/store/queries/ledger_audit.sql",
        epoch.0,
        &column.of(|row| to_utc(row.at)),
        &column.of(|row| row.seq),
        &column.of(|row| row.tenant.0),
        &column.of(|row| row.session.0),
        &column.of(|row| row.participant.map(|participant| participant.0)) as &[Option<Uuid>],
        &column.of(|row| row.connection.clone()) as &[Option<String>],
        &column.of(|row| row.event_type.to_owned()),
        &column.of(|row| row.actor.clone()),
        &column.of(|row| row.metadata.clone()),
        &column.of(|row| row.leaf.to_vec()),
    ))
}

/// Rows seen as columns, which is how UNNEST takes them.
struct Columns<'a, T>(&'a [T]);

impl<T> Columns<'_, T> {
    fn of<C>(&self, pick: impl Fn(&T) -> C) -> Vec<C> {
        self.0.iter().map(pick).collect()
    }
}
