//! A scenario as TOML: `kind`, `about`, the keys of its kind, and the table `[budget]`.

use std::path::Path;

use toml::{Table, Value};

use super::kind::Kind;
use super::parameters::{Reader, unknown};
use crate::report::{Budget, Figure, FigureKey};

/// A scenario that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    pub kind: Kind,
    budgets: Vec<(String, Budget)>,
}

/// `--set key=value`, or `--set budget.key=value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    pub key: String,
    pub value: Value,
}

/// What is wrong with a scenario; the harness exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {}", .faults.join("\n  "))]
pub struct ScenarioError {
    pub name: String,
    pub faults: Vec<String>,
}

impl std::str::FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
        // What is no TOML value is a bare word.
        let parsed = format!("value = {}", value.trim()).parse::<Table>();
        let value = parsed.ok().and_then(|mut table| table.remove("value"));
        let value =
            value.unwrap_or_else(|| Value::String(text.split_once('=').map_or("", |(_, word)| word.trim()).to_owned()));
        Ok(Self { key: key.trim().to_owned(), value })
    }
}

impl Scenario {
    /// # Errors
    /// The file cannot be read; else as [`Scenario::parse`].
    pub fn read(path: &Path, overrides: &[Override]) -> Result<Self, ScenarioError> {
        let name =
            path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let text = std::fs::read_to_string(path)
            .map_err(|error| ScenarioError { name: path.display().to_string(), faults: vec![error.to_string()] })?;
        Self::parse(&name, &text, overrides)
    }

    /// # Errors
    /// It is not TOML, or some keys are missing, unknown, of another type or outside their limits: all of them are told.
    pub fn parse(name: &str, text: &str, overrides: &[Override]) -> Result<Self, ScenarioError> {
        let fail = |faults| ScenarioError { name: name.to_owned(), faults };
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| fail(vec![error.to_string()]))?;
        for change in overrides {
            override_key(&mut table, change);
        }
        let mut reader = Reader::new(table);
        let kind = match reader.take("kind") {
            Some(Value::String(kind)) => kind,
            _ => return Err(fail(vec![format!("kind is missing; there are {}", Kind::names().join(", "))])),
        };
        let about = match reader.take("about") {
            Some(Value::String(about)) => about,
            Some(_) => return Err(fail(vec!["about must be text".to_owned()])),
            None => String::new(),
        };
        let budget = reader.take("budget");
        let Some(kind) = Kind::read(&kind, &mut reader) else {
            return Err(fail(vec![unknown("kind", &kind, &Kind::names())]));
        };
        let mut faults = reader.finish();
        let budgets = budgets(budget, kind.figures(), &mut faults);
        if !faults.is_empty() {
            return Err(fail(faults));
        }
        let about = if about.is_empty() { kind.about() } else { about };
        Ok(Self { name: name.to_owned(), about, kind, budgets })
    }

    /// Holds the figures against the budget. A budget whose figure was not measured is missed, not forgotten; only where the
    /// process of the server is unknown (`is_blind`) is it left out.
    pub fn judge(&self, figures: Vec<Figure>, is_blind: bool) -> Vec<Figure> {
        let mut judged: Vec<Figure> = figures
            .into_iter()
            .map(|figure| match self.budgets.iter().find(|(key, _)| *key == figure.key) {
                Some((_, budget)) => figure.against(*budget),
                None => figure,
            })
            .collect();
        for (key, budget) in &self.budgets {
            if !is_blind
                && !judged.iter().any(|figure| figure.key == *key)
                && let Some(known) = self.kind.figures().iter().find(|known| known.key == key)
            {
                judged.push(known.is(f64::NAN).note("was not measured").against(*budget));
            }
        }
        judged
    }

    pub fn budgets(&self) -> impl Iterator<Item = (&FigureKey, Budget)> {
        let of = |key: &str| self.kind.figures().iter().find(move |known| known.key == key);
        self.budgets.iter().filter_map(move |(key, budget)| Some((of(key)?, *budget)))
    }

    /// Whether `--set key=…` would mean anything here.
    pub fn knows(&self, key: &str) -> bool {
        match key.strip_prefix("budget.") {
            Some(budget) => budget_names(self.kind.figures()).iter().any(|name| name == budget),
            None => self.kind.keys().iter().any(|known| known.name == key),
        }
    }
}

fn override_key(table: &mut Table, change: &Override) {
    match change.key.strip_prefix("budget.") {
        Some(key) => {
            if let Value::Table(budget) = table.entry("budget").or_insert_with(|| Value::Table(Table::new())) {
                budget.insert(key.to_owned(), change.value.clone());
            }
        }
        None => {
            table.insert(change.key.clone(), change.value.clone());
        }
    }
}

