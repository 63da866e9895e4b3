//! How the answers of several swarm processes become one.

use super::messages::{Connected, Done, Dropped, Figures, Received, Reconnected, Rooms, Status};
use crate::measure::Latency;

/// Reasons that are kept word by word.
const ERRORS_KEPT_MAX: usize = 20;

/// An answer that several processes give a part of.
pub(super) trait Merge: Default {
    fn merge(parts: Vec<Self>) -> Self;
}

fn errors<'a>(parts: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    parts.flatten().take(ERRORS_KEPT_MAX).cloned().collect()
}

impl Merge for Connected {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            connected: parts.iter().map(|part| part.connected).sum(),
            failed: parts.iter().map(|part| part.failed).sum(),
            errors: errors(parts.iter().map(|part| &part.errors)),
            seconds: parts.iter().map(|part| part.seconds).fold(0.0, f64::max),
            upgrade: Latency::merged(parts.iter().map(|part| &part.upgrade)),
            join: Latency::merged(parts.iter().map(|part| &part.join)),
            lag: Latency::merged(parts.iter().map(|part| &part.lag)),
        }
    }
}

impl Merge for Figures {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            planned: parts.iter().map(|part| part.planned).sum(),
            sent: parts.iter().map(|part| part.sent).sum(),
            answered: parts.iter().map(|part| part.answered).sum(),
            latency: Latency::merged(parts.iter().map(|part| &part.latency)),
            lag: Latency::merged(parts.iter().map(|part| &part.lag)),
            stall_us: parts.iter().map(|part| part.stall_us).max().unwrap_or(0),
        }
    }
}

impl Merge for Reconnected {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            wanted: parts.iter().map(|part| part.wanted).sum(),
            connected: parts.iter().map(|part| part.connected).sum(),
            failed: parts.iter().map(|part| part.failed).sum(),
            refused: parts.iter().map(|part| part.refused).sum(),
            attempts: parts.iter().map(|part| part.attempts).sum(),
            errors: errors(parts.iter().map(|part| &part.errors)),
            seconds: parts.iter().map(|part| part.seconds).fold(0.0, f64::max),
            latency: Latency::merged(parts.iter().map(|part| &part.latency)),
        }
    }
}

impl Merge for Rooms {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            members: parts.iter().map(|part| part.members).sum(),
            exact: parts.iter().map(|part| part.exact).sum(),
            complete: parts.iter().map(|part| part.complete).sum(),
            settled_s: parts.iter().map(|part| part.settled_s).fold(0.0, f64::max),
            seen: Latency::merged(parts.iter().map(|part| &part.seen)),
            received: Received::merge(parts.into_iter().map(|part| part.received).collect()),
        }
    }
}

impl Merge for Received {
    fn merge(parts: Vec<Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.members += part.members;
            all.frames += part.frames;
            all.bytes += part.bytes;
            for (sum, spread) in
                [(&mut all.presence_frames, part.presence_frames), (&mut all.presence_bytes, part.presence_bytes)]
            {
                sum.total += spread.total;
                sum.max = sum.max.max(spread.max);
            }
            all.joins_seen += part.joins_seen;
            all.updates_seen += part.updates_seen;
            all.leaves_seen += part.leaves_seen;
            all.snapshots += part.snapshots;
            all.gaps += part.gaps;
            all.lost += part.lost;
        }
        all
    }
}

impl Merge for Status {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            open: parts.iter().map(|part| part.open).sum(),
            lost: parts.iter().map(|part| part.lost).sum(),
            frames: parts.iter().map(|part| part.frames).sum(),
            errors: errors(parts.iter().map(|part| &part.errors)),
            ended: parts.into_iter().flat_map(|part| part.ended).collect(),
        }
    }
}

impl Merge for Dropped {
    fn merge(parts: Vec<Self>) -> Self {
        Self {
            dropped: parts.iter().map(|part| part.dropped).sum(),
            seconds: parts.iter().map(|part| part.seconds).fold(0.0, f64::max),
        }
    }
}

impl Merge for Done {
    fn merge(_: Vec<Self>) -> Self {
        Self {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::Spread;
    use super::*;
    use crate::measure::Recorder;

    #[test]
    fn figures_of_processes_add_up_and_the_worst_stall_stays() {
        let part = |sent: u64, stall_us: u64| {
            let recorder = Recorder::default();
            (0..sent).for_each(|_| recorder.record(0, stall_us));
            Figures { sent, answered: sent, latency: recorder.take(), stall_us, ..Figures::default() }
        };
        let whole = Figures::merge(vec![part(9, 10), part(1, 500)]);
        assert_eq!((whole.sent, whole.stall_us, whole.latency.count), (10, 500, 10));
        assert_eq!((whole.latency.p50_us, whole.latency.max_us), (10, 500));
    }

    #[test]
    fn members_of_processes_add_up() {
        let part = |members, max| Received {
            members,
            presence_frames: Spread { total: members as u64 * 3, max },
            leaves_seen: 1,
            ..Received::default()
        };
        let whole = Received::merge(vec![part(10, 4), part(20, 9)]);
        assert_eq!((whole.members, whole.leaves_seen, whole.presence_frames.max), (30, 2, 9));
        assert!((whole.presence_frames.mean(whole.members) - 3.0).abs() < f64::EPSILON);
    }
}
