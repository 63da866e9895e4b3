//! Why a command cannot be carried out. Each maps to one public error code at the edge.

use crate::words::SessionEndReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the session has ended")]
    SessionEnded(SessionEndReason),
    /// An end is being written to Postgres at this moment; try again shortly.
    #[error("the session is just being ended")]
    SessionEnding,
    #[error("the session is full")]
    SessionFull,
    #[error("the participant was removed from the session")]
    Kicked,
    #[error("no such participant is present")]
    ParticipantUnknown,
    #[error("no such connection is open")]
    ConnectionUnknown,
    #[error("only a host may do this")]
    Forbidden,
    #[error("the session has not ended")]
    SessionActive,
    /// The token was no longer valid when the join was decided.
    #[error("the join token has expired")]
    TokenExpired,
}
