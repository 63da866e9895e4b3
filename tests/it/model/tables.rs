//! Every table as lines of text, once from the model and once from Postgres.
//!
//! Left out is what the clock of the database alone decides: leases, and when exactly an epoch was closed.

use rollcall::store::mapping::{actor_text, to_utc};
use rollcall_core::{Actor, ConnectionId, SessionFact, Timestamp};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use super::model::Model;
use super::model::live::jsonb_text;
use super::model::rows::{AuditRow, Event, Presence};

/// Values between bars.
macro_rules! line {
    ($($value:expr),+ $(,)?) => {
        [$($value.to_string()),+].join("|")
    };
}

/// A table, the columns that are compared, in order, and what they are called in the line. `@` marks instants.
const TABLES: [(&str, &str); 10] = [
    ("node_epochs", "epoch node_name state @started_at applied_seq @attested_until closed_at:is_set"),
    (
        "sessions",
        "session_id status idle_timeout_s max_participants @started_at @ended_at end_reason @last_activity_at \
         @last_seen_at @hold_until @expires_at version",
    ),
    ("invites", "invite_id session_id uses @revoked_at"),
    ("invite_uses", "invite_id participant_id @used_at"),
    (
        "participants",
        "session_id participant_id identity identity_verified role invite_id state status @first_joined_at @joined_at \
         @last_seen_at @left_at leave_reason @kicked_at",
    ),
    ("participant_pii", "session_id participant_id name @updated_at"),
    (
        "participation_spans",
        "epoch connection session_id participant_id role invite_id @connected_at @last_evidence_at @disconnected_at \
         end_reason uncertainty_us resumed_from",
    ),
    (
        "session_audit_log",
        "epoch seq @occurred_at tenant_id session_id participant_id connection event_type actor metadata",
    ),
    ("evidence_marks", "epoch seq @marked_at connections"),
    ("refused_records", "epoch seq"),
];

pub async fn of_postgres(pool: &PgPool) -> Vec<String> {
    let mut lines = Vec::new();
    for (table, columns) in TABLES {
        let columns: Vec<_> = columns.split_whitespace().map(column).collect();
        let sql = format!(
            "select concat_ws('|', '{table}', {}) from rollcall.{table} t where {}",
            columns.join(", "),
            if table == "node_epochs" { "epoch > 0" } else { "true" }
        );
        let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.expect(table);
        lines.extend(found);
    }
    lines.extend(bills(pool).await);
    lines.sort_unstable();
    lines
}

fn column(name: &str) -> String {
    let text = if let Some(name) = name.strip_prefix('@') {
        microseconds(name)
    } else if let Some(name) = name.strip_suffix(":is_set") {
        format!("({name} is not null)")
    } else {
        name.to_owned()
    };
    format!("coalesce({text}::text, '-')")
}

fn microseconds(expression: &str) -> String {
    format!("(extract(epoch from {expression}) * 1000000)::bigint")
}

/// What each participant is billed, from the spans and from the sums that the flush keeps; and when it was there.
async fn bills(pool: &PgPool) -> Vec<String> {
    let sql = format!(
        "select concat_ws('|', 'bill', p.session_id, p.participant_id, b.connections,
                          (b.connected_seconds * 1000000)::bigint, (b.billable_seconds * 1000000)::bigint,
                          (b.uncertainty_seconds * 1000000)::bigint, b.is_open::text,
                          coalesce(c.connected_us, 0), coalesce(c.covered_us, 0), coalesce(c.uncertainty_us, 0),
                          (select string_agg(concat({}, '-', {}), ',' order by r)
                           from unnest(rollcall.coverage_of(p.session_id, p.participant_id, true)) r))
         from (select distinct s.session_id, s.participant_id from rollcall.participation_spans s) p
         join rollcall.sessions using (session_id)
         join lateral (select * from rollcall.get_session_billing_data(p.session_id) g
                       where g.participant_id = p.participant_id) b on true
         left join lateral (select sum(connected_us) as connected_us, sum(covered_us) as covered_us,
                                   sum(uncertainty_us) as uncertainty_us
                            from rollcall.participant_coverage c
                            where c.session_id = p.session_id and c.participant_id = p.participant_id) c on true",
        microseconds("lower(r)"),
        microseconds("upper(r)"),
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.expect("bills are readable")
}

pub fn of_model(model: &Model) -> Vec<String> {
    let mut lines = Vec::new();
    people(model, &mut lines);
    records(model, &mut lines);
    for (epoch, row) in &model.epochs {
        let closed = row.closed_at.is_some();
        lines.push(line!(
            "node_epochs",
            epoch,
            row.node_name,
            row.state.as_str(),
            at(row.started_at),
            row.applied_seq,
            at(row.attested_until),
            closed
        ));
    }
    for (id, row) in &model.sessions {
        let (ended_at, reason) = row.ended.unzip();
        let status = if row.is_active() { "active" } else { "ended" };
        lines.push(line!(
            "sessions",
            id,
            status,
            row.idle_timeout.as_secs(),
            or_dash(row.participants_max),
            or_dash_at(row.started_at),
            or_dash_at(ended_at),
            or_dash(reason),
            at(row.last_activity_at),
            at(row.last_seen_at),
            at(row.hold_until),
            or_dash_at(row.expires_at),
            row.version
        ));
    }
    for (id, row) in &model.invites {
        lines.push(line!("invites", id, row.session, row.uses, or_dash_at(row.revoked_at)));
    }
    for ((invite, participant), used_at) in &model.invite_uses {
        lines.push(line!("invite_uses", invite, participant, at(*used_at)));
    }
    lines.sort_unstable();
    lines
}

