//! One event on its way to any number of sockets.

use std::sync::OnceLock;

use bytes::Bytes;
use rollcall_core::{Event, ParticipantView};

/// An event with its encoding, made once by the first socket that sends it. Another protocol adds another cell.
#[derive(Debug)]
pub struct Frame {
    event: Event,
    native: OnceLock<Bytes>,
    weight: u32,
}

/// Rough size of a participant's view without its state, for the outbox's accounting.
const VIEW_BYTES: usize = 320;
/// Rough size of everything else in a frame.
const FRAME_BYTES: usize = 160;

impl Frame {
    pub fn new(event: Event) -> Self {
        let weight = u32::try_from(weight_of(&event)).unwrap_or(u32::MAX);
        Self { event, native: OnceLock::new(), weight }
    }

    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The encoding in the native protocol.
    pub fn native(&self, encode: impl FnOnce(&Event) -> Bytes) -> Bytes {
        self.native.get_or_init(|| encode(&self.event)).clone()
    }

    /// Whether a snapshot makes this frame superfluous.
    pub fn is_presence(&self) -> bool {
        matches!(self.event, Event::Presence(_) | Event::Snapshot(_))
    }

    /// About how many bytes the frame has once it is encoded.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

fn weight_of(event: &Event) -> usize {
    let views = |views: &[ParticipantView]| -> usize {
        views.iter().map(|view| VIEW_BYTES + view.state.as_ref().map_or(0, |state| state.len())).sum()
    };
    FRAME_BYTES
        + match event {
            Event::Joined(joined) => views(&joined.snapshot.participants),
            Event::Snapshot(snapshot) => views(&snapshot.participants),
            Event::Presence(diff) => views(&diff.joins) + views(&diff.updates) + diff.leaves.len() * 80,
            Event::Warning { .. } | Event::Extended { .. } | Event::Ended { .. } => 0,
        }
}
