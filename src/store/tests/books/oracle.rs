//! What usage must be, computed in the plainest way: sort the pieces, walk over them, add up. Integers only.

use std::collections::{BTreeMap, BTreeSet};

pub const ROUNDINGS: [&str; 5] =
    ["exact", "second", "minute_per_connection", "minute_per_participant", "minute_per_session"];

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub session: usize,
    pub person: u128,
    pub from: i64,
    pub to: i64,
    pub uncertainty: i64,
    pub open: bool,
}

/// `(sessions, participants, connections, connected_us, covered_us, billable_us, units, uncertainty_us, is_open)`; units
/// are microseconds for `exact`.
pub type Totals = (i64, i64, i64, i64, i64, i64, i64, i64, bool);

/// Usage in `[from, to)`.
pub fn usage(spans: &[Span], from: i64, to: i64, rounding: &str, grace: i64) -> Totals {
    let mut people: BTreeMap<(usize, u128), Vec<&Span>> = BTreeMap::new();
    for span in spans {
        people.entry((span.session, span.person)).or_default().push(span);
    }
    let mut totals = Totals::default();
    let mut sessions: BTreeMap<usize, i64> = BTreeMap::new();
    let mut counted = BTreeSet::new();
    for ((session, _), spans) in people {
        let all: Vec<_> = spans.iter().map(|span| (span.from, span.to)).collect();
        let billable: i64 = union(&all, grace).iter().map(|piece| clipped(*piece, from, to)).sum();
        let within: Vec<_> = spans
            .iter()
            .filter(|span| span.from < to && (span.to > from || (span.from == span.to && span.from >= from)))
            .collect();
        if within.is_empty() && billable == 0 {
            continue;
        }
        let lengths: Vec<i64> = within.iter().map(|span| clipped((span.from, span.to), from, to)).collect();
        let minutes: i64 = lengths.iter().map(|length| up(*length, MINUTE)).sum();
        totals.1 += 1;
        totals.2 += within.len() as i64;
        totals.3 += lengths.iter().sum::<i64>();
        totals.4 += union(&all, 0).iter().map(|piece| clipped(*piece, from, to)).sum::<i64>();
        totals.5 += billable;
        totals.6 += match rounding {
            "exact" => billable,
            "second" => up(billable, SECOND),
            "minute_per_connection" => minutes,
            "minute_per_participant" => up(billable, MINUTE),
            _ => 0,
        };
        totals.7 += within.iter().filter(|span| span.to <= to).map(|span| span.uncertainty).sum::<i64>();
        totals.8 |= within.iter().any(|span| span.open && span.to < to);
        *sessions.entry(session).or_default() += billable;
        counted.insert(session);
    }
    totals.0 = counted.len() as i64;
    if rounding == "minute_per_session" {
        totals.6 = sessions.values().map(|billable| up(*billable, MINUTE)).sum();
    }
    totals
}

/// Gaps and islands: pieces in order, joined where the next starts within the grace.
pub fn union(pieces: &[(i64, i64)], grace: i64) -> Vec<(i64, i64)> {
    let mut sorted: Vec<_> = pieces.iter().copied().filter(|(from, to)| from < to).collect();
    sorted.sort_unstable();
    let mut islands: Vec<(i64, i64)> = Vec::new();
    for (from, to) in sorted {
        match islands.last_mut() {
            Some(last) if from <= last.1 + grace => last.1 = last.1.max(to),
            _ => islands.push((from, to)),
        }
    }
    islands
}

/// The most people at one instant of `[from, to)`.
pub fn peak(spans: &[Span], from: i64, to: i64) -> i64 {
    let mut people: BTreeMap<(usize, u128), Vec<(i64, i64)>> = BTreeMap::new();
    for span in spans {
        people.entry((span.session, span.person)).or_default().push((span.from.max(from), span.to.min(to)));
    }
    let mut steps: Vec<(i64, i64)> =
        people.values().flat_map(|pieces| union(pieces, 0)).flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    steps.sort_unstable();
    let mut present = 0;
    let counts = steps.iter().map(|(_, step)| {
        present += step;
        present
    });
    counts.max().unwrap_or(0)
}

fn clipped((from, to): (i64, i64), lower: i64, upper: i64) -> i64 {
    (to.min(upper) - from.max(lower)).max(0)
}

fn up(length: i64, unit: i64) -> i64 {
    (length + unit - 1) / unit
}

#[test]
fn the_oracle_itself_is_right() {
    assert_eq!(union(&[(5, 9), (0, 3), (2, 4), (9, 10), (20, 20)], 0), [(0, 4), (5, 10)]);
    assert_eq!(union(&[(5, 9), (0, 3), (12, 14)], 2), [(0, 9), (12, 14)]);
    let span = |person, from, to| Span { session: 0, person, from, to, uncertainty: 0, open: false };
    let spans = [span(1, 0, 90 * SECOND), span(1, 60 * SECOND, 150 * SECOND), span(2, 10, 10)];
    let all = (1, 2, 3, 180 * SECOND, 150 * SECOND, 150 * SECOND, 3, 0, false);
    assert_eq!(usage(&spans, 0, 1_000 * SECOND, "minute_per_session", 0), all);
    assert_eq!(usage(&spans, 0, 1_000 * SECOND, "minute_per_connection", 0).6, 4);
    assert_eq!(peak(&[span(1, 0, 5), span(2, 5, 9), span(3, 4, 6)], 0, 10), 2);
}
