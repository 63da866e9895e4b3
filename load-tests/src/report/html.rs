//! The report as one HTML file: nothing is loaded, no script runs. It is written as XML, so that a test can parse it.

use std::fmt::Write as _;

use super::chart::{Across, Chart, Line, escape};
use super::data::{Distribution, Outcome, Report};
use super::figure::{Budget, Figure, Verdict};
use super::number::{duration, quantity};
use super::text;

const STYLE: &str = concat!(include_str!("colours.css"), include_str!("page.css"), include_str!("chart.css"));

/// Width and height of a budget bar, in its own units.
const BAR_WIDTH: f64 = 300.0;
const BAR_HEIGHT: f64 = 20.0;

/// Where the limit stands on a bar, so that a value beyond it has room.
const LIMIT_AT: f64 = 0.7;

pub fn page(report: &Report) -> String {
    let mut html = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>",
    );
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
    // Writing to a string cannot fail, here and below.
    write!(html, "<title>{}</title>", escape(&headline(report))).unwrap_or_default();
    // In XML a `>` in a style sheet is text as any other; there is no `<` and no `&` in it.
    write!(html, "<style>\n{STYLE}</style></head>\n<body>").unwrap_or_default();
    head(&mut html, report);
    for outcome in &report.outcomes {
        section(&mut html, outcome);
    }
    foot(&mut html, report);
    html.push_str("</body></html>\n");
    html
}

fn headline(report: &Report) -> String {
    let names: Vec<_> = report.outcomes.iter().map(|outcome| outcome.name.as_str()).collect();
    format!("Rollcall under load: {}", names.join(", "))
}

