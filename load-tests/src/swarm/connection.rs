//! One connected client of a swarm: a task that sends by schedule and accounts for what comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::member::{Member, Shared, Standing};
use super::messages::Ended;
use super::plan::{Plan, What};
use super::received::{follow, wire_bytes};
use crate::adapter::{Adapter, Event};
use crate::client::Socket;
use crate::clock;

/// After a close frame: how long the server may take to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Close code that says that the session has ended.
const SESSION_ENDED: u16 = 4000;

/// A connected client and what it needs on its way.
#[derive(Debug)]
pub struct Connection {
    pub member: Arc<Member>,
    pub adapter: Arc<dyn Adapter>,
    pub shared: Arc<Shared>,
    pub orders: watch::Receiver<Plan>,
    /// Number of the last presence frame, where they have one.
    pub seq: Option<u64>,
}

/// Why a client is not connected any more.
enum End {
    /// It was told to go.
    Ordered(Standing),
    /// Its session is over.
    Over,
    Lost(String),
}

impl Connection {
    /// Lives until the socket ends.
    pub async fn live(mut self, mut socket: Socket) {
        self.shared.open.fetch_add(1, Relaxed);
        let end = self.exchange(&mut socket).await;
        self.shared.open.fetch_sub(1, Relaxed);
        match end {
            // Boxed: all clients carry the room that this needs, and hardly any needs it.
            End::Ordered(order) => Box::pin(self.obey(order, socket)).await,
            End::Over => self.member.stand(Standing::Over),
            End::Lost(_) if self.shared.stopping.load(Relaxed) => {}
            End::Lost(reason) => {
                self.member.stand(Standing::Lost);
                self.shared.lost.fetch_add(1, Relaxed);
                self.shared.fail(reason);
            }
        }
    }

