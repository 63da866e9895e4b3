//! What a swarm process says of its clients: their lists, what they have received, how they stand.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::member::{Member, Standing};
use super::messages::{Received, Rooms, Status};
use super::room::{Room, View};
use super::worker::{LOOK_INTERVAL, Worker};
use crate::clock;

impl Worker {
    pub(super) async fn rooms(&self, settle: Duration) -> Rooms {
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

    pub(super) fn mark(&self) {
        for member in &self.members {
            member.received.reset();
        }
        self.shared.lost.store(0, Relaxed);
        self.shared.seen.take();
    }

    pub(super) fn received(&self) -> Received {
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

    pub(super) fn status(&self) -> Status {
        let shared = &self.shared;
        Status {
            open: shared.open.load(Relaxed),
            lost: shared.lost.load(Relaxed),
            frames: shared.frames.load(Relaxed),
            errors: shared.errors(),
            ended: shared.ended(),
        }
    }

    pub(super) fn inside(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter(|member| member.standing() == Standing::In)
    }
}
