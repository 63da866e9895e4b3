//! Where values come from, and which source each value has.
//!
//! Each source is one figment provider with its own name, so figment can say where a value of the merged result is from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::setting::{Limits, Part, PartReference, SettingValue};
use super::{Config, ConfigError, Fault, Mode};
use crate::telemetry::MASK;

/// The root key of `dev`. Everybody knows it, so `serve` refuses it.
pub const DEV_ROOT_KEY: &str = "de50de50de50de50de50de50de50de50de50de50de50de50de50de50de50de50";

/// Every variable with this prefix is a setting or a fault.
const PREFIX: &str = "ROLLCALL_";

/// Variables that set something under another name; the long form wins over them.
const ALIASES: [(&str, &str); 3] =
    [("DATABASE_URL", "database.url"), ("ROLLCALL_ROOT_KEY", "auth.root_key"), ("ROLLCALL_PG_BIN", "database.pg_bin")];

/// Names the file to read and is no setting itself.
const FILE_VARIABLE: &str = "ROLLCALL_CONFIG";

/// A mistyped name is corrected when at most this share of it differs.
const NEAREST_DIFFERENCE_MAX: f64 = 0.4;

/// Which file is read.
#[derive(Debug, Clone)]
pub enum File {
    /// The user named it, so it must be there.
    Named(PathBuf),
    /// Read when it is there.
    IfPresent(PathBuf),
}

/// A setting that a flag of the command line sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// With the dashes, as in `--listen`.
    pub name: &'static str,
    pub key: &'static str,
    pub value: String,
}

/// Everything that a configuration is made from.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub file: File,
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// The merged sources.
pub(super) struct Layers {
    figment: Figment,
}

impl Layers {
    /// Reads the file and merges all sources. The faults are about keys that do not exist.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML.
    pub fn collect(inputs: &Inputs, mode: Option<Mode>) -> Result<(Self, Vec<Fault>), ConfigError> {
        let known = known_keys();
        let mut faults = Vec::new();
        let mut figment = Figment::new();
        if mode == Some(Mode::Dev) {
            figment = figment.merge(dev_layer());
        }
        if let Some(layer) = file_layer(&inputs.file)? {
            check_keys(&layer, &known, &mut faults);
            figment = figment.merge(layer);
        }
        for layer in environment_layers(&inputs.environment, &known, &mut faults) {
            figment = figment.merge(layer);
        }
        for flag in &inputs.flags {
            figment =
                figment.merge(Layer::of(format!("flag {}", flag.name), [(flag.key, Value::from(flag.value.as_str()))]));
        }
        Ok((Self { figment }, faults))
    }

    pub fn reader(&self) -> Reader<'_> {
        Reader { figment: &self.figment, sources: BTreeMap::new(), faults: Vec::new() }
    }
}

/// Reads single settings out of the merged sources and collects what is wrong.
pub struct Reader<'a> {
    figment: &'a Figment,
    sources: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// The value of a setting; its default when no source has it, or when the value is wrong, which is noted.
    pub fn read<T: SettingValue>(&mut self, key: &str, default: T, limits: Option<Limits>) -> T {
        let Ok(value) = self.figment.find_value(key) else {
            return default;
        };
        let source =
            self.figment.get_metadata(value.tag()).map_or_else(String::new, |metadata| metadata.name.to_string());
        self.sources.insert(key.to_owned(), source.clone());
        let within = |read: &T| limits.is_none_or(|limits| read.magnitude().is_none_or(|size| limits.contain(size)));
        if let Some(good) = T::read(&value).ok().filter(within) {
            return good;
        }
        let allowed = limits.map_or_else(|| T::KIND.to_owned(), |limits| format!("{}; {limits}", T::KIND));
        let value = if T::SECRET { format!("\"{MASK}\"") } else { written(&value) };
        self.faults.push(Fault::Invalid { key: key.to_owned(), value, source, allowed });
        default
    }

    pub fn finish(self) -> (BTreeMap<String, String>, Vec<Fault>) {
        (self.sources, self.faults)
    }
}