    async fn exchange(&mut self, socket: &mut Socket) -> End {
        let index = self.member.index;
        let mut plan = *self.orders.borrow_and_update();
        let mut next = plan.first_from(index, clock::now());
        let timer = tokio::time::sleep_until(next.unwrap_or(plan.start));
        let mut timer = std::pin::pin!(timer);
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => match self.on_text(&text, &plan) {
                        Reaction::None => {}
                        Reaction::Answer(answer) => {
                            if let Err(error) = socket.send(Message::text(answer)).await {
                                return End::Lost(error.to_string());
                            }
                        }
                        Reaction::Chase => next = Some(clock::now()),
                    },
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map_or(1005, |frame| frame.code.into());
                        return if code == SESSION_ENDED { End::Over } else { End::Lost(format!("closed with {code}")) };
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return End::Lost(error.to_string()),
                    None => return End::Lost("ended without a close frame".to_owned()),
                },
                changed = self.orders.changed() => {
                    let standing = self.member.standing();
                    if changed.is_err() || standing.is_order() {
                        return End::Ordered(standing);
                    }
                    let ordered = *self.orders.borrow_and_update();
                    if ordered.start == plan.start {
                        // The order was for others.
                        continue;
                    }
                    plan = ordered;
                    self.member.waiting_us.store(0, Relaxed);
                    next = plan.first(index);
                    if let Some(at) = next {
                        timer.as_mut().reset(at);
                    }
                    continue;
                }
                () = timer.as_mut(), if next.is_some() => {}
            }
            let Some(at) = next.filter(|at| *at <= clock::now()) else { continue };
            if let Err(error) = self.send(socket, &plan, at).await {
                return End::Lost(error.to_string());
            }
            next = plan.after(at);
            if let Some(at) = next {
                timer.as_mut().reset(at);
            }
        }
    }

    async fn send(
        &self,
        socket: &mut Socket,
        plan: &Plan,
        at: Instant,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let (shared, member) = (&self.shared, &self.member);
        shared.lag.record(member.index, clock::micros_between(at, clock::now()));
        // Zero would read as no ping at all.
        let id = shared.micros(at).max(1);
        let frame = match plan.what {
            What::Update => self.adapter.update(member.entrant(), id),
            What::Ping | What::Chase | What::Nothing => {
                member.waiting_us.compare_exchange(0, id, Relaxed, Relaxed).ok();
                self.adapter.ping(id)
            }
        };
        shared.sent.fetch_add(1, Relaxed);
        socket.send(Message::text(frame)).await
    }

    fn on_text(&mut self, text: &Utf8Bytes, plan: &Plan) -> Reaction {
        let (shared, member) = (&self.shared, &self.member);
        shared.frames.fetch_add(1, Relaxed);
        let bytes = wire_bytes(text.len());
        member.received.frames.fetch_add(1, Relaxed);
        member.received.bytes.fetch_add(bytes, Relaxed);
        match self.adapter.read(text) {
            Event::Pong(id) => return self.on_pong(id, plan),
            Event::Presence { seq } => {
                member.received.presence_frames.fetch_add(1, Relaxed);
                member.received.presence_bytes.fetch_add(bytes, Relaxed);
                self.on_presence(text, seq);
            }
            Event::Snapshot { seq } => {
                member.received.presence_frames.fetch_add(1, Relaxed);
                member.received.presence_bytes.fetch_add(bytes, Relaxed);
                member.received.snapshots.fetch_add(1, Relaxed);
                self.seq = seq;
                follow(&self.shared, &self.member, self.adapter.as_ref(), text, true);
            }
            Event::Ended => {
                if let Some(ends_at_us) = member.entered().ends_at_us {
                    shared.end(Ended { late_us: clock::wall_us() - ends_at_us });
                }
            }
            Event::Error(code) => shared.fail(format!("error frame: {code}")),
            Event::Answer(answer) => return Reaction::Answer(answer),
            Event::Other => {}
        }
        Reaction::None
    }

    fn on_presence(&mut self, text: &str, seq: Option<u64>) {
        if let (Some(seq), Some(last)) = (seq, self.seq) {
            if seq <= last {
                return;
            }
            if seq > last + 1 {
                self.member.received.gaps.fetch_add(1, Relaxed);
            }
        }
        self.seq = seq;
        follow(&self.shared, &self.member, self.adapter.as_ref(), text, true);
    }

    fn on_pong(&self, id: Option<u64>, plan: &Plan) -> Reaction {
        let (shared, waiting) = (&self.shared, &self.member.waiting_us);
        let oldest = waiting.load(Relaxed);
        let Some(id) = id.or((oldest > 0).then_some(oldest)) else { return Reaction::None };
        // Answers to an earlier plan are not of this phase.
        if id < shared.micros(plan.start) {
            return Reaction::None;
        }
        let now = clock::now();
        shared.answered.fetch_add(1, Relaxed);
        shared.latency.record(self.member.index, shared.micros(now).saturating_sub(id));
        // Pings of one client are answered in their order, so the next is due one interval later, if it is sent already.
        let next = id + plan.interval.as_micros() as u64;
        let is_sent = plan.what == What::Ping && next <= shared.micros(now);
        waiting.store(if is_sent { next } else { 0 }, Relaxed);
        if plan.what == What::Chase && now < plan.end { Reaction::Chase } else { Reaction::None }
    }

    async fn obey(mut self, order: Standing, mut socket: Socket) {
        let outcome = match order {
            Standing::Closing => {
                // The server need not answer; the socket is dropped in any case.
                tokio::time::timeout(CLOSE_TIMEOUT, close(&mut socket)).await.ok();
                Standing::Out
            }
            Standing::Resetting => {
                if let Err(error) = socket.get_ref().set_zero_linger() {
                    self.shared.fail(format!("cannot reset: {error}"));
                }
                drop(socket);
                Standing::Out
            }
            Standing::Silencing => {
                self.member.stand(Standing::Silent);
                // Until somebody wants it back, or the process ends.
                while self.member.standing() == Standing::Silent && self.orders.changed().await.is_ok() {}
                return;
            }
            _ => return,
        };
        self.member.stand(outcome);
    }
}

/// What a frame makes the client do.
enum Reaction {
    None,
    Answer(&'static str),
    Chase,
}

async fn close(socket: &mut Socket) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    socket.close(None).await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Protocol;

    /// All of it is kept for each client; the limit is what a loader of many thousands can bear.
    #[tokio::test]
    async fn a_client_is_small() {
        const TASK_BYTES_MAX: usize = 2048;
        let fixture = crate::fixture::Fixture::start(Protocol::RollcallPeer { path: "/".to_owned() }).await;
        let socket = crate::client::connect(&fixture.target, 0).await.unwrap();
        let connection = Connection {
            member: Arc::new(Member::new(0, "ann".to_owned(), "t".into(), None)),
            adapter: fixture.target.protocol.adapter(),
            shared: Arc::default(),
            orders: watch::channel(Plan::silent()).1,
            seq: None,
        };
        let bytes = size_of_val(&connection.live(socket));
        assert!(bytes <= TASK_BYTES_MAX, "{bytes}");
    }
}