fn people(model: &Model, lines: &mut Vec<String>) {
    for ((session, id), row) in &model.participants {
        let (status, left_at, reason) = match row.presence {
            Presence::Here(status) => (status.as_str(), None, None),
            Presence::Left(at, reason) => ("left", Some(at), Some(reason)),
        };
        lines.push(line!(
            "participants",
            session,
            id,
            row.identity,
            row.verified,
            row.role,
            or_dash(row.invite),
            or_dash(row.state.as_ref().map(jsonb_text)),
            status,
            at(row.first_joined_at),
            at(row.joined_at),
            at(row.last_seen_at),
            or_dash_at(left_at),
            or_dash(reason),
            or_dash_at(row.kicked_at)
        ));
    }
    for ((session, participant), (name, updated_at)) in &model.names {
        lines.push(line!("participant_pii", session, participant, name, at(*updated_at)));
    }
    for (id, span) in &model.spans {
        let (end, reason) = span.end.unzip();
        lines.push(line!(
            "participation_spans",
            id.epoch,
            id.counter,
            span.session,
            span.participant,
            span.role,
            or_dash(span.invite),
            at(span.connected_at),
            at(span.last_evidence_at),
            or_dash_at(end),
            or_dash(reason),
            span.uncertainty_us,
            or_dash(span.resumed)
        ));
        let (session, participant) = (span.session, span.participant);
        if model.sessions.contains_key(&session) {
            let usage = model.usage(session, participant, true);
            let closed = model.usage(session, participant, false);
            let coverage = model.coverage(session, participant, true);
            let coverage: Vec<_> = coverage.iter().map(|(from, to)| format!("{}-{}", from.0, to.0)).collect();
            let mut bill = line!(
                "bill",
                session,
                participant,
                usage.connections,
                usage.connected.as_micros(),
                usage.billable.as_micros(),
                usage.uncertainty_us,
                usage.is_open,
                closed.connected.as_micros(),
                closed.billable.as_micros(),
                closed.uncertainty_us
            );
            if !coverage.is_empty() {
                bill = format!("{bill}|{}", coverage.join(","));
            }
            if !lines.contains(&bill) {
                lines.push(bill);
            }
        }
    }
}

fn records(model: &Model, lines: &mut Vec<String>) {
    for row in &model.audit {
        let (connection, actor, metadata) = described(row);
        lines.push(line!(
            "session_audit_log",
            row.epoch,
            row.seq,
            at(row.at),
            row.tenant,
            row.session,
            or_dash(row.participant),
            or_dash(connection),
            row.event.event_type(),
            actor_text(&actor),
            jsonb_text(&metadata)
        ));
    }
    for mark in &model.marks {
        lines.push(line!("evidence_marks", mark.epoch, mark.seq, at(mark.at), mark.connections));
    }
    for refused in &model.refused {
        lines.push(line!("refused_records", refused.epoch, refused.seq));
    }
}

/// Connection, actor and metadata of a row of the trail.
fn described(row: &AuditRow) -> (Option<ConnectionId>, Actor, Value) {
    let fact = match &row.event {
        Event::Decided { actor, metadata, .. } => return (None, actor.clone(), metadata.clone()),
        Event::Recorded { fact, .. } => fact,
    };
    let server = Actor::Server;
    match fact {
        SessionFact::SessionStarted => (None, server, json!({})),
        SessionFact::SessionEnded { reason, by } => (None, by.clone(), json!({ "reason": reason })),
        SessionFact::SessionWarned { cause, ends_at } => {
            (None, server, json!({ "cause": cause, "ends_at": to_utc(*ends_at) }))
        }
        SessionFact::ParticipantJoined { participant, verified, role, invite, .. } => {
            let mut metadata = json!({ "role": role, "identity_verified": verified });
            set(&mut metadata, "invite_id", invite.map(|invite| json!(invite)));
            (None, Actor::Participant(*participant), metadata)
        }
        SessionFact::ConnectionOpened { participant, connection, role, invite, resumed } => {
            let mut metadata = json!({ "role": role });
            set(&mut metadata, "invite_id", invite.map(|invite| json!(invite)));
            set(&mut metadata, "resumed_from", resumed.map(|id| json!(id.to_string())));
            (Some(*connection), Actor::Participant(*participant), metadata)
        }
        SessionFact::ConnectionClosed { connection, connected_at, reason, uncertainty_us, .. } => {
            let metadata = json!({
                "reason": reason,
                "connected_at": to_utc(*connected_at),
                "duration_us": row.at.0 - connected_at.0,
                "uncertainty_us": uncertainty_us,
            });
            (Some(*connection), server, metadata)
        }
        SessionFact::ConnectionCloseAmended { connection, uncertainty_us, .. } => {
            (Some(*connection), server, json!({ "uncertainty_us": uncertainty_us }))
        }
        SessionFact::PresenceChanged { status, .. } => (None, server, json!({ "status": status })),
        SessionFact::ParticipantLeft { reason, by, .. } => (None, by.clone(), json!({ "reason": reason })),
        SessionFact::StateUpdated { participant, state } => {
            (None, Actor::Participant(*participant), json!({ "bytes": state.len() }))
        }
        SessionFact::InviteExpired { invite } => (None, server, json!({ "invite_id": invite })),
    }
}

fn set(metadata: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        metadata[name] = value;
    }
}

fn at(at: Timestamp) -> i64 {
    at.0
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn or_dash_at(at: Option<Timestamp>) -> String {
    or_dash(at.map(|at| at.0))
}
