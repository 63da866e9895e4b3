//! One client of a swarm: a task that sends by schedule and accounts for what comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::Ended;
use crate::client::Socket;
use crate::clock;
use crate::measure::Recorder;

/// Reasons of failures that are kept word by word.
const ERRORS_KEPT_MAX: usize = 20;

/// What all clients of a swarm share.
#[derive(Debug)]
pub struct Shared {
    pub origin: Instant,
    pub open: AtomicUsize,
    pub lost: AtomicUsize,
    pub frames: AtomicU64,
    pub sent: AtomicU64,
    pub answered: AtomicU64,
    pub latency: Recorder,
    pub lag: Recorder,
    pub stopping: AtomicBool,
    pub errors: Mutex<Vec<String>>,
    pub ended: Mutex<Vec<Ended>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: clock::now(),
            open: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            latency: Recorder::default(),
            lag: Recorder::default(),
            stopping: AtomicBool::new(false),
            errors: Mutex::default(),
            ended: Mutex::default(),
        }
    }
}

/// What a client does, and when: connection `i` sends at `start + interval * (i / connections) + k * interval`.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub what: What,
    pub start: Instant,
    pub interval: Duration,
    /// Nothing is scheduled at or after this.
    pub end: Instant,
    pub connections: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Nothing,
    Ping,
    Update,
}

impl Shared {
    pub fn fail(&self, error: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < ERRORS_KEPT_MAX {
            errors.push(error);
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        clock::micros_between(self.origin, at)
    }
}

impl Plan {
    pub fn silent() -> Self {
        let now = clock::now();
        Self { what: What::Nothing, start: now, interval: Duration::from_secs(3600), end: now, connections: 1 }
    }

    fn first(&self, index: usize) -> Option<Instant> {
        let at = self.start + self.interval.mul_f64((index % self.connections) as f64 / self.connections as f64);
        self.keep(at)
    }

    fn after(&self, at: Instant) -> Option<Instant> {
        self.keep(at + self.interval)
    }

    fn keep(&self, at: Instant) -> Option<Instant> {
        (self.what != What::Nothing && at < self.end).then_some(at)
    }
}

/// Lives until the socket ends.
pub async fn live(
    mut socket: Socket,
    index: usize,
    ends_at_us: Option<i64>,
    shared: &Shared,
    plans: watch::Receiver<Plan>,
) {
    shared.open.fetch_add(1, Relaxed);
    let end = exchange(&mut socket, index, ends_at_us, shared, plans).await;
    shared.open.fetch_sub(1, Relaxed);
    if let Err(error) = end
        && !shared.stopping.load(Relaxed)
    {
        shared.lost.fetch_add(1, Relaxed);
        shared.fail(error);
    }
}

/// Returns an error when the socket ended for another reason than the end of its session.
async fn exchange(
    socket: &mut Socket,
    index: usize,
    ends_at_us: Option<i64>,
    shared: &Shared,
    mut plans: watch::Receiver<Plan>,
) -> Result<(), String> {
    let mut plan = *plans.borrow_and_update();
    let mut next = plan.first(index);
    let timer = tokio::time::sleep_until(next.unwrap_or(plan.start));
    let mut timer = std::pin::pin!(timer);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => on_text(&text, index, ends_at_us, &plan, shared),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    // 4000: its session has ended, as it was told to.
                    return if code == 4000 { Ok(()) } else { Err(format!("closed with {code}")) };
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("ended without a close frame".to_owned()),
            },
            changed = plans.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                plan = *plans.borrow_and_update();
                next = plan.first(index);
                if let Some(at) = next {
                    timer.as_mut().reset(at);
                }
            }
            () = timer.as_mut(), if next.is_some() => {
                let at = next.unwrap_or(plan.start);
                let now = clock::now();
                shared.lag.record(index, clock::micros_between(at, now));
                let frame = frame(plan.what, shared.micros(at));
                shared.sent.fetch_add(1, Relaxed);
                socket.send(Message::Text(frame)).await.map_err(|error| error.to_string())?;
                next = plan.after(at);
                if let Some(at) = next {
                    timer.as_mut().reset(at);
                }
            }
        }
    }
}

fn frame(what: What, id: u64) -> Utf8Bytes {
    match what {
        What::Update => format!(r#"{{"type":"update","state":{{"moved_at":{id}}}}}"#).into(),
        What::Ping | What::Nothing => format!(r#"{{"type":"ping","id":{id}}}"#).into(),
    }
}

fn on_text(text: &str, index: usize, ends_at_us: Option<i64>, plan: &Plan, shared: &Shared) {
    shared.frames.fetch_add(1, Relaxed);
    // The type is looked for as text, because parsing every frame would cost the loader more than sending it.
    if (text.starts_with(r#"{"type":"pong""#) || text.starts_with(r#"{"type":"ping""#))
        && let Some(id) = number_after(text, r#""id":"#)
    {
        // Answers to an earlier plan are not of this phase.
        if id >= shared.micros(plan.start) {
            shared.answered.fetch_add(1, Relaxed);
            shared.latency.record(index, shared.micros(clock::now()).saturating_sub(id));
        }
    } else if text.starts_with(r#"{"type":"ended""#) {
        if let Some(ends_at_us) = ends_at_us {
            let late_us = clock::wall_us() - ends_at_us;
            shared.ended.lock().unwrap_or_else(PoisonError::into_inner).push(Ended { late_us });
        }
    } else if text.starts_with(r#"{"type":"error""#) {
        let code = serde_json::from_str::<Value>(text).ok().and_then(|value| Some(value["code"].as_str()?.to_owned()));
        shared.fail(format!("error frame: {}", code.unwrap_or_default()));
    }
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_spreads_connections_over_the_interval_and_ends() {
        let start = clock::now();
        let second = Duration::from_secs(1);
        let plan = Plan { what: What::Ping, start, interval: second, end: start + second * 2, connections: 4 };
        assert_eq!(plan.first(1), Some(start + second / 4));
        assert_eq!(plan.after(start + second / 4), Some(start + second + second / 4));
        assert_eq!(plan.after(start + second + second / 4), None);
        assert_eq!(Plan { what: What::Nothing, ..plan }.first(1), None);
    }

    #[test]
    fn reads_the_id_of_a_pong() {
        assert_eq!(number_after(r#"{"type":"pong","id":123,"server_time":"x"}"#, r#""id":"#), Some(123));
        assert_eq!(number_after(r#"{"type":"pong","id":77}"#, r#""id":"#), Some(77));
        assert_eq!(number_after("{}", r#""id":"#), None);
    }
}
