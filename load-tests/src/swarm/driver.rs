//! The swarm process: reads commands, runs them one after the other, answers each.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::{Plan, Shared, What, live};
use super::{Connect, Connected, Figures, Pace, Status, SwarmCommand};
use crate::client::{self, Socket, Target};
use crate::clock;
use crate::measure::Recorder;

/// How long before its join a connection is opened, so that a join is measured and not a connect.
const CONNECT_LEAD: Duration = Duration::from_millis(500);

/// After the last scheduled send of a phase: how long answers may still come.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the end of a phase looks whether all answers are there.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

struct Driver {
    shared: Arc<Shared>,
    plans: watch::Sender<Plan>,
    connections: usize,
}

/// Runs until standard input is closed.
///
/// # Errors
/// A command cannot be understood, or nobody reads the answers.
pub async fn run() -> anyhow::Result<()> {
    let mut driver = Driver { shared: Arc::default(), plans: watch::channel(Plan::silent()).0, connections: 0 };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            SwarmCommand::Connect(connect) => answer(&driver.connect(connect).await)?,
            SwarmCommand::Pace(pace) => {
                // As good as for ever; the process ends before.
                driver.plan(pace, Duration::from_secs(24 * 3600));
                answer(&driver.status())?;
            }
            SwarmCommand::Phase { pace, seconds } => {
                let figures = driver.phase(pace, Duration::from_secs_f64(seconds)).await;
                answer(&figures)?;
            }
            SwarmCommand::Status => answer(&driver.status())?,
        }
    }
    driver.shared.stopping.store(true, Relaxed);
    Ok(())
}

fn answer<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

impl Driver {
    async fn connect(&mut self, connect: Connect) -> Connected {
        let connect = Arc::new(connect);
        let (upgrade, join, lag) = <(Arc<Recorder>, Arc<Recorder>, Arc<Recorder>)>::default();
        let started_at = clock::now();
        let first_at = started_at + CONNECT_LEAD;
        let mut attempts = JoinSet::new();
        for index in 0..connect.count {
            let at = first_at + Duration::from_secs_f64(index as f64 / connect.per_s);
            tokio::time::sleep_until(at - CONNECT_LEAD).await;
            let (connect, upgrade, join, lag) = (connect.clone(), upgrade.clone(), join.clone(), lag.clone());
            let (shared, plans) = (self.shared.clone(), self.plans.subscribe());
            let index = self.connections + index;
            attempts.spawn(async move {
                let (socket, ends_at_us) = Box::pin(enter(&connect, index, at, [&upgrade, &join, &lag])).await?;
                // A task of its own, so that the memory of the handshake goes.
                tokio::spawn(async move { live(socket, index, ends_at_us, &shared, plans).await });
                anyhow::Ok(())
            });
        }
        let mut connected = Connected::default();
        while let Some(outcome) = attempts.join_next().await {
            match outcome.map_err(anyhow::Error::from).flatten() {
                Ok(()) => connected.connected += 1,
                Err(error) => {
                    connected.failed += 1;
                    if connected.errors.len() < 5 {
                        connected.errors.push(format!("{error:#}"));
                    }
                }
            }
        }
        self.connections += connect.count;
        connected.seconds = clock::now().duration_since(started_at).as_secs_f64();
        (connected.upgrade, connected.join, connected.lag) = (upgrade.take(), join.take(), lag.take());
        connected
    }

    fn plan(&self, pace: Pace, duration: Duration) -> Plan {
        let (what, per_s) = match pace {
            Pace::Silent => (What::Nothing, 1.0),
            Pace::Pings { per_s } => (What::Ping, per_s),
            Pace::Updates { per_s } => (What::Update, per_s),
        };
        let connections = self.connections.max(1);
        let interval = Duration::from_secs_f64(connections as f64 / per_s);
        // All must have heard of the plan before it begins.
        let start = clock::now() + Duration::from_millis(300);
        let plan = Plan { what, start, interval, end: start + duration, connections };
        self.plans.send_replace(plan);
        plan
    }

    async fn phase(&self, pace: Pace, duration: Duration) -> Figures {
        let shared = &self.shared;
        shared.sent.store(0, Relaxed);
        shared.answered.store(0, Relaxed);
        // What is thrown away belongs to the time before.
        let (_, _) = (shared.latency.take(), shared.lag.take());
        let plan = self.plan(pace, duration);
        tokio::time::sleep_until(plan.end).await;
        let is_answered = plan.what == What::Ping;
        let give_up_at = plan.end + ANSWERS_TIMEOUT;
        while is_answered && shared.answered.load(Relaxed) < shared.sent.load(Relaxed) && clock::now() < give_up_at {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let planned = (duration.as_secs_f64() / plan.interval.as_secs_f64() * self.connections as f64) as u64;
        Figures {
            planned: if plan.what == What::Nothing { 0 } else { planned },
            sent: shared.sent.load(Relaxed),
            answered: shared.answered.load(Relaxed),
            latency: shared.latency.take(),
            lag: shared.lag.take(),
        }
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        Status {
            open: shared.open.load(Relaxed),
            lost: shared.lost.load(Relaxed),
            frames: shared.frames.load(Relaxed),
            errors: shared.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            ended: shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Connects ahead of time and joins at `at`. Returns the announced end of the session beside the socket.
async fn enter(
    connect: &Connect,
    index: usize,
    at: Instant,
    [upgrade, join, lag]: [&Recorder; 3],
) -> anyhow::Result<(Socket, Option<i64>)> {
    let begun_at = clock::now();
    let mut socket = client::connect(connect.target, connect.server, index).await?;
    upgrade.record(index, clock::micros_between(begun_at, clock::now()));
    if connect.target == Target::Floor {
        return Ok((socket, None));
    }
    let token = &connect.tokens[index / connect.room_size % connect.tokens.len()];
    let frame = client::join_frame(token, Some(format!("load-{index}")))?;
    tokio::time::sleep_until(at).await;
    lag.record(index, clock::micros_between(at, clock::now()));
    let joined = client::join(&mut socket, frame).await?;
    join.record(index, clock::micros_between(at, clock::now()));
    let ends_at = joined["session"]["ends_at"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    Ok((socket, ends_at.map(|ends_at| ends_at.timestamp_micros())))
}
