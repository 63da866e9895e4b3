//! What single limits cannot say: settings that must fit each other, and what `dev` and `serve` insist on.

use std::collections::BTreeMap;
use std::fmt::Display;

use secrecy::ExposeSecret;

use super::{Config, DEV_ROOT_KEY, Fault, Mode};
use crate::telemetry::{MASK, check_filter};

/// Below this a root key could be guessed.
const ROOT_KEY_CHARACTERS_MIN: usize = 32;

const NODE_NAME_CHARACTERS_MAX: usize = 64;

/// Every fault of a configuration whose single values are good.
pub(super) fn validate(config: &Config, mode: Option<Mode>, sources: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut check = Check { sources, faults: Vec::new() };
    check_node(config, &mut check);
    check_liveness(config, &mut check);
    check_sizes(config, &mut check);
    check_ledger(config, &mut check);
    check_root_key(config, mode, &mut check);
    check_database(config, mode, &mut check);
    if mode == Some(Mode::Dev) && !config.listen.ip().is_loopback() {
        check.fail(
            "listen",
            config.listen,
            "in dev an address of this computer only, like 127.0.0.1:7655: dev has keys that everybody knows. To be reached \
             from other computers use `rollcall serve`",
        );
    }
    check.faults
}

struct Check<'a> {
    sources: &'a BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn that(&mut self, good: bool, key: &str, value: impl Display, allowed: impl Into<String>) {
        if !good {
            self.fail(key, value, allowed);
        }
    }

    fn fail(&mut self, key: &str, value: impl Display, allowed: impl Into<String>) {
        let source = self.sources.get(key).map_or("default", String::as_str).to_owned();
        self.faults.push(Fault::Invalid {
            key: key.to_owned(),
            value: value.to_string(),
            source,
            allowed: allowed.into(),
        });
    }
}

fn check_node(config: &Config, check: &mut Check<'_>) {
    let name = &config.node_name;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = !name.is_empty() && name.len() <= NODE_NAME_CHARACTERS_MAX && name.chars().all(plain);
    check.that(good, "node_name", format!("{name:?}"), "1 to 64 characters out of a-z, A-Z, 0-9, '.', '_' and '-'");
    if let Err(error) = check_filter(&config.log.filter) {
        let allowed = format!("a level, or levels per module like \"info,rollcall=debug\" ({error})");
        check.fail("log.filter", format!("{:?}", config.log.filter), allowed);
    }
}

fn check_liveness(config: &Config, check: &mut Check<'_>) {
    let ws = &config.ws;
    let (ping, probe, dead) = (ws.ping_interval_ms.0, ws.probe_after_ms.0, ws.dead_after_ms.0);
    check.that(
        probe > ping,
        "ws.probe_after_ms",
        probe,
        format!("more than ws.ping_interval_ms ({ping}), else healthy clients are probed"),
    );
    check.that(
        dead > probe,
        "ws.dead_after_ms",
        dead,
        format!("more than ws.probe_after_ms ({probe}), else nobody has time to answer the probe"),
    );
    let (grace, hidden) = (config.presence.grace_s.0, config.presence.grace_hidden_s.0);
    check.that(
        hidden >= grace,
        "presence.grace_hidden_s",
        hidden,
        format!("at least presence.grace_s ({grace}): hidden pages come back later, not sooner"),
    );
    rate_and_burst(check, "ws.messages", (ws.messages_per_s, "_per_s"), ws.messages_burst);
    let (per_s, burst) = (ws.connections_per_address_per_s, ws.connections_per_address_burst);
    rate_and_burst(check, "ws.connections_per_address", (per_s, "_per_s"), burst);
    let http = &config.http;
    rate_and_burst(
        check,
        "http.requests_per_key",
        (http.requests_per_key_per_s, "_per_s"),
        http.requests_per_key_burst,
    );
}

/// A burst smaller than what comes in a second would quietly lower the rate. A rate of 0 has no limit, whatever the burst.
fn rate_and_burst(check: &mut Check<'_>, name: &str, (rate, unit): (u32, &str), burst: u32) {
    let key = format!("{name}_burst");
    check.that(rate == 0 || burst >= rate, &key, burst, format!("at least {name}{unit} ({rate})"));
}

fn check_sizes(config: &Config, check: &mut Check<'_>) {
    let ws = &config.ws;
    let message = ws.message_bytes_max;
    for (key, size) in [
        ("ws.frame_bytes_max", ws.frame_bytes_max),
        ("ws.join_bytes_max", ws.join_bytes_max),
        ("ws.state_bytes_max", ws.state_bytes_max),
    ] {
        check.that(size <= message, key, size, format!("at most ws.message_bytes_max ({message})"));
    }
    check.that(
        ws.outbox_bytes_max >= message,
        "ws.outbox_bytes_max",
        ws.outbox_bytes_max,
        format!("at least ws.message_bytes_max ({message}), else one message fills it"),
    );
    check.that(
        ws.handshakes_concurrent_max <= ws.connections_max,
        "ws.handshakes_concurrent_max",
        ws.handshakes_concurrent_max,
        format!("at most ws.connections_max ({})", ws.connections_max),
    );
}

fn check_ledger(config: &Config, check: &mut Check<'_>) {
    let ledger = &config.ledger;
    let flush_ms = ledger.flush_interval_ms.0;
    // Three chances to renew a lease before it is lost.
    check.that(
        ledger.lease_s.0 * 1_000 >= flush_ms * 3,
        "ledger.lease_s",
        ledger.lease_s.0,
        format!("at least three times ledger.flush_interval_ms ({flush_ms}), else an idle node loses its lease"),
    );
}

fn check_root_key(config: &Config, mode: Option<Mode>, check: &mut Check<'_>) {
    let key = config.auth.root_key.expose_secret();
    match mode {
        Some(Mode::Serve) if key.is_empty() => check.fail(
            "auth.root_key",
            "\"\"",
            "a secret: `export ROLLCALL_ROOT_KEY=\"$(openssl rand -hex 32)\"`, kept, and the same on all nodes",
        ),
        Some(Mode::Serve) if key.trim() == DEV_ROOT_KEY => {
            check.fail(
                "auth.root_key",
                MASK,
                "a key of your own: this one is the placeholder of dev, which everybody knows",
            );
        }
        _ => {
            let length = key.trim().chars().count();
            let allowed = format!("at least {ROOT_KEY_CHARACTERS_MIN} characters; this one has {length}");
            check.that(key.is_empty() || length >= ROOT_KEY_CHARACTERS_MIN, "auth.root_key", MASK, allowed);
        }
    }
}

fn check_database(config: &Config, mode: Option<Mode>, check: &mut Check<'_>) {
    let database = &config.database;
    if mode != Some(Mode::Serve) {
        return;
    }
    match (&database.url, database.embedded) {
        (None, false) => check.fail(
            "database.url",
            "\"\"",
            "a Postgres to keep the ledger in: `export DATABASE_URL=postgres://…`, or `--embedded-db` for a private one in the \
             data folder",
        ),
        (Some(_), true) => check.fail(
            "database.embedded",
            true,
            "false while database.url is set: the ledger must have one place. Unset DATABASE_URL or drop --embedded-db",
        ),
        _ => {}
    }
}
