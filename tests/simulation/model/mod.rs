//! What Postgres holds for the ledger, as plain maps in memory: the reference for the SQL, and the database of the
//! simulation.
//!
//! Written from what the tables mean and not from the statements: a record is applied by itself, a question is answered by
//! looking at every row. `tests/it/model` runs the same histories through this and through a real Postgres and compares
//! every row.
//!
//! Everything is a value: a clone is a snapshot, and putting the clone back is what a restore to an earlier point does.
//! Time is an argument; it stands for the clock of the database.
//!
//! Reading order: [`rows`] (the tables), [`epochs`], [`batch`] (the watermark), [`facts`] (one record), [`control`],
//! [`invites`], [`live`], [`cleanup`], [`usage`].

pub mod batch;
pub mod cleanup;
pub mod control;
pub mod epochs;
mod facts;
pub mod invites;
pub mod live;
pub mod rows;
pub mod usage;

use std::collections::BTreeMap;

use rollcall::store::StoredInvite;
use rollcall_core::{ConnectionId, Epoch, InviteId, ParticipantId, SessionId, TenantId, Timestamp};

use rows::{AuditRow, EpochRow, MarkRow, ParticipantRow, RefusedRow, SessionRow, SpanRow};

/// The epoch of the control plane, whose sequence is [`Model::control_seq`].
pub const CONTROL_EPOCH: Epoch = Epoch(0);

/// The tables. All are open to whoever wants to read them; only the methods change them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub epochs: BTreeMap<Epoch, EpochRow>,
    /// The last number that was handed out to an epoch.
    pub last_epoch: i64,
    /// The last event of the control plane.
    pub control_seq: i64,
    /// Key of the participant ids of each tenant.
    pub tenants: BTreeMap<TenantId, [u8; 32]>,
    pub sessions: BTreeMap<SessionId, SessionRow>,
    pub invites: BTreeMap<InviteId, StoredInvite>,
    /// When each participant used an invite for the first time.
    pub invite_uses: BTreeMap<(InviteId, ParticipantId), Timestamp>,
    pub participants: BTreeMap<(SessionId, ParticipantId), ParticipantRow>,
    /// Names given, with when.
    pub names: BTreeMap<(SessionId, ParticipantId), (String, Timestamp)>,
    pub spans: BTreeMap<ConnectionId, SpanRow>,
    /// In the order of writing.
    pub audit: Vec<AuditRow>,
    pub marks: Vec<MarkRow>,
    pub refused: Vec<RefusedRow>,
}

impl Model {
    pub fn add_tenant(&mut self, tenant: TenantId, identity_salt: [u8; 32]) {
        self.tenants.insert(tenant, identity_salt);
    }
}

/// Never backwards.
fn raise(known: &mut Timestamp, at: Timestamp) {
    *known = (*known).max(at);
}
