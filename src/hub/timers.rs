//! One queue of deadlines for sessions and invites. Entries are never removed or moved: one that is stale is found out
//! when it fires.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollcall_core::{InviteId, SessionId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Hub;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    Session(SessionId),
    Invite(InviteId),
}

#[derive(Default)]
pub(super) struct Timers {
    queue: Mutex<BinaryHeap<Reverse<(Timestamp, TimerKey)>>>,
    earlier: Notify,
}

/// Deadlines fired before other tasks get a turn.
const FIRED_PER_TURN_MAX: usize = 256;

/// A timer that fires this much late shows that the process has stood still.
const STANDSTILL_MIN: Duration = Duration::from_secs(1);

/// How long the sockets get after that, before deadlines are looked at. Ends are dated to their deadline all the same.
const LISTEN_FIRST: Duration = Duration::from_secs(1);

impl Timers {
    pub(super) fn arm(&self, at: Timestamp, key: TimerKey) {
        let mut queue = self.lock();
        let is_first = queue.peek().is_none_or(|Reverse((first, _))| at < *first);
        queue.push(Reverse((at, key)));
        drop(queue);
        if is_first {
            self.earlier.notify_one();
        }
    }

    fn next_at(&self) -> Option<Timestamp> {
        self.lock().peek().map(|Reverse((at, _))| *at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<(Timestamp, TimerKey)> {
        let mut queue = self.lock();
        let mut due = Vec::new();
        while due.len() < FIRED_PER_TURN_MAX
            && let Some(Reverse((at, key))) = queue.peek().copied()
            && at <= now
        {
            queue.pop();
            due.push((at, key));
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<(Timestamp, TimerKey)>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The timer task: sleeps until the next deadline and lets sessions and invites look at it.
pub async fn run_timers(hub: Hub, stop: CancellationToken) {
    let timers = &hub.inner.timers;
    loop {
        let next_at = timers.next_at().unwrap_or(Timestamp::NEVER);
        let expected_at = next_at.max(hub.inner.clock.now());
        tokio::select! {
            biased;
            () = hub.inner.clock.sleep_until(next_at) => {}
            () = timers.earlier.notified() => continue,
            () = stop.cancelled() => return,
        }
        if hub.inner.clock.now().since(expected_at) >= STANDSTILL_MIN {
            // Nobody is idle because the server could not listen: what waits in the sockets is to be read first.
            tokio::time::sleep(LISTEN_FIRST).await;
        }
        loop {
            let due = timers.take_due(hub.inner.clock.now());
            if due.is_empty() {
                break;
            }
            for (at, key) in due {
                match key {
                    TimerKey::Session(session) => hub.tick(session, at),
                    TimerKey::Invite(invite) => hub.inner.invites.expire(invite, at, &hub.inner.ledger),
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
