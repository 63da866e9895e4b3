//! The books against the truth. Written from what is promised, without the product's code: it knows only what the model of
//! Postgres holds at the end, what people saw, and what the director did.

mod admissions;
mod rooms;
mod sessions;
mod spans;
mod trail;

use super::model::Model;
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
        (findings, excused)
    };
    world.truth().excused += excused;
    findings.into_iter().for_each(|(rule, what)| world.violate(rule, what));
}
