//! What came out: figures, a table, and for each violation the participant's truth beside its spans.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::books::Statement;
use super::director::Deeds;
use super::judge::{Fault, Judgement, Violation, Who};
use super::truth::{BootEndKind, ConnectionTruth, Truth};
use super::witnessed;
use crate::report::{Budget, Figure, text};

/// Participants whose timelines are printed in full.
const TIMELINES_MAX: usize = 5;

/// Violations of one kind that are printed in full.
const LISTED_MAX: usize = 20;

/// The end of a reconciliation.
#[derive(Debug)]
pub struct Verdict {
    pub figures: Vec<Figure>,
    /// For people.
    pub text: String,
}

/// Everything that the verdict speaks of.
pub struct Run<'a> {
    pub seed: u64,
    /// Instants are printed relative to this.
    pub started: i64,
    pub truth: &'a Truth,
    pub statement: &'a Statement,
    pub judgement: &'a Judgement,
    pub deeds: Deeds,
    /// How often a bill was said to be final up to some instant, while the run went on.
    pub finals: usize,
}

pub fn conclude(run: &Run<'_>) -> Verdict {
    let figures = figures(run);
    let mut text = text::figures(&figures);
    let violations = &run.judgement.violations;
    // Writing to a string cannot fail.
    let mut line = |words: String| writeln!(text, "{words}").unwrap_or_default();
    line(String::new());
    if violations.is_empty() {
        line("The bill is right.".to_owned());
    } else {
        line(format!("The bill is WRONG: {} violations.", violations.len()));
        let mut by_fault: BTreeMap<Fault, Vec<&Violation>> = BTreeMap::new();
        for violation in violations {
            by_fault.entry(violation.fault).or_default().push(violation);
        }
        for (fault, violations) in by_fault {
            line(format!("\n{fault:?}: {}", violations.len()));
            for violation in violations.iter().take(LISTED_MAX) {
                line(format!("  {} us: {}", violation.micros, violation.words));
            }
        }
        // The gravest first.
        let mut whose: Vec<(Fault, &Who)> =
            violations.iter().filter_map(|one| Some((one.fault, one.who.as_ref()?))).collect();
        whose.sort();
        let mut printed = BTreeSet::new();
        for (_, who) in whose {
            if printed.len() < TIMELINES_MAX && printed.insert(who) {
                line(timeline(run, who));
            }
        }
    }
    line(format!("Play it again with --seed {}.", run.seed));
    Verdict { figures, text }
}

fn figures(run: &Run<'_>) -> Vec<Figure> {
    let (tally, deeds) = (&run.judgement.tally, &run.deeds);
    let count = |fault| run.judgement.violations.iter().filter(|one| one.fault == fault).count() as f64;
    let info = |name: &str, value: f64, unit: &str| Figure::info(name, value, unit);
    let none = |name: &str, value: f64, unit: &str| info(name, value, unit).against(Budget::AtMost(0.0));
    let seconds = |micros: i64| micros as f64 / 1e6;
    let other = run.judgement.violations.iter().filter(|one| !is_listed(one.fault)).count() as f64;
    let mean_us = tally.uncertainty_us as f64 / tally.participants.max(1) as f64;
    let mut figures = vec![
        none("over-billed", tally.over_us as f64, "us"),
        none("acknowledged and lost", count(Fault::Lost), ""),
        none("doubled", count(Fault::Doubled), ""),
        none("spans that nobody caused", count(Fault::Unexplained), ""),
        none("under-billed beyond the uncertainty", count(Fault::UnderBilled), "connections"),
        none("uncertainty too small", count(Fault::UncertaintyTooSmall), "connections"),
        none("bills that differ from their spans", count(Fault::BillDiffers), ""),
        none("wrong reasons", count(Fault::WrongReason), ""),
        none("gaps and doubles in the ledger", count(Fault::NotDense), ""),
        none("bills that were final and changed", count(Fault::NotFinal), ""),
        none("other violations", other, ""),
        info("kills", deeds.kills as f64, "").note(format!(
            "{} with a hanging Postgres, {} in the middle of a start",
            deeds.kills_while_frozen, deeds.kills_while_starting
        )),
        info("longest restart", deeds.longest_start_ms as f64, "ms"),
        info("sessions", run.truth.sessions.len() as f64, ""),
        info("participants in sessions", tally.participants as f64, ""),
        info("connections", tally.connections as f64, "").note(format!("{} acknowledged", tally.acknowledged)),
        info("connections cut by a crash", tally.crash_spans as f64, ""),
        info("billed", seconds(tally.billed_us), "s").note(format!("{:.6}", seconds(tally.billed_us))),
        info("proven by the clients", seconds(tally.at_least_us), "s"),
        info("possible at most", seconds(tally.at_most_us), "s"),
        info("two tabs at once, not billed twice", seconds(tally.overlap_us), "s"),
        info("proven and not billed", seconds(tally.under_us), "s").note("lost with a crash; within the uncertainty"),
        info("uncertainty, sum", seconds(tally.uncertainty_us), "s"),
        info("uncertainty of a participant, mean", mean_us / 1e6, "s"),
        info("uncertainty of a participant, max", seconds(tally.uncertainty_max_us), "s"),
        info("billed after a client's last byte, max", tally.way_max_us as f64 / 1e3, "ms")
            .note("its way to the server"),
        info("instants up to which bills were final, tried", run.finals as f64, ""),
        info("latest mark at a crash", tally.mark_late_us as f64 / 1e3, "ms").note("beyond its interval"),
        info("pongs whose clock was compared", run.truth.pongs as f64, "")
            .note(format!("off by at most {} us", run.truth.clock_off_us)),
        info("seed", run.seed as f64, ""),
    ];
    let told = witnessed::by_kind(run.truth).into_iter().map(|one| {
        let title = format!("fault {}", one.kind);
        let count = deeds.counts.get(&one.kind).copied().unwrap_or(0);
        info(&title, count as f64, "times").note(one.words())
    });
    figures.extend(told);
    figures
}

