//! The audit trail: events of the control plane in, pages of the trail out.

use chrono::{DateTime, Utc};
use rollcall_core::{Actor, ParticipantId, SessionId, TenantId};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::mapping::actor_text;
use super::{Store, StoreError};

/// One event of the control plane. It is written in the transaction of the change it is about.
#[derive(Debug, Clone)]
pub struct ControlEvent<'a> {
    pub tenant: TenantId,
    pub session: Option<SessionId>,
    pub participant: Option<ParticipantId>,
    pub event_type: &'static str,
    pub actor: &'a Actor,
    /// Never a secret, never a name or an e-mail address.
    pub metadata: Value,
    pub at: DateTime<Utc>,
}

/// One row of the trail.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub epoch: i64,
    pub seq: i64,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub session_id: Option<Uuid>,
    pub participant_id: Option<Uuid>,
    pub connection: Option<String>,
    pub event_type: String,
    pub actor: String,
    pub metadata: Value,
}

/// A place in the trail: time, then epoch, then number.
pub type AuditPlace = (DateTime<Utc>, i64, i64);

#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub session: Option<Uuid>,
    pub participant: Option<Uuid>,
    pub event_type: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub after: Option<AuditPlace>,
    pub newest_first: bool,
    pub limit: i64,
}

/// A change of the control plane and its trail, written together or not at all.
pub type Change = Transaction<'static, Postgres>;

impl Store {
    /// Starts a change. It is undone when it is dropped without [`commit`].
    pub async fn begin(&self) -> Result<Change, StoreError> {
        Ok(self.pool.begin().await?)
    }
}

/// Makes a change good. When this fails with [`StoreError::Unavailable`], whether it was made is unknown.
pub async fn commit(change: Change) -> Result<(), StoreError> {
    Ok(change.commit().await?)
}

/// Call it last in a transaction: it holds the row that numbers all control events until the commit.
pub async fn log_control(connection: &mut PgConnection, event: ControlEvent<'_>) -> Result<(), StoreError> {
    sqlx::query!(
        r#"select rollcall.log_control_event($1, $2, $3, $4, $5, $6, $7) as "seq!""#,
        event.tenant.0,
        event.session.map(|session| session.0),
        event.participant.map(|participant| participant.0),
        event.event_type,
        actor_text(event.actor),
        event.metadata,
        event.at,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

pub async fn list(store: &Store, tenant: TenantId, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    if filter.newest_first {
        list_newest_first(store, tenant, filter).await
    } else {
        list_oldest_first(store, tenant, filter).await
    }
}

async fn list_oldest_first(store: &Store, tenant: TenantId, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    let (after_at, after_epoch, after_seq) = split(filter.after);
    let rows = sqlx::query_as!(
        AuditRow,
        "select epoch, seq, occurred_at, recorded_at, session_id, participant_id, connection, event_type, actor, metadata
         from rollcall.session_audit_log
         where tenant_id = $1
           and ($2::uuid is null or session_id = $2)
           and ($3::uuid is null or participant_id = $3)
           and ($4::text is null or event_type = $4)
           and ($5::timestamptz is null or occurred_at >= $5)
           and ($6::timestamptz is null or occurred_at < $6)
           and ($7::timestamptz is null or (occurred_at, epoch, seq) > ($7, $8::bigint, $9::bigint))
         order by occurred_at, epoch, seq
         limit $10",
        tenant.0,
        filter.session,
        filter.participant,
        filter.event_type,
        filter.from,
        filter.to,
        after_at,
        after_epoch,
        after_seq,
        filter.limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

async fn list_newest_first(store: &Store, tenant: TenantId, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    let (after_at, after_epoch, after_seq) = split(filter.after);
    let rows = sqlx::query_as!(
        AuditRow,
        "select epoch, seq, occurred_at, recorded_at, session_id, participant_id, connection, event_type, actor, metadata
         from rollcall.session_audit_log
         where tenant_id = $1
           and ($2::uuid is null or session_id = $2)
           and ($3::uuid is null or participant_id = $3)
           and ($4::text is null or event_type = $4)
           and ($5::timestamptz is null or occurred_at >= $5)
           and ($6::timestamptz is null or occurred_at < $6)
           and ($7::timestamptz is null or (occurred_at, epoch, seq) < ($7, $8::bigint, $9::bigint))
         order by occurred_at desc, epoch desc, seq desc
         limit $10",
        tenant.0,
        filter.session,
        filter.participant,
        filter.event_type,
        filter.from,
        filter.to,
        after_at,
        after_epoch,
        after_seq,
        filter.limit,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows)
}

fn split(place: Option<AuditPlace>) -> (Option<DateTime<Utc>>, Option<i64>, Option<i64>) {
    match place {
        Some((at, epoch, seq)) => (Some(at), Some(epoch), Some(seq)),
        None => (None, None, None),
    }
}
