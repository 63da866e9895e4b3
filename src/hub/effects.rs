//! Carries out what a session decided, in order: records to the ledger, events and closes into outboxes.

use std::sync::Arc;

use rollcall_core::{Effect, Event, Recipients};

use super::frame::Frame;
use super::outbox::{Farewell, Outbox, Outgoing};
use super::sessions::Entry;
use crate::ledger::{Ledger, Receipt};

/// What came of a command.
#[must_use]
#[derive(Debug)]
pub struct Applied {
    /// Resolves when the command's records are durable.
    pub receipt: Receipt,
}

/// Runs under the session's guard: the order of its records in the ledger is the order of its changes.
pub(super) fn execute(
    entry: &mut Entry,
    effects: Vec<Effect>,
    joiner: &mut Option<Arc<Outbox>>,
    ledger: &Ledger,
) -> Applied {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Record(record) => Some(record.clone()),
        Effect::Deliver { .. } | Effect::Close { .. } => None,
    });
    let records: Vec<_> = records.collect();
    let receipt = ledger.append_acknowledged(&records);
    for effect in effects {
        match effect {
            Effect::Record(_) => {}
            Effect::Deliver { to: Recipients::One(connection), event } => {
                if matches!(event, Event::Joined(_))
                    && let Some(outbox) = joiner.take()
                {
                    // From here on the joiner gets every diff; the ones before are in its snapshot.
                    entry.outboxes.insert(connection.counter, outbox);
                }
                if let Some(outbox) = entry.outboxes.get(&connection.counter) {
                    outbox.push(Outgoing::Frame(Arc::new(Frame::new(event))));
                }
            }
            Effect::Deliver { to: Recipients::All, event } => {
                // One frame, encoded once by whoever sends it first, shared by all.
                let frame = Arc::new(Frame::new(event));
                for outbox in entry.outboxes.values() {
                    outbox.push(Outgoing::Frame(frame.clone()));
                }
            }
            Effect::Close { connection, reason } => {
                if let Some(outbox) = entry.outboxes.remove(&connection.counter) {
                    outbox.close(Farewell::Ordered(reason));
                }
            }
        }
    }
    Applied { receipt }
}
