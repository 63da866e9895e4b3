//! Which connections were heard. Read once a second for the evidence mark; a ping never comes here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollcall_core::{ConnectionClock, Fact, Heard, Record, Timestamp, planted};
use tokio_util::sync::CancellationToken;

use super::Hub;

/// Once an interval: which connections proved themselves alive. It bounds what a crash can lose of a span.
pub async fn run_marks(hub: Hub, every: Duration, stop: CancellationToken) {
    loop {
        let marked_at = hub.clock().now();
        hub.mark_evidence();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = hub.clock().sleep_until(marked_at + every) => {}
        }
    }
}

#[derive(Default)]
pub(super) struct EvidenceRegistry {
    connections: Mutex<HashMap<i64, Marked>>,
    /// The last activity of connections that closed before a mark told of it. Their close tells of the rest.
    closed: Mutex<Vec<Heard>>,
}

struct Marked {
    clock: Arc<ConnectionClock>,
    evidence_at: Timestamp,
    activity_at: Timestamp,
}

impl EvidenceRegistry {
    pub(super) fn register(&self, counter: i64, clock: Arc<ConnectionClock>) {
        let (evidence_at, activity_at) = (clock.evidence_at(), clock.activity_at());
        self.lock().insert(counter, Marked { clock, evidence_at, activity_at });
    }

    pub(super) fn remove(&self, counter: i64) {
        let Some(marked) = self.lock().remove(&counter) else { return };
        let activity_at = marked.clock.activity_at();
        if activity_at != marked.activity_at {
            // It keeps the session from ending as idle, also after a restart.
            let evidence_at = marked.clock.billable_until();
            self.lock_closed().push(Heard { counter, evidence_at, activity_at: Some(activity_at) });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Everything heard since it was last marked. Compared by value and not by the time of the last mark, so that a
    /// store that becomes visible late is in the next mark.
    pub(super) fn mark(&self, now: Timestamp) -> Record {
        let mut heard = std::mem::take(&mut *self.lock_closed());
        for (counter, marked) in self.lock().iter_mut() {
            let (evidence_at, activity_at) = (marked.clock.billable_until(), marked.clock.activity_at());
            if evidence_at == marked.evidence_at {
                continue;
            }
            let activity_at = (activity_at != marked.activity_at).then_some(activity_at);
            marked.evidence_at = evidence_at;
            marked.activity_at = activity_at.unwrap_or(marked.activity_at);
            if planted!("mark_loses_evidence") && counter % 2 == 0 {
                continue;
            }
            heard.push(Heard { counter: *counter, evidence_at, activity_at });
        }
        Record { at: now, fact: Fact::EvidenceMark { heard } }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Marked>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_closed(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