fn budgets(value: Option<Value>, figures: &[FigureKey], faults: &mut Vec<String>) -> Vec<(String, Budget)> {
    let table = match value {
        None => return Vec::new(),
        Some(Value::Table(table)) => table,
        Some(_) => {
            faults.push("budget must be a table".to_owned());
            return Vec::new();
        }
    };
    let names = budget_names(figures);
    let known: Vec<_> = names.iter().map(String::as_str).collect();
    let mut budgets = Vec::new();
    for (name, value) in table {
        let limit = value.as_float().or_else(|| value.as_integer().map(|value| value as f64));
        match (known.contains(&name.as_str()), limit) {
            (false, _) => faults.push(unknown("budget", &name, &known)),
            (true, None) => faults.push(format!("budget.{name} = {value}: a number is allowed")),
            (true, Some(limit)) => match name.strip_suffix("_max") {
                Some(key) => budgets.push((key.to_owned(), Budget::AtMost(limit))),
                None => budgets.push((name.trim_end_matches("_min").to_owned(), Budget::AtLeast(limit))),
            },
        }
    }
    budgets
}

/// Every name that `[budget]` may have: a figure and the side it is bounded on.
fn budget_names(figures: &[FigureKey]) -> Vec<String> {
    figures.iter().flat_map(|figure| ["_max", "_min"].map(|side| format!("{}{side}", figure.key))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::Verdict;

    const TEXT: &str = "kind = \"idle\"\nparticipants = 100\n[budget]\nmemory_kib_max = 2.5\n";

    fn faults(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        Scenario::parse("mine", text, &overrides).unwrap_err().to_string()
    }

    #[test]
    fn a_scenario_has_a_kind_parameters_and_budgets() {
        let scenario = Scenario::parse("mine", TEXT, &[]).unwrap();
        assert_eq!(scenario.kind.name(), "idle");
        assert_eq!(scenario.kind.show()["participants"], "100");
        assert_eq!(scenario.budgets, [("memory_kib".to_owned(), Budget::AtMost(2.5))]);
        assert!(!scenario.about.is_empty(), "the kind says what it is about when the file does not");
    }

    #[test]
    fn every_fault_is_told_with_a_hint() {
        let text = "kind = \"idle\"\nparticpants = 100\nroom_size = 0\n[budget]\nmemory_kb_max = 2.5\n";
        assert_eq!(
            faults(text, &[]),
            "mine: room_size = 0: whole number, 1 to 10000 is allowed\n  \
             unknown key \"particpants\"; did you mean \"participants\"?\n  \
             unknown budget \"memory_kb_max\"; did you mean \"memory_kib_max\"?"
        );
        assert_eq!(faults("kind = \"idel\"", &[]), "mine: unknown kind \"idel\"; did you mean \"idle\"?");
        assert!(faults("participants = 1", &[]).starts_with("mine: kind is missing; there are idle, "));
        assert!(faults("kind = \"idle\"\nparticipants = \"many\"", &[]).contains("whole number"));
        assert!(faults("kind = ", &[]).contains("line 1"));
    }

    #[test]
    fn overrides_change_parameters_and_budgets() {
        let overrides = ["participants=7", "budget.memory_kib_max=9.5"].map(|text| text.parse().unwrap());
        let scenario = Scenario::parse("mine", TEXT, &overrides).unwrap();
        assert_eq!(scenario.kind.show()["participants"], "7");
        assert_eq!(scenario.budgets, [("memory_kib".to_owned(), Budget::AtMost(9.5))]);
        assert!(faults(TEXT, &["participant=7"]).contains("did you mean \"participants\"?"));
        assert!("participants".parse::<Override>().is_err());
        assert_eq!("how=silence".parse::<Override>().unwrap().value, Value::String("silence".to_owned()));
    }

    #[test]
    fn a_budget_without_its_figure_is_missed() {
        let scenario = Scenario::parse("mine", TEXT, &[]).unwrap();
        let judged = scenario.judge(Vec::new(), false);
        assert_eq!(judged[0].verdict, Verdict::Missed);
        assert!(scenario.judge(Vec::new(), true).is_empty(), "nobody said which process it is");
        let judged = scenario.judge(vec![scenario.kind.figures()[0].is(2.0)], false);
        assert_eq!((judged.len(), judged[0].verdict), (1, Verdict::Ok));
    }
}
