//! How a client gets in: connects ahead of time, joins at the scheduled instant; and how it comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::SinkExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::connection::Connection;
use super::member::{Entered, Member, Shared, Standing};
use super::plan::{Plan, scatter};
use super::received::follow;
use crate::adapter::{Adapter, Entrant, Entry, Joined};
use crate::client::{self, Socket};
use crate::clock;
use crate::measure::Recorder;

/// How long before its join a connection is opened, so that a join is measured and not a connect.
pub const CONNECT_LEAD: Duration = Duration::from_millis(500);

/// Longest pause before the second attempt to come back; it doubles up to the other. The pause is a random share of it.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Recorders {
    /// Connect and upgrade.
    pub upgrade: Recorder,
    /// From the scheduled instant until the client was in.
    pub join: Recorder,
    pub lag: Recorder,
}

/// A client that is to get in at an instant.
#[derive(Debug)]
pub struct Attempt {
    pub member: Arc<Member>,
    pub adapter: Arc<dyn Adapter>,
    pub server: SocketAddr,
    pub shared: Arc<Shared>,
    pub orders: watch::Receiver<Plan>,
    pub at: Instant,
}

/// How coming back went.
#[derive(Debug, Default)]
pub struct Return {
    pub is_in: bool,
    pub attempts: usize,
    pub refused: usize,
    /// Of the last attempt.
    pub error: Option<String>,
}

/// The server answered the join with a refusal.
#[derive(Debug)]
struct Refusal(String);

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "refused: {}", self.0)
    }
}

impl std::error::Error for Refusal {}

impl Attempt {
    /// The first time: connects at once and joins at the scheduled instant.
    pub async fn first(self, recorders: &Recorders) -> anyhow::Result<()> {
        let begun_at = clock::now();
        let index = self.member.index;
        let (mut socket, opened) = Box::pin(self.connect()).await?;
        recorders.upgrade.record(index, clock::micros_between(begun_at, clock::now()));
        let frame = self.adapter.join(self.member.entrant(), &opened)?;
        if frame.is_some() {
            tokio::time::sleep_until(self.at).await;
            recorders.lag.record(index, clock::micros_between(self.at, clock::now()));
        }
        let (joined, text) = self.join(&mut socket, frame).await?;
        recorders.join.record(index, clock::micros_between(self.at, clock::now()));
        self.settle(socket, joined, text.as_deref());
        Ok(())
    }

    /// Connects at the scheduled instant, with what the client has to come back with, until it is in or `give_up` is over.
    pub async fn again(self, give_up: Duration, recorders: &Recorders) -> Return {
        let mut result = Return::default();
        let mut pause = PAUSE_FIRST;
        tokio::time::sleep_until(self.at).await;
        loop {
            result.attempts += 1;
            match Box::pin(self.once_more()).await {
                Ok((socket, joined, text)) => {
                    recorders.join.record(self.member.index, clock::micros_between(self.at, clock::now()));
                    self.settle(socket, joined, text.as_deref());
                    result.is_in = true;
                    return result;
                }
                Err(error) => {
                    result.refused += usize::from(error.is::<Refusal>());
                    result.error = Some(format!("{error:#}"));
                }
            }
            let wait = pause.mul_f64(scatter(self.member.index, result.attempts as u64));
            pause = (pause * 2).min(PAUSE_MAX);
            if clock::now() + wait >= self.at + give_up {
                return result;
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn once_more(&self) -> anyhow::Result<(Socket, Joined, Option<String>)> {
        let (mut socket, opened) = self.connect().await?;
        let entered = self.member.entered();
        let entrant =
            Entrant { token: entered.resume.as_deref().unwrap_or(&self.member.token), identity: &self.member.identity };
        let frame = self.adapter.join(entrant, &opened)?;
        let (joined, text) = self.join(&mut socket, frame).await?;
        Ok((socket, joined, text))
    }

    async fn connect(&self) -> anyhow::Result<(Socket, String)> {
        let mut socket = client::connect_with(self.adapter.as_ref(), self.server, self.member.index).await?;
        let opened = client::open(&mut socket, self.adapter.as_ref()).await?;
        Ok((socket, opened))
    }

    /// Sends the join frame and waits for what it leads to. Returns the frame that let the client in as well.
    async fn join(&self, socket: &mut Socket, frame: Option<String>) -> anyhow::Result<(Joined, Option<String>)> {
        let Some(frame) = frame else { return Ok((Joined::default(), None)) };
        socket.send(Message::text(frame)).await.context("send join")?;
        loop {
            let text = client::next_text(socket).await?;
            match self.adapter.entry(&text) {
                // Kept only for those who need it: it may be long.
                Entry::Joined(joined) => {
                    return Ok((joined, self.member.place.is_some().then(|| text.as_str().to_owned())));
                }
                Entry::Refused(reason) => bail!(Refusal(reason)),
                Entry::Wait => {}
            }
        }
    }

    /// Starts the life of the connection, in a task of its own, so that the memory of the handshake goes.
    fn settle(self, socket: Socket, joined: Joined, text: Option<&str>) {
        let Self { member, adapter, shared, orders, .. } = self;
        let Joined { resume, ends_at_us, seq } = joined;
        member.enter(Entered { resume: resume.map(String::into_boxed_str), ends_at_us });
        if let Some(text) = text {
            follow(&shared, &member, adapter.as_ref(), text, false);
        }
        member.stand(Standing::In);
        let connection = Connection { member, adapter, shared, orders, seq };
        tokio::spawn(connection.live(socket));
    }
}
