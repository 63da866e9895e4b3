//! The books against the truth. Written from what is promised, without the product's code: it knows only what the model of
//! Postgres holds at the end, what people saw, and what the director did.

mod admissions;
pub mod bills;
mod rooms;
mod sessions;
mod spans;
mod trail;

use rollcall_core::SessionFact;
use rollcall_protocol::ErrorCode;

use super::model::Model;
use super::model::rows::Event;
use super::truth::Truth;
use super::world::World;

/// What a rule found: its name, and what is wrong.
type Findings = Vec<(&'static str, String)>;

/// Everything a rule may look at.
struct Case<'a> {
    world: &'a World,
    truth: &'a Truth,
    books: &'a Model,
}

/// Counts how things came out, for the summary of many seeds.
pub fn count(world: &World) {
    let database = world.database();
    let mut trace = world.trace();
    for span in database.model.spans.values() {
        trace.meet("span ended", span.end.map_or("open", |(_, reason)| reason.as_str()));
    }
    for row in &database.model.audit {
        if let Event::Recorded { fact: SessionFact::SessionEnded { reason, .. }, superseded } = &row.event {
            trace.meet(if *superseded { "end superseded" } else { "session ended" }, reason.as_str());
        } else {
            trace.meet("trail", row.event.event_type());
        }
    }
    drop(database);
    for attempt in &world.truth().attempts {
        let refused = attempt.refused.as_deref();
        let code = ErrorCode::ALL.iter().map(|code| code.as_str()).find(|code| Some(*code) == refused);
        trace.meet("socket was told", code.unwrap_or(if attempt.joined.is_some() { "joined" } else { "nothing" }));
    }
}

pub fn check(world: &World) {
    let books = world.database().model.clone();
    let (findings, excused) = {
        let truth = world.truth();
        let case = Case { world, truth: &truth, books: &books };
        let mut findings = Findings::new();
        trail::check(&case, &mut findings);
        let excused = spans::check(&case, &mut findings);
        sessions::check(&case, &mut findings);
        admissions::check(&case, &mut findings);
        rooms::check(&case, &mut findings);
        bills::check(&case, &mut findings);
        (findings, excused)
    };
    world.truth().excused += excused;
    findings.into_iter().for_each(|(rule, what)| world.violate(rule, what));
}
