//! The types that settings have. Each parses what people write and prints what the file would say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use figment::value::{Num, Value};
use secrecy::{ExposeSecret, SecretString};

use super::setting::{NotOfThisKind, SettingValue};
use crate::telemetry::{MASK, redact_url};

/// A time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// A time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

impl Seconds {
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// A time in hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours(pub u64);

impl Hours {
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 * 3_600)
    }
}

/// A number of bytes, written `65536` or `64 KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Bytes {
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// For buffers and limits in memory; saturates on machines with small addresses.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that divides the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        let text = text.trim();
        for (unit, size) in UNITS {
            if let Some(count) = text.strip_suffix(unit) {
                let count: u64 = count.trim().parse().map_err(|_| NotOfThisKind)?;
                return count.checked_mul(size).map(Self).ok_or(NotOfThisKind);
            }
        }
        text.parse().map(Self).map_err(|_| NotOfThisKind)
    }
}

/// A Postgres URL. It may carry a password, so it prints without it.
#[derive(Clone)]
pub struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// The whole URL, for the one place that connects.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(self.expose()))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// An exact browser origin: `https://app.example.com`, no path, default port left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A page of this computer.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            _ => authority,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(NotOfThisKind)?;
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Err(NotOfThisKind),
        };
        let parsed: axum::http::uri::Authority = authority.parse().map_err(|_| NotOfThisKind)?;
        if authority.contains(['@', '*', '/', '?', '#']) || parsed.host().is_empty() {
            return Err(NotOfThisKind);
        }
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        Ok(Self(format!("{scheme}://{authority}")))
    }
}

/// A range of addresses, `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    network: IpAddr,
    prefix_bits: u8,
}

impl AddressRange {
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix_bits);
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_bits)
    }
}

impl FromStr for AddressRange {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(a, b)| (a, Some(b)));
        let network: IpAddr = address.parse().map_err(|_| NotOfThisKind)?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NotOfThisKind)?,
            None => bits_max,
        };
        if prefix_bits > bits_max { Err(NotOfThisKind) } else { Ok(Self { network, prefix_bits }) }
    }
}

/// The address people reach this server at: `https://presence.example.com`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The plain address, for a server that was given no better name.
    pub(super) fn of_address(address: SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }

    /// The origin of pages that this server delivers itself.
    pub fn origin(&self) -> Option<Origin> {
        let (scheme, rest) = self.0.split_once("://")?;
        format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest)).parse().ok()
    }
}

impl FromStr for PublicUrl {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        let text = text.trim().trim_end_matches('/');
        let url = Self(text.to_owned());
        if text.contains(['?', '#', ' ', '"', '\\']) || url.origin().is_none() { Err(NotOfThisKind) } else { Ok(url) }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    Pretty,
    Json,
}

impl FromStr for LogFormat {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(NotOfThisKind),
        }
    }
}

/// What a join waits for before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// The record is durable on this node.
    Journal,
    /// The record is in Postgres.
    Postgres,
}

impl FromStr for Acknowledge {
    type Err = NotOfThisKind;

    fn from_str(text: &str) -> Result<Self, NotOfThisKind> {
        match text {
            "journal" => Ok(Self::Journal),
            "postgres" => Ok(Self::Postgres),
            _ => Err(NotOfThisKind),
        }
    }
}

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
