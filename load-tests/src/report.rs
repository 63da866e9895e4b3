//! What a run found: a table for people, JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// One measured value.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub benchmark: &'static str,
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub budget: Option<Budget>,
    pub verdict: Verdict,
    /// What one has to know to read the value.
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Missed,
    /// The loader and not the server was measured.
    Void,
    /// For information.
    Info,
}

impl Figure {
    pub fn info(benchmark: &'static str, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        let (name, note) = (name.into(), String::new());
        Self { benchmark, name, value, unit, budget: None, verdict: Verdict::Info, note }
    }

    pub fn against(mut self, budget: Budget) -> Self {
        let kept = match budget {
            Budget::AtMost(limit) => self.value <= limit,
            Budget::AtLeast(limit) => self.value >= limit,
        };
        self.verdict = if kept { Verdict::Ok } else { Verdict::Missed };
        self.budget = Some(budget);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
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

    /// Whether the run may count as passed.
    pub fn passes(&self) -> bool {
        matches!(self.verdict, Verdict::Ok | Verdict::Info)
    }
}

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub memory_gib: f64,
    pub kernel: String,
    pub open_files_max: u64,
    pub load_average: String,
}

impl Machine {
    pub fn describe() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: f64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            memory_gib: (memory_kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            open_files_max: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .map_or(0, |(soft, _)| soft),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn table(&self) -> String {
        let rows: Vec<[String; 5]> = self.figures.iter().map(row).collect();
        let heads = ["figure", "value", "budget", "verdict", ""].map(str::to_owned);
        let width = |column: usize| {
            let cells = std::iter::once(&heads).chain(&rows).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2), width(3)];
        let mut table = String::new();
        for row in std::iter::once(&heads).chain(&rows) {
            let [name, value, budget, verdict, note] = row;
            let [w0, w1, w2, w3] = widths;
            let line = format!("{name:<w0$}  {value:>w1$}  {budget:<w2$}  {verdict:<w3$}  {note}");
            // Writing to a string cannot fail.
            writeln!(table, "{}", line.trim_end()).unwrap_or_default();
        }
        table
    }
}

fn row(figure: &Figure) -> [String; 5] {
    let value = format!("{} {}", number(figure.value), figure.unit);
    let budget = match figure.budget {
        Some(Budget::AtMost(limit)) => format!("≤ {}", number(limit)),
        Some(Budget::AtLeast(limit)) => format!("≥ {}", number(limit)),
        None => String::new(),
    };
    let verdict = match figure.verdict {
        Verdict::Ok => "ok",
        Verdict::Missed => "missed",
        Verdict::Void => "void",
        Verdict::Info => "",
    };
    [format!("{}: {}", figure.benchmark, figure.name), value, budget, verdict.to_owned(), figure.note.clone()]
}

fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 1000.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Says what is going on: a moving line on a terminal, a line for each step elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    benchmark: &'static str,
}

impl Progress {
    pub fn new(benchmark: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(benchmark);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, benchmark }
    }

    pub fn step(&self, text: impl Into<String>) {
        let text = text.into();
        if self.bar.is_hidden() {
            eprintln!("{}: {text}", self.benchmark);
        }
        self.bar.set_message(text);
    }

    /// A step that is replaced many times a second.
    pub fn count(&self, what: &str, done: usize, of: usize) {
        self.bar.set_message(format!("{what} {done} of {of}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_decides_and_a_reason_voids() {
        let figure = |value| Figure::info("ping", "ratio", value, "x");
        assert_eq!(figure(1.5).against(Budget::AtMost(1.5)).verdict, Verdict::Ok);
        assert_eq!(figure(1.51).against(Budget::AtMost(1.5)).verdict, Verdict::Missed);
        assert_eq!(figure(19_999.0).against(Budget::AtLeast(20_000.0)).verdict, Verdict::Missed);
        assert!(!figure(f64::NAN).against(Budget::AtMost(1.0)).passes(), "no figure is no pass");
        assert!(!figure(1.0).against(Budget::AtMost(1.5)).void_if(Some("late".to_owned())).passes());
    }

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        let figures = vec![Figure::info("idle", "memory", 3.2, "KiB").against(Budget::AtMost(4.0))];
        let table = Report { machine: Machine::describe(), figures }.table();
        assert_eq!(table.lines().nth(1), Some("idle: memory  3.20 KiB  ≤ 4     ok"));
    }
}
