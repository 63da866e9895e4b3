//! One socket of one person, seen from the browser: frames, the view of who is there, and the truth about it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rollcall::clock::Timer;
use rollcall_core::{ConnectionId, ParticipantId, SessionId, Timestamp};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::codec::{self, Heard};
use super::truth::{Attempt, Joined, Token};
use super::wire::{self, Link, WireEnd};
use super::world::{Phase, World};

/// Bytes read at once.
const READ_BYTES: usize = 4_096;

pub struct Tab {
    pub world: World,
    /// The number of this socket in the truth.
    pub number: usize,
    pub link: Link,
    end: WireEnd,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    /// When something was heard last.
    pub heard_at: Timestamp,
    /// Nothing is read until then.
    pub reads_from: Timestamp,
}

/// Who is there, as a client has it that follows the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    pub seq: u64,
    pub people: BTreeMap<ParticipantId, Seen>,
    /// A diff was missed: a snapshot was asked for.
    pub is_behind: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub status: String,
    pub connections: u64,
    pub state: Option<String>,
}

/// What a browser is woken by.
#[derive(Debug)]
pub enum Next {
    Joined {
        resume: String,
    },
    Frame,
    /// The server's close frame; it is answered.
    Closed(u16),
    /// The connection is gone without one.
    Gone,
    /// The time is up.
    Time,
}

impl Tab {
    /// Opens a connection to the process that runs. `None`: nobody answers.
    pub fn open(world: &World, session: SessionId, token: Token, stay_until: Option<Timestamp>) -> Option<Self> {
        let process = world.process()?;
        let (latency, capacity) = {
            let mut dice = world.dice();
            (dice.mostly_short(world.plan.limits.latency_max), world.plan.limits.wire_bytes_max)
        };
        let (end, server_end, link) = wire::connect(latency, capacity);
        process.accept(server_end).ok()?;
        let now = world.now();
        let mut truth = world.truth();
        let number = truth.attempts.len();
        truth.attempts.push(Attempt {
            session,
            boot: process.boot,
            link: link.clone(),
            token,
            stay_until,
            opened_at: now,
            asked_at: None,
            joined: None,
            leave_said_at: None,
            close_said_at: None,
            closed: None,
            dropped_at: None,
            over_at: None,
            cut_at: None,
            activities: Vec::new(),
            stopped_reading: false,
            refused_at_the_end: false,
            flooded: false,
            refused: None,
            ended: None,
            view: View::default(),
        });
        drop(truth);
        let tab = Self {
            world: world.clone(),
            number,
            link,
            end,
            unsent: Vec::new(),
            unread: Vec::new(),
            heard_at: now,
            reads_from: now,
        };
        Some(tab)
    }

    pub fn truth<R>(&self, change: impl FnOnce(&mut Attempt) -> R) -> R {
        change(&mut self.world.truth().attempts[self.number])
    }

    /// Sends a frame, as far as the network takes it. Returns when it arrives.
    pub fn say(&mut self, text: &str) -> Timestamp {
        self.send(codec::text(text));
        self.link.last_heard()
    }

    /// The same for something that proves the person active.
    pub fn act(&mut self, text: &str) {
        let arrives_at = self.say(text);
        // Older than now: the other side is gone, and nothing went out.
        if !self.link.is_cut() && self.unsent.is_empty() && arrives_at >= self.world.now() {
            self.truth(|attempt| attempt.activities.push(arrives_at));
        }
    }

    pub fn send(&mut self, bytes: Vec<u8>) {
        self.unsent.extend(bytes);
        self.push();
    }

