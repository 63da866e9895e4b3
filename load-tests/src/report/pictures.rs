//! Charts as files, for documents: each an SVG that stands alone and follows the reader's light or dark theme.

use std::fmt::Write as _;
use std::path::Path;

use super::chart::escape;
use super::data::Report;
use super::figure::{Budget, Figure};
use super::html;
use super::number::quantity;
use super::text;

const STYLE: &str = concat!(include_str!("colours.css"), include_str!("chart.css"), include_str!("budgets.css"));

const WIDTH: f64 = 860.0;
const HEAD: f64 = 34.0;
const ROW: f64 = 22.0;

/// Where the bars begin, and how long one is that uses all of its budget.
const BARS_AT: f64 = 430.0;
const FULL: f64 = 190.0;

/// How much longer a bar may get than a full one, before it is cut off.
const BEYOND: f64 = 1.35;

/// Writes `budgets.svg` with all figures that have a budget, and a file for each chart of each scenario, named
/// `SCENARIO-TITLE.svg`. Returns their names.
///
/// # Errors
/// A folder or a file that cannot be written.
pub fn write(reports: &[Report], folder: &Path) -> std::io::Result<Vec<String>> {
    std::fs::create_dir_all(folder)?;
    let mut names = Vec::new();
    let mut keep = |name: String, svg: &str| {
        std::fs::write(folder.join(&name), svg)?;
        names.push(name);
        std::io::Result::Ok(())
    };
    keep("budgets.svg".to_owned(), &budgets(reports))?;
    for outcome in reports.iter().flat_map(|report| &report.outcomes) {
        for chart in html::charts(outcome) {
            if let Some(svg) = chart.svg() {
                keep(format!("{}-{}.svg", outcome.name, slug(&chart.title)), &alone(&svg))?;
            }
        }
    }
    Ok(names)
}

/// A chart with the style sheet that its page would have.
fn alone(svg: &str) -> String {
    let end_of_tag = svg.find('>').map_or(0, |at| at + 1);
    let (tag, rest) = svg.split_at(end_of_tag);
    format!("{tag}<style>\n{STYLE}</style>{rest}\n")
}

/// How much of each budget was used: a bar that ends before the line kept it.
fn budgets(reports: &[Report]) -> String {
    let outcomes = reports.iter().flat_map(|report| &report.outcomes);
    let rows: Vec<(&str, &Figure, Budget)> = outcomes
        .flat_map(|outcome| outcome.figures.iter().map(|figure| (outcome.name.as_str(), figure)))
        .filter_map(|(name, figure)| figure.budget.map(|budget| (name, figure, budget)))
        .collect();
    let height = HEAD + rows.len() as f64 * ROW + 8.0;
    let mut svg = format!(
        r#"<svg class="chart budgets" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Share of each budget that was used" xmlns="http://www.w3.org/2000/svg">"#
    );
    let line = BARS_AT + FULL;
    // Writing to a string cannot fail, here and below.
    write!(svg, r#"<text class="title" x="0" y="14">Share of each budget that was used</text>"#).unwrap_or_default();
    write!(svg, r#"<text class="tick" text-anchor="middle" x="{line}" y="26">the budget</text>"#).unwrap_or_default();
    let mut last = "";
    for (index, (scenario, figure, budget)) in rows.into_iter().enumerate() {
        let y = HEAD + index as f64 * ROW + 15.0;
        if scenario != last {
            write!(svg, r#"<text class="scenario" x="0" y="{y}">{}</text>"#, escape(scenario)).unwrap_or_default();
            last = scenario;
        }
        row(&mut svg, y, figure, budget);
    }
    write!(svg, r#"<path class="limit" d="M{line} {HEAD}V{:.0}"/></svg>"#, height - 8.0).unwrap_or_default();
    alone(&svg)
}

fn row(svg: &mut String, y: f64, figure: &Figure, budget: Budget) {
    let value = escape(&format!("{} ({})", quantity(figure.value, &figure.unit), text::budget(budget, &figure.unit)));
    let (word, title) = (figure.verdict.word(), escape(&figure.title));
    let (length, top) = (used(figure.value, budget) * FULL, y - 11.0);
    let after = BARS_AT + FULL * BEYOND + 10.0;
    write!(svg, r#"<text class="tick" text-anchor="end" x="{}" y="{y}">{title}</text>"#, BARS_AT - 10.0)
        .unwrap_or_default();
    write!(svg, r#"<rect class="{word}" x="{BARS_AT}" y="{top}" width="{length:.1}" height="13" rx="2"/>"#)
        .unwrap_or_default();
    write!(svg, r#"<text class="tick" x="{after}" y="{y}">{value}</text>"#).unwrap_or_default();
}

/// One where the value is the limit, and less where it is better; of a limit of zero, nothing or too much.
fn used(value: f64, budget: Budget) -> f64 {
    let share = match budget {
        Budget::AtMost(limit) if value == limit && limit == 0.0 => 0.0,
        Budget::AtMost(limit) => value / limit,
        Budget::AtLeast(limit) => limit / value,
    };
    // Nothing measured is no bar; very little is a sliver, so that the bar is seen to be there.
    if share.is_nan() { 0.0 } else { share.clamp(if share > 0.0 { 0.01 } else { 0.0 }, BEYOND) }
}

/// A title as part of the name of a file.
fn slug(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::super::sample;
    use super::*;

    #[test]
    fn pictures_stand_alone_and_name_every_budget() {
        let folder = tempfile::tempdir().expect("folder");
        let report = sample::report();
        let names = write(std::slice::from_ref(&report), folder.path()).expect("written");
        assert_eq!(
            names,
            ["budgets.svg", "ping-rate-latency-by-percentile.svg", "ping-rate-memory.svg", "ping-rate-processor.svg"]
        );
        for name in &names {
            let svg = std::fs::read_to_string(folder.path().join(name)).expect("read");
            let document = Document::parse(&svg).expect("well-formed");
            assert!(svg.contains("--s0") && !svg.contains("url("), "{name} has its colours and loads nothing");
            if name == "budgets.svg" {
                let bars =
                    document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "rect")));
                let with_budget = report.outcomes[0].figures.iter().filter(|figure| figure.budget.is_some()).count();
                assert_eq!(bars.count(), with_budget);
            }
        }
    }

    #[test]
    fn a_bar_is_as_long_as_the_share_of_the_budget() {
        let shares = [
            used(1.25, Budget::AtMost(2.5)),
            used(40_000.0, Budget::AtLeast(20_000.0)),
            used(0.0, Budget::AtMost(0.0)),
            used(3.0, Budget::AtMost(0.0)),
            used(f64::NAN, Budget::AtMost(1.0)),
        ];
        assert_eq!(shares, [0.5, 0.5, 0.0, BEYOND, 0.0]);
    }
}
