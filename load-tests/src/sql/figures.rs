//! What was found: each figure against its budget, and how it grows with the log.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub budget: Option<Budget>,
    pub kept: Option<bool>,
    /// How to read it, and what becomes of it at 100 million rows.
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub figures: Vec<Figure>,
}

impl Figure {
    pub fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, budget: None, kept: None, note: String::new() }
    }

    pub fn against(mut self, budget: Budget) -> Self {
        // What is no number keeps no budget.
        self.kept = Some(match budget {
            Budget::AtMost(limit) => self.value <= limit,
            Budget::AtLeast(limit) => self.value >= limit,
        });
        self.budget = Some(budget);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

impl Figures {
    pub fn add(&mut self, figure: Figure) {
        eprintln!("sql: {}", line(&figure).join("  ").trim_end());
        self.figures.push(figure);
    }

    pub fn passed(&self) -> bool {
        self.figures.iter().all(|figure| figure.kept != Some(false))
    }

    pub fn table(&self) -> String {
        let rows: Vec<[String; 5]> = self.figures.iter().map(line).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        rows.iter().fold(String::new(), |mut table, [name, value, budget, verdict, note]| {
            let [w0, w1, w2, w3] = widths;
            let line = format!("{name:<w0$}  {value:>w1$}  {budget:<w2$}  {verdict:<w3$}  {note}");
            // Writing to a string cannot fail.
            writeln!(table, "{}", line.trim_end()).unwrap_or_default();
            table
        })
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        if path.as_os_str() == "-" {
            println!("{json}");
            return Ok(());
        }
        std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

fn line(figure: &Figure) -> [String; 5] {
    let budget = match figure.budget {
        Some(Budget::AtMost(limit)) => format!("≤ {}", number(limit)),
        Some(Budget::AtLeast(limit)) => format!("≥ {}", number(limit)),
        None => String::new(),
    };
    let verdict = match figure.kept {
        Some(true) => "ok",
        Some(false) => "missed",
        None => "",
    };
    let value = format!("{} {}", number(figure.value), figure.unit);
    [figure.name.to_owned(), value, budget, verdict.to_owned(), figure.note.clone()]
}

fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 1000.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Latencies of one kind of query, in microseconds.
#[derive(Debug, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    pub fn record(&mut self, micros: u64) {
        self.0.push(micros);
    }

    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds; not a number when nothing was recorded. The nearest rank: a value that was really measured.
    pub fn quantile_ms(&mut self, quantile: f64) -> f64 {
        self.0.sort_unstable();
        let rank = (quantile * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0.get(rank - 1).map_or(f64::NAN, |micros| *micros as f64 / 1000.0)
    }
}
