//! Sockets: accepting, the handshake, one task for each connection.
//!
//! Reading order: [`accept`] (TCP and HTTP), [`lobby`] (how many HTTP connections), [`handshake`] (upgrade, origin, first frame, join), [`connection`] (the life
//! of a socket), [`socket`] (reads and writes frames), [`frame`] (how they are laid out), [`convert`] (core ↔ wire).

mod accept;
mod close_guard;
mod connection;
mod convert;
mod environment;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gate;
mod handshake;
mod host;
mod lobby;
mod patient;
mod rate;
mod socket;
mod standstill;
#[cfg(test)]
mod tests;
mod threads;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use accept::{HttpConnections, Listener, serve};
pub use environment::{Environment, Server};
pub use gate::{AddressLimits, Gate, Unauthenticated};
pub use handshake::{Visit, converse, upgrade};
pub use host::HostCommand;
pub use lobby::{Lobby, LobbyLimits};
pub use socket::Wire;
pub use threads::SocketThreads;

use crate::admission::Admission;
use crate::config::OriginPolicy;
use crate::hub::Hub;
use crate::metrics::WsMetrics;

/// Limits and times of sockets. The configuration documents each.
#[derive(Clone)]
pub struct WsOptions {
    /// Origins whose pages may connect.
    pub origins: OriginPolicy,
    /// Proxies whose `X-Forwarded-For` is believed; the limits by address count the client behind them.
    pub is_trusted_proxy: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    pub first_frame_timeout: Duration,
    pub frame_bytes_max: usize,
    pub message_bytes_max: usize,
    pub join_bytes_max: usize,
    pub state_bytes_max: usize,
    pub messages_per_s: u32,
    pub messages_burst: u32,
    pub ping_interval: Duration,
    /// Silent for this long: the server sends a WebSocket ping.
    pub probe_after: Duration,
    /// Silent for this long: the connection is dead.
    pub dead_after: Duration,
    /// A write that makes no progress for this long closes the socket.
    pub slow_consumer_timeout: Duration,
    /// How long a peer has to answer a close; its answer proves that it was there until then.
    pub close_confirm_timeout: Duration,
    /// Longest pause that clients are told to make before they come back after a restart; the pause is drawn at random.
    pub restart_spread: Duration,
    /// Answer joins only when Postgres has them, not already when this server's disk has.
    pub ack_in_postgres: bool,
}

/// What every socket shares.
pub struct WsState<E: Environment = Server> {
    pub hub: Hub,
    pub admission: Admission<E::Store>,
    pub options: WsOptions,
    pub gate: Arc<Gate>,
    pub metrics: WsMetrics,
    pub environment: E,
}

pub type SharedWs<E = Server> = Arc<WsState<E>>;
