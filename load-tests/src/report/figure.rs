//! One measured value, and the budget that it is held against.

use serde::{Deserialize, Serialize};

/// What a figure is, declared once by the kind of scenario that measures it.
#[derive(Debug, Clone, Copy)]
pub struct FigureKey {
    /// The name in JSON and, with `_max` or `_min` behind it, in `[budget]`.
    pub key: &'static str,
    pub unit: &'static str,
    pub better: Better,
    /// What is measured, for people.
    pub title: &'static str,
}

/// Which way a change is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
    /// For information: no change is good or bad.
    Neither,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub key: String,
    pub title: String,
    /// Not a number when nothing could be measured; JSON has no word for that but `null`.
    #[serde(deserialize_with = "number_or_null")]
    pub value: f64,
    pub unit: String,
    pub better: Better,
    pub budget: Option<Budget>,
    pub verdict: Verdict,
    /// What one has to know to read the value.
    pub note: String,
    /// The values of the turns or repeats that `value` is the median of. They say how much of a difference is noise.
    pub samples: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Missed,
    /// The loader and not the server was measured.
    Void,
    /// For information.
    Info,
}

impl FigureKey {
    pub const fn lower(key: &'static str, unit: &'static str, title: &'static str) -> Self {
        Self { key, unit, better: Better::Lower, title }
    }

    pub const fn higher(key: &'static str, unit: &'static str, title: &'static str) -> Self {
        Self { key, unit, better: Better::Higher, title }
    }

    pub const fn info(key: &'static str, unit: &'static str, title: &'static str) -> Self {
        Self { key, unit, better: Better::Neither, title }
    }

    /// The figure with its value.
    pub fn is(&self, value: f64) -> Figure {
        Figure {
            key: self.key.to_owned(),
            title: self.title.to_owned(),
            value,
            unit: self.unit.to_owned(),
            better: self.better,
            budget: None,
            verdict: Verdict::Info,
            note: String::new(),
            samples: Vec::new(),
        }
    }
}

impl Budget {
    pub fn limit(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => limit,
        }
    }

    /// A value that is not a number keeps no budget.
    pub fn is_kept_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl Figure {
    /// A figure without a key: nothing but its title says what it is.
    pub fn info(title: &str, value: f64, unit: &str) -> Self {
        let (title, unit) = (title.to_owned(), unit.to_owned());
        Self { title, unit, ..FigureKey::info("", "", "").is(value) }
    }

    /// Holds the figure against a budget. A void figure stays void.
    pub fn against(mut self, budget: Budget) -> Self {
        if self.verdict != Verdict::Void {
            self.verdict = if budget.is_kept_by(self.value) { Verdict::Ok } else { Verdict::Missed };
        }
        self.budget = Some(budget);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub fn samples(mut self, samples: Vec<f64>) -> Self {
        self.samples = samples;
        self
    }

    /// A reason makes the figure void.
    pub fn void_if(mut self, reason: Option<String>) -> Self {
        if let Some(reason) = reason {
            self.verdict = Verdict::Void;
            self.note = reason;
        }
        self
    }

    /// Whether the run may count as passed. A void figure that no budget asks for decides nothing.
    pub fn passes(&self) -> bool {
        match self.verdict {
            Verdict::Ok | Verdict::Info => true,
            Verdict::Missed => false,
            Verdict::Void => self.budget.is_none(),
        }
    }
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missed => "missed",
            Self::Void => "void",
            Self::Info => "",
        }
    }
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATIO: FigureKey = FigureKey::lower("ratio", "x", "ratio to the floor");

    #[test]
    fn a_budget_decides_and_a_reason_voids() {
        assert_eq!(RATIO.is(1.5).against(Budget::AtMost(1.5)).verdict, Verdict::Ok);
        assert_eq!(RATIO.is(1.51).against(Budget::AtMost(1.5)).verdict, Verdict::Missed);
        assert_eq!(RATIO.is(19_999.0).against(Budget::AtLeast(20_000.0)).verdict, Verdict::Missed);
        assert!(!RATIO.is(f64::NAN).against(Budget::AtMost(1.0)).passes(), "no figure is no pass");
        let late = Some("late".to_owned());
        assert!(!RATIO.is(1.0).against(Budget::AtMost(1.5)).void_if(late.clone()).passes());
        assert!(!RATIO.is(1.0).void_if(late.clone()).against(Budget::AtMost(1.5)).passes(), "in either order");
        assert!(RATIO.is(1.0).void_if(late).passes(), "nobody asked for it");
    }
}