    /// Hands the network what it takes.
    fn push(&mut self) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.poll_push(&mut context);
    }

    fn poll_push(&mut self, context: &mut std::task::Context<'_>) {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.end).poll_write(context, &self.unsent) {
                Poll::Ready(Ok(written)) => drop(self.unsent.drain(..written)),
                // The end shows at the next read.
                Poll::Ready(Err(_)) => return self.unsent.clear(),
                Poll::Pending => return,
            }
        }
    }

    /// The next thing that happens, until this time.
    pub async fn next(&mut self, until: Timestamp) -> Next {
        let now = self.world.now();
        let mut timer: Timer = self.world.clock().timer(until.since(now));
        let mut reading: Option<Timer> =
            (self.reads_from > now).then(|| self.world.clock().timer(self.reads_from.since(now)));
        std::future::poll_fn(|context| {
            self.poll_push(context);
            if let Some(wait) = &mut reading {
                if wait.poll(context).is_pending() {
                    return timer.poll(context).map(|()| Next::Time);
                }
                reading = None;
            }
            loop {
                if let Some(heard) = codec::take_frame(&mut self.unread) {
                    return Poll::Ready(self.on_frame(heard));
                }
                let mut buffer = [0; READ_BYTES];
                let mut buffer = ReadBuf::new(&mut buffer);
                match Pin::new(&mut self.end).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.unread.extend(buffer.filled()),
                    Poll::Ready(_) => {
                        let now = self.world.now();
                        self.truth(|attempt| attempt.dropped_at = attempt.dropped_at.or(Some(now)));
                        return Poll::Ready(Next::Gone);
                    }
                    Poll::Pending => return timer.poll(context).map(|()| Next::Time),
                }
            }
        })
        .await
    }

    fn on_frame(&mut self, heard: Heard) -> Next {
        self.heard_at = self.world.now();
        match heard {
            Heard::Text(text) => self.on_text(&text),
            Heard::Ping(payload) => {
                self.send(codec::pong(&payload));
                Next::Frame
            }
            Heard::Pong => Next::Frame,
            Heard::Close(code) => {
                let now = self.world.now();
                let was_first = self.truth(|attempt| {
                    attempt.closed = Some((code, now));
                    attempt.close_said_at.is_none()
                });
                if was_first {
                    self.send(codec::close(code));
                }
                self.world.note("tab.closed", self.number as u64, || code.to_string());
                Next::Closed(code)
            }
        }
    }

    fn on_text(&mut self, text: &[u8]) -> Next {
        let value: Value = serde_json::from_slice(text).expect("the server sends JSON");
        match value["type"].as_str() {
            Some("joined") => return self.on_joined(&value),
            Some("snapshot") => {
                let view = read_snapshot(&value);
                self.truth(|attempt| attempt.view = view);
            }
            Some("presence") => self.on_presence(&value),
            Some("error") => {
                let code = value["code"].as_str().unwrap_or_default().to_owned();
                self.world.note("tab.error", self.number as u64, || code.clone());
                let is_over = self.world.phase() == Phase::End;
                self.truth(|attempt| (attempt.refused, attempt.refused_at_the_end) = (Some(code), is_over));
            }
            Some("ended") => {
                let code = value["code"].as_str().unwrap_or_default().to_owned();
                self.truth(|attempt| attempt.ended = Some(code));
            }
            _ => {}
        }
        Next::Frame
    }

    fn on_joined(&mut self, value: &Value) -> Next {
        let own = &value["self"];
        let participant: ParticipantId = text_of(&own["participant_id"]).parse().expect("an id");
        let connection: ConnectionId = text_of(&own["connection_id"]).parse().expect("an id");
        let joined = Joined { participant, connection, at: self.world.now() };
        let view = read_snapshot(value);
        if !view.people.contains_key(&participant) {
            self.world.violate("presence", format!("{participant} does not see itself in its own `joined`"));
        }
        let again = self.truth(|attempt| {
            attempt.view = view;
            attempt.joined.replace(joined)
        });
        if again.is_some() {
            self.world.violate("protocol", format!("socket {} was told twice that it joined", self.number));
        }
        self.check_admitted();
        self.world.note("tab.joined", self.number as u64, || format!("{participant} as {connection}"));
        Next::Joined { resume: text_of(&value["resume"]).to_owned() }
    }

    /// Nobody is let in while the journal is nearly full.
    fn check_admitted(&self) {
        let (boot, asked_at) = self.truth(|attempt| (attempt.boot, attempt.asked_at));
        let process = self.world.process().filter(|process| process.boot == boot);
        let refuses_since = process.and_then(|process| process.refuses_since());
        if refuses_since.is_some_and(|since| asked_at > Some(since)) {
            self.world.violate(
                "backlog",
                format!("socket {} joined, joins are refused since {refuses_since:?}", self.number),
            );
        }
    }

    /// Diffs continue where the view stands; a client that misses one asks for a snapshot.
    fn on_presence(&mut self, value: &Value) {
        let missed = self.truth(|attempt| attempt.view.apply(value));
        if let Some((known, seq)) = missed {
            // Who reads slowly gets a snapshot in the place of what was dropped, so nobody ever sees a gap.
            self.world.violate("gaps", format!("socket {} was told of {known} and then of {seq}", self.number));
            self.say(r#"{"type":"snapshot"}"#);
        }
    }

    /// This side is done with the socket, with or without a word to the other.
    pub fn over(&mut self) {
        let now = self.world.now();
        self.truth(|attempt| attempt.over_at = attempt.over_at.or(Some(now)));
    }

    /// Says goodbye as a browser does whose page goes.
    pub fn say_close(&mut self) {
        let now = self.world.now();
        self.send(codec::close(1001));
        self.truth(|attempt| attempt.close_said_at = Some(now));
    }

    /// Waits a moment for the server's answer, so that what was said is not lost with the socket.
    pub async fn linger(&mut self, at_most: Duration) {
        let until = self.world.now() + at_most;
        while !matches!(self.next(until).await, Next::Closed(_) | Next::Gone | Next::Time) {}
    }
}

impl View {
    /// Returns `(known, seq)` when diffs between them are missing.
    fn apply(&mut self, diff: &Value) -> Option<(u64, u64)> {
        let seq = diff["seq"].as_u64().unwrap_or(0);
        if self.is_behind || seq <= self.seq {
            return None;
        }
        if seq != self.seq + 1 {
            self.is_behind = true;
            return Some((self.seq, seq));
        }
        self.seq = seq;
        for kind in ["joins", "updates"] {
            self.people.extend(diff[kind].as_array().into_iter().flatten().map(read_person));
        }
        for leave in diff["leaves"].as_array().into_iter().flatten() {
            let participant = text_of(&leave["participant_id"]).parse().expect("an id");
            self.people.remove(&participant);
        }
        None
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn read_snapshot(value: &Value) -> View {
    let people = value["participants"].as_array().into_iter().flatten().map(read_person).collect();
    View { seq: value["seq"].as_u64().unwrap_or(0), people, is_behind: false }
}

fn read_person(value: &Value) -> (ParticipantId, Seen) {
    let participant = text_of(&value["participant_id"]).parse().expect("an id");
    let seen = Seen {
        status: text_of(&value["status"]).to_owned(),
        connections: value["connections"].as_u64().unwrap_or(0),
        state: value.get("state").filter(|state| !state.is_null()).map(ToString::to_string),
    };
    (participant, seen)
}
