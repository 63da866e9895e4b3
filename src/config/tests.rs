//! Layers, provenance, faults and the generated files.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::{Bytes, Config, ConfigError, DEV_ROOT_KEY, Fault, File, Flag, Inputs, Loaded, Mode, load, reference};

const SECRET: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e70000";

#[test]
fn without_sources_everything_is_default() {
    let loaded = load(&inputs(None, &[]), None).expect("defaults are good");
    assert!(loaded.effective().iter().all(|setting| setting.source == "default"));
    assert_eq!(loaded.config.listen.to_string(), "127.0.0.1:7655");
    assert_eq!(loaded.config.ws.frame_bytes_max, Bytes(16_384));
}

#[test]
fn later_layers_win_and_are_named() {
    let file =
        TomlFile::new("listen = '127.0.0.1:1'\nnode_name = 'a'\n[ws]\nmessages_per_s = 7\nmessages_burst = 70\n");
    let environment = [("ROLLCALL_LISTEN", "127.0.0.1:2"), ("ROLLCALL_WS__MESSAGES_PER_S", "8")];
    let flags = vec![Flag { name: "--listen", key: "listen", value: "127.0.0.1:3".to_owned() }];
    let loaded = load(&Inputs { flags, ..inputs(Some(&file), &environment) }, None).expect("good");
    assert_eq!(loaded.config.listen.port(), 3);
    assert_eq!(loaded.config.ws.messages_per_s, 8);
    assert_eq!(loaded.config.ws.messages_burst, 70);
    assert_eq!(source(&loaded, "listen"), "flag --listen");
    assert_eq!(source(&loaded, "ws.messages_per_s"), "environment variable ROLLCALL_WS__MESSAGES_PER_S");
    assert_eq!(source(&loaded, "node_name"), format!("file {}", file.path.display()));
    assert_eq!(source(&loaded, "data_dir"), "default");
}

#[test]
fn short_names_of_variables_work_and_long_names_win() {
    let short =
        [("DATABASE_URL", "postgres://a@b/c"), ("ROLLCALL_ROOT_KEY", SECRET), ("ROLLCALL_PG_BIN", "/opt/pg/bin")];
    let loaded = load(&inputs(None, &short), None).expect("good");
    assert_eq!(loaded.config.database.url.as_ref().map(|url| url.expose()), Some("postgres://a@b/c"));
    assert_eq!(loaded.config.auth.root_key.expose_secret(), SECRET);
    assert_eq!(loaded.config.database.pg_bin.as_deref(), Some(Path::new("/opt/pg/bin")));
    assert_eq!(source(&loaded, "database.url"), "environment variable DATABASE_URL");

    let both = [("ROLLCALL_DATABASE__URL", "postgres://long/c"), ("DATABASE_URL", "postgres://short/c")];
    let loaded = load(&inputs(None, &both), None).expect("good");
    assert_eq!(loaded.config.database.url.as_ref().map(|url| url.expose()), Some("postgres://long/c"));
}

#[test]
fn a_numeric_secret_keeps_its_zeros() {
    let key = "0000000000000000000000000000000000000000000000000000000000000123";
    let loaded = load(&inputs(None, &[("ROLLCALL_ROOT_KEY", key)]), None).expect("good");
    assert_eq!(loaded.config.auth.root_key.expose_secret(), key);
}