/// One source: its name and its values.
struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    fn of<'a>(name: String, values: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let mut dict = Dict::new();
        for (key, value) in values {
            match key.split_once('.') {
                None => drop(dict.insert(key.to_owned(), value)),
                Some((part, field)) => {
                    let part = dict.entry(part.to_owned()).or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, fields) = part {
                        fields.insert(field.to_owned(), value);
                    }
                }
            }
        }
        Self { name, values: dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// What `dev` changes. It lies below the file, so that people can still try other values.
fn dev_layer() -> Layer {
    const LIFTED: [&str; 6] = [
        "ws.connections_per_address_per_s",
        "ws.unauthenticated_per_address_max",
        "ws.failed_joins_per_address_per_min",
        "http.connections_per_address_max",
        "http.invite_checks_per_address_per_min",
        "http.failed_keys_per_address_per_min",
    ];
    let lifted = LIFTED.into_iter().map(|key| (key, Value::from(0_u32)));
    let others = [
        ("auth.root_key", Value::from(DEV_ROOT_KEY)),
        ("ws.loopback_origins_allowed", Value::from(true)),
        ("shutdown.drain_ms", Value::from(500_u32)),
    ];
    Layer::of("dev mode".to_owned(), lifted.chain(others))
}

fn file_layer(file: &File) -> Result<Option<Layer>, ConfigError> {
    let path = match file {
        File::Named(path) => path,
        File::IfPresent(path) if path.exists() => path,
        File::IfPresent(_) => return Ok(None),
    };
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    let values = parse_toml(path, &text)?;
    Ok(Some(Layer { name: format!("file {}", path.display()), values }))
}

fn parse_toml(path: &Path, text: &str) -> Result<Dict, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let offset = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::NotToml { path: path.to_owned(), line, message: error.message().to_owned() }
    })
}

/// One layer per variable. An empty variable counts as not set: compose files and shells produce those by accident.
fn environment_layers(environment: &[(String, String)], known: &[String], faults: &mut Vec<Fault>) -> Vec<Layer> {
    let find = |name: &str| environment.iter().find(|(n, value)| n == name && !value.is_empty());
    let layer = |name: &str, key: &str, value: &str| {
        Layer::of(format!("environment variable {name}"), [(key, Value::from(value))])
    };
    let mut layers: Vec<Layer> =
        ALIASES.iter().filter_map(|(name, key)| find(name).map(|(_, value)| layer(name, key, value))).collect();
    for (name, value) in environment {
        let reserved = name == FILE_VARIABLE || ALIASES.iter().any(|(alias, _)| alias == name);
        if !name.starts_with(PREFIX) || reserved || set_by_kubernetes(name) || value.is_empty() {
            continue;
        }
        match known.iter().find(|key| variable(key) == *name) {
            Some(key) => layers.push(layer(name, key, value)),
            None => faults.push(Fault::UnknownKey {
                key: name.clone(),
                source: "environment".to_owned(),
                nearest: nearest(name, known.iter().map(|key| variable(key)).chain(alias_names())),
            }),
        }
    }
    layers
}

fn alias_names() -> impl Iterator<Item = String> {
    ALIASES.iter().map(|(name, _)| (*name).to_owned())
}

/// `ws.ping_interval_ms` is `ROLLCALL_WS__PING_INTERVAL_MS`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Kubernetes gives every pod beside a service named `rollcall` these variables; they are nobody's mistake.
fn set_by_kubernetes(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest == "PORT" || rest.starts_with("PORT_")
}

fn known_keys() -> Vec<String> {
    let mut parts = Vec::new();
    Config::describe(&mut parts);
    parts.into_iter().flat_map(|PartReference { settings, .. }| settings).map(|setting| setting.key).collect()
}

fn check_keys(layer: &Layer, known: &[String], faults: &mut Vec<Fault>) {
    let mut written = Vec::new();
    flatten("", &layer.values, &mut written);
    for key in written {
        if !known.contains(&key) {
            let nearest = nearest(&key, known.iter().cloned());
            faults.push(Fault::UnknownKey { key, source: layer.name.clone(), nearest });
        }
    }
}

fn flatten(prefix: &str, values: &Dict, keys: &mut Vec<String>) {
    for (name, value) in values {
        let key = super::setting::key(prefix, name);
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => flatten(&key, inner, keys),
            // An empty table of a part says nothing and is no fault.
            Value::Dict(..) if is_part(&key) => {}
            _ => keys.push(key),
        }
    }
}

fn is_part(name: &str) -> bool {
    let mut parts = Vec::new();
    Config::describe(&mut parts);
    parts.iter().any(|part| part.name == name)
}

/// The name that was probably meant: the same setting in another table, else the one with the fewest changed letters.
fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let field = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let distance = |name: &String| {
        if field(name) == field(wrong) { 0.0 } else { 1.0 - strsim::normalized_damerau_levenshtein(name, wrong) }
    };
    names
        .map(|name| (distance(&name), name))
        .filter(|(distance, _)| *distance <= NEAREST_DIFFERENCE_MAX)
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A wrong value as the user wrote it, shortened so that an error stays readable.
fn written(value: &Value) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| number.to_u128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Dict(..) => "a table".to_owned(),
        Value::Char(..) | Value::Empty(..) => String::new(),
    };
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
