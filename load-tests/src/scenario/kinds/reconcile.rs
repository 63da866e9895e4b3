//! The bill beside the truth: [`crate::reconcile`] as a scenario, so that its figures stand in a report with the others.

use std::time::Duration;

use crate::reconcile::{self, Options};
use crate::report::{Figure, FigureKey};
use crate::scenario::kind::{Findings, Workload};
use crate::scenario::parameters::parameters;
use crate::scenario::stage::Stage;

parameters! {
    /// Random participants against a server that is killed again and again: the bill that SQL gives, beside what the clients
    /// truly saw. `rollcall-load reconcile` is the same with more to say about a violation.
    pub struct Reconcile {
        /// What chance is drawn from.
        seed: usize = 1, in 0..=1_000_000_000;
        /// Minutes in which people come and go and the server is killed.
        minutes: f64 = 4.0, in 0..=100_000;
        /// People at the same time.
        participants: usize = 60, in 1..=10_000;
        /// How often the server is killed.
        kills: usize = 24, in 0..=10_000;
    }
}

// The titles are those of the figures that the reconciliation gives: by them its figures get their keys.
const OVER: FigureKey = FigureKey::lower("over_billed_us", "us", "over-billed");
const LOST: FigureKey = FigureKey::lower("lost", "", "acknowledged and lost");
const DOUBLED: FigureKey = FigureKey::lower("doubled", "", "doubled");
const UNEXPLAINED: FigureKey = FigureKey::lower("unexplained", "", "spans that nobody caused");
const UNDER: FigureKey = FigureKey::lower("under_billed", "connections", "under-billed beyond the uncertainty");
const UNCERTAIN: FigureKey = FigureKey::lower("uncertainty_too_small", "connections", "uncertainty too small");
const DIFFERS: FigureKey = FigureKey::lower("bill_differs", "", "bills that differ from their spans");
const REASONS: FigureKey = FigureKey::lower("wrong_reasons", "", "wrong reasons");
const DENSE: FigureKey = FigureKey::lower("not_dense", "", "gaps and doubles in the ledger");
const CHANGED: FigureKey = FigureKey::lower("not_final", "", "bills that were final and changed");
const OTHER: FigureKey = FigureKey::lower("other_violations", "", "other violations");
const WAY: FigureKey = FigureKey::lower("way_max_ms", "ms", "billed after a client's last byte, max");
const KILLS: FigureKey = FigureKey::info("kills", "", "kills");

impl Workload for Reconcile {
    const FIGURES: &'static [FigureKey] =
        &[OVER, LOST, DOUBLED, UNEXPLAINED, UNDER, UNCERTAIN, DIFFERS, REASONS, DENSE, CHANGED, OTHER, WAY, KILLS];

    async fn run(&self, stage: &Stage) -> anyhow::Result<Findings> {
        let options = Options {
            server: stage.program()?.to_owned(),
            seed: self.seed as u64,
            length: Duration::from_secs_f64(self.minutes * 60.0),
            participants: self.participants,
            faults: reconcile::BY_DEFAULT.to_vec(),
            kills: self.kills,
            others: self.kills / 4,
            brief: false,
            early: false,
            log: None,
        };
        let verdict = reconcile::run(&options, &stage.progress).await?;
        if !verdict.figures.iter().all(Figure::passes) {
            eprint!("{}", verdict.text);
        }
        Ok(Findings { figures: verdict.figures.into_iter().map(with_key).collect(), distributions: Vec::new() })
    }
}

/// Budgets are the scenario's to set. A figure that has no key here keeps what the reconciliation demands of it.
fn with_key(figure: Figure) -> Figure {
    let known = Reconcile::FIGURES.iter().find(|known| known.title == figure.title);
    match known {
        Some(known) => known.is(figure.value).note(figure.note),
        None => figure,
    }
}
