//! The clients of a swarm process against real sockets.

use std::time::Duration;

use super::messages::{Drop, Entrance, How, Pace, Reconnect, Schedule};
use super::plan::Plan;
use super::worker::Worker;
use crate::adapter::{Protocol, Target};
use crate::clock;
use crate::control::SessionOptions;
use crate::fixture::Fixture;
use crate::server::Server;

const ROOM_SIZE: usize = 6;
const CLIENTS: usize = 2 * ROOM_SIZE;
const SETTLE: Duration = Duration::from_secs(20);

/// Two rooms full of clients that know each other.
async fn crowd(target: &Target) -> Worker {
    crowd_with(target, vec!["one".to_owned(), "two".to_owned()]).await
}

async fn crowd_with(target: &Target, tokens: Vec<String>) -> Worker {
    let mut worker = Worker::new();
    let entrance = Entrance {
        target: target.clone(),
        first: 0,
        position: 0,
        count: CLIENTS,
        per_s: 500.0,
        start_us: clock::wall_us(),
        tokens,
        room_size: ROOM_SIZE,
        track_members: true,
    };
    let connected = worker.connect(entrance).await;
    assert_eq!((connected.connected, connected.join.count), (CLIENTS, CLIENTS as u64), "{:?}", connected.errors);
    worker
}

/// A server keeps rooms as the harness expects: joins, pings, leaves, returns.
pub async fn check(target: &Target) {
    let mut worker = crowd(target).await;
    let rooms = worker.rooms(SETTLE).await;
    assert_eq!((rooms.members, rooms.exact), (CLIENTS, CLIENTS));
    // Each pair of a room once: the later one is seen by the earlier one.
    assert_eq!(rooms.seen.count as usize, 2 * ROOM_SIZE * (ROOM_SIZE - 1) / 2);
    assert_eq!((rooms.received.joins_seen, rooms.received.gaps), (rooms.seen.count, 0));

    let plan = Plan::new(Pace::Pings { per_s: 200.0 }, CLIENTS, clock::now(), Duration::from_millis(300));
    let figures = worker.phase(plan).await;
    assert!(figures.sent > 40 && figures.sent == figures.answered && figures.sent == figures.planned, "{figures:?}");
    // Three clients that ping once each are no closed loop; on a machine that stalls for the whole phase it takes another.
    loop {
        let plan = Plan::new(Pace::Saturate { connections: 3 }, CLIENTS, clock::now(), Duration::from_millis(100));
        let figures = worker.phase(plan).await;
        assert!(figures.answered >= 3 && figures.sent == figures.answered, "{figures:?}");
        if figures.answered > 3 {
            break;
        }
    }

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

async fn check_fixture(protocol: Protocol) {
    let fixture = Fixture::start(protocol).await;
    check(&fixture.target).await;
}

#[tokio::test]
async fn clients_follow_a_room_of_rollcall_frames() {
    check_fixture(Protocol::RollcallPeer { path: "/".to_owned() }).await;
}

#[tokio::test]
async fn clients_follow_a_presence_channel_of_pusher() {
    check_fixture(Protocol::Pusher { app: "key".to_owned(), secret: "secret".to_owned() }).await;
}

#[tokio::test]
async fn clients_follow_a_tracked_topic_of_phoenix() {
    check_fixture(Protocol::Phoenix { path: "/socket/websocket".to_owned(), topic: "room:".to_owned() }).await;
}

#[tokio::test]
async fn silent_clients_stay_until_they_are_wanted_back() {
    let fixture = Fixture::start(Protocol::RollcallPeer { path: "/".to_owned() }).await;
    let mut worker = crowd(&fixture.target).await;
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
    let mut worker = crowd(&fixture.target).await;
    let dropped = worker.drop(Drop { how: How::Close, share: 1.0 }).await;
    assert_eq!(dropped.dropped, CLIENTS);
    drop(fixture);
    let back = Reconnect { target: None, schedule: Schedule::Jitter { within_s: 0.0 }, give_up_s: 0.3 };
    let reconnected = worker.reconnect(back, clock::now()).await;
    assert_eq!((reconnected.connected, reconnected.failed), (0, CLIENTS));
    assert!(reconnected.attempts > CLIENTS, "each tries more than once");
    assert!(!reconnected.errors.is_empty());
}

/// The server beside the tests, if it has been built.
fn built_server() -> Option<std::path::PathBuf> {
    let program = std::env::current_exe().unwrap().parent()?.parent()?.join("rollcall");
    program.is_file().then_some(program)
}

#[tokio::test]
async fn clients_of_rollcall_come_back_unnoticed() {
    let Some(program) = built_server() else {
        eprintln!("skipped: build the server first (cargo build)");
        return;
    };
    let server = Server::start(&program, &[]).await.unwrap();
    let tokens = server.api().unwrap().create_rooms(2, SessionOptions::default(), |_| ()).await.unwrap();
    let mut worker = crowd_with(&Target::rollcall(server.listen()), tokens).await;
    let rooms = worker.rooms(SETTLE).await;
    assert_eq!((rooms.members, rooms.exact, rooms.received.gaps), (CLIENTS, CLIENTS, 0));
    assert_eq!(rooms.seen.count as usize, 2 * ROOM_SIZE * (ROOM_SIZE - 1) / 2);
    for how in [How::Reset, How::Close, How::Silent] {
        worker.mark();
        assert_eq!(worker.drop(Drop { how, share: 0.5 }).await.dropped, CLIENTS / 2);
        let back = Reconnect { target: None, schedule: Schedule::Rate { per_s: 500.0 }, give_up_s: 20.0 };
        let reconnected = worker.reconnect(back, clock::now()).await;
        assert_eq!((reconnected.connected, reconnected.refused), (CLIENTS / 2, 0), "{how:?}: {reconnected:?}");
        let rooms = worker.rooms(SETTLE).await;
        assert_eq!((rooms.exact, rooms.received.leaves_seen, rooms.received.gaps), (CLIENTS, 0, 0), "{how:?}");
        assert!(rooms.received.updates_seen > 0 || how == How::Silent, "others saw {how:?} as an update");
    }
    server.stop().await.unwrap();
}
