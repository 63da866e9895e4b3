//! What a frame from a server means to a client: its list of members, its size on the wire.

use std::sync::atomic::Ordering::Relaxed;

use super::member::{Member, Shared};
use super::room::Line;
use crate::adapter::Adapter;
use crate::clock;

/// Brings the list of a client up to date with a frame. `is_news`: joins count as seen now.
pub fn follow(shared: &Shared, member: &Member, adapter: &dyn Adapter, text: &str, is_news: bool) {
    let Some((room, own)) = &member.place else { return };
    let lines = room.lines(adapter, text);
    let now = clock::now();
    let mut view = member.view();
    let before = lines.contains(&Line::Reset).then(|| view.clone());
    for line in lines.iter() {
        match *line {
            Line::Reset => view.clear(),
            Line::Join { member: other, due } => {
                let is_new = view.insert(other) && before.as_ref().is_none_or(|before| !before.has(other));
                if is_new && is_news && other != *own {
                    member.received.joins.fetch_add(1, Relaxed);
                    if let Some(due) = due {
                        shared.seen.record(member.index, clock::micros_between(due, now));
                    }
                }
            }
            Line::Update => _ = member.received.updates.fetch_add(1, Relaxed),
            Line::Leave { member: other } => {
                view.remove(other);
                member.received.leaves.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Bytes of a frame from a server: its payload and its head (RFC 6455, 5.2).
pub fn wire_bytes(payload: usize) -> u64 {
    let head = match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    (payload + head) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::room::Room;
    use super::*;
    use crate::adapter::Protocol;

    #[test]
    fn a_member_follows_its_room() {
        let (shared, adapter, room) = (Shared::default(), Protocol::Rollcall.adapter(), Arc::new(Room::default()));
        let own = room.expect("ann", clock::now());
        let bob = room.expect("bob", clock::now());
        let member = Member::new(0, "ann".to_owned(), "t".into(), Some((room, own)));
        let joined = r#"{"type":"joined","participants":[{"participant_id":"a","identity":"ann"}]}"#;
        follow(&shared, &member, adapter.as_ref(), joined, false);
        let join = r#"{"type":"presence","seq":2,"joins":[{"participant_id":"b","identity":"bob"}]}"#;
        follow(&shared, &member, adapter.as_ref(), join, true);
        follow(&shared, &member, adapter.as_ref(), join, true);
        assert!(member.view().has(own) && member.view().has(bob));
        assert_eq!(shared.seen.take().count, 1, "once for each pair");
        let leave = r#"{"type":"presence","seq":3,"leaves":[{"participant_id":"b","reason":"left"}]}"#;
        follow(&shared, &member, adapter.as_ref(), leave, true);
        assert!(!member.view().has(bob));
        let snapshot = r#"{"type":"snapshot","seq":4,"participants":[{"participant_id":"a","identity":"ann"},
            {"participant_id":"b","identity":"bob"}]}"#;
        follow(&shared, &member, adapter.as_ref(), snapshot, true);
        assert_eq!(shared.seen.take().count, 1, "only bob is new");
        assert_eq!(member.received.leaves.load(Relaxed), 1);
    }

    #[test]
    fn heads_of_frames_count() {
        assert_eq!([5, 125, 126, 65_535, 65_536].map(wire_bytes), [7, 127, 130, 65_539, 65_546]);
    }
}
