//! What a key of a scenario is. The [`parameters!`] macro declares the keys of one kind once: their names, types, defaults,
//! limits and docs. The struct, the reader, the report and `rollcall-load explain` all come from there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::{Table, Value};

/// A key that is further than this from a known one is not worth a hint.
const SIMILARITY_MIN: f64 = 0.5;

/// One documented key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: &'static str,
    /// The sentences of the field's doc comment.
    pub doc: String,
    /// What may be written, for people: `whole number, 1 to 100000`.
    pub allowed: String,
    pub default: String,
}

/// A type that a parameter can have.
pub trait Parameter: Sized {
    /// What may be written, for people.
    const ALLOWED: &'static str;

    /// `None` when the value is of another type.
    fn read(value: &Value) -> Option<Self>;

    fn to_toml(&self) -> Value;

    /// The number that limits apply to, when there is one.
    fn magnitude(&self) -> Option<f64> {
        None
    }
}

/// The keys of one kind of scenario.
pub trait Parameters: Default {
    fn about() -> String;
    fn keys() -> Vec<Key>;
    fn read(reader: &mut Reader) -> Self;
    /// The values in force, as people write them.
    fn show(&self) -> BTreeMap<String, String>;
}

/// Takes keys out of a table and remembers what was wrong with them, so that one run tells every fault.
#[derive(Debug)]
pub struct Reader {
    table: Table,
    known: Vec<String>,
    pub faults: Vec<String>,
}

impl Reader {
    pub fn new(table: Table) -> Self {
        Self { table, known: Vec::new(), faults: Vec::new() }
    }

    /// The value of a key, or `default` when the key is absent or at fault.
    pub fn read<T: Parameter>(&mut self, name: &str, default: T, limits: Option<(u64, u64)>) -> T {
        self.known.push(name.to_owned());
        let Some(value) = self.table.remove(name) else { return default };
        let fits = |read: &T| match (limits, read.magnitude()) {
            (Some((min, max)), Some(magnitude)) => (min as f64..=max as f64).contains(&magnitude),
            _ => true,
        };
        if let Some(read) = T::read(&value).filter(fits) {
            return read;
        }
        self.faults.push(format!("{name} = {value}: {} is allowed", allowed::<T>(limits)));
        default
    }

    /// A key that is no parameter of the kind.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.known.push(name.to_owned());
        self.table.remove(name)
    }

    /// Every key that is left is unknown.
    pub fn finish(mut self) -> Vec<String> {
        let known: Vec<_> = self.known.iter().map(String::as_str).collect();
        for name in self.table.keys() {
            self.faults.push(unknown("key", name, &known));
        }
        self.faults
    }
}

/// Says that something is unknown, what was probably meant, and what there is.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let similarity = |candidate: &&str| strsim::normalized_damerau_levenshtein(name, candidate);
    let nearest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let mut text = format!("unknown {what} {name:?}");
    // Writing to a string cannot fail.
    match nearest.filter(|candidate| similarity(candidate) >= SIMILARITY_MIN) {
        Some(nearest) => write!(text, "; did you mean {nearest:?}?"),
        None => write!(text, "; there are {}", known.join(", ")),
    }
    .unwrap_or_default();
    text
}

/// Called from [`parameters!`].
pub fn key<T: Parameter>(name: &'static str, doc: &str, default: &T, limits: Option<(u64, u64)>) -> Key {
    let default = plain(default);
    Key { name, doc: sentences(doc), allowed: allowed::<T>(limits), default }
}

/// A value as people write it: TOML text, without the `.0` of whole numbers and the quotes of words.
pub fn plain<T: Parameter>(value: &T) -> String {
    match value.to_toml() {
        Value::String(word) => word,
        value => {
            let text = value.to_string();
            text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
        }
    }
}

/// The text of a doc comment on one line.
pub fn sentences(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn allowed<T: Parameter>(limits: Option<(u64, u64)>) -> String {
    match limits {
        Some((min, max)) => format!("{}, {min} to {max}", T::ALLOWED),
        None => T::ALLOWED.to_owned(),
    }
}

impl Parameter for usize {
    const ALLOWED: &'static str = "whole number";

    fn read(value: &Value) -> Option<Self> {
        value.as_integer().and_then(|value| value.try_into().ok())
    }

    fn to_toml(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }

    fn magnitude(&self) -> Option<f64> {
        Some(*self as f64)
    }
}

impl Parameter for f64 {
    const ALLOWED: &'static str = "number";

    fn read(value: &Value) -> Option<Self> {
        value.as_float().or_else(|| value.as_integer().map(|value| value as Self)).filter(|value| value.is_finite())
    }

    fn to_toml(&self) -> Value {
        Value::Float(*self)
    }

    fn magnitude(&self) -> Option<f64> {
        Some(*self)
    }
}

/// An enum of words.
macro_rules! words {
    ($(#[$attribute:meta])* pub enum $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl $crate::scenario::parameters::Parameter for $name {
            const ALLOWED: &'static str = concat!("one of", $(" ", $word),+);

            fn read(value: &toml::Value) -> Option<Self> {
                match value.as_str()? {
                    $( $word => Some(Self::$variant), )+
                    _ => None,
                }
            }

            fn to_toml(&self) -> toml::Value {
                toml::Value::String(match self { $( Self::$variant => $word, )+ }.to_owned())
            }
        }
    };
}
pub(super) use words;

/// Declares the keys of a kind.
///
/// ```ignore
/// parameters! {
///     /// What the scenario shows.
///     pub struct Idle {
///         /// People who are there.
///         participants: usize = 16_000, in 1..=1_000_000;
///     }
/// }
/// ```
macro_rules! parameters {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident : $kind:ty = $default:expr $(, in $min:literal..=$max:literal)? ; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::scenario::parameters::Parameters for $name {
            fn about() -> String {
                $crate::scenario::parameters::sentences(concat!($($about),+))
            }

            fn keys() -> Vec<$crate::scenario::parameters::Key> {
                let default = Self::default();
                vec![$({
                    let limits: Option<(u64, u64)> = None $( .or(Some(($min, $max))) )?;
                    $crate::scenario::parameters::key(stringify!($field), concat!($($doc),+), &default.$field, limits)
                }),+]
            }

            fn read(reader: &mut $crate::scenario::parameters::Reader) -> Self {
                let default = Self::default();
                Self {
                    $( $field: {
                        let limits: Option<(u64, u64)> = None $( .or(Some(($min, $max))) )?;
                        reader.read(stringify!($field), default.$field, limits)
                    }, )+
                }
            }

            fn show(&self) -> std::collections::BTreeMap<String, String> {
                [ $( (stringify!($field).to_owned(), $crate::scenario::parameters::plain(&self.$field)) ),+ ].into()
            }
        }
    };
}
pub(super) use parameters;
