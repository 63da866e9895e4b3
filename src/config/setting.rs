//! What a setting is. The [`settings!`] macro declares a part of the configuration once: its fields, their docs, defaults
//! and limits. The struct, the reader, `config show`, docs/CONFIGURATION.md and the example file all come from there.

use super::layers::Reader;

/// One documented setting, as the generators and the unknown-key check see it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Dotted, as in `ws.ping_interval_ms`.
    pub key: String,
    /// The sentences of the field's doc comment.
    pub doc: String,
    /// What may be written, for people: `integer, milliseconds`.
    pub kind: &'static str,
    /// The default as TOML text.
    pub default: String,
    /// The accepted range, `None` when every value of the kind is good.
    pub limits: Option<Limits>,
    /// Its value never appears anywhere.
    pub secret: bool,
}

impl Setting {
    /// What may be written, with the limits.
    pub fn allowed(&self) -> String {
        match &self.limits {
            Some(limits) => format!("{}; {limits}", self.kind),
            None => self.kind.to_owned(),
        }
    }
}

/// Inclusive bounds, in the unit of the setting.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub min: u64,
    pub max: u64,
    /// Prints a bound the way the value is written, so that a limit of bytes reads `4 KiB`.
    pub print: fn(u64) -> String,
}

impl Limits {
    pub fn contain(&self, magnitude: u64) -> bool {
        (self.min..=self.max).contains(&magnitude)
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", (self.print)(self.min), (self.print)(self.max))
    }
}

/// A type that a setting can have.
pub trait SettingValue: Clone {
    /// What may be written, for people.
    const KIND: &'static str;
    /// Its value is masked wherever it would be shown.
    const SECRET: bool = false;

    /// Reads a TOML value, or the text of an environment variable or a flag.
    ///
    /// # Errors
    /// `Err` when the value is not of this kind; the caller says what is allowed.
    fn read(value: &figment::value::Value) -> Result<Self, NotOfThisKind>;

    /// The value as TOML text. Secrets are masked; an absent value is the empty string.
    fn show(&self) -> String;

    /// The number that limits apply to, when there is one.
    fn magnitude(&self) -> Option<u64> {
        None
    }

    /// How a bound of the limits is printed.
    fn print_bound(bound: u64) -> String {
        bound.to_string()
    }
}

/// The value cannot be read as what the setting wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOfThisKind;

/// A part of the configuration: a table in `rollcall.toml`.
pub trait Part: Default {
    /// The settings of this part and, for the top level, the parts themselves.
    fn describe(parts: &mut Vec<PartReference>);

    /// Reads every setting, collecting the faults.
    fn read(reader: &mut Reader<'_>) -> Self;

    /// The effective values, in the order of declaration.
    fn show(&self, values: &mut Vec<(String, String)>);
}

/// A part, for the reference.
#[derive(Debug, Clone)]
pub struct PartReference {
    pub name: &'static str,
    pub doc: &'static str,
    pub settings: Vec<Setting>,
}

/// The dotted key of a field.
pub fn key(part: &str, field: &str) -> String {
    if part.is_empty() { field.to_owned() } else { format!("{part}.{field}") }
}

/// Describes one field; called from [`settings!`].
pub fn describe<T: SettingValue>(key: String, doc: &str, default: &T, limits: Option<Limits>) -> Setting {
    let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    Setting { key, doc, kind: T::KIND, default: default.show(), limits, secret: T::SECRET }
}

/// Limits of a field from a range like `1..=60`; called from [`settings!`].
pub fn limits<T: SettingValue>(range: &std::ops::RangeInclusive<u64>) -> Limits {
    Limits { min: *range.start(), max: *range.end(), print: T::print_bound }
}

/// Declares a part of the configuration.
///
/// ```ignore
/// settings! {
///     /// What the part is about.
///     pub struct Ws in "ws" {
///         /// What the setting does, and what happens at the limit.
///         ping_interval_ms: Millis = Millis(30_000), in 1_000..=300_000;
///     }
/// }
/// ```
macro_rules! settings {
    (
        $(#[doc = $part_doc:literal])+
        pub struct $name:ident in $table:literal {
            $( $(#[doc = $doc:literal])+ $field:ident : $kind:ty = $default:expr $(, in $range:expr)? ; )+
        }
        $( parts { $( $part:ident : $part_kind:ty ),+ $(,)? } )?
    ) => {
        $(#[doc = $part_doc])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
            $( $( pub $part: $part_kind, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ $( $( $part: <$part_kind>::default(), )+ )? }
            }
        }

        impl $crate::config::setting::Part for $name {
            fn describe(parts: &mut Vec<$crate::config::setting::PartReference>) {
                use $crate::config::setting;
                let default = Self::default();
                let settings = vec![$({
                    let limits: Option<setting::Limits> = None $( .or(Some(setting::limits::<$kind>(&$range))) )?;
                    setting::describe(setting::key($table, stringify!($field)), concat!($($doc),+), &default.$field, limits)
                }),+];
                parts.push(setting::PartReference { name: $table, doc: concat!($($part_doc),+), settings });
                $( $( <$part_kind as setting::Part>::describe(parts); )+ )?
            }

            fn read(reader: &mut $crate::config::layers::Reader<'_>) -> Self {
                use $crate::config::setting;
                let default = Self::default();
                Self {
                    $( $field: {
                        let limits: Option<setting::Limits> = None $( .or(Some(setting::limits::<$kind>(&$range))) )?;
                        reader.read(&setting::key($table, stringify!($field)), default.$field, limits)
                    }, )+
                    $( $( $part: <$part_kind as setting::Part>::read(reader), )+ )?
                }
            }

            fn show(&self, values: &mut Vec<(String, String)>) {
                use $crate::config::setting::{self, SettingValue as _};
                $( values.push((setting::key($table, stringify!($field)), self.$field.show())); )+
                $( $( setting::Part::show(&self.$part, values); )+ )?
            }
        }
    };
}
pub(super) use settings;
