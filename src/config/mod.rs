//! The configuration: defaults < `rollcall.toml` < environment < flags.
//!
//! Reading order: `parts.rs` and `network.rs` (every setting with its default), [`layers`] (where values come from),
//! [`validate`] (what fits together), [`reference`] (the generated docs).
//!
//! [`load`] is the only way in. It reports every fault at once, names the source of each value, and never prints a secret.

mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kinds;
mod layers;
mod network;
mod origins;
mod parts;
pub mod reference;
mod setting;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub use error::{ConfigError, Fault};
pub use layers::{DEV_ROOT_KEY, File, Flag, Inputs};
pub use network::{Http, Ws};
pub use origins::OriginPolicy;
pub use parts::{Audit, Auth, Database, Ledger, Log, Presence, Sessions, Shutdown};
pub use values::{Acknowledge, AddressRange, Bytes, DatabaseUrl, Hours, LogFormat, Millis, Origin, PublicUrl, Seconds};

use setting::{Part, settings};

/// The file that is read when `--config` names no other.
pub const FILE_NAME: &str = "rollcall.toml";

/// The port in the default of `listen`: the keys of a telephone that spell ROLL.
pub const PORT_DEFAULT: u16 = 7655;

/// What the server is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything on loopback with placeholder keys.
    Dev,
    /// Production.
    Serve,
}

settings! {
    /// The node itself. These stand at the top of the file, before the first table.
    pub struct Config in "" {
        /// Where connections and requests are accepted. `dev` refuses an address that other computers can reach.
        listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT_DEFAULT);
        /// The address people reach this server at, for invite links and as an allowed origin. Empty: `http://` and the address
        /// it listens on.
        public_url: Option<PublicUrl> = None;
        /// The page behind invite links; the token follows behind a `#`. Empty: `/join` of `public_url`.
        join_url: Option<PublicUrl> = None;
        /// Holds the journal and the embedded Postgres. Made when missing. Keep it on a local disk, one folder per node.
        data_dir: PathBuf = PathBuf::from("./data");
        /// The name of this node in the ledger, 1 to 64 characters out of a-z, A-Z, 0-9, `.`, `_` and `-`. Nodes that share a
        /// database need different names.
        node_name: String = "node-1".to_owned();
    }
    parts {
        auth: Auth,
        database: Database,
        ws: Ws,
        presence: Presence,
        sessions: Sessions,
        ledger: Ledger,
        audit: Audit,
        http: Http,
        log: Log,
        shutdown: Shutdown,
    }
}

/// A configuration that was read and checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The source of every setting that is not at its default, by dotted key.
    sources: BTreeMap<String, String>,
}

/// An effective value, as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Effective {
    pub key: String,
    /// TOML text, secrets masked.
    pub value: String,
    /// `default`, `file PATH`, `environment variable NAME`, `flag --NAME` or `dev mode`.
    pub source: String,
}

/// Reads all layers and checks them for `mode`; `None` is for verbs that only need the database.
///
/// # Errors
/// The file cannot be read or is not TOML, or one or more settings are unknown, of the wrong kind, outside their limits or
/// do not fit together. All of those come in one error.
pub fn load(inputs: &Inputs, mode: Option<Mode>) -> Result<Loaded, ConfigError> {
    let (loaded, faults) = load_with_faults(inputs, mode)?;
    if faults.is_empty() { Ok(loaded) } else { Err(ConfigError::Faults(faults)) }
}

/// As [`load`], for `rollcall check`, which goes on after faults to find those of other kinds. A setting that is at fault
/// stands at its default.
///
/// # Errors
/// The file cannot be read or is not TOML.
pub fn load_with_faults(inputs: &Inputs, mode: Option<Mode>) -> Result<(Loaded, Vec<Fault>), ConfigError> {
    let (layers, mut faults) = layers::Layers::collect(inputs, mode)?;
    let mut reader = layers.reader();
    let config = Config::read(&mut reader);
    let (sources, read_faults) = reader.finish();
    let unreadable: Vec<String> = read_faults.iter().map(|fault| fault.key().to_owned()).collect();
    faults.extend(read_faults);
    let fit = validate::validate(&config, mode, &sources);
    // A setting that could not be read stands at its default: whether that fits is nobody's concern.
    faults.extend(fit.into_iter().filter(|fault| !unreadable.iter().any(|key| key == fault.key())));
    Ok((Loaded { config, sources }, faults))
}

impl Loaded {
    /// Whether some source sets this key.
    pub fn is_set(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    /// Every setting with its effective value and where that came from.
    pub fn effective(&self) -> Vec<Effective> {
        let mut values = Vec::new();
        self.config.show(&mut values);
        let source = |key: &String| self.sources.get(key).map_or("default", String::as_str).to_owned();
        values.into_iter().map(|(key, value)| Effective { source: source(&key), key, value }).collect()
    }
}

impl Config {
    /// The address people reach this server at, once it is known which port it got.
    pub fn public_url(&self, bound: SocketAddr) -> PublicUrl {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        // "Every address" is none that a browser could open.
        let reachable = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        PublicUrl::of_address(SocketAddr::new(reachable, bound.port()))
    }

    /// Where checkpoints are written outside the database.
    pub fn checkpoint_dir(&self) -> PathBuf {
        self.audit.checkpoint_dir.clone().unwrap_or_else(|| self.data_dir.join("checkpoints"))
    }

    /// The key that signs checkpoints, and whether it is made when missing: a configured one is not.
    pub fn checkpoint_key(&self) -> (PathBuf, bool) {
        match &self.audit.key_file {
            Some(path) => (path.clone(), false),
            None => (self.data_dir.join("checkpoint.key"), true),
        }
    }

    /// The page behind invite links.
    pub fn join_url(&self, bound: SocketAddr) -> String {
        match &self.join_url {
            Some(url) => url.as_str().to_owned(),
            None => format!("{}/join", self.public_url(bound).as_str()),
        }
    }
}
