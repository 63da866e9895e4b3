//! The tests, and the command that runs many seeds or replays one.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::run::{Options, Summary, Violation, run};
use super::trace::{Met, Print};

/// Seeds of `cargo test`.
const SEEDS_OF_A_TEST: u64 = 500;

/// Seeds of the command, unless it is told otherwise.
const SEEDS_OF_A_COMMAND: u64 = 10_000;

/// One seed in so many runs twice, and must leave the same trace.
const TWICE_EVERY: u64 = 50;

/// Findings after which the command stops.
const FINDINGS_MAX: usize = 20;

/// Seeds that found something once, with what it was.
const REGRESSIONS: &[(u64, &str)] = &[
    (182, "a joiner whose record took long was let in and closed as dead at once"),
    (195, "a session that was ended and taken back during an outage came back without its latest removals"),
    (501, "as 182, with a slow network"),
    (523, "a join that was not durable in time gave its use of an invite back, but reached the books"),
    (613, "as 182, among many connections"),
    (8_585, "a database was set back while the server drained, and the journal that had the rest was thrown away"),
    (26_908, "what somebody did in the last second before a restart did not keep the session from being idle"),
    (30_114, "somebody who was sent away came back while a restored database was not yet fed again"),
    (43_423, "a session ended in the database alone: a bill went beyond its end and called itself complete"),
    (48_446, "what came after a removal was told as proven, and a bill that called itself complete shrank"),
    (202_468, "a start that was cut off got through to the database late, and nobody closed its epoch"),
];

/// What many seeds came to.
#[derive(Debug, Default)]
struct Total {
    seeds: u64,
    virtual_time: Duration,
    events: u64,
    excused: u64,
    met: Met,
    /// In how many seeds each event was met.
    met_in: Met,
    findings: Vec<Violation>,
}

impl Total {
    fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        self.virtual_time += summary.virtual_time;
        self.events += summary.events;
        self.excused += summary.excused;
        for (what, count) in &summary.met {
            *self.met.entry(*what).or_default() += count;
            *self.met_in.entry(*what).or_default() += 1;
        }
    }

    fn print(&self) {
        println!("event                                            times    in seeds");
        for ((what, outcome), count) in &self.met {
            println!("{what:<20} {outcome:<22} {count:>11} {:>11}", self.met_in[&(*what, *outcome)]);
        }
        let hours = self.virtual_time.as_secs() / 3_600;
        println!(
            "{} seeds, {hours} virtual hours, {} events, {} findings ({} excused by a stated limit)",
            self.seeds,
            self.events,
            self.findings.len(),
            self.excused
        );
    }
}

/// Runs seeds on all cores. Every seed that finds something is run again for its last events.
fn run_many(seeds: std::ops::Range<u64>, findings_max: usize, shows_progress: bool) -> Total {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    let count = seeds.end - seeds.start;
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end || stop.load(Relaxed) {
                        return;
                    }
                    let outcome = run_checked(seed);
                    let mut total = total.lock().expect("plain data");
                    match outcome {
                        Ok(summary) => total.add(&summary),
                        Err(violation) => {
                            if shows_progress {
                                println!("seed {seed}: [{}] {}", violation.rule, violation.what);
                            }
                            total.findings.push(*violation);
                        }
                    }
                    if total.findings.len() >= findings_max {
                        stop.store(true, Relaxed);
                    }
                    let done = total.seeds + total.findings.len() as u64;
                    if shows_progress && done.is_multiple_of((count / 20).max(1)) {
                        println!("{done} of {count} seeds, {} findings", total.findings.len());
                    }
                }
            });
        }
    });
    total.into_inner().expect("plain data")
}

/// One seed; now and then twice. A panic is a finding like any other.
fn run_checked(seed: u64) -> Result<Summary, Box<Violation>> {
    let run = |options| {
        // A panic leaves the thread's read buffer as it was: each run has a thread of its own.
        let outcome = thread::scope(|scope| scope.spawn(|| run(seed, options)).join());
        outcome.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            let words = words.unwrap_or_else(|| "a panic without words".to_owned());
            Err(Box::new(Violation::of_the_simulation(seed, "no panic", words)))
        })
    };
    let summary = run(Options::default()).map_err(|violation| {
        // Once more with texts; the same seed comes to the same end.
        run(Options { replay: true, print: Print::Nothing }).err().unwrap_or(violation)
    })?;
    if seed.is_multiple_of(TWICE_EVERY) {
        let again = run(Options::default())?;
        if summary.trace_hash != again.trace_hash {
            let what =
                format!("the same seed left the traces {:016x} and {:016x}", summary.trace_hash, again.trace_hash);
            return Err(Box::new(Violation::of_the_simulation(seed, "one history", what)));
        }
    }
    Ok(summary)
}

fn explain(violation: &Violation) -> String {
    let mut text = violation.last_events.join("\n");
    text += &format!("\n{}\n", violation.plan);
    for (rule, what) in &violation.more {
        text += &format!("also [{rule}] {what}\n");
    }
    text += &format!("seed {}: [{}] {}\n", violation.seed, violation.rule, violation.what);
    text += &format!("replay: make simulate SEED={}", violation.seed);
    text
}

fn assert_none(total: &Total) {
    if let Some(first) = total.findings.first() {
        let others: Vec<_> = total.findings.iter().skip(1).map(|one| (one.seed, one.rule)).collect();
        panic!("{}\nother findings: {others:?}", explain(first));
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    let total = run_many(0..SEEDS_OF_A_TEST, 1, false);
    assert_none(&total);
    total.print();
}

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, story) in REGRESSIONS {
        if let Err(violation) = run_checked(*seed) {
            panic!("{}\nonce: {story}", explain(&violation));
        }
    }
}

/// `make simulate`: SEEDS=n (from FROM=n) runs many, SEED=n replays one with every event.
#[test]
#[ignore = "a command, see `make simulate`"]
fn simulate() {
    let number = |name: &str| env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse::<u64>());
    let number = |name: &str| number(name).transpose().expect("a number");
    if let Some(seed) = number("SEED") {
        let print = if env::var_os("ALL").is_some() { Print::All } else { Print::Events };
        match run(seed, Options { replay: true, print }) {
            Ok(summary) => println!("seed {seed} kept every promise, trace {:016x}", summary.trace_hash),
            Err(violation) => panic!("{}", explain(&violation)),
        }
        return;
    }
    let from = number("FROM").unwrap_or(0);
    let seeds = number("SEEDS").unwrap_or(SEEDS_OF_A_COMMAND);
    let total = run_many(from..from + seeds, FINDINGS_MAX, true);
    total.print();
    assert_none(&total);
}
