//! The scenarios that come with the harness, and what `list` and `explain` say of them.

use std::fmt::Write as _;

use super::file::{Override, Scenario, ScenarioError};
use super::kind::{Kind, KindReference};
use super::parameters::unknown;
use crate::report::figure::Better;
use crate::report::text::{budget, columns};

/// Name and text, in the order in which `run all` takes them.
const EMBEDDED: &[(&str, &str)] = &[
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("ping-rate", include_str!("../../scenarios/ping-rate.toml")),
    ("join-rate", include_str!("../../scenarios/join-rate.toml")),
    ("join-storm", include_str!("../../scenarios/join-storm.toml")),
    ("restart-storm", include_str!("../../scenarios/restart-storm.toml")),
    ("kill-storm", include_str!("../../scenarios/kill-storm.toml")),
    ("room", include_str!("../../scenarios/room.toml")),
    ("rooms", include_str!("../../scenarios/rooms.toml")),
    ("expired", include_str!("../../scenarios/expired.toml")),
    ("expiry", include_str!("../../scenarios/expiry.toml")),
    ("mass-end", include_str!("../../scenarios/mass-end.toml")),
    ("mass-disconnect", include_str!("../../scenarios/mass-disconnect.toml")),
    ("mass-silence", include_str!("../../scenarios/mass-silence.toml")),
    ("flush", include_str!("../../scenarios/flush.toml")),
    ("slow-loris", include_str!("../../scenarios/slow-loris.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("reconcile", include_str!("../../scenarios/reconcile.toml")),
];

/// The name that stands for all of them.
pub const ALL: &str = "all";

/// Take minutes to hours, so that `all` leaves them out.
const LONG: &[&str] = &["soak", "reconcile"];

/// The scenario of a name, or of a file: a name with a slash or that ends in `.toml`.
///
/// # Errors
/// There is none of that name, or it is at fault.
pub fn find(name: &str, overrides: &[Override]) -> Result<Scenario, ScenarioError> {
    if name.contains('/') || name.ends_with(".toml") {
        return Scenario::read(name.as_ref(), overrides);
    }
    match EMBEDDED.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => Scenario::parse(name, text, overrides),
        None => {
            let known: Vec<_> = EMBEDDED.iter().map(|(name, _)| *name).chain([ALL]).collect();
            Err(ScenarioError { name: "run".to_owned(), faults: vec![unknown("scenario", name, &known)] })
        }
    }
}

/// The names that [`ALL`] stands for.
pub fn all() -> impl Iterator<Item = &'static str> {
    EMBEDDED.iter().map(|(name, _)| *name).filter(|name| !LONG.contains(name))
}

/// Every scenario on a line.
///
/// # Errors
/// Never: a test reads all of them.
pub fn list() -> Result<String, ScenarioError> {
    let mut rows = Vec::new();
    for (name, _) in EMBEDDED {
        let scenario = find(name, &[])?;
        let budgets: Vec<_> = scenario
            .budgets()
            .map(|(figure, limit)| format!("{} {}", figure.key, budget(limit, figure.unit)))
            .collect();
        rows.push([(*name).to_owned(), scenario.about.clone(), budgets.join(", ")]);
    }
    Ok(columns(["scenario", "what it shows", "budget"], &[], &rows))
}

/// All keys of a kind, or of every kind.
///
/// # Errors
/// There is no kind or scenario of that name.
pub fn explain(name: Option<&str>) -> Result<String, ScenarioError> {
    let mut text = String::new();
    let Some(name) = name else {
        text.push_str(
            "A scenario is a TOML file: `kind`, optionally `about`, keys of its kind, and a table [budget] whose keys are \
             figures of\nthe kind with _max or _min behind them. `rollcall-load explain idle` shows one kind and its file.\n",
        );
        for kind in Kind::ALL {
            explain_kind(&mut text, kind);
        }
        return Ok(text);
    };
    let file = EMBEDDED.iter().find(|(known, _)| *known == name);
    let kind = match file {
        Some(_) => find(name, &[])?.kind.name(),
        None => name,
    };
    let Some(kind) = Kind::ALL.iter().find(|known| known.name == kind) else {
        return Err(ScenarioError { name: "explain".to_owned(), faults: vec![unknown("kind", name, &Kind::names())] });
    };
    explain_kind(&mut text, kind);
    let file = file.or_else(|| EMBEDDED.iter().find(|(_, text)| text.contains(&format!("kind = \"{}\"", kind.name))));
    if let Some((name, toml)) = file {
        // Writing to a string cannot fail, here and below.
        write!(text, "\n{name}.toml\n\n{toml}").unwrap_or_default();
    }
    Ok(text)
}

fn explain_kind(text: &mut String, kind: &KindReference) {
    writeln!(text, "\nkind = \"{}\"\n{}\n", kind.name, (kind.about)()).unwrap_or_default();
    let rows: Vec<_> =
        (kind.keys)().into_iter().map(|key| [format!("  {}", key.name), key.default, key.allowed, key.doc]).collect();
    text.push_str(&columns(["  key", "default", "allowed", "meaning"], &[], &rows));
    let rows: Vec<_> = kind
        .figures
        .iter()
        .map(|figure| {
            let side = match figure.better {
                Better::Lower => "_max",
                Better::Higher => "_min",
                Better::Neither => "",
            };
            [format!("  {}{side}", figure.key), figure.unit.to_owned(), figure.title.to_owned()]
        })
        .collect();
    text.push('\n');
    text.push_str(&columns(["  figure, [budget]", "unit", "meaning"], &[], &rows));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_scenario_is_good_and_has_a_budget() {
        for (name, text) in EMBEDDED {
            let scenario = find(name, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert!(scenario.budgets().count() > 0, "{name} has no budget");
            assert!(text.lines().count() <= 20, "{name} is more than a few lines");
            assert!(text.contains("about = "), "{name} does not say what it shows");
        }
    }

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut embedded: Vec<_> = EMBEDDED.iter().map(|(name, _)| format!("{name}.toml")).collect();
        embedded.sort();
        assert_eq!(files, embedded);
    }

    #[test]
    fn every_kind_is_explained_and_has_a_scenario() {
        let text = explain(None).unwrap();
        for kind in Kind::ALL {
            assert!(text.contains(&format!("kind = \"{}\"", kind.name)));
            assert!(
                EMBEDDED.iter().any(|(name, _)| find(name, &[]).unwrap().kind.name() == kind.name),
                "{}",
                kind.name
            );
            for key in (kind.keys)() {
                assert!(key.doc.ends_with('.') && text.contains(&key.doc), "{}: {}", kind.name, key.name);
            }
        }
        assert!(explain(Some("mass-end")).unwrap().contains("mass-end.toml"));
        assert!(explain(Some("idel")).unwrap_err().to_string().contains("did you mean \"idle\"?"));
    }

    #[test]
    fn an_unknown_name_has_a_hint() {
        let text = find("join-strom", &[]).unwrap_err().to_string();
        assert_eq!(text, "run: unknown scenario \"join-strom\"; did you mean \"join-storm\"?");
        assert!(find("no/such/file.toml", &[]).is_err());
        assert!(all().all(|name| !LONG.contains(&name)));
    }
}
