//! What can be written, what help says, how failures look.

use clap::{CommandFactory as _, Parser as _};

use super::arguments::{Cli, DbVerb, KeyVerb, ModeArgument, ScopeArgument, Verb};
use super::output::{Exit, Failure, OutputFormat, chain, print_list, printable, table};
use crate::config::{self, ConfigError, File, Mode};
use crate::control::ControlError;
use crate::embedded_pg;
use crate::store::StoreError;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn accepted(line: &str) -> Cli {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_command_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_of_the_contract_parses() {
    let id = "01980f2e-7b1a-7c3d-9e4f-5a6b7c8d9e0f";
    let lines = [
        "rollcall dev --listen 127.0.0.1:0 --json",
        "rollcall --json dev",
        "rollcall serve --embedded-db --data-dir /srv/rollcall --config /etc/rollcall.toml",
        "rollcall migrate",
        "rollcall check --for dev",
        "rollcall key create backend --tenant acme --scope read --scope billing",
        "rollcall key list",
        &format!("rollcall key revoke {id}"),
        "rollcall tenant create acme",
        "rollcall tenant list --json",
        "rollcall session list --status active --search x --limit 5",
        &format!("rollcall session end {id} --reason done"),
        &format!("rollcall session recover {id}"),
        &format!("rollcall invite create {id} --role host --max-uses 1 --expires-in-s 60 --identity u1 --name Ada"),
        &format!("rollcall invite list {id}"),
        &format!("rollcall invite revoke {id}"),
        "rollcall usage export --format csv --from 2026-10-01 --to 2026-11-01T00:00:00+01:00 --tz Europe/Berlin --provisional",
        "rollcall usage export --sink lago --from 2026-10-01 --slice hour --ack written --limit 5 --batch 10 --output x",
        "rollcall usage export --sink lago --ack 17 --format cloudevents --source urn:example",
        "rollcall db start",
        "rollcall db stop",
        "rollcall db psql -c select",
        "rollcall db doctor",
        "rollcall config show",
        "rollcall config doc --format toml",
        "rollcall openapi",
        "rollcall audit verify --checkpoint latest --public-key K",
        "rollcall audit export --output trail.jsonl",
        "rollcall audit prove 3-1042",
        "rollcall audit retention --keep-months 24 --dry-run",
        "rollcall identity erase ann --tenant acme",
        "rollcall completions zsh",
        "rollcall version",
    ];
    for line in lines {
        accepted(line);
    }
}

#[test]
fn wrong_usage_is_refused_with_2() {
    let lines = [
        "rollcall",
        "rollcall audit prove seven",
        "rollcall audit verify --export a --proof b",
        "rollcall dev --lisen x",
        "rollcall session end not-an-id",
        "rollcall session list --limit 0",
        "rollcall key create",
        "rollcall completions dos",
        "rollcall usage export --ack 1",
        "rollcall usage export --sink x --ack -1",
        "rollcall usage export --sink x --to 2026-01-01",
        "rollcall usage export --from yesterday",
    ];
    for line in lines {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line} was accepted"));
        assert_eq!(error.exit_code(), 2, "{line}");
    }
    for line in ["rollcall --help", "rollcall --version", "rollcall session end --help"] {
        let shown = parse(line).err().unwrap_or_else(|| panic!("{line} shows something"));
        assert_eq!(shown.exit_code(), 0, "{line}");
    }
}

#[test]
fn every_verb_and_every_argument_has_a_help_text() {
    fn visit(command: &mut clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some_and(|about| !about.to_string().is_empty()), "{path} has no help");
        let text = command.render_long_help().to_string();
        assert!(text.contains("Usage:"), "{path}");
        for verb in command.get_subcommands_mut().filter(|verb| verb.get_name() != "help") {
            visit(verb, &path);
        }
    }
    let mut command = Cli::command();
    command.build();
    visit(&mut command, "");
}

#[test]
fn flags_become_settings_of_their_name() {
    let cli =
        accepted("rollcall serve --listen 127.0.0.1:9 --embedded-db --data-dir /srv/x --log debug --pg-bin /opt/pg");
    let mut inputs = cli.inputs(Vec::new());
    assert!(matches!(&inputs.file, File::IfPresent(path) if path.as_os_str() == config::FILE_NAME));
    inputs.file = File::IfPresent("/nonexistent/rollcall.toml".into());
    let config = config::load(&inputs, None).expect("good").config;
    assert_eq!(config.listen.port(), 9);
    assert!(config.database.embedded);
    assert_eq!(config.data_dir.to_str(), Some("/srv/x"));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.database.pg_bin.as_deref().and_then(|path| path.to_str()), Some("/opt/pg"));

    let bad = accepted("rollcall dev --listen 0.0.0.0:1").inputs(Vec::new());
    let bad = config::Inputs { file: inputs.file, ..bad };
    let failure = Failure::from(config::load(&bad, Some(Mode::Dev)).expect_err("not loopback"));
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.message.contains("flag --listen"), "{}", failure.message);
}

#[test]
fn values_of_arguments_arrive() {
    let Verb::Key(KeyVerb::Create { scope, .. }) = accepted("rollcall key create ci").verb else {
        panic!("key create")
    };
    assert_eq!(scope, [ScopeArgument::Write, ScopeArgument::Read]);
    let Verb::Db(DbVerb::Psql { arguments }) = accepted("rollcall db psql -At -c select").verb else { panic!("psql") };
    assert_eq!(arguments, ["-At", "-c", "select"]);
    let Verb::Check(check) = accepted("rollcall check --for dev").verb else { panic!("check") };
    assert_eq!(check.mode, Some(ModeArgument::Dev));
}

#[test]
fn failures_have_the_public_exit_codes() {
    let away = || StoreError::from(sqlx::Error::PoolTimedOut);
    let missing = embedded_pg::Error::BinariesNotFound { searched: Vec::new() };
    let cases = [
        (Failure::from(away()), 69),
        (Failure::from(ControlError::Store(away())), 69),
        (Failure::from(missing), 69),
        (Failure::from(ControlError::SessionNotFound), 1),
        (Failure::from(StoreError::NotFound), 1),
        (Failure::from(ConfigError::Faults(Vec::new())), 2),
    ];
    for (failure, code) in cases {
        assert_eq!(failure.exit as u8, code, "{failure:?}");
        assert_eq!(failure.to_json()["error"]["exit_code"], code);
        assert_eq!(failure.to_json()["error"]["message"], failure.message);
    }
    assert!(Failure::from(ControlError::SessionNotFound).hint.is_some_and(|hint| hint.contains("session list")));
}

#[test]
fn an_error_is_told_with_its_causes_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;
    assert_eq!(chain(&Outer(Inner)), "outer: inner");
}

#[test]
fn tables_are_aligned_and_safe_to_print() {
    let rows = vec![vec!["1".to_owned(), "é\u{1b}[31m".to_owned()], vec!["22".to_owned(), "x".to_owned()]];
    assert_eq!(table(&["ID", "NAME"], &rows), "ID  NAME\n1   é\u{fffd}[31m\n22  x\n");
    assert_eq!(printable("a\nb"), "a\u{fffd}b");
    assert!(print_list::<u8>(OutputFormat::Text, &[], "", &["N"], |n| vec![n.to_string()]).is_ok());
}
