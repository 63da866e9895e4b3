//! The steps of a random history.

use proptest::prelude::*;

/// Sessions; the even ones are on the first node, the odd ones on the second.
pub const SESSIONS: usize = 4;
pub const NODES: usize = 2;
pub const PEOPLE: usize = 4;
pub const INVITES: usize = 4;

#[derive(Debug, Clone)]
pub enum Step {
    Wait {
        milliseconds: u64,
    },
    Join {
        session: usize,
        person: usize,
        invite: Option<usize>,
        /// Comes back on this one of the earlier connections, with what it says of the end of that one.
        resumes: Option<usize>,
        closed_ms_ago: Option<u64>,
    },
    Frame {
        pick: usize,
        frame: Frame,
    },
    Close {
        pick: usize,
        how: usize,
    },
    Kick {
        session: usize,
        person: usize,
    },
    Control {
        session: usize,
        change: Change,
    },
    Consume {
        invite: usize,
        person: usize,
    },
    Release {
        invite: usize,
        person: usize,
    },
    Mark {
        node: usize,
    },
    /// What waits in memory becomes durable.
    Write {
        node: usize,
    },
    Flush {
        node: usize,
        rows: usize,
        order: Order,
    },
    /// A batch of an epoch that is closed comes once more.
    Late {
        node: usize,
        rows: usize,
    },
    Crash {
        node: usize,
        loses_memory: bool,
    },
    Drain {
        node: usize,
    },
    /// The lease of a node runs out, long ago.
    Lapse {
        node: usize,
    },
    CleanUp {
        inactivity_s: u64,
        sessions_max: usize,
        gives_up_on_lost: bool,
    },
    /// Keeps a copy of the database.
    Snapshot,
    /// Puts the database back to the copy.
    Restore,
}

#[derive(Debug, Clone, Copy)]
pub enum Frame {
    Ping,
    Act,
    Hide,
    Update(u8),
    /// A state that the database refuses.
    Poison,
}

#[derive(Debug, Clone, Copy)]
pub enum Change {
    End,
    Extend { by_s: u64 },
    Recover,
    Bar { person: usize },
    Revoke { invite: usize },
}

/// Which records a batch has, seen from what Postgres knows.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Next,
    /// Some were sent before.
    Overlapping(i64),
    /// All were sent before.
    Again(i64),
    /// Some before it are missing.
    Early(i64),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let people = prop_oneof![
        10 => wait(),
        8 => join(),
        8 => (0..12_usize, frame()).prop_map(|(pick, frame)| Step::Frame { pick, frame }),
        6 => (0..12_usize, 0..6_usize).prop_map(|(pick, how)| Step::Close { pick, how }),
        1 => (0..SESSIONS, 0..PEOPLE).prop_map(|(session, person)| Step::Kick { session, person }),
        4 => (0..SESSIONS, change()).prop_map(|(session, change)| Step::Control { session, change }),
        2 => (0..INVITES, 0..PEOPLE).prop_map(|(invite, person)| Step::Consume { invite, person }),
        1 => (0..INVITES, 0..PEOPLE).prop_map(|(invite, person)| Step::Release { invite, person }),
    ];
    let node = 0..NODES;
    let nodes = prop_oneof![
        8 => node.clone().prop_map(|node| Step::Mark { node }),
        6 => node.clone().prop_map(|node| Step::Write { node }),
        10 => (node.clone(), 1..40_usize, order()).prop_map(|(node, rows, order)| Step::Flush { node, rows, order }),
        1 => (node.clone(), 1..20_usize).prop_map(|(node, rows)| Step::Late { node, rows }),
        3 => (node.clone(), any::<bool>()).prop_map(|(node, loses_memory)| Step::Crash { node, loses_memory }),
        1 => node.clone().prop_map(|node| Step::Drain { node }),
        1 => node.prop_map(|node| Step::Lapse { node }),
        3 => (0..1_800_u64, 1..6_usize, any::<bool>()).prop_map(|(inactivity_s, sessions_max, gives_up_on_lost)| {
            Step::CleanUp { inactivity_s, sessions_max, gives_up_on_lost }
        }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(prop_oneof![3 => people, 2 => nodes], 1..140)
}

fn wait() -> impl Strategy<Value = Step> {
    let milliseconds = prop_oneof![3 => 1..1_000_u64, 6 => 1_000..40_000_u64, 2 => 40_000..400_000_u64];
    milliseconds.prop_map(|milliseconds| Step::Wait { milliseconds })
}

fn join() -> impl Strategy<Value = Step> {
    let invite = proptest::option::weighted(0.5, 0..INVITES);
    let resumes = proptest::option::weighted(0.5, 0..4_usize);
    let closed_ms_ago = proptest::option::weighted(0.5, 0..30_000_u64);
    (0..SESSIONS, 0..PEOPLE, invite, resumes, closed_ms_ago).prop_map(
        |(session, person, invite, resumes, closed_ms_ago)| Step::Join {
            session,
            person,
            invite,
            resumes,
            closed_ms_ago,
        },
    )
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        6 => Just(Frame::Ping),
        6 => Just(Frame::Act),
        2 => Just(Frame::Hide),
        4 => (0..4_u8).prop_map(Frame::Update),
        1 => Just(Frame::Poison),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::End),
        2 => (1..900_u64).prop_map(|by_s| Change::Extend { by_s }),
        3 => Just(Change::Recover),
        1 => (0..PEOPLE).prop_map(|person| Change::Bar { person }),
        2 => (0..INVITES).prop_map(|invite| Change::Revoke { invite }),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        6 => Just(Order::Next),
        2 => (1..20_i64).prop_map(Order::Overlapping),
        1 => (1..20_i64).prop_map(Order::Again),
        1 => (1..5_i64).prop_map(Order::Early),
    ]
}
