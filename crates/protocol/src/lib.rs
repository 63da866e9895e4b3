//! The wire protocol `rollcall.v1`: client and server messages, close codes, error codes.
//!
//! One JSON object per text frame, discriminated by `type`. Receivers ignore fields they do not know. The same types
//! serve the server, the load-testing harness and the generated browser types.

pub mod client;
pub mod codes;
pub mod server;
#[cfg(test)]
mod typescript;

pub use client::{ClientMessage, ExtendRequest, FrameError, JoinRequest, KickRequest};
pub use codes::{CloseCode, ErrorCode, Retry};

/// The WebSocket subprotocol that client and server must agree on.
pub const SUBPROTOCOL: &str = "rollcall.v1";