fn is_listed(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::OverBilled
            | Fault::Lost
            | Fault::Doubled
            | Fault::Unexplained
            | Fault::UnderBilled
            | Fault::UncertaintyTooSmall
            | Fault::BillDiffers
            | Fault::WrongReason
            | Fault::NotDense
            | Fault::NotFinal
    )
}

/// One participant: what was true beside what is in the ledger, in seconds since the start.
fn timeline(run: &Run<'_>, who: &Who) -> String {
    let (session, participant) = who;
    let at = |instant: i64| match instant {
        i64::MIN | i64::MAX => "never".to_owned(),
        instant => format!("{:.6}", (instant - run.started) as f64 / 1e6),
    };
    let is_theirs = |one: &&ConnectionTruth| {
        one.session == *session && one.joined.as_ref().is_some_and(|joined| joined.participant == *participant)
    };
    let identity = run.truth.connections.iter().find(is_theirs).map_or("", |one| one.identity.as_str());
    let mut lines = Vec::new();
    for one in run.truth.connections.iter().filter(|one| one.session == *session && one.identity == identity) {
        let joined = one.joined.as_ref();
        lines.push((
            one.join_sent,
            format!(
                "truth  {:<10} sent {} joined {} heard {} there {} gone {} {:?}{}",
                joined.map_or("?", |joined| joined.connection.as_str()),
                at(one.join_sent),
                joined.map_or("never".to_owned(), |joined| at(joined.at)),
                at(one.heard_until),
                at(one.there_until),
                at(one.gone_at),
                one.end,
                one.testified_until.map_or(String::new(), |until| format!(" testified {}", at(until)))
            ),
        ));
    }
    for span in &run.statement.spans {
        if (&span.session, &span.participant) == (session, participant) {
            let until = span.disconnected_at.map_or("open".to_owned(), at);
            let reason = span.end_reason.as_deref().unwrap_or("?");
            let words = format!(
                "LEDGER {:<10} from {} until {until} {reason} uncertainty {} us",
                span.connection,
                at(span.connected_at),
                span.uncertainty_us
            );
            lines.push((span.connected_at, words));
        }
    }
    for order in &run.truth.orders {
        let covered = run.truth.connections.iter().filter(is_theirs).any(|one| order.scope.covers(one));
        if covered {
            lines.push((order.at, format!("order  {} between {} and {}", order.reason, at(order.at), at(order.until))));
        }
    }
    for end in run.statement.ends.iter().filter(|end| end.session == *session) {
        lines.push((end.at, format!("LEDGER session ended at {}", at(end.at))));
    }
    for (number, boot) in run.truth.boots.iter().enumerate() {
        lines.push((boot.started, format!("server start {number} at {}", at(boot.started))));
        if let Some(end) = boot.end {
            let kind = if end.kind == BootEndKind::Killed { "killed" } else { "terminated" };
            lines.push((end.at, format!("server {kind} {number} between {} and {}", at(end.at), at(end.gone_at))));
        }
    }
    for one in &run.truth.incidents {
        lines.push((one.at, format!("server fault {} between {} and {}", one.kind, at(one.at), at(one.until))));
    }
    let span = lines.iter().filter(|(_, words)| !words.starts_with("server")).map(|(at, _)| *at);
    let (first, last) = (span.clone().min().unwrap_or(0) - 5_000_000, span.max().unwrap_or(0) + 10_000_000);
    lines.retain(|(at, _)| (first..=last).contains(at));
    lines.sort();
    let lines: Vec<_> = lines.into_iter().map(|(_, words)| format!("  {words}")).collect();
    format!("\n{identity} ({participant}) in {session}\n{}", lines.join("\n"))
}
