//! What a bill said to be complete stays as it is.

use std::collections::BTreeMap;

use rollcall_core::{ParticipantId, SessionId, Timestamp};

use super::{Case, Findings};
use crate::model::Model;
use crate::world::World;

/// Everybody's coverage up to the instant through which the books said that they were complete.
#[derive(Debug)]
pub struct Closed {
    through: Timestamp,
    coverage: Coverage,
}

type Coverage = BTreeMap<(SessionId, ParticipantId), Vec<(Timestamp, Timestamp)>>;

/// Reads the books as a billing job does.
pub fn close(world: &World) {
    let closed = {
        let books = &world.database().model;
        let through = books.billing_watermark(world.now());
        Closed { through, coverage: coverage(books, through) }
    };
    world.truth().closed.push(closed);
}

fn coverage(books: &Model, through: Timestamp) -> Coverage {
    let people = books.spans.values().map(|span| (span.session, span.participant));
    let clipped = people.map(|(session, participant)| {
        let whole = books.coverage(session, participant, true);
        let clipped = whole.into_iter().map(|(from, to)| (from, to.min(through))).filter(|(from, to)| from < to);
        ((session, participant), clipped.collect::<Vec<_>>())
    });
    clipped.filter(|(_, coverage)| !coverage.is_empty()).collect()
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    if case.world.plan.faults.clock_steps {
        // A clock that is set back while no server runs lives through the same time twice.
        return;
    }
    for closed in &case.truth.closed {
        let now = coverage(case.books, closed.through);
        if now != closed.coverage {
            let moved = now.iter().find(|(person, coverage)| closed.coverage.get(person) != Some(coverage));
            let moved = moved.or_else(|| closed.coverage.iter().find(|(person, _)| !now.contains_key(person)));
            let before = moved.and_then(|(person, _)| closed.coverage.get(person));
            let what = format!("complete through {:?} with {before:?}, but since then {moved:?}", closed.through);
            findings.push(("bills stay", what));
            return;
        }
    }
}