#[test]
fn unknown_keys_name_the_nearest_and_their_source() {
    let file =
        TomlFile::new("lisen = '127.0.0.1:1'\nping_interval_ms = 3\n[websocket]\nstate_bytes_max = 1\n[zebra]\n");
    let environment = [
        ("ROLLCALL_WS_PING_INTERVAL_MS", "1"),
        ("ROLLCALL_ROOTKEY", SECRET),
        ("ROLLCALL_QQQQQQQQQQQQQQQ", "1"),
        ("ROLLCALL_PORT_7655_TCP_ADDR", "10.0.0.1"),
        ("ROLLCALL_SERVICE_HOST", "10.0.0.1"),
        ("ROLLCALL_CONFIG", "/elsewhere"),
        ("ROLLCALL_NODE_NAME_OLD", ""),
        ("PATH", "/bin"),
    ];
    let (faults, text) = faults(&inputs(Some(&file), &environment), None);
    let found: Vec<(&str, Option<&str>)> = faults
        .iter()
        .map(|fault| match fault {
            Fault::UnknownKey { key, nearest, .. } => (key.as_str(), nearest.as_deref()),
            Fault::Invalid { .. } => panic!("{fault}"),
        })
        .collect();
    let expected = [
        ("lisen", Some("listen")),
        ("ping_interval_ms", Some("ws.ping_interval_ms")),
        ("websocket.state_bytes_max", Some("ws.state_bytes_max")),
        ("zebra", None),
        ("ROLLCALL_WS_PING_INTERVAL_MS", Some("ROLLCALL_WS__PING_INTERVAL_MS")),
        ("ROLLCALL_ROOTKEY", Some("ROLLCALL_ROOT_KEY")),
        ("ROLLCALL_QQQQQQQQQQQQQQQ", None),
    ];
    assert_eq!(found, expected);
    assert!(text.contains(&file.path.display().to_string()), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn every_wrong_value_is_reported_at_once_with_what_is_allowed() {
    let file = TomlFile::new(
        "listen = 'here'\n[ws]\nping_interval_ms = 1\nframe_bytes_max = '3 MiB'\norigins = ['*']\n[presence]\ngrace_s = -1\n\
         [ledger]\nflush_rows_max = 1.5\n[log]\nformat = 'xml'\n[http]\ntrusted_proxies = ['10.0.0.0/33']\n",
    );
    let environment = [("ROLLCALL_DATABASE__EMBEDDED", "perhaps"), ("DATABASE_URL", "mysql://a:hunter2@b/c")];
    let (faults, text) = faults(&inputs(Some(&file), &environment), None);
    let mut keys: Vec<&str> = faults.iter().map(Fault::key).collect();
    keys.sort_unstable();
    let expected = [
        "database.embedded",
        "database.url",
        "http.trusted_proxies",
        "ledger.flush_rows_max",
        "listen",
        "log.format",
        "presence.grace_s",
        "ws.frame_bytes_max",
        "ws.origins",
        "ws.ping_interval_ms",
    ];
    assert_eq!(keys, expected);
    for part in [
        "1000 to 300000",
        "1 KiB to 1 MiB",
        "\"auto\", \"pretty\" or \"json\"",
        "\"perhaps\"",
        "-1",
        "1.5",
        "10 faults",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn settings_that_do_not_fit_together_are_all_reported() {
    let environment = [
        ("ROLLCALL_NODE_NAME", "a b"),
        ("ROLLCALL_LOG__FILTER", "rollcall=loud"),
        ("ROLLCALL_WS__PING_INTERVAL_MS", "40000"),
        ("ROLLCALL_WS__DEAD_AFTER_MS", "35000"),
        ("ROLLCALL_WS__MESSAGES_BURST", "5"),
        ("ROLLCALL_WS__MESSAGE_BYTES_MAX", "2 KiB"),
        ("ROLLCALL_PRESENCE__GRACE_HIDDEN_S", "1"),
        ("ROLLCALL_LEDGER__FLUSH_INTERVAL_MS", "10000"),
        ("ROLLCALL_ROOT_KEY", "hunter2"),
    ];
    let (faults, text) = faults(&inputs(None, &environment), None);
    let keys: Vec<&str> = faults.iter().map(Fault::key).collect();
    let expected = [
        "node_name",
        "log.filter",
        "ws.probe_after_ms",
        "ws.dead_after_ms",
        "presence.grace_hidden_s",
        "ws.messages_burst",
        "ws.frame_bytes_max",
        "ws.join_bytes_max",
        "ws.state_bytes_max",
        "ledger.lease_s",
        "auth.root_key",
    ];
    assert_eq!(keys, expected);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn dev_stays_on_this_computer() {
    let loaded = load(&inputs(None, &[]), Some(Mode::Dev)).expect("dev needs nothing");
    assert_eq!(loaded.config.auth.root_key.expose_secret(), DEV_ROOT_KEY);
    assert_eq!(loaded.config.ws.connections_per_address_per_s, 0);
    assert_eq!(source(&loaded, "auth.root_key"), "dev mode");
    let ours =
        load(&inputs(None, &[("ROLLCALL_WS__CONNECTIONS_PER_ADDRESS_PER_S", "3")]), Some(Mode::Dev)).expect("good");
    assert_eq!(ours.config.ws.connections_per_address_per_s, 3);

    let (_, text) = faults(&inputs(None, &[("ROLLCALL_LISTEN", "0.0.0.0:7655")]), Some(Mode::Dev));
    assert!(text.contains("rollcall serve"), "{text}");
}

#[test]
fn serve_insists_on_a_key_of_its_own_and_one_database() {
    let keys = |environment: &[(&str, &str)]| {
        let (faults, _) = faults(&inputs(None, environment), Some(Mode::Serve));
        faults.iter().map(|fault| fault.key().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), ["auth.root_key", "database.url"]);
    let url = ("DATABASE_URL", "postgres://a@b/c");
    let embedded = ("ROLLCALL_DATABASE__EMBEDDED", "true");
    assert_eq!(keys(&[url, ("ROLLCALL_ROOT_KEY", DEV_ROOT_KEY)]), ["auth.root_key"]);
    assert_eq!(keys(&[url, embedded, ("ROLLCALL_ROOT_KEY", SECRET)]), ["database.embedded"]);
    let good = [embedded, ("ROLLCALL_ROOT_KEY", SECRET), ("ROLLCALL_LISTEN", "0.0.0.0:80")];
    assert!(load(&inputs(None, &good), Some(Mode::Serve)).is_ok());
}

#[test]
fn secrets_are_masked_everywhere() {
    let environment = [("ROLLCALL_ROOT_KEY", SECRET), ("DATABASE_URL", "postgres://app:hunter2@db/app")];
    let loaded = load(&inputs(None, &environment), None).expect("good");
    for text in [format!("{loaded:?}"), format!("{:?}", loaded.effective())] {
        assert!(!text.contains(SECRET) && !text.contains("hunter2"), "{text}");
    }
    let url = loaded.effective().into_iter().find(|setting| setting.key == "database.url");
    assert_eq!(url.map(|setting| setting.value).as_deref(), Some("\"postgres://app:********@db/app\""));
}

#[test]
fn a_broken_file_is_told_by_line_and_without_its_text() {
    let file = TomlFile::new("listen = '127.0.0.1:1'\n[auth]\nroot_key = \"hunter2\nx = 1\n");
    let error = load(&inputs(Some(&file), &[]), None).expect_err("not TOML");
    let text = format!("{error} {error:?}");
    assert!(text.contains("line 3"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");

    let missing = Inputs { file: File::Named(PathBuf::from("/nonexistent/rollcall.toml")), ..inputs(None, &[]) };
    assert!(matches!(load(&missing, None), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn the_example_file_loads_and_equals_the_defaults() {
    assert!(
        committed("rollcall.example.toml") == reference::example(),
        "rollcall.example.toml is stale: run `make docs`"
    );
    let uncommented: String = reference::example()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let file = TomlFile::new(&uncommented);
    let loaded = load(&inputs(Some(&file), &[]), None).expect("the example is good");
    let defaults = load(&inputs(None, &[]), None).expect("defaults are good");
    let from_file = format!("file {}", file.path.display());
    for (setting, default) in loaded.effective().into_iter().zip(defaults.effective()) {
        assert_eq!(setting.source, from_file, "{} is not in the example", setting.key);
        assert_eq!((setting.key, setting.value), (default.key, default.value));
    }
}

#[test]
fn the_reference_has_every_setting_and_its_variable_works() {
    let markdown = committed("docs/CONFIGURATION.md");
    assert!(markdown == reference::markdown(), "docs/CONFIGURATION.md is stale: run `make docs`");
    let effective = load(&inputs(None, &[]), None).expect("defaults are good").effective();
    for setting in reference::parts().iter().flat_map(|part| &part.settings) {
        assert!(markdown.contains(&format!("### `{}`", setting.key)), "{}", setting.key);
        assert!(effective.iter().any(|effective| effective.key == setting.key), "{}", setting.key);
        let variable = super::layers::variable(&setting.key);
        let text = setting.default.trim_matches(['"', '[', ']']);
        if !text.is_empty() {
            let loaded = load(&inputs(None, &[(&variable, text)]), None).expect("a default is good");
            assert_eq!(source(&loaded, &setting.key), format!("environment variable {variable}"));
        }
    }
}

#[test]
fn sizes_survive_their_text_form() {
    for (text, bytes) in [("16 KiB", 16_384), ("8GiB", 8 << 30), ("1023", 1_023), ("0", 0)] {
        let size: Bytes = text.parse().expect("a size");
        assert_eq!(size, Bytes(bytes));
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    for bad in ["16 KB", "-1", "1.5 KiB", "KiB", "99999999999 GiB", ""] {
        assert!(bad.parse::<Bytes>().is_err(), "{bad}");
    }
}

#[test]
fn address_ranges_contain_what_they_say() {
    let contains = |range: &str, address: &str| {
        range.parse::<super::AddressRange>().expect("a range").contains(address.parse().expect("an address"))
    };
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(contains("10.0.0.0/8", "::ffff:10.0.0.1"));
    assert!(contains("0.0.0.0/0", "203.0.113.9"));
    assert!(contains("fd00::/8", "fd12::1"));
    assert!(contains("192.0.2.7", "192.0.2.7"));
    assert!(!contains("192.0.2.7", "192.0.2.8"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(!contains("::/0", "10.0.0.1"));
}

#[test]
fn the_public_url_is_one_that_a_browser_can_open() {
    let config = Config::default();
    let url = |bound: &str| config.public_url(bound.parse().expect("an address")).as_str().to_owned();
    assert_eq!(url("127.0.0.1:4000"), "http://127.0.0.1:4000");
    assert_eq!(url("0.0.0.0:80"), "http://127.0.0.1:80");
    assert_eq!(url("[::]:80"), "http://[::1]:80");
    let named = load(&inputs(None, &[("ROLLCALL_PUBLIC_URL", "https://p.example.com/")]), None).expect("good");
    assert_eq!(named.config.public_url("0.0.0.0:80".parse().expect("an address")).as_str(), "https://p.example.com");
}

fn inputs(file: Option<&TomlFile>, environment: &[(&str, &str)]) -> Inputs {
    let file = match file {
        Some(file) => File::Named(file.path.clone()),
        None => File::IfPresent(PathBuf::from("/nonexistent/rollcall.toml")),
    };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Inputs { file, environment: environment.iter().map(owned).collect(), flags: Vec::new() }
}

fn faults(inputs: &Inputs, mode: Option<Mode>) -> (Vec<Fault>, String) {
    match load(inputs, mode) {
        Err(error) => {
            let text = format!("{error} {error:?}");
            match error {
                ConfigError::Faults(faults) => (faults, text),
                other => panic!("{other}"),
            }
        }
        Ok(_) => panic!("the configuration was accepted"),
    }
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.effective().into_iter().find(|setting| setting.key == key).expect("a setting").source
}

fn committed(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// A file that goes when the test ends.
struct TomlFile {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl TomlFile {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rollcall.toml");
        std::fs::write(&path, text).expect("the file is written");
        Self { path, _folder: folder }
    }
}
