//! Two reports side by side: what changed, and whether that is more than noise.
//!
//! A difference counts when it is beyond the tolerance, beyond the grain of the unit, and, where both sides have repeats,
//! when the ranges of the repeats do not meet. Everything else is "same".

use super::data::{Outcome, Report};
use super::figure::{Better, Figure, Verdict};
use super::number::quantity;
use super::text::columns;

/// Differences of figures that both reports have, and what stands in the way of comparing the rest.
#[derive(Debug)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    pub remarks: Vec<String>,
}

#[derive(Debug)]
pub struct Difference {
    pub scenario: String,
    pub title: String,
    pub unit: String,
    pub old: f64,
    pub new: f64,
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Better,
    Same,
    Worse,
    /// A budget that was kept is missed now.
    BudgetMissed,
    /// One side measured the loader, or nothing.
    Void,
    /// The figure is for information.
    Info,
}

impl Comparison {
    /// `tolerance` is a share: 0.1 for ten percent.
    pub fn of(old: &Report, new: &Report, tolerance: f64) -> Self {
        let mut remarks = machines(old, new);
        let mut differences = Vec::new();
        for outcome in &old.outcomes {
            let Some(other) = new.outcomes.iter().find(|other| other.name == outcome.name) else {
                remarks.push(format!("{} is only in the old report", outcome.name));
                continue;
            };
            if let Some(remark) = parameters(outcome, other) {
                remarks.push(remark);
                continue;
            }
            for figure in &outcome.figures {
                match other.figures.iter().find(|other| other.key == figure.key) {
                    Some(other) => differences.push(difference(&outcome.name, figure, other, tolerance)),
                    None => remarks.push(format!("{}: {} is only in the old report", outcome.name, figure.title)),
                }
            }
        }
        let is_new = |outcome: &&Outcome| old.outcomes.iter().all(|other| other.name != outcome.name);
        remarks.extend(new.outcomes.iter().filter(is_new).map(|one| format!("{} is only in the new report", one.name)));
        Self { differences, remarks }
    }

    /// Whether nothing became worse. Two reports with nothing in common show nothing.
    pub fn passes(&self) -> bool {
        !self.differences.is_empty()
            && !self.differences.iter().any(|one| matches!(one.change, Change::Worse | Change::BudgetMissed))
    }

    pub fn table(&self) -> String {
        let rows: Vec<_> = self.differences.iter().map(row).collect();
        let heads = ["scenario", "figure", "old", "new", "change", ""];
        let mut text = columns(heads, &["old", "new", "change"], &rows);
        for remark in &self.remarks {
            text.push_str("note: ");
            text.push_str(remark);
            text.push('\n');
        }
        text
    }
}

fn difference(scenario: &str, old: &Figure, new: &Figure, tolerance: f64) -> Difference {
    Difference {
        scenario: scenario.to_owned(),
        title: new.title.clone(),
        unit: new.unit.clone(),
        old: old.value,
        new: new.value,
        change: change(old, new, tolerance),
    }
}

fn change(old: &Figure, new: &Figure, tolerance: f64) -> Change {
    let is_void = |figure: &Figure| figure.verdict == Verdict::Void || !figure.value.is_finite();
    if is_void(old) || is_void(new) {
        return Change::Void;
    }
    if old.verdict == Verdict::Ok && new.verdict == Verdict::Missed {
        return Change::BudgetMissed;
    }
    let rise = new.value - old.value;
    let is_noise = rise.abs() <= old.value.abs() * tolerance || rise.abs() < grain(&new.unit) || ranges_meet(old, new);
    match new.better {
        Better::Neither => Change::Info,
        _ if is_noise => Change::Same,
        Better::Lower if rise < 0.0 => Change::Better,
        Better::Higher if rise > 0.0 => Change::Better,
        _ => Change::Worse,
    }
}

/// The smallest difference that a unit can show: timers of the loader tick in milliseconds, an allocator grows in
/// steps.
fn grain(unit: &str) -> f64 {
    match unit {
        "ms" | "µs" | "%" => 1.0,
        "s" => 0.1,
        "x" | "KiB" => 0.05,
        _ => 0.0,
    }
}

fn ranges_meet(old: &Figure, new: &Figure) -> bool {
    let range = |samples: &[f64]| {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        samples.iter().fold((min, max), |(min, max), sample| (min.min(*sample), max.max(*sample)))
    };
    if old.samples.len() < 2 || new.samples.len() < 2 {
        return false;
    }
    let ((old_min, old_max), (new_min, new_max)) = (range(&old.samples), range(&new.samples));
    old_min <= new_max && new_min <= old_max
}

fn parameters(old: &Outcome, new: &Outcome) -> Option<String> {
    let keys: std::collections::BTreeSet<_> = old.parameters.keys().chain(new.parameters.keys()).collect();
    let value = |outcome: &Outcome, key: &String| outcome.parameters.get(key).map_or("–", String::as_str).to_owned();
    let changed: Vec<_> = keys
        .into_iter()
        .filter(|key| old.parameters.get(*key) != new.parameters.get(*key))
        .map(|key| format!("{key} {} → {}", value(old, key), value(new, key)))
        .collect();
    if changed.is_empty() && old.kind == new.kind {
        return None;
    }
    Some(format!("{} was run with other parameters and is not compared: {}", old.name, changed.join(", ")))
}

