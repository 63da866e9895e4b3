//! The canary: a few participants in a room of their own who ping many times a second while others do what the scenario
//! is about. What they feel is what a bystander feels: latency second by second, and the longest time without an answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::subject::Subject;
use crate::client::{self, Socket};
use crate::clock;
use crate::control::SessionOptions;
use crate::measure::{Latency, Recorder};

/// As many as a longest wait needs; a p99 over a few seconds needs more.
pub const PARTICIPANTS: usize = 4;

/// Between two pings of one participant, well below the rate that a server allows one client.
const PING_INTERVAL: Duration = Duration::from_millis(100);

/// How long the canary waits at its end for the answers that are still out.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// What the canary feels.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Taken once a second by the watch.
    second: Recorder,
    all: Recorder,
    sent: AtomicU64,
    answered: AtomicU64,
    longest_us: AtomicU64,
    lost: AtomicUsize,
    errors: Mutex<Vec<String>>,
    stopping: AtomicBool,
}

#[derive(Debug)]
pub struct Canary {
    pulse: Arc<Pulse>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
pub struct CanaryFindings {
    pub latency: Latency,
    /// The longest wait of any ping, also of those that were never answered.
    pub longest_ms: f64,
    pub lost: usize,
    pub errors: Vec<String>,
}

impl Pulse {
    /// Of the pings that were answered since the last call.
    pub fn second_p99_ms(&self) -> Option<f64> {
        let latency = self.second.take();
        (latency.count > 0).then_some(latency.p99_us as f64 / 1000.0)
    }

    /// Of the pings that were answered since the last call of this.
    pub fn take(&self) -> Latency {
        self.all.take()
    }

    /// What was felt so far does not count: the scenario's event comes only now.
    pub fn forget(&self) {
        self.all.take();
        self.longest_us.store(0, Relaxed);
    }

    fn answered(&self, index: usize, waited_us: u64) {
        self.answered.fetch_add(1, Relaxed);
        self.second.record(index, waited_us);
        self.all.record(index, waited_us);
        self.longest_us.fetch_max(waited_us, Relaxed);
    }
}

impl Canary {
    /// # Errors
    /// The participants cannot get in.
    pub async fn start(subject: &Subject<'_>, participants: usize) -> anyhow::Result<Self> {
        let tokens = subject.api().create_rooms(1, SessionOptions::default(), |_| {}).await?;
        let token = tokens.first().context("no room for the canary")?;
        let pulse = Arc::new(Pulse::default());
        let mut tasks = JoinSet::new();
        let first_at = clock::now() + PING_INTERVAL;
        for index in 0..participants {
            let mut socket = client::connect(&subject.target(), index).await?;
            socket.send(client::join_frame(token, Some(format!("canary-{index}")))?).await?;
            let answer = client::next_text(&mut socket).await?;
            ensure!(answer.starts_with(r#"{"type":"joined""#), "the canary did not get in: {answer}");
            let pulse = pulse.clone();
            let at = first_at + PING_INTERVAL * index as u32 / participants as u32;
            tasks.spawn(async move {
                if let Err(error) = ping(&mut socket, index, at, &pulse).await {
                    pulse.lost.fetch_add(1, Relaxed);
                    pulse.errors.lock().unwrap_or_else(PoisonError::into_inner).push(format!("canary: {error:#}"));
                }
            });
        }
        Ok(Self { pulse, tasks })
    }

    pub fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    pub async fn stop(mut self) -> CanaryFindings {
        self.pulse.stopping.store(true, Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let errors = std::mem::take(&mut *self.pulse.errors.lock().unwrap_or_else(PoisonError::into_inner));
        CanaryFindings {
            latency: self.pulse.take(),
            longest_ms: self.pulse.longest_us.load(Relaxed) as f64 / 1000.0,
            lost: self.pulse.lost.load(Relaxed),
            errors,
        }
    }
}

/// Pings by schedule, whatever the answers are, until it is told to stop and has all of them.
async fn ping(socket: &mut Socket, index: usize, first_at: Instant, pulse: &Pulse) -> anyhow::Result<()> {
    let mut next = first_at;
    // Answers come in the order of pings. Instants are the scheduled ones: a ping that could not be sent has waited too.
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut give_up_at = None;
    let outcome = loop {
        let is_stopping = pulse.stopping.load(Relaxed);
        if is_stopping && waiting.is_empty() {
            break Ok(());
        }
        if is_stopping && *give_up_at.get_or_insert_with(|| clock::now() + ANSWERS_TIMEOUT) <= clock::now() {
            break Err(anyhow!("{} pings were not answered", waiting.len()));
        }
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) if text.starts_with(r#"{"type":"pong""#) => {
                    if let Some(at) = waiting.pop_front() {
                        pulse.answered(index, clock::micros_between(at, clock::now()));
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    break Err(anyhow!("closed with {}", frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error.into()),
                None => break Err(anyhow!("ended without a close frame")),
            },
            () = tokio::time::sleep_until(next) => {
                if !is_stopping {
                    waiting.push_back(next);
                    pulse.sent.fetch_add(1, Relaxed);
                    if let Err(error) = socket.send(Message::text(r#"{"type":"ping"}"#)).await {
                        break Err(error.into());
                    }
                }
                next += PING_INTERVAL;
            }
        }
    };
    for at in waiting {
        pulse.longest_us.fetch_max(clock::micros_between(at, clock::now()), Relaxed);
    }
    outcome?;
    if pulse.answered.load(Relaxed) > pulse.sent.load(Relaxed) {
        bail!("more answers than pings");
    }
    Ok(())
}
