//! What truly happened, as the clients and those who meddle with the server saw it. All instants are microseconds of one
//! steady clock ([`crate::clock::steady_us`]), anchored to the wall as the server's own.
//!
//! Each connection has two bounds. *At least*: from the receipt of `joined` to the sending of the last frame that the
//! server provably received. *At most*: from the sending of the join to the moment after which nothing of the client can
//! have reached the server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::faults::FaultKind;

/// Everything that is known about a run.
#[derive(Debug, Default)]
pub struct Truth {
    pub connections: Vec<ConnectionTruth>,
    pub orders: Vec<Order>,
    pub boots: Vec<Boot>,
    /// Every fault that was made, in order.
    pub incidents: Vec<Incident>,
    /// Every session that was made.
    pub sessions: Vec<String>,
    /// How far the server's clock was seen off ours, beyond what the way of the frames explains.
    pub clock_off_us: i64,
    pub pongs: u64,
}

/// One socket of one participant.
#[derive(Debug, Clone)]
pub struct ConnectionTruth {
    pub identity: String,
    pub session: String,
    /// The invite it came by, or its resume token came from.
    pub invite: String,
    pub join_sent: i64,
    pub joined: Option<Joined>,
    /// When the last frame was sent that the server provably received.
    pub heard_until: i64,
    /// Up to here the client was there, and its network worked.
    pub there_until: i64,
    /// After this nothing of it can have reached the server.
    pub gone_at: i64,
    /// The client came back later and said that this connection had been open until then.
    pub testified_until: Option<i64>,
    /// How the client began to end it, whatever came of that.
    pub asked: Option<End>,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub at: i64,
    pub connection: String,
    pub participant: String,
}

/// How a connection ended in the eyes of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// We sent a close frame and the server answered it.
    Closed,
    /// We ended the stream without a close frame, and the server ended its side.
    Finished,
    /// We reset the connection.
    Reset,
    /// The network went away without a word.
    Hole,
    /// We said `leave`, and the server said goodbye.
    Left,
    /// The server closed it with this code.
    ByServer(u16),
    /// The stream ended without a word of the server, in our eyes; perhaps while we were ending it ourselves.
    Lost,
    /// The join was refused with this code.
    Refused(u16),
}

/// Something that may end connections, from outside of them.
#[derive(Debug, Clone)]
pub struct Order {
    /// Just before it was asked for.
    pub at: i64,
    /// When the answer was there; with no answer, when it can no longer take effect.
    pub until: i64,
    pub scope: Scope,
    /// The leave reason that it gives to a connection.
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Session(String),
    Participant { session: String, participant: String },
    Invite(String),
    Connection(String),
}

/// A fault and how long it lasted, until what was broken was whole again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    pub kind: FaultKind,
    pub at: i64,
    pub until: i64,
}

/// One run of the server's process.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Just before the process was started.
    pub started: i64,
    pub end: Option<BootEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootEnd {
    /// Just before the signal.
    pub at: i64,
    /// When the process was gone.
    pub gone_at: i64,
    pub kind: BootEndKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootEndKind {
    Killed,
    Terminated,
}

impl Scope {
    pub fn covers(&self, connection: &ConnectionTruth) -> bool {
        match self {
            Self::Session(session) => *session == connection.session,
            Self::Participant { session, participant } => {
                *session == connection.session
                    && connection.joined.as_ref().is_some_and(|joined| joined.participant == *participant)
            }
            Self::Invite(invite) => *invite == connection.invite,
            Self::Connection(id) => connection.joined.as_ref().is_some_and(|joined| joined.connection == *id),
        }
    }
}

/// The truth while it is being made, shared by all who make it.
#[derive(Debug, Default)]
pub struct Witness(Mutex<Truth>);

impl Witness {
    pub fn lock(&self) -> MutexGuard<'_, Truth> {
        // Whoever panicked did so outside of a change: changes are single assignments.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, connection: ConnectionTruth) {
        self.lock().connections.push(connection);
    }

    pub fn order(&self, order: Order) {
        self.lock().orders.push(order);
    }

    /// The client of this connection testified how long it had been open.
    pub fn testify(&self, connection: &str, open_until: i64) {
        let mut truth = self.lock();
        let named =
            |one: &&mut ConnectionTruth| one.joined.as_ref().is_some_and(|joined| joined.connection == connection);
        if let Some(one) = truth.connections.iter_mut().rev().find(named) {
            one.testified_until = Some(open_until.max(one.testified_until.unwrap_or(i64::MIN)));
        }
    }

    /// A pong said `server_at`; it was written between the sending of the ping and the receipt of the pong.
    pub fn compare_clocks(&self, ping_sent: i64, server_at: i64, pong_received: i64) {
        let off = (ping_sent - server_at).max(server_at - pong_received).max(0);
        let mut truth = self.lock();
        truth.pongs += 1;
        truth.clock_off_us = truth.clock_off_us.max(off);
    }
}
