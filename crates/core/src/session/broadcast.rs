//! Presence for the others: changes are collected for a window that grows with the room, so that a room of N joining
//! costs O(N) frames a tick and not O(N²) messages.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::deadlines::TimerKey;
use super::{Effect, Event, Participant, Recipients, Session, State};
use crate::ids::ParticipantId;
use crate::planted;
use crate::presence::{ParticipantView, PresenceDiff, Snapshot};
use crate::time::Timestamp;
use crate::words::LeaveReason;

/// A participant whose view changed since the last diff.
#[derive(Debug)]
pub(super) struct Pending {
    /// Whether the others knew it before. A join and a leave inside one window cancel out.
    known: bool,
    /// Whether a snapshot showed it meanwhile to somebody who must be told if it leaves. Atomic because reading a snapshot
    /// needs no exclusive access.
    shown: AtomicBool,
    pub(super) left: Option<LeaveReason>,
}

impl Session {
    /// Notes that the view of this participant changes; call it before the change.
    pub(super) fn touch(&mut self, id: ParticipantId) {
        let known = self.participants.contains_key(&id);
        self.pending.entry(id).or_insert_with(|| Pending { known, shown: AtomicBool::new(false), left: None });
    }

    /// Sends the collected changes when their window is over, or arms its timer.
    pub(super) fn flush_presence_if_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.pending.is_empty() || self.state != State::Active || self.drained {
            return;
        }
        match self.diff_due_at {
            Some(due_at) if due_at > now => {}
            Some(_) => self.flush_presence(now, effects),
            None => {
                let window = self.diff_window();
                if window.is_zero() {
                    self.flush_presence(now, effects);
                } else {
                    self.diff_due_at = Some(now + window);
                    self.arm(now + window, TimerKey::Presence);
                }
            }
        }
    }

    fn diff_window(&self) -> std::time::Duration {
        let size = self.participants.len();
        let windows = &self.policy.diff_windows;
        let fitting = windows.iter().find(|(up_to, _)| size <= *up_to).or(windows.last());
        fitting.map_or(std::time::Duration::ZERO, |(_, window)| *window)
    }

    fn flush_presence(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_coalesced = self.diff_due_at.is_some();
        if let Some(due_at) = self.diff_due_at.take() {
            self.disarm(due_at, TimerKey::Presence);
        }
        let mut diff = PresenceDiff { seq: self.seq + 1, joins: Vec::new(), updates: Vec::new(), leaves: Vec::new() };
        for (id, pending) in std::mem::take(&mut self.pending) {
            match (self.participants.get(&id), pending.known) {
                (Some(participant), true) => diff.updates.push(participant.view(id, now)),
                (Some(participant), false) => diff.joins.push(participant.view(id, now)),
                (None, _) if planted!("coalesced_diff_loses_leaves") && is_coalesced => {}
                (None, known) if known || pending.shown.load(Relaxed) => {
                    diff.leaves.push((id, pending.left.unwrap_or(LeaveReason::Closed)));
                }
                (None, _) => {}
            }
        }
        if diff.joins.is_empty() && diff.updates.is_empty() && diff.leaves.is_empty() {
            return;
        }
        if !planted!("diffs_keep_one_number") {
            self.seq += 1;
        }
        effects.push(Effect::Deliver { to: Recipients::All, event: Event::Presence(diff) });
    }

    /// Everybody present at `now`, those in their grace period included.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.snapshot_for(None, now)
    }

    /// The snapshot for the sockets of one participant, who need not be told if that participant itself leaves.
    pub(super) fn snapshot_for(&self, reader: Option<ParticipantId>, now: Timestamp) -> Snapshot {
        for (_, pending) in self.pending.iter().filter(|(id, _)| Some(**id) != reader) {
            pending.shown.store(true, Relaxed);
        }
        let participants = self.participants.iter().map(|(id, participant)| participant.view(*id, now)).collect();
        Snapshot { seq: self.seq, participants }
    }
}

impl Participant {
    fn view(&self, id: ParticipantId, now: Timestamp) -> ParticipantView {
        ParticipantView {
            participant: id,
            identity: self.identity.clone(),
            verified: self.verified,
            name: self.name.clone(),
            role: self.role.clone(),
            status: self.status,
            state: self.state.clone(),
            connections: self.connections.len() as u32,
            joined_at: self.joined_at,
            last_seen_at: self.last_seen_at().min(now),
        }
    }
}
