//! The domain of Rollcall as a pure state machine.
//!
//! Everything that can happen to a session is a [`Command`]; [`Session::apply`] turns it into [`Effect`]s. Time and ids
//! are arguments, so the same commands always give the same effects, and a simulation can run years in seconds.
//!
//! Reading order: [`ids`] and [`time`] (the vocabulary), [`record`] (what goes into the ledger), [`session`] (the state
//! machine), [`presence`] (what other people see), [`chain`] (how the ledger is made tamper-evident).
//!
//! **Invariant:** nothing here does I/O, reads a clock or draws a random number.

pub mod chain;
pub mod connection;
pub mod ids;
pub mod planted;
pub mod presence;
pub mod record;
pub mod refusal;
pub mod session;
pub mod time;
pub mod words;

pub use connection::ConnectionClock;
pub use ids::{ConnectionId, Epoch, InviteId, ParticipantId, SessionId, TenantId};
pub use presence::{ParticipantView, PresenceDiff, Snapshot};
pub use record::{Fact, Heard, Record, SessionFact};
pub use refusal::Refusal;
pub use session::{
    CloseProof, CloseReason, Command, CrashedConnection, Effect, Event, Join, Joined, Member, PresencePolicy,
    Recipients, RestoredParticipant, Session, SessionSpec, SessionView, Testimony,
};
pub use time::Timestamp;
pub use words::{Actor, LeaveReason, Role, SessionEndReason, Status, WarningCause};
