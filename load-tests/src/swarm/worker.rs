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
use super::messages::{
    Command, Connected, Done, Drop, Dropped, Entrance, Figures, Received, Reconnect, Reconnected, Rooms, Schedule,
    Status,
};
use super::plan::{Plan, What, scatter};
use super::room::{Room, View};
use crate::adapter::{Adapter, Target};
use crate::clock;

/// After the last scheduled send of a phase: how long answers may still come.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long dropped clients may take to be gone.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the end of something is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A pace without an end: the process ends before.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    orders: watch::Sender<Plan>,
    members: Vec<Arc<Member>>,
    rooms: HashMap<Arc<str>, Arc<Room>>,
    target: Option<(Target, Arc<dyn Adapter>)>,
}

/// Runs until standard input is closed.
///
/// # Errors
/// A command cannot be understood, or nobody reads the answers.
pub async fn run() -> anyhow::Result<()> {
    limits::raise()?;
    let mut worker = Worker {
        shared: Arc::default(),
        orders: watch::channel(Plan::silent()).0,
        members: Vec::new(),
        rooms: HashMap::new(),
        target: None,
    };
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
    async fn connect(&mut self, entrance: Entrance) -> Connected {
        let adapter = entrance.target.protocol.adapter();
        let follows = entrance.track_members && entrance.target.protocol.has_rooms();
        self.target = Some((entrance.target.clone(), adapter));
        let start = instant_of(entrance.start_us);
        let mut attempts = JoinSet::new();
        let recorders = Arc::new(Recorders::default());
        for number in 0..entrance.count {
            let at = start + Duration::from_secs_f64((entrance.position + number) as f64 / entrance.per_s);
            tokio::time::sleep_until(at - entry::CONNECT_LEAD).await;
            let token = entrance.tokens.get(number / entrance.room_size).map_or("", String::as_str);
            let member = self.member(entrance.first + number, token, follows);
            let Some(attempt) = self.attempt(member, at) else { continue };
            let recorders = recorders.clone();
            attempts.spawn(async move { attempt.first(&recorders).await });
        }
        let mut connected = Connected::default();
        while let Some(outcome) = attempts.join_next().await {
            match outcome.map_err(anyhow::Error::from).flatten() {
                Ok(()) => connected.connected += 1,
                Err(error) => {
                    connected.failed += 1;
                    keep(&mut connected.errors, || format!("{error:#}"));
                }
            }
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

    async fn phase(&self, plan: Plan) -> Figures {
        let shared = &self.shared;
        shared.sent.store(0, Relaxed);
        shared.answered.store(0, Relaxed);
        // What is thrown away belongs to the time before.
        let (_, _) = (shared.latency.take(), shared.lag.take());
        let planned = self.inside().map(|member| plan.sends(member.index)).sum();
        self.pace(plan);
        tokio::time::sleep_until(plan.end).await;
        let is_answered = matches!(plan.what, What::Ping | What::Chase);
        let give_up_at = plan.end + ANSWERS_TIMEOUT;
        while is_answered && shared.answered.load(Relaxed) < shared.sent.load(Relaxed) && clock::now() < give_up_at {
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

    async fn drop(&self, drop: Drop) -> Dropped {
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

    async fn reconnect(&mut self, reconnect: Reconnect, start: Instant) -> Reconnected {
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

    async fn rooms(&self, settle: Duration) -> Rooms {
        let started_at = clock::now();
        loop {
            let (members, exact, complete) = self.compare();
            let took = clock::now().duration_since(started_at);
            if exact == members || took >= settle {
                let (seen, received) = (self.shared.seen.take(), self.received());
                return Rooms { members, exact, complete, settled_s: took.as_secs_f64(), seen, received };
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// How many follow their room, hold exactly the right list, and hold at least that.
    fn compare(&self) -> (usize, usize, usize) {
        let mut expected: HashMap<*const Room, View> = HashMap::new();
        for (room, own) in self.inside().filter_map(|member| member.place.as_ref()) {
            expected.entry(Arc::as_ptr(room)).or_default().insert(*own);
        }
        let (mut members, mut exact, mut complete) = (0, 0, 0);
        for member in self.inside() {
            let Some(right) = member.place.as_ref().and_then(|(room, _)| expected.get(&Arc::as_ptr(room))) else {
                continue;
            };
            let view = member.view();
            members += 1;
            exact += usize::from(view.is_same(right));
            complete += usize::from(view.has_all(right));
        }
        (members, exact, complete)
    }

    fn mark(&self) {
        for member in &self.members {
            member.received.reset();
        }
        self.shared.lost.store(0, Relaxed);
        self.shared.seen.take();
    }

    fn received(&self) -> Received {
        let mut sum = Received { lost: self.shared.lost.load(Relaxed) as u64, ..Received::default() };
        for member in self.inside() {
            let received = &member.received;
            sum.members += 1;
            sum.frames += received.frames.load(Relaxed);
            sum.bytes += received.bytes.load(Relaxed);
            sum.presence_frames.add(received.presence_frames.load(Relaxed));
            sum.presence_bytes.add(received.presence_bytes.load(Relaxed));
            sum.joins_seen += received.joins.load(Relaxed);
            sum.updates_seen += received.updates.load(Relaxed);
            sum.leaves_seen += received.leaves.load(Relaxed);
            sum.snapshots += received.snapshots.load(Relaxed);
            sum.gaps += received.gaps.load(Relaxed);
        }
        sum
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        Status {
            open: shared.open.load(Relaxed),
            lost: shared.lost.load(Relaxed),
            frames: shared.frames.load(Relaxed),
            errors: shared.errors(),
            ended: shared.ended(),
        }
    }

    fn inside(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter(|member| member.standing() == Standing::In)
    }

    /// Makes every client look at its standing; the plan stays.
    fn wake(&self) {
        self.orders.send_modify(|_| {});
    }
}

fn keep(errors: &mut Vec<String>, error: impl FnOnce() -> String) {
    const KEPT_MAX: usize = 5;
    if errors.len() < KEPT_MAX {
        errors.push(error());
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{How, Pace};
    use super::*;
    use crate::adapter::Protocol;
    use crate::fixture::Fixture;

    const ROOM_SIZE: usize = 6;
    const CLIENTS: usize = 2 * ROOM_SIZE;
    const SETTLE: Duration = Duration::from_secs(20);

    impl Worker {
        fn new() -> Self {
            Self {
                shared: Arc::default(),
                orders: watch::channel(Plan::silent()).0,
                members: Vec::new(),
                rooms: HashMap::new(),
                target: None,
            }
        }
    }

    /// Two rooms full of clients that know each other.
    async fn crowd(fixture: &Fixture) -> Worker {
        let mut worker = Worker::new();
        let entrance = Entrance {
            target: fixture.target.clone(),
            first: 0,
            position: 0,
            count: CLIENTS,
            per_s: 500.0,
            start_us: clock::wall_us(),
            tokens: vec!["one".to_owned(), "two".to_owned()],
            room_size: ROOM_SIZE,
            track_members: true,
        };
        let connected = worker.connect(entrance).await;
        assert_eq!((connected.connected, connected.join.count), (CLIENTS, CLIENTS as u64), "{:?}", connected.errors);
        worker
    }

    async fn check(protocol: Protocol) {
        let fixture = Fixture::start(protocol).await;
        let mut worker = crowd(&fixture).await;
        let rooms = worker.rooms(SETTLE).await;
        assert_eq!((rooms.members, rooms.exact), (CLIENTS, CLIENTS));
        // Each pair of a room once: the later one is seen by the earlier one.
        assert_eq!(rooms.seen.count as usize, 2 * ROOM_SIZE * (ROOM_SIZE - 1) / 2);
        assert_eq!((rooms.received.joins_seen, rooms.received.gaps), (rooms.seen.count, 0));

        let plan = Plan::new(Pace::Pings { per_s: 200.0 }, CLIENTS, clock::now(), Duration::from_millis(300));
        let figures = worker.phase(plan).await;
        assert!(
            figures.sent > 40 && figures.sent == figures.answered && figures.sent == figures.planned,
            "{figures:?}"
        );
        let plan = Plan::new(Pace::Saturate { connections: 3 }, CLIENTS, clock::now(), Duration::from_millis(100));
        let figures = worker.phase(plan).await;
        assert!(figures.answered > 3 && figures.sent == figures.answered, "{figures:?}");

        worker.mark();
        let dropped = worker.drop(Drop { how: How::Reset, share: 0.5 }).await;
        assert_eq!(dropped.dropped, CLIENTS / 2);
        let rooms = worker.rooms(SETTLE).await;
        assert_eq!((rooms.members, rooms.exact), (CLIENTS / 2, CLIENTS / 2));
        assert_eq!(rooms.received.leaves_seen, 2 * 3 * 3, "three of each room saw three go");
        assert_eq!(rooms.received.lost, 0, "who was told to go is not lost");

        let back = Reconnect { target: None, schedule: Schedule::Jitter { within_s: 0.1 }, give_up_s: 20.0 };
        let reconnected = worker.reconnect(back, clock::now()).await;
        assert_eq!((reconnected.wanted, reconnected.connected), (CLIENTS / 2, CLIENTS / 2), "{:?}", reconnected.errors);
        assert_eq!(reconnected.latency.count as usize, CLIENTS / 2);
        let rooms = worker.rooms(SETTLE).await;
        assert_eq!((rooms.members, rooms.exact), (CLIENTS, CLIENTS));
        assert_eq!(worker.status().open, CLIENTS);
    }

    #[tokio::test]
    async fn clients_follow_a_room_of_rollcall_frames() {
        check(Protocol::RollcallPeer { path: "/".to_owned() }).await;
    }

    #[tokio::test]
    async fn clients_follow_a_presence_channel_of_pusher() {
        check(Protocol::Pusher { app: "key".to_owned(), secret: "secret".to_owned() }).await;
    }

    #[tokio::test]
    async fn clients_follow_a_tracked_topic_of_phoenix() {
        check(Protocol::Phoenix { path: "/socket/websocket".to_owned(), topic: "room:".to_owned() }).await;
    }

    #[tokio::test]
    async fn silent_clients_stay_until_they_are_wanted_back() {
        let fixture = Fixture::start(Protocol::RollcallPeer { path: "/".to_owned() }).await;
        let mut worker = crowd(&fixture).await;
        worker.rooms(SETTLE).await;
        worker.mark();
        let dropped = worker.drop(Drop { how: How::Silent, share: 1.0 }).await;
        assert_eq!(dropped.dropped, CLIENTS);
        let plan = Plan::new(Pace::Pings { per_s: 500.0 }, CLIENTS, clock::now(), Duration::from_millis(100));
        assert_eq!(worker.phase(plan).await.sent, 0, "they send nothing");
        let back = Reconnect { target: None, schedule: Schedule::Rate { per_s: 500.0 }, give_up_s: 20.0 };
        assert_eq!(worker.reconnect(back, clock::now()).await.connected, CLIENTS);
        let rooms = worker.rooms(SETTLE).await;
        assert_eq!((rooms.exact, rooms.received.leaves_seen), (CLIENTS, 0), "they came back before they were gone");
    }

    #[tokio::test]
    async fn a_server_that_goes_loses_its_clients() {
        let fixture = Fixture::start(Protocol::RollcallPeer { path: "/".to_owned() }).await;
        let mut worker = crowd(&fixture).await;
        let dropped = worker.drop(Drop { how: How::Close, share: 1.0 }).await;
        assert_eq!(dropped.dropped, CLIENTS);
        drop(fixture);
        let back = Reconnect { target: None, schedule: Schedule::Jitter { within_s: 0.0 }, give_up_s: 0.3 };
        let reconnected = worker.reconnect(back, clock::now()).await;
        assert_eq!((reconnected.connected, reconnected.failed), (0, CLIENTS));
        assert!(reconnected.attempts > CLIENTS, "each tries more than once");
        assert!(!reconnected.errors.is_empty());
    }
}