fn machines(old: &Report, new: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    let differences = old.machine.differences(&new.machine);
    if !differences.is_empty() {
        remarks.push(format!("the machines differ ({}): compare ratios only", differences.join("; ")));
    }
    if old.server.build != new.server.build {
        remarks.push(format!("a {} build beside a {} build", old.server.build, new.server.build));
    }
    remarks
}

fn row(difference: &Difference) -> [String; 6] {
    let word = match difference.change {
        Change::Better => "better",
        Change::Same => "same",
        Change::Worse => "WORSE",
        Change::BudgetMissed => "WORSE: budget missed",
        Change::Void => "void",
        Change::Info => "",
    };
    [
        difference.scenario.clone(),
        difference.title.clone(),
        quantity(difference.old, &difference.unit),
        quantity(difference.new, &difference.unit),
        percent(difference.old, difference.new),
        word.to_owned(),
    ]
}

fn percent(old: f64, new: f64) -> String {
    if old == new {
        return "0 %".to_owned();
    }
    // From nothing to something there is no percentage.
    if old == 0.0 || !old.is_finite() || !new.is_finite() {
        return "–".to_owned();
    }
    format!("{:+.1} %", (new - old) / old.abs() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Budget, FigureKey};
    use super::super::sample;
    use super::*;

    const LATENCY: FigureKey = FigureKey::lower("p99_ms", "ms", "p99");
    const RATE: FigureKey = FigureKey::higher("rate", "/s", "rate");
    const COUNT: FigureKey = FigureKey::info("count", "", "count");
    const TOLERANCE: f64 = 0.1;

    #[test]
    fn a_change_has_a_direction() {
        assert_eq!(change(&LATENCY.is(10.0), &LATENCY.is(20.0), TOLERANCE), Change::Worse);
        assert_eq!(change(&LATENCY.is(20.0), &LATENCY.is(10.0), TOLERANCE), Change::Better);
        assert_eq!(change(&RATE.is(20.0), &RATE.is(10.0), TOLERANCE), Change::Worse);
        assert_eq!(change(&RATE.is(10.0), &RATE.is(20.0), TOLERANCE), Change::Better);
        assert_eq!(change(&COUNT.is(10.0), &COUNT.is(90.0), TOLERANCE), Change::Info);
    }

    #[test]
    fn noise_is_no_change() {
        assert_eq!(change(&RATE.is(100.0), &RATE.is(90.0), TOLERANCE), Change::Same, "within the tolerance");
        assert_eq!(change(&RATE.is(100.0), &RATE.is(89.0), TOLERANCE), Change::Worse);
        assert_eq!(change(&LATENCY.is(0.2), &LATENCY.is(0.9), TOLERANCE), Change::Same, "within the grain");
        let old = RATE.is(100.0).samples(vec![80.0, 100.0, 120.0]);
        let wide = RATE.is(85.0).samples(vec![70.0, 85.0, 90.0]);
        let narrow = RATE.is(60.0).samples(vec![58.0, 60.0, 61.0]);
        assert_eq!(change(&old, &wide, TOLERANCE), Change::Same, "the ranges meet");
        assert_eq!(change(&old, &narrow, TOLERANCE), Change::Worse, "the ranges do not meet");
    }

    #[test]
    fn errors_out_of_nothing_and_missed_budgets_are_worse() {
        const ERRORS: FigureKey = FigureKey::lower("errors", "", "errors");
        assert_eq!(change(&ERRORS.is(0.0), &ERRORS.is(1.0), TOLERANCE), Change::Worse);
        let within = |value| LATENCY.is(value).against(Budget::AtMost(25.0));
        assert_eq!(change(&within(24.9), &within(25.1), TOLERANCE), Change::BudgetMissed);
        let void = LATENCY.is(1.0).void_if(Some("late".to_owned()));
        assert_eq!(change(&LATENCY.is(1.0), &void, TOLERANCE), Change::Void);
    }

    #[test]
    fn reports_with_other_parameters_are_not_compared() {
        let old = sample::report();
        let same = Comparison::of(&old, &old, TOLERANCE);
        assert!(same.passes() && !same.differences.is_empty() && same.remarks.is_empty(), "{:?}", same.remarks);
        let mut new = old.clone();
        for outcome in &mut new.outcomes {
            outcome.parameters.insert("participants".to_owned(), "1".to_owned());
        }
        let other = Comparison::of(&old, &new, TOLERANCE);
        assert!(!other.passes() && other.differences.is_empty() && !other.remarks.is_empty());
    }

    #[test]
    fn a_worse_figure_fails_the_comparison_and_says_so() {
        let old = sample::report();
        let mut new = old.clone();
        new.outcomes[0].figures[0].value *= 2.0;
        let comparison = Comparison::of(&old, &new, TOLERANCE);
        assert!(!comparison.passes());
        assert!(comparison.table().contains("+100.0 %  WORSE"), "{}", comparison.table());
    }
}
