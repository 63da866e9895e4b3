//! Time and randomness of the simulation that runs on this thread. Time stands still while tasks work and is moved by the
//! simulator to the next alarm; randomness comes from a seed. One thread runs one simulation at a time.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rollcall_core::Timestamp;

thread_local! {
    static TIME: RefCell<Time> = RefCell::default();
}

#[derive(Default)]
struct Time {
    now_us: i64,
    alarms: BinaryHeap<Reverse<Armed>>,
    armed_total: u64,
    random: u64,
}

/// Ordered by instant, then by the order in which they were armed.
struct Armed {
    at_us: i64,
    number: u64,
    waker: Waker,
}

/// Begins a simulation at this instant, with this seed for what the server draws at random.
pub fn begin(now: Timestamp, seed: u64) {
    let before = TIME.replace(Time { now_us: now.0, random: seed, ..Time::default() });
    // Dropped out here: what the old wakers hold may look at the time.
    drop(before);
}

/// The true time of the simulation.
pub fn now() -> Timestamp {
    TIME.with_borrow(|time| Timestamp(time.now_us))
}

/// Moves on to the next alarm, at most to `limit`, and rings every alarm of that instant. Returns whether one rang.
pub fn advance(limit: Timestamp) -> bool {
    let mut due = Vec::new();
    TIME.with_borrow_mut(|time| {
        let next_us = time.alarms.peek().map_or(limit.0, |Reverse(armed)| armed.at_us).min(limit.0);
        time.now_us = time.now_us.max(next_us);
        while let Some(Reverse(armed)) = time.alarms.peek()
            && armed.at_us <= time.now_us
        {
            due.extend(time.alarms.pop().map(|Reverse(armed)| armed.waker));
        }
    });
    let rang = !due.is_empty();
    due.into_iter().for_each(Waker::wake);
    rang
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) fn fill_random(bytes: &mut [u8]) {
    TIME.with_borrow_mut(|time| {
        for chunk in bytes.chunks_mut(8) {
            time.random = time.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = time.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    });
}

/// Fires once its instant has come. It is armed when it is first polled.
#[derive(Debug)]
pub struct Alarm {
    at: Timestamp,
    armed: bool,
}

impl Alarm {
    pub(super) fn after(duration: Duration) -> Self {
        Self { at: now() + duration, armed: false }
    }

    pub(super) fn reset(&mut self, duration: Duration) {
        *self = Self::after(duration);
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        TIME.with_borrow_mut(|time| {
            if self.at.0 <= time.now_us {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut self.armed, true) {
                time.armed_total += 1;
                let (at_us, number, waker) = (self.at.0, time.armed_total, context.waker().clone());
                time.alarms.push(Reverse(Armed { at_us, number, waker }));
            }
            Poll::Pending
        })
    }
}

impl PartialEq for Armed {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.number) == (other.at_us, other.number)
    }
}

impl Eq for Armed {}

impl PartialOrd for Armed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Armed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.number).cmp(&(other.at_us, other.number))
    }
}
