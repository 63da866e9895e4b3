//! The money: rollups against an oracle, and every edge case of metering by its name.

mod edges;
mod flushes;
mod oracle;
mod periods;
mod random;
mod tampering;

use rollcall_core::{Epoch, SessionId, TenantId, Timestamp};
use uuid::Uuid;

use super::{LEASE, database, fresh_id, make_session, make_tenant, now, run, value};
use crate::store::Store;

/// 2026-03-01 00:00 UTC, in seconds.
pub const MARCH: i64 = 1_772_323_200;
pub const ALL_TIME: &str = "'2026-01-01Z', '2027-01-01Z'";

/// A tenant with one session and an epoch, into which spans are written as the flusher leaves them.
pub struct Ledger {
    pub store: Store,
    pub tenant: TenantId,
    pub session: SessionId,
    pub epoch: Epoch,
    next_connection: i64,
}

impl Ledger {
    pub async fn new() -> Self {
        let store = database().await;
        let tenant = make_tenant(&store).await;
        let session = make_session(&store, tenant, fresh_id(), Timestamp(MARCH * 1_000_000)).await;
        let epoch = store.open_epoch("node-a", now(), LEASE).await.expect("epoch");
        Self { store, tenant, session, epoch, next_connection: 1 }
    }

    /// A closed span, in seconds of March.
    pub async fn span(&mut self, person: u128, from: f64, to: f64) -> i64 {
        let connection = self.open(person, from, from).await;
        self.close(connection, to, "left", 0).await;
        connection
    }

    /// An open span with its last evidence, in seconds of March.
    pub async fn open(&mut self, person: u128, from: f64, evidence: f64) -> i64 {
        let connection = self.next_connection;
        self.next_connection += 1;
        let (session, tenant, epoch, person) = (self.session, self.tenant, self.epoch, Uuid::from_u128(person));
        let sql = format!(
            "insert into rollcall.participation_spans (epoch, connection, session_id, tenant_id, participant_id, role,
                 connected_at, last_evidence_at)
             values ({epoch}, {connection}, '{session}', '{tenant}', '{person}', 'guest', {}, {})",
            at(from),
            at(evidence)
        );
        run(&self.store, sql).await.expect("opens");
        connection
    }

    pub async fn close(&self, connection: i64, to: f64, reason: &str, uncertainty_us: i64) {
        let sql = format!(
            "update rollcall.participation_spans
             set disconnected_at = {}, end_reason = '{reason}', uncertainty_us = {uncertainty_us},
                 last_evidence_at = greatest(last_evidence_at, {})
             where epoch = {} and connection = {connection}",
            at(to),
            at(to),
            self.epoch
        );
        run(&self.store, sql).await.expect("closes");
    }

    /// A column of the bill of the session, summed over its participants.
    pub async fn bill(&self, column: &str, more: &str) -> String {
        let sql = format!(
            "select trim_scale(sum(b.{column})) from rollcall.get_session_billing_data('{}'{more}) b",
            self.session
        );
        value(&self.store, sql).await
    }

    /// A column of the usage of the tenant, summed over the rows.
    pub async fn usage(&self, column: &str, arguments: &str) -> String {
        let sql =
            format!("select trim_scale(sum(u.{column})) from rollcall.get_usage('{}', {arguments}) u", self.tenant);
        value(&self.store, sql).await
    }

    /// What recompute_billing finds wrong with the sums; the trail is left aside where spans were written without one.
    pub async fn differences(&self) -> String {
        differences(&self.store).await
    }
}

/// Differences of all tenants in one line; empty is right.
pub async fn differences(store: &Store) -> String {
    let sql = format!(
        "select coalesce(string_agg(format('%s %s: %s, not %s', r.what, r.day, r.stored, r.recomputed), e'\\n'), '')
         from rollcall.recompute_billing(null, {ALL_TIME}) r"
    );
    value(store, sql).await
}

pub fn at(seconds_of_march: f64) -> String {
    format!("to_timestamp({})", MARCH as f64 + seconds_of_march)
}
