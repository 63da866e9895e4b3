//! A swarm process: reads commands, runs them one after the other, answers each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::entry::{self, Attempt, Recorders, Return};
use super::limits;
use super::member::{Member, Shared, Standing};
use super::messages::{Command, Connected, Done, Drop, Dropped, Entrance, Figures, Reconnect, Reconnected, Schedule};
use super::plan::{Plan, What, scatter};
use super::room::Room;
use crate::adapter::{Adapter, Target};
use crate::clock;

/// After the last scheduled send of a phase: how long answers may still come.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long dropped clients may take to be gone.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the end of something is looked for.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A pace without an end: the process ends before.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    orders: watch::Sender<Plan>,
    pub(super) members: Vec<Arc<Member>>,
    rooms: HashMap<Arc<str>, Arc<Room>>,
    target: Option<(Target, Arc<dyn Adapter>)>,
}

/// Runs until standard input is closed.
///
/// # Errors
/// A command cannot be understood, or nobody reads the answers.
pub async fn run() -> anyhow::Result<()> {
    limits::raise()?;
    let mut worker = Worker::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Command::Connect(entrance) => answer(&worker.connect(entrance).await)?,
            Command::Pace { pace, connections, start_us, seconds: None } => {
                worker.pace(Plan::new(pace, connections, instant_of(start_us), FOR_EVER));
                answer(&Done {})?;
            }
            Command::Pace { pace, connections, start_us, seconds: Some(seconds) } => {
                let plan = Plan::new(pace, connections, instant_of(start_us), Duration::from_secs_f64(seconds));
                answer(&worker.phase(plan).await)?;
            }
            Command::Drop(drop) => answer(&worker.drop(drop).await)?,
            Command::Reconnect { reconnect, start_us } => {
                answer(&worker.reconnect(reconnect, instant_of(start_us)).await)?;
            }
            Command::Rooms { settle_s } => answer(&worker.rooms(Duration::from_secs_f64(settle_s)).await)?,
            Command::Mark => {
                worker.mark();
                answer(&Done {})?;
            }
            Command::SinceMark => answer(&worker.received())?,
            Command::Status => answer(&worker.status())?,
        }
    }
    worker.shared.stopping.store(true, Relaxed);
    Ok(())
}

fn answer<T: Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// The instant that the machine's wall clock shows `wall_us`. Past instants become now.
fn instant_of(wall_us: i64) -> Instant {
    clock::now() + Duration::from_micros(u64::try_from(wall_us - clock::wall_us()).unwrap_or(0))
}

