//! What clients saw of each kind of fault: how connections ended and joins were refused while it lasted, and how soon
//! somebody was let in afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::FaultKind;
use super::truth::{ConnectionTruth, End, Incident, Truth};

/// What ends so soon after a fault is counted to it: a silent connection is dead after three seconds.
const AFTERMATH_US: i64 = 4_000_000;

/// What clients saw of one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Witnessed {
    pub kind: FaultKind,
    /// How often connections ended or were refused in each way.
    ends: BTreeMap<String, usize>,
    /// From the end of the fault to the first join that was sent after it and acknowledged, the longest.
    back_after: Option<Duration>,
}

/// For each kind that was made, in the order of their names.
pub fn by_kind(truth: &Truth) -> Vec<Witnessed> {
    let mut kinds: BTreeMap<FaultKind, Witnessed> = BTreeMap::new();
    for (index, incident) in truth.incidents.iter().enumerate() {
        // What comes after the next fault is counted to that.
        let next_at = truth.incidents.get(index + 1).map_or(i64::MAX, |next| next.at);
        let entry = kinds.entry(incident.kind);
        let witnessed =
            entry.or_insert_with(|| Witnessed { kind: incident.kind, ends: BTreeMap::new(), back_after: None });
        for connection in truth.connections.iter().filter(|one| ends_in(one, incident, next_at)) {
            if let Some(words) = not_by_itself(connection.end) {
                *witnessed.ends.entry(words).or_default() += 1;
            }
        }
        witnessed.back_after = witnessed.back_after.max(back_after(truth, incident, next_at));
    }
    kinds.into_values().collect()
}

impl Witnessed {
    pub fn words(&self) -> String {
        let mut words: Vec<_> = self.ends.iter().map(|(end, count)| format!("{end}: {count}")).collect();
        if words.is_empty() {
            words.push("nobody was sent away or refused".to_owned());
        }
        if let Some(after) = self.back_after {
            words.push(format!("let in again within {} ms", after.as_millis()));
        }
        words.join("; ")
    }
}

fn ends_in(connection: &ConnectionTruth, incident: &Incident, next_at: i64) -> bool {
    (incident.at..next_at.min(incident.until + AFTERMATH_US)).contains(&connection.gone_at)
}

/// Ends that the client did not choose. Codes below 4200 are what the app and the sessions do.
fn not_by_itself(end: End) -> Option<String> {
    match end {
        End::Lost => Some("lost".to_owned()),
        End::ByServer(code @ 4200..) => Some(format!("closed {code}")),
        End::Refused(code @ 4200..) => Some(format!("refused {code}")),
        _ => None,
    }
}

fn back_after(truth: &Truth, incident: &Incident, next_at: i64) -> Option<Duration> {
    let later = truth.connections.iter().filter(|one| one.join_sent >= incident.until);
    let joined = later.filter_map(|one| one.joined.as_ref()).map(|joined| joined.at);
    let first = joined.min().filter(|at| *at < next_at)?;
    u64::try_from(first - incident.until).ok().map(Duration::from_micros)
}
