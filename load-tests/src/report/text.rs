//! The report for a terminal.

use std::fmt::Write as _;

use super::data::Report;
use super::figure::{Budget, Figure};
use super::number::{duration, quantity};

/// Columns apart by two spaces, each as wide as its widest cell; columns whose heading is in `to_the_right` are aligned so.
pub fn columns<const N: usize>(heads: [&str; N], to_the_right: &[&str], rows: &[[String; N]]) -> String {
    let heads = heads.map(str::to_owned);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = std::iter::once(&heads).chain(rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut table = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a string cannot fail.
            if to_the_right.contains(&heads[column].as_str()) {
                write!(line, "{cell:>width$}  ").unwrap_or_default();
            } else {
                write!(line, "{cell:<width$}  ").unwrap_or_default();
            }
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// All figures, one table for each scenario.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    for outcome in &report.outcomes {
        writeln!(text, "\n{} — {} ({})", outcome.name, outcome.about, duration(outcome.seconds)).unwrap_or_default();
        let parameters: Vec<_> = outcome.parameters.iter().map(|(key, value)| format!("{key} {value}")).collect();
        writeln!(text, "{}\n", parameters.join(", ")).unwrap_or_default();
        text.push_str(&figures(&outcome.figures));
    }
    text
}

/// All figures as one table in Markdown, for documents.
pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::from("| scenario | figure | value | budget | |\n|---|---|---|---|---|\n");
    for outcome in reports.iter().flat_map(|report| &report.outcomes) {
        let mut name = format!("`{}`", outcome.name);
        for figure in &outcome.figures {
            let [title, value, budget, verdict, note] = row(figure);
            let value = if figure.budget.is_some() { format!("**{value}**") } else { value };
            let remarks = [verdict, note].into_iter().filter(|remark| !remark.is_empty() && remark != "ok");
            let remarks = remarks.collect::<Vec<_>>().join(": ");
            writeln!(text, "| {name} | {title} | {value} | {budget} | {remarks} |").unwrap_or_default();
            name.clear();
        }
    }
    text
}

/// Figures, one on a line.
pub fn figures(figures: &[Figure]) -> String {
    let rows: Vec<_> = figures.iter().map(row).collect();
    columns(["figure", "value", "budget", "verdict", ""], &["value"], &rows)
}

fn row(figure: &Figure) -> [String; 5] {
    [
        figure.title.clone(),
        quantity(figure.value, &figure.unit),
        figure.budget.map(|budget| self::budget(budget, &figure.unit)).unwrap_or_default(),
        figure.verdict.word().to_owned(),
        figure.note.clone(),
    ]
}

/// A budget as people write it.
pub fn budget(budget: Budget, unit: &str) -> String {
    match budget {
        Budget::AtMost(limit) => format!("≤ {}", quantity(limit, unit)),
        Budget::AtLeast(limit) => format!("≥ {}", quantity(limit, unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figure::FigureKey;
    use super::*;

    #[test]
    fn markdown_has_a_row_for_each_figure_and_says_what_was_missed() {
        let report = super::super::sample::report();
        let text = markdown(std::slice::from_ref(&report));
        assert_eq!(text.lines().count(), 2 + report.outcomes[0].figures.len());
        let row =
            "| `ping-rate` | memory of a participant | **2.10 KiB** | ≤ 2.50 KiB | 16,000 people in rooms of 10 |";
        assert_eq!(text.lines().nth(2), Some(row));
        assert!(text.lines().nth(3).unwrap().ends_with("| ≤ 1.20 x | missed |"), "{text}");
    }

    #[test]
    fn the_table_has_a_line_for_each_figure() {
        const MEMORY: FigureKey = FigureKey::lower("memory_kib", "KiB", "memory");
        let rows = [row(&MEMORY.is(3.2).against(Budget::AtMost(4.0)))];
        let table = columns(["figure", "value", "budget", "verdict", ""], &["value"], &rows);
        assert_eq!(table.lines().nth(1), Some("memory  3.20 KiB  ≤ 4 KiB  ok"));
    }
}
