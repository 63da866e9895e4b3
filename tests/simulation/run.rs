//! One seed from its first instant to the verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::dice::Dice;
use super::executor::{Executor, Group, Spawner};
use super::plan::Plan;
use super::trace::{Met, Print, Trace};
use super::world::{Phase, World};
use super::{START, calm, director, node, oracle, setting};
use rollcall::clock::simulated;

/// The last orderly stop must be over after this time.
const STOP_MAX: Duration = Duration::from_secs(120);

/// Polls after which a seed is taken for one that never ends.
const POLLS_MAX: u64 = 20_000_000;

/// How a seed is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Keep the text of the last events.
    pub replay: bool,
    pub print: Print,
}

/// What a seed that kept every promise came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub seed: u64,
    pub trace_hash: u64,
    pub events: u64,
    pub polls: u64,
    pub virtual_time: Duration,
    /// How often each event was met, faults among them.
    pub met: Met,
    pub excused: u64,
}

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Violation {
    pub seed: u64,
    /// The rule of the oracle; docs/SIMULATION.md lists them.
    pub rule: &'static str,
    pub what: String,
    /// Everything else that was found in the same run.
    pub more: Vec<(&'static str, String)>,
    pub last_events: Vec<String>,
    pub plan: String,
}

impl Violation {
    /// Something is wrong with the simulation itself.
    pub fn of_the_simulation(seed: u64, rule: &'static str, what: String) -> Self {
        Self { seed, rule, what, more: Vec::new(), last_events: Vec::new(), plan: String::new() }
    }
}

/// Runs a seed on this thread.
///
/// # Errors
/// The first promise that was not kept.
pub fn run(seed: u64, options: Options) -> Result<Summary, Box<Violation>> {
    let (plan, mut dice) = Plan::draw(seed);
    simulated::begin(START, dice.next());
    let spawner = Spawner::default();
    let (order, mut scene) = (dice.split(), dice.split());
    let world = World::new(plan, dice, spawner.clone(), Trace::new(options.replay, options.print));
    setting::set_up(&world, &mut scene);
    let mut executor = executor(&world, spawner, order);
    node::launch(&world);
    world.spawner.spawn(Group::World, director::direct(world.clone()));

    executor.run_until(START + world.plan.chaos, || is_broken(&world));
    world.set_phase(Phase::Calm);
    director::heal(&world);
    executor.run_until(world.now() + calm::patience(&world.plan), || is_broken(&world));
    calm::settle(&world, &mut executor);
    stop(&world, &mut executor);
    if world.truth().violations.is_empty() {
        oracle::check(&world);
    }
    oracle::count(&world);
    let outcome = verdict(&world, executor.polls);
    // Tasks look at the world while they are dropped.
    drop(executor);
    outcome
}

fn executor(world: &World, spawner: Spawner, order: Dice) -> Executor {
    let (ending, stepping) = (world.clone(), world.clone());
    let on_end = move |group| {
        if let Group::Node(boot) = group {
            let power_loss = ending.truth().boot(boot).loses_power;
            node::on_end(&ending, boot, power_loss);
        }
    };
    let after_poll = move || {
        if let Some(process) = stepping.process() {
            process.wake_writer();
        }
    };
    Executor::new(spawner, order, on_end, after_poll)
}

/// A run with a violation is not worth going on with; neither is one that never ends.
fn is_broken(world: &World) -> bool {
    if world.trace().events() > POLLS_MAX {
        world.violate("liveness", "the simulation does not come to an end".to_owned());
    }
    !world.truth().violations.is_empty()
}

/// The last orderly stop: everything must reach Postgres.
fn stop(world: &World, executor: &mut Executor) {
    if is_broken(world) {
        return;
    }
    let Some(process) = world.process() else {
        return world.violate("liveness", "the server does not run although nothing is wrong any more".to_owned());
    };
    world.set_phase(Phase::End);
    let boot = process.boot;
    let over = Arc::new(AtomicBool::new(false));
    let stopping = over.clone();
    process.clone().spawn(async move {
        process.stop().await;
        stopping.store(true, Relaxed);
    });
    executor.run_until(world.now() + STOP_MAX, || world.process().is_none());
    if !world.truth().boot(boot).is_clean {
        world.violate("liveness", "the last stop did not bring everything to Postgres".to_owned());
    }
}

fn verdict(world: &World, polls: u64) -> Result<Summary, Box<Violation>> {
    let truth = world.truth();
    let trace = world.trace();
    let seed = world.plan.seed;
    let Some((rule, what)) = truth.violations.first().cloned() else {
        return Ok(Summary {
            seed,
            trace_hash: trace.hash(),
            events: trace.events(),
            polls,
            virtual_time: world.now().since(START),
            met: trace.met.clone(),
            excused: truth.excused,
        });
    };
    Err(Box::new(Violation {
        seed,
        rule,
        what,
        more: truth.violations[1..].to_vec(),
        last_events: trace.last(60),
        plan: format!("{:?}", world.plan),
    }))
}
