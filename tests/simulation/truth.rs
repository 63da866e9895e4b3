//! What is known to be true, written down by those who did it: people, the director, the process table. The oracle compares
//! it with the books.

use std::collections::BTreeMap;

use rollcall_core::{ConnectionId, Epoch, InviteId, ParticipantId, SessionId, Timestamp};

use super::oracle::bills::Closed;
use super::tab::View;
use super::wire::Link;

#[derive(Debug, Default)]
pub struct Truth {
    pub violations: Vec<(&'static str, String)>,
    pub boots: BTreeMap<u64, Boot>,
    pub boot_of: BTreeMap<Epoch, u64>,
    pub attempts: Vec<Attempt>,
    pub sessions: BTreeMap<SessionId, SessionTruth>,
    pub invites: BTreeMap<InviteId, InviteTruth>,
    pub decisions: Vec<Decision>,
    /// Findings that a stated limit allows: marks that the disk held up.
    pub excused: u64,
    /// What the books said to be complete, since the last restore.
    pub closed: Vec<Closed>,
    /// How often Postgres was put back to an earlier point.
    pub restores: u64,
    /// The point of the last restore.
    pub restored_to: Option<Timestamp>,
    /// When the last fault was over.
    pub healed_at: Option<Timestamp>,
    /// Times at which the disk stalled or was full: marks may have come late.
    pub disk_troubles: Vec<(Timestamp, Timestamp)>,
}

/// One process.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    pub epoch: Option<Epoch>,
    /// How far its clock is from the true time.
    pub clock_error_us: i64,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// When it began to stop in good order.
    pub stopping_at: Option<Timestamp>,
    /// The machine goes with it, so nobody tells the peers.
    pub loses_power: bool,
    /// Everything reached Postgres and the epoch was closed.
    pub is_clean: bool,
}

/// One socket of one person.
#[derive(Debug)]
pub struct Attempt {
    pub session: SessionId,
    pub boot: u64,
    pub link: Link,
    pub token: Token,
    /// When the server must close it because its token is over, by the server's clock.
    pub stay_until: Option<Timestamp>,
    pub opened_at: Timestamp,
    /// When its join reached the server.
    pub asked_at: Option<Timestamp>,
    pub joined: Option<Joined>,
    pub leave_said_at: Option<Timestamp>,
    /// A close frame of the client that was not an answer.
    pub close_said_at: Option<Timestamp>,
    /// The close frame of the server.
    pub closed: Option<(u16, Timestamp)>,
    /// When it was gone without one.
    pub dropped_at: Option<Timestamp>,
    /// When the person's side saw the end, or made it.
    pub over_at: Option<Timestamp>,
    /// When the network went away without a word.
    pub cut_at: Option<Timestamp>,
    /// Arrivals of what proves the person active.
    pub activities: Vec<Timestamp>,
    pub stopped_reading: bool,
    pub flooded: bool,
    /// An error frame that refused the join.
    pub refused: Option<String>,
    /// By then the last stop had begun.
    pub refused_at_the_end: bool,
    /// The `ended` frame, by its code.
    pub ended: Option<String>,
    /// Who is there, as this socket was told.
    pub view: View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    pub participant: ParticipantId,
    pub connection: ConnectionId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    Invite(InviteId),
    /// Signed by the app.
    Jwt,
    /// With the invite by which its holder came in first, if it was one.
    Resume(Option<InviteId>),
}

#[derive(Debug, Clone)]
pub struct SessionTruth {
    /// Reaches of extensions that were asked for, whether or not they were granted.
    pub held_until: Timestamp,
}

#[derive(Debug, Clone)]
pub struct InviteTruth {
    pub session: SessionId,
    pub token: String,
    pub is_host: bool,
    pub identity: Option<String>,
    pub max_uses: Option<u32>,
    pub not_before: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// When it was withdrawn first, as far as the caller was told.
    pub revoked_at: Option<Timestamp>,
}

/// Something that an app's backend or a host wanted.
#[derive(Debug, Clone)]
pub struct Decision {
    pub what: Wish,
    pub asked_at: Timestamp,
    /// When it was granted, if it was.
    pub granted_at: Option<Timestamp>,
    /// Postgres was put back to a point before it.
    pub is_undone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    End(SessionId),
    Extend(SessionId),
    Recover(SessionId),
    Kick(SessionId, ParticipantId),
    Revoke(SessionId, InviteId),
    /// A session with an invite.
    Create(SessionId, InviteId),
}

impl Truth {
    /// An instant of this epoch's clock in true time.
    pub fn true_time(&self, epoch: Epoch, at: Timestamp) -> Timestamp {
        let boot = self.boot_of.get(&epoch).and_then(|boot| self.boots.get(boot));
        Timestamp(at.0 - boot.map_or(0, |boot| boot.clock_error_us))
    }

    pub fn boot(&mut self, number: u64) -> &mut Boot {
        self.boots.entry(number).or_default()
    }

    /// Whether the disk held marks up at some time between these.
    pub fn is_disk_troubled(&self, from: Timestamp, until: Timestamp) -> bool {
        self.disk_troubles.iter().any(|(begun, over)| *begun <= until && *over >= from)
    }
}

impl Attempt {
    pub fn invite(&self) -> Option<InviteId> {
        match self.token {
            Token::Invite(invite) => Some(invite),
            Token::Resume(invite) => invite,
            Token::Jwt => None,
        }
    }

    /// Whether this socket is joined and neither side has seen an end.
    pub fn is_open(&self) -> bool {
        self.joined.is_some() && self.over_at.is_none() && self.closed.is_none() && !self.link.is_cut()
    }
}
