//! After the faults: everybody must come to see the same, and what is over must be over.

use std::collections::BTreeMap;
use std::time::Duration;

use rollcall_core::{ParticipantId, SessionId, Timestamp};

use super::executor::Executor;
use super::plan::Plan;
use super::tab::{Seen, View};
use super::truth::{Truth, Wish};
use super::world::World;

/// Looks at the views, and the time between them.
const LOOKS_MAX: u32 = 60;
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How late the end of a session may be.
const END_LATE_MAX: Duration = Duration::from_secs(2);

/// How long everything may take to come right: a statement that hangs, the silence of a dead socket, a hidden page's
/// return, the grace, and a pause before coming back.
pub fn patience(plan: &Plan) -> Duration {
    Duration::from_secs(20 + 60 + 60) + plan.limits.dead_after * 2 + plan.policy.grace_hidden
}

/// Runs until every view agrees with the server's and with the truth, or says why they never did.
pub fn settle(world: &World, executor: &mut Executor) {
    let mut problem = None;
    for _ in 0..LOOKS_MAX {
        if !world.truth().violations.is_empty() {
            return;
        }
        problem = disagreement(world);
        if problem.is_none() {
            break;
        }
        executor.run_until(world.now() + LOOK_INTERVAL, || false);
    }
    if let Some(problem) = problem {
        return world.violate("presence", problem);
    }
    check_ends(world);
}

fn disagreement(world: &World) -> Option<String> {
    let Some(process) = world.process() else { return Some("no server runs".to_owned()) };
    let now = world.now();
    let sessions: Vec<SessionId> = world.truth().sessions.keys().copied().collect();
    for session in sessions {
        let snapshot = process.hub.read(session, |session| session.ended().is_none().then(|| session.snapshot(now)));
        let snapshot = snapshot.flatten();
        let truth = world.truth();
        let open = truth.attempts.iter().filter(|attempt| attempt.session == session && attempt.is_open());
        let mut connections: BTreeMap<ParticipantId, u64> = BTreeMap::new();
        let Some(snapshot) = snapshot else {
            if let Some(attempt) = open.into_iter().next() {
                return Some(format!("{:?} is open in {session}, which is not", attempt.joined));
            }
            continue;
        };
        let mut people = BTreeMap::new();
        for view in &snapshot.participants {
            let seen = Seen {
                status: view.status.as_str().to_owned(),
                connections: u64::from(view.connections),
                // As Postgres gives it back it may have other spaces.
                state: view.state.as_deref().map(compact),
            };
            people.insert(view.participant, seen);
        }
        for attempt in open {
            let joined = attempt.joined.expect("an open socket has joined");
            *connections.entry(joined.participant).or_default() += 1;
            let View { seq, people: seen, is_behind } = &attempt.view;
            if *is_behind || *seq != snapshot.seq || *seen != people {
                return Some(format!("{joined:?} sees {seq} {seen:?}, the server {} {people:?}", snapshot.seq));
            }
        }
        let here = people.iter().filter(|(_, seen)| seen.connections > 0);
        let here: BTreeMap<_, _> = here.map(|(participant, seen)| (*participant, seen.connections)).collect();
        if here != connections {
            return Some(format!("{here:?} are shown in {session}, {connections:?} are there"));
        }
        if let Some((ghost, _)) = people.iter().find(|(_, seen)| seen.connections == 0) {
            return Some(format!("{ghost} is shown as coming back to {session}, longer than any grace"));
        }
    }
    None
}

fn compact(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).expect("the server lets only JSON in").to_string()
}

/// A session whose end has come must have ended.
fn check_ends(world: &World) {
    let Some(process) = world.process() else { return };
    let plan = &world.plan;
    if plan.faults.clock_steps {
        return;
    }
    let now = world.now();
    let truth = world.truth();
    let mut late = Vec::new();
    for (session, known) in &truth.sessions {
        let is_active = process.hub.read(*session, |session| session.ended().is_none()) == Some(true);
        let last = latest_hold(&truth, *session, plan, known.held_until);
        let idle_at = last + plan.limits.idle_timeout + END_LATE_MAX;
        if is_active && idle_at < now {
            late.push(format!("{session} is active at {now:?}, its last activity was before {last:?}"));
        }
    }
    drop(truth);
    late.into_iter().for_each(|what| world.violate("ends in time", what));
}

/// The latest instant from which an idle timeout can count.
fn latest_hold(truth: &Truth, session: SessionId, plan: &Plan, held_until: Timestamp) -> Timestamp {
    let activities = truth.attempts.iter().filter(|attempt| attempt.session == session);
    let activities = activities.flat_map(|attempt| attempt.activities.iter().copied());
    let recovered =
        truth.decisions.iter().filter(|decision| matches!(decision.what, Wish::Recover(of) if of == session));
    let recovered = recovered.map(|decision| decision.granted_at.unwrap_or(decision.asked_at));
    let restarts = truth.boots.values().filter_map(|boot| Some(boot.started_at? + plan.policy.grace_hidden));
    activities.chain(recovered).chain(restarts).fold(held_until, Timestamp::max)
}
