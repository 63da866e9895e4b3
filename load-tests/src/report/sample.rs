//! A report for tests, with everything that a report can hold.

use std::collections::BTreeMap;

use super::data::{Distribution, FORMAT, Mark, Outcome, Report, Series, ServerDescription};
use super::figure::{Budget, FigureKey};
use super::machine::Machine;
use super::number::short;

const MEMORY: FigureKey = FigureKey::lower("memory_kib", "KiB", "memory of a participant");
const RATIO: FigureKey = FigureKey::lower("cpu_ratio", "x", "processor time of a ping, ratio to the floor");
const RATE: FigureKey = FigureKey::higher("records_per_s", "/s", "records applied");
const LATE: FigureKey = FigureKey::lower("p99_ms", "ms", "latency p99 <& more>");
const SLAB: FigureKey = FigureKey::info("slab_kib", "KiB", "kernel memory of a connection");

pub fn report() -> Report {
    let curve = |scale: f64| (0..60).map(|step| 100.0 * (1.0 - 0.85_f64.powi(step))).map(move |at| (at, scale * at));
    let distribution = |title: &str, scale: f64| Distribution {
        title: title.to_owned(),
        unit: "ms".to_owned(),
        count: 100_000,
        curve: curve(scale).map(|(at, value)| (short(at), short(value / 20.0 + 40.0 / (101.0 - at)))).collect(),
    };
    let series = |title: &str, unit: &str, value: fn(f64) -> f64| Series {
        title: title.to_owned(),
        unit: unit.to_owned(),
        points: (0..60).map(f64::from).map(|at| (at, short(value(at)))).collect(),
    };
    let outcome = Outcome {
        name: "ping-rate".to_owned(),
        kind: "ping-rate".to_owned(),
        about: "what a ping costs & how long it takes".to_owned(),
        parameters: BTreeMap::from([("participants".to_owned(), "16000".to_owned())]),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        seconds: 75.3,
        figures: vec![
            MEMORY.is(2.1).against(Budget::AtMost(2.5)).note("16,000 people in rooms of 10"),
            RATIO.is(1.44).samples(vec![1.40, 1.44, 1.51]).against(Budget::AtMost(1.2)),
            RATE.is(34_600.0).against(Budget::AtLeast(20_000.0)),
            LATE.is(4.3).against(Budget::AtMost(25.0)).void_if(Some("the loader sent pings 31 ms late".to_owned())),
            SLAB.is(7.7),
        ],
        distributions: vec![distribution("Rollcall", 2.0), distribution("floor", 1.0)],
        series: vec![
            series("memory", "MiB", |at| 20.0 + at * 0.5 + (at / 7.0).sin()),
            series("processor", "% of a core", |at| 60.0 + 20.0 * (at / 5.0).sin()),
        ],
        marks: vec![Mark { at_s: 2.0, text: "people join".to_owned() }, Mark { at_s: 30.0, text: "pings".to_owned() }],
    };
    Report {
        format: FORMAT,
        made_at: "2026-01-02T03:05:00Z".to_owned(),
        command: vec!["rollcall-load".to_owned(), "run".to_owned(), "ping-rate".to_owned()],
        harness_version: "0.1.0".to_owned(),
        server: ServerDescription {
            version: "0.1.0".to_owned(),
            commit: Some("0123abc".to_owned()),
            target: None,
            build: "release".to_owned(),
        },
        machine: Machine::describe(),
        outcomes: vec![outcome],
    }
}
