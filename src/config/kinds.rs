//! How each type of setting is read from a source and shown to people.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use figment::value::{Num, Value};
use secrecy::{ExposeSecret, SecretString};

use super::setting::{NotOfThisKind, SettingValue};
use super::values::{
    Acknowledge, AddressRange, Bytes, DatabaseUrl, Hours, LogFormat, Millis, Origin, PublicUrl, Seconds,
};
use crate::telemetry::MASK;

macro_rules! number_settings {
    ($($name:ident, $kind:literal;)+) => {$(
        impl SettingValue for $name {
            const KIND: &'static str = $kind;

            fn read(value: &Value) -> Result<Self, NotOfThisKind> {
                integer(value).map($name)
            }

            fn show(&self) -> String {
                self.0.to_string()
            }

            fn magnitude(&self) -> Option<u64> {
                Some(self.0)
            }
        }
    )+};
}

number_settings! {
    Millis, "whole number, milliseconds";
    Seconds, "whole number, seconds";
    Hours, "whole number, hours";
}

impl SettingValue for u64 {
    const KIND: &'static str = "whole number";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        integer(value)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn magnitude(&self) -> Option<u64> {
        Some(*self)
    }
}

impl SettingValue for u32 {
    const KIND: &'static str = "whole number";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        u32::try_from(integer(value)?).map_err(|_| NotOfThisKind)
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn magnitude(&self) -> Option<u64> {
        Some(u64::from(*self))
    }
}

impl SettingValue for Bytes {
    const KIND: &'static str = "bytes, as a whole number or like \"64 KiB\" (KiB, MiB, GiB)";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        match value {
            Value::String(_, text) => text.parse(),
            other => integer(other).map(Bytes),
        }
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }

    fn magnitude(&self) -> Option<u64> {
        Some(self.0)
    }

    fn print_bound(bound: u64) -> String {
        Bytes(bound).to_string()
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        match value {
            Value::Bool(_, flag) => Ok(*flag),
            Value::String(_, text) => text.parse().map_err(|_| NotOfThisKind),
            _ => Err(NotOfThisKind),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        text(value).map(str::to_owned)
    }

    fn show(&self) -> String {
        quote(self)
    }
}

impl SettingValue for PathBuf {
    const KIND: &'static str = "path";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        match text(value)? {
            "" => Err(NotOfThisKind),
            path => Ok(Path::new(path).to_owned()),
        }
    }

    fn show(&self) -> String {
        quote(&self.to_string_lossy())
    }
}

impl SettingValue for Option<PathBuf> {
    const KIND: &'static str = "path, or empty";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        Ok(Some(text(value)?).filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quote(""), SettingValue::show)
    }
}

impl SettingValue for SocketAddr {
    const KIND: &'static str = "address and port, like \"127.0.0.1:7655\" or \"[::]:7655\"; port 0 picks a free one";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        let text = text(value)?;
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        numeric.as_deref().unwrap_or(text).parse().map_err(|_| NotOfThisKind)
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}

impl SettingValue for SecretString {
    const KIND: &'static str = "secret text";
    const SECRET: bool = true;

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        text(value).map(SecretString::from)
    }

    fn show(&self) -> String {
        quote(if self.expose_secret().is_empty() { "" } else { MASK })
    }
}

impl SettingValue for Option<DatabaseUrl> {
    const KIND: &'static str = "URL like \"postgres://user:password@host:5432/database\", or empty";
    const SECRET: bool = true;

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        match text(value)? {
            "" => Ok(None),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Some(DatabaseUrl::new(url)))
            }
            _ => Err(NotOfThisKind),
        }
    }

    fn show(&self) -> String {
        quote(&self.as_ref().map(DatabaseUrl::to_string).unwrap_or_default())
    }
}

impl SettingValue for Option<PublicUrl> {
    const KIND: &'static str = "URL like \"https://presence.example.com\", or empty";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        match text(value)? {
            "" => Ok(None),
            url => url.parse().map(Some),
        }
    }

    fn show(&self) -> String {
        quote(self.as_ref().map_or("", PublicUrl::as_str))
    }
}

impl SettingValue for Vec<Origin> {
    const KIND: &'static str =
        "list of origins like [\"https://app.example.com\"]; in the environment with commas between";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        list(value)
    }

    fn show(&self) -> String {
        show_list(self.iter().map(Origin::as_str))
    }
}

impl SettingValue for Vec<AddressRange> {
    const KIND: &'static str =
        "list of addresses or ranges like [\"10.0.0.0/8\"]; in the environment with commas between";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        list(value)
    }

    fn show(&self) -> String {
        show_list(self.iter().map(AddressRange::to_string))
    }
}

impl SettingValue for LogFormat {
    const KIND: &'static str = "\"auto\", \"pretty\" or \"json\"";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        text(value)?.parse()
    }

    fn show(&self) -> String {
        quote(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

impl SettingValue for Acknowledge {
    const KIND: &'static str = "\"journal\" or \"postgres\"";

    fn read(value: &Value) -> Result<Self, NotOfThisKind> {
        text(value)?.parse()
    }

    fn show(&self) -> String {
        quote(match self {
            Self::Journal => "journal",
            Self::Postgres => "postgres",
        })
    }
}

fn text(value: &Value) -> Result<&str, NotOfThisKind> {
    value.as_str().ok_or(NotOfThisKind)
}

/// Environment variables arrive as text, TOML numbers as numbers. Floats are refused rather than rounded.
fn integer(value: &Value) -> Result<u64, NotOfThisKind> {
    match value {
        Value::String(_, text) => text.trim().replace('_', "").parse().map_err(|_| NotOfThisKind),
        Value::Num(_, Num::F32(_) | Num::F64(_)) => Err(NotOfThisKind),
        other => {
            let number = other.to_u128().or_else(|| other.to_i128().and_then(|n| u128::try_from(n).ok()));
            number.and_then(|n| u64::try_from(n).ok()).ok_or(NotOfThisKind)
        }
    }
}

fn list<T: FromStr<Err = NotOfThisKind>>(value: &Value) -> Result<Vec<T>, NotOfThisKind> {
    match value {
        Value::Array(_, items) => items.iter().map(|item| text(item)?.parse()).collect(),
        Value::String(_, text) => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::parse).collect()
        }
        _ => Err(NotOfThisKind),
    }
}

fn show_list<T: AsRef<str>>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| quote(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