impl Worker {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::default(),
            orders: watch::channel(Plan::silent()).0,
            members: Vec::new(),
            rooms: HashMap::new(),
            target: None,
        }
    }

    pub(super) async fn connect(&mut self, entrance: Entrance) -> Connected {
        let adapter = entrance.target.protocol.adapter();
        let follows = entrance.track_members && entrance.target.protocol.has_rooms();
        self.target = Some((entrance.target.clone(), adapter));
        let start = instant_of(entrance.start_us);
        let mut attempts = JoinSet::new();
        let recorders = Arc::new(Recorders::default());
        let mut connected = Connected::default();
        for number in 0..entrance.count {
            // What an attempt needed is let go of as soon as it is over, not when all are.
            while let Some(outcome) = attempts.try_join_next() {
                connected.count(outcome.map_err(anyhow::Error::from).flatten());
            }
            let at = start + Duration::from_secs_f64((entrance.position + number) as f64 / entrance.per_s);
            tokio::time::sleep_until(at - entry::CONNECT_LEAD).await;
            let token = entrance.tokens.get(number / entrance.room_size).map_or("", String::as_str);
            let member = self.member(entrance.first + number, token, follows);
            let Some(attempt) = self.attempt(member, at) else { continue };
            let recorders = recorders.clone();
            attempts.spawn(async move { attempt.first(&recorders).await });
        }
        while let Some(outcome) = attempts.join_next().await {
            connected.count(outcome.map_err(anyhow::Error::from).flatten());
        }
        connected.seconds = clock::now().duration_since(start).as_secs_f64();
        connected.upgrade = recorders.upgrade.take();
        (connected.join, connected.lag) = (recorders.join.take(), recorders.lag.take());
        connected
    }

    fn member(&mut self, index: usize, token: &str, follows: bool) -> Arc<Member> {
        let identity = format!("load-{index}");
        let token: Arc<str> = match self.rooms.get_key_value(token) {
            Some((known, _)) => known.clone(),
            None => token.into(),
        };
        let room = self.rooms.entry(token.clone()).or_default();
        let place = follows.then(|| (room.clone(), room.expect(&identity, clock::now())));
        let member = Arc::new(Member::new(index, identity, token, place));
        self.members.push(member.clone());
        member
    }

    fn attempt(&self, member: Arc<Member>, at: Instant) -> Option<Attempt> {
        let (target, adapter) = self.target.as_ref()?;
        if let Some((room, _)) = &member.place {
            room.expect(&member.identity, at);
        }
        let (shared, orders) = (self.shared.clone(), self.orders.subscribe());
        Some(Attempt { member, adapter: adapter.clone(), server: target.address, shared, orders, at })
    }

    fn pace(&self, plan: Plan) {
        self.orders.send_replace(plan);
    }

    pub(super) async fn phase(&self, plan: Plan) -> Figures {
        let shared = &self.shared;
        shared.sent.store(0, Relaxed);
        shared.answered.store(0, Relaxed);
        // What is thrown away belongs to the time before.
        let (_, _) = (shared.latency.take(), shared.lag.take());
        let planned: u64 = self.inside().map(|member| plan.sends(member.index)).sum();
        self.pace(plan);
        tokio::time::sleep_until(plan.end).await;
        let give_up_at = plan.end + ANSWERS_TIMEOUT;
        // A late loader still sends what was due, and a late server still answers it.
        let is_done = || {
            let (sent, answered) = (shared.sent.load(Relaxed), shared.answered.load(Relaxed));
            match plan.what {
                What::Nothing => true,
                What::Update => sent >= planned,
                What::Ping | What::Chase => sent >= planned && answered >= sent,
            }
        };
        while !is_done() && clock::now() < give_up_at {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let (latency, sent) = (shared.latency.take(), shared.sent.load(Relaxed));
        let now = shared.micros(clock::now());
        let open_pings = self.inside().filter_map(|member| match member.waiting_us.load(Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(since)),
        });
        Figures {
            planned: match plan.what {
                What::Nothing => 0,
                What::Chase => sent,
                What::Ping | What::Update => planned,
            },
            sent,
            answered: shared.answered.load(Relaxed),
            stall_us: open_pings.max().unwrap_or(0).max(latency.max_us),
            latency,
            lag: shared.lag.take(),
        }
    }

    pub(super) async fn drop(&self, drop: Drop) -> Dropped {
        let started_at = clock::now();
        // Evenly spread: where the running sum of shares passes a whole number.
        let chosen = |index: usize| ((index + 1) as f64 * drop.share).floor() > (index as f64 * drop.share).floor();
        let ordered: Vec<&Arc<Member>> = self
            .members
            .iter()
            .filter(|member| chosen(member.index) && member.turn(Standing::In, Standing::ordered(drop.how)))
            .collect();
        self.wake();
        let give_up_at = started_at + DROP_TIMEOUT;
        let is_done = || ordered.iter().all(|member| !member.standing().is_order());
        while !is_done() && clock::now() < give_up_at {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Dropped { dropped: ordered.len(), seconds: clock::now().duration_since(started_at).as_secs_f64() }
    }

    pub(super) async fn reconnect(&mut self, reconnect: Reconnect, start: Instant) -> Reconnected {
        if let Some(target) = reconnect.target {
            let adapter = target.protocol.adapter();
            self.target = Some((target, adapter));
        }
        let outside =
            |member: &&Arc<Member>| matches!(member.standing(), Standing::Out | Standing::Lost | Standing::Silent);
        let mut wanted: Vec<(Instant, Arc<Member>)> = Vec::new();
        for (number, member) in self.members.iter().filter(outside).enumerate() {
            let wait_s = match reconnect.schedule {
                Schedule::Rate { per_s } => number as f64 / per_s,
                Schedule::Jitter { within_s } => scatter(member.index, 0) * within_s,
            };
            member.stand(Standing::Out);
            wanted.push((start + Duration::from_secs_f64(wait_s), member.clone()));
        }
        // Those who were silent let go of their sockets.
        self.wake();
        let give_up = Duration::from_secs_f64(reconnect.give_up_s);
        let recorders = Arc::new(Recorders::default());
        let mut returns = JoinSet::new();
        for (at, member) in &wanted {
            let Some(attempt) = self.attempt(member.clone(), *at) else { continue };
            let recorders = recorders.clone();
            returns.spawn(async move { attempt.again(give_up, &recorders).await });
        }
        let mut reconnected = Reconnected { wanted: wanted.len(), ..Reconnected::default() };
        while let Some(outcome) = returns.join_next().await {
            match outcome {
                Ok(Return { is_in, attempts, refused, error }) => {
                    reconnected.connected += usize::from(is_in);
                    reconnected.failed += usize::from(!is_in);
                    reconnected.attempts += attempts;
                    reconnected.refused += refused;
                    error.into_iter().for_each(|error| keep(&mut reconnected.errors, || error));
                }
                Err(error) => keep(&mut reconnected.errors, || error.to_string()),
            }
        }
        reconnected.seconds = clock::now().duration_since(start).as_secs_f64();
        reconnected.latency = recorders.join.take();
        reconnected
    }

    /// Makes every client look at its standing; the plan stays.
    fn wake(&self) {
        self.orders.send_modify(|_| {});
    }
}

impl Connected {
    fn count(&mut self, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.connected += 1,
            Err(error) => {
                self.failed += 1;
                keep(&mut self.errors, || format!("{error:#}"));
            }
        }
    }
}

fn keep(errors: &mut Vec<String>, error: impl FnOnce() -> String) {
    const KEPT_MAX: usize = 5;
    if errors.len() < KEPT_MAX {
        errors.push(error());
    }
}
