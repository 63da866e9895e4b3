//! What a run leaves behind: a report of outcomes, one for each scenario, that is written and read as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::figure::{Figure, Verdict};
use super::machine::Machine;
use super::number::short;
use crate::measure::Latency;

/// Raised when a reader of an older report would misread it.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// RFC 3339.
    pub made_at: String,
    /// Words of the command line.
    pub command: Vec<String>,
    pub harness_version: String,
    pub server: ServerDescription,
    pub machine: Machine,
    pub outcomes: Vec<Outcome>,
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerDescription {
    pub version: String,
    /// The commit of the source tree that the harness was run in, with `-dirty` behind it when files had changed.
    pub commit: Option<String>,
    /// The address of a server that was running already.
    pub target: Option<String>,
    /// Debug or release.
    pub build: String,
}

/// What one scenario found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub kind: String,
    pub about: String,
    pub parameters: BTreeMap<String, String>,
    pub started_at: String,
    pub seconds: f64,
    pub figures: Vec<Figure>,
    pub distributions: Vec<Distribution>,
    pub series: Vec<Series>,
    pub marks: Vec<Mark>,
}

/// A distribution of latencies, as the curve of its percentiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    pub title: String,
    pub unit: String,
    pub count: u64,
    /// Percentile (0 to 100) and value, both rising.
    pub curve: Vec<(f64, f64)>,
}

/// A value that was looked at once a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub title: String,
    pub unit: String,
    /// Seconds since the start of the scenario, and the value.
    pub points: Vec<(f64, f64)>,
}

/// The beginning of a step, for the time series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub at_s: f64,
    pub text: String,
}

impl Report {
    /// Whether every budget was kept.
    pub fn passes(&self) -> bool {
        self.figures().all(Figure::passes)
    }

    /// Budgets with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.figures().filter(|figure| figure.budget.is_some() && figure.verdict == verdict).count()
    }

    /// # Errors
    /// The file cannot be read, or is no report that this version understands.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no report of rollcall-load", path.display()))
    }

    /// # Errors
    /// The text is no report that this version understands.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(text)?;
        if format != FORMAT {
            bail!("it has format {format}; this version reads {FORMAT}");
        }
        Ok(serde_json::from_str(text)?)
    }

    /// # Errors
    /// Never for reports of ours; encoding is fallible by type.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.outcomes.iter().flat_map(|outcome| &outcome.figures)
    }
}

impl Distribution {
    /// Latencies in milliseconds.
    pub fn of(title: &str, latency: &Latency) -> Self {
        let curve = latency.curve().into_iter().map(|(quantile, us)| (quantile * 100.0, us as f64 / 1000.0));
        Self { title: title.to_owned(), unit: "ms".to_owned(), count: latency.count, curve: thin(curve) }
    }
}

/// Leaves out points that are nearer to the one before than a plot can show, on a scale where each nine is as wide as
/// the one before. The first and the last always stay.
fn thin(curve: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    const NEAREST: f64 = 0.02;
    let nines = |percentile: f64| -(1.0 - percentile / 100.0).log10();
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut curve = curve.peekable();
    while let Some(point) = curve.next() {
        let is_far = kept.last().is_none_or(|last| nines(point.0) - nines(last.0) >= NEAREST);
        if is_far || curve.peek().is_none() {
            // Percentiles keep all their digits: those of the tail are all nines.
            kept.push((point.0, short(point.1)));
        }
    }
    kept
}

impl Outcome {
    /// The worst verdict of its budgets.
    pub fn verdict(&self) -> Verdict {
        let has = |verdict| self.figures.iter().any(|figure| figure.budget.is_some() && figure.verdict == verdict);
        [Verdict::Missed, Verdict::Void, Verdict::Ok].into_iter().find(|verdict| has(*verdict)).unwrap_or(Verdict::Info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_thinned_but_keeps_its_ends_and_its_tail() {
        let points = (1..=100_000_u32).map(|index| (f64::from(index) / 1000.0, f64::from(index)));
        let kept = thin(points);
        assert!(kept.len() < 300, "{}", kept.len());
        assert_eq!((kept[0], kept[kept.len() - 1]), ((0.001, 1.0), (100.0, 100_000.0)));
        assert!(kept.iter().filter(|point| point.0 > 99.9).count() > 20, "the tail is what one looks at");
    }
}