fn head(html: &mut String, report: &Report) {
    let (missed, void, kept) = (report.count(Verdict::Missed), report.count(Verdict::Void), report.count(Verdict::Ok));
    let (pill, word) = match (missed, void, kept) {
        (0, 0, 0) => ("info", "no budget".to_owned()),
        (0, 0, 1) => ("ok", "its budget was kept".to_owned()),
        (0, 0, kept) => ("ok", format!("all {kept} budgets kept")),
        (0, void, _) => ("void", format!("{void} void, {kept} kept")),
        (missed, _, _) => ("missed", format!("{missed} missed, {kept} kept")),
    };
    write!(html, r#"<header><h1>{}</h1><p><span class="pill {pill}">{word}</span></p>"#, escape(&headline(report)))
        .unwrap_or_default();
    write!(html, "<p><code>{}</code></p>", escape(&report.command.join(" "))).unwrap_or_default();
    write!(html, "<p>{} · {}</p>", escape(&report.made_at), escape(&report.machine.summary())).unwrap_or_default();
    if report.outcomes.len() > 1 {
        html.push_str("<nav><ul>");
        for outcome in &report.outcomes {
            let (name, class) = (escape(&outcome.name), class(outcome.verdict()));
            write!(html, r##"<li><a class="pill {class}" href="#{name}">{name}</a></li>"##).unwrap_or_default();
        }
        html.push_str("</ul></nav>");
    }
    html.push_str("</header>\n");
}

fn section(html: &mut String, outcome: &Outcome) {
    let (name, about) = (escape(&outcome.name), escape(&outcome.about));
    let took = duration(outcome.seconds);
    write!(html, r#"<section id="{name}"><div class="head"><h2>{name}</h2><span class="info">{took}</span></div>"#)
        .unwrap_or_default();
    write!(html, r#"<p class="about">{about}</p><ul class="parameters">"#).unwrap_or_default();
    for (key, value) in &outcome.parameters {
        write!(html, "<li>{} <b>{}</b></li>", escape(key), escape(value)).unwrap_or_default();
    }
    html.push_str("</ul>");
    figures(html, &outcome.figures);
    html.push_str(r#"<div class="charts">"#);
    for chart in charts(outcome).iter().filter_map(Chart::svg) {
        html.push_str(&chart);
    }
    html.push_str("</div>");
    if !outcome.marks.is_empty() {
        html.push_str(r#"<ol class="steps">"#);
        for mark in &outcome.marks {
            write!(html, "<li><b>{:.0} s</b> {}</li>", mark.at_s, escape(&mark.text)).unwrap_or_default();
        }
        html.push_str("</ol>");
    }
    html.push_str("</section>\n");
}

fn figures(html: &mut String, figures: &[Figure]) {
    html.push_str(r#"<table><thead><tr><th>figure</th><th class="value">value</th>"#);
    html.push_str(r#"<th class="bar">against the budget</th><th>budget</th><th>verdict</th></tr></thead><tbody>"#);
    for figure in figures {
        let (title, value) = (escape(&figure.title), escape(&quantity(figure.value, &figure.unit)));
        write!(html, "<tr><td>{title}").unwrap_or_default();
        if !figure.note.is_empty() {
            write!(html, "<small>{}</small>", escape(&figure.note)).unwrap_or_default();
        }
        if figure.samples.len() > 1 {
            let samples: Vec<_> = figure.samples.iter().map(|sample| super::number::number(*sample)).collect();
            write!(html, "<small>median of {}</small>", escape(&samples.join(", "))).unwrap_or_default();
        }
        let limit = figure.budget.map(|budget| text::budget(budget, &figure.unit)).unwrap_or_default();
        let (class, word) = (class(figure.verdict), figure.verdict.word());
        write!(
            html,
            r#"</td><td class="value">{value}</td><td class="bar">{}</td><td class="budget">{}</td><td class="{class}">{word}</td></tr>"#,
            bar(figure),
            escape(&limit)
        )
        .unwrap_or_default();
    }
    html.push_str("</tbody></table>");
}

/// The value as a bar, the budget as a line across it.
fn bar(figure: &Figure) -> String {
    let Some(budget) = figure.budget.filter(|_| figure.value.is_finite()) else { return String::new() };
    // Of nothing there is nothing to draw; what should be nothing and is not fills the bar.
    if budget.limit() == 0.0 && figure.value == 0.0 {
        return String::new();
    }
    let full = if budget.limit() > 0.0 { budget.limit() / LIMIT_AT } else { figure.value };
    // Very little is drawn as a sliver, so that the bar is seen to be there.
    let length = (figure.value.max(0.0) / full).clamp(0.01, 1.0) * BAR_WIDTH;
    let limit_at = if budget.limit() > 0.0 { LIMIT_AT * BAR_WIDTH } else { 1.0 };
    let word = match budget {
        Budget::AtMost(_) => "at most",
        Budget::AtLeast(_) => "at least",
    };
    let label =
        escape(&format!("{}, {word} {}", quantity(figure.value, &figure.unit), quantity(budget.limit(), &figure.unit)));
    let class = class(figure.verdict);
    format!(
        r#"<svg viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg"><rect class="track" x="0" y="6" width="{BAR_WIDTH}" height="8" rx="2"/><rect class="fill {class}" x="0" y="6" width="{length:.1}" height="8" rx="2"/><path class="limit" d="M{limit_at:.1} 1V19"/></svg>"#
    )
}

/// The charts of a scenario: one for the distributions of each unit, one for each series.
pub fn charts(outcome: &Outcome) -> Vec<Chart<'_>> {
    let mut units: Vec<&str> = outcome.distributions.iter().map(|one| one.unit.as_str()).collect();
    units.dedup();
    let mut charts: Vec<Chart<'_>> = Vec::new();
    for unit in units {
        let of_unit: Vec<&Distribution> = outcome.distributions.iter().filter(|one| one.unit == unit).collect();
        let title = match of_unit.as_slice() {
            [one] => one.title.clone(),
            _ => "latency by percentile".to_owned(),
        };
        let lines = of_unit.iter().map(|one| Line { title: &one.title, points: &one.curve }).collect();
        charts.push(Chart { title, unit, across: Across::Percentile, lines, marks: Vec::new() });
    }
    for series in &outcome.series {
        let marks = outcome.marks.iter().map(|mark| (mark.at_s, mark.text.as_str())).collect();
        let lines = vec![Line { title: &series.title, points: &series.points }];
        charts.push(Chart { title: series.title.clone(), unit: &series.unit, across: Across::Time, lines, marks });
    }
    charts
}

fn foot(html: &mut String, report: &Report) {
    html.push_str("<footer><table><tbody>");
    let mut row = |name: &str, value: &str| {
        write!(html, "<tr><td>{}</td><td><code>{}</code></td></tr>", escape(name), escape(value)).unwrap_or_default();
    };
    row("server", &format!("rollcall {}, {} build", report.server.version, report.server.build));
    if let Some(commit) = &report.server.commit {
        row("source tree", commit);
    }
    if let Some(target) = &report.server.target {
        row("target", target);
    }
    row("harness", &format!("rollcall-load {}", report.harness_version));
    row("machine", &report.machine.summary());
    for (name, value) in &report.machine.settings {
        row(name, value);
    }
    html.push_str("</tbody></table></footer>");
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Missed => "missed",
        Verdict::Void => "void",
        Verdict::Info => "info",
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_is_well_formed_and_loads_nothing() {
        let page = page(&sample::report());
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&page, options).expect("well-formed");
        for node in document.descendants() {
            assert!(
                !["script", "link", "img", "iframe"].contains(&node.tag_name().name()),
                "{}",
                node.tag_name().name()
            );
            let external = |name| node.attribute(name).is_some_and(|value: &str| !value.starts_with('#'));
            assert!(!external("src") && !external("href"), "{node:?}");
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn the_page_shows_every_figure_chart_and_verdict() {
        let report = sample::report();
        let page = page(&report);
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&page, options).expect("well-formed");
        let count = |class: &str| document.descendants().filter(|node| node.attribute("class") == Some(class)).count();
        let outcome = &report.outcomes[0];
        assert_eq!(count("chart"), 1 + outcome.series.len(), "one for the distributions, one for each series");
        assert_eq!(count("limit"), outcome.figures.iter().filter(|figure| figure.budget.is_some()).count());
        assert_eq!(count("mark"), outcome.marks.len() * outcome.series.len());
        assert!(page.contains("1 missed, 2 kept"));
        assert!(page.contains("latency p99 &lt;&amp; more&gt;"), "text is escaped");
    }
}
