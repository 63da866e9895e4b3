//! What can be written on the command line. The doc comments are the help texts.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use uuid::Uuid;

use crate::config::{FILE_NAME, File, Flag, Inputs, Mode};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 69 a needed service (Postgres) is missing.

Start here:
  rollcall dev                       everything on this computer, with a demo session
  rollcall serve                     production; see `rollcall serve --help`
  rollcall config doc                every setting";

/// Realtime presence with a ledger: who was in which session, when, for how long, and why they left.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version, styles = STYLES, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Accepted by every verb.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Print JSON for machines: results on stdout, errors as one line on stderr
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// The configuration file [default: rollcall.toml, if there is one]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ROLLCALL_CONFIG",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub config: Option<PathBuf>,
    /// Folder of the journal and the embedded Postgres [default: ./data]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Everywhere")]
    pub data_dir: Option<String>,
    /// Which log lines to print on stderr, like `debug` or `info,rollcall::ledger=debug`
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Everywhere")]
    pub log: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run everything on this computer, with placeholder keys and a demo session
    ///
    /// Starts a private Postgres in the data folder (or uses DATABASE_URL), applies migrations, and makes the tenant `dev`
    /// with an API key, a session and an invite. Accepts connections from this computer only.
    #[command(
        after_help = "Examples:\n  rollcall dev\n  rollcall dev --listen 127.0.0.1:0     a free port, printed when ready\n  rollcall dev --json | head -1 | jq    addresses and keys for a script"
    )]
    Dev(ServerArguments),
    /// Run the production server
    ///
    /// Needs a database (DATABASE_URL, or --embedded-db) and a root key (ROLLCALL_ROOT_KEY). `rollcall check` says what is
    /// missing. SIGTERM and Ctrl-C drain; a second one skips the waiting.
    #[command(
        after_help = "Examples:\n  export ROLLCALL_ROOT_KEY=\"$(openssl rand -hex 32)\"    keep it\n  DATABASE_URL=postgres://rollcall@db/rollcall rollcall serve --listen 0.0.0.0:7655\n  rollcall serve --embedded-db"
    )]
    Serve(ServeArguments),
    /// Bring the database schema up to date
    ///
    /// Safe to repeat and to run on several nodes at once. `serve` and `dev` do it at their start.
    #[command(after_help = "Example:\n  DATABASE_URL=postgres://rollcall@db/rollcall rollcall migrate")]
    Migrate,
    /// Check configuration and database, and say everything that is wrong at once
    #[command(after_help = "Example:\n  rollcall check && rollcall serve")]
    Check(ModeArguments),
    /// API keys of a tenant
    #[command(subcommand)]
    Key(KeyVerb),
    /// Tenants: the customer accounts that everything belongs to
    #[command(subcommand)]
    Tenant(TenantVerb),
    /// Sessions: list them, end one, bring one back
    #[command(subcommand)]
    Session(SessionVerb),
    /// Invites: links into a session
    #[command(subcommand)]
    Invite(InviteVerb),
    /// Usage for billing engines and spreadsheets
    #[command(subcommand)]
    Usage(UsageVerb),
    /// The audit trail: export it, prove that it was not changed, prove one event
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Identities: erase what is known of a person
    #[command(subcommand)]
    Identity(IdentityVerb),
    /// The embedded Postgres of the data folder
    #[command(subcommand)]
    Db(DbVerb),
    /// The configuration: effective values and the reference of every setting
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print the OpenAPI description of the HTTP interface
    #[command(after_help = "Example:\n  rollcall openapi > openapi.json")]
    Openapi,
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  rollcall completions bash > /etc/bash_completion.d/rollcall\n  rollcall completions zsh > \"${fpath[1]}/_rollcall\"\n  rollcall completions fish > ~/.config/fish/completions/rollcall.fish"
    )]
    Completions { shell: Shell },
    /// Print the version
    Version,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ServerArguments {
    /// Where to accept connections; port 0 picks a free one [default: 127.0.0.1:7655]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The address people reach this server at, like https://presence.example.com
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Folder with the programs `initdb` and `postgres` [default: searched in the usual places]
    #[arg(long, value_name = "FOLDER")]
    pub pg_bin: Option<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Run a private Postgres in the data folder instead of using DATABASE_URL
    #[arg(long)]
    pub embedded_db: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArgument {
    Dev,
    Serve,
}

#[derive(Debug, Clone, Default, Args)]
pub struct ModeArguments {
    /// For which verb [default: serve]
    #[arg(long = "for", value_name = "VERB")]
    pub mode: Option<ModeArgument>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct TenantArguments {
    /// Name or id of the tenant; not needed while there is only one
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum TenantVerb {
    /// Make a tenant
    #[command(
        after_help = "Example:\n  rollcall tenant create acme && rollcall key create --tenant acme --scope admin backend"
    )]
    Create { name: String },
    /// List all tenants
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeArgument {
    Admin,
    Write,
    Read,
    Billing,
}

#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make an API key; it is shown once and stored hashed
    #[command(
        after_help = "Examples:\n  rollcall key create backend\n  rollcall key create --scope read --scope billing reports\n  KEY=$(rollcall key create ci --json | jq -r .key)"
    )]
    Create {
        /// What the key is for, to tell keys apart
        name: String,
        #[command(flatten)]
        tenant: TenantArguments,
        /// What the key may do; may be given several times. `admin` may do everything
        #[arg(long, value_enum, default_values_t = [ScopeArgument::Write, ScopeArgument::Read])]
        scope: Vec<ScopeArgument>,
    },
    /// List the API keys of a tenant
    List {
        #[command(flatten)]
        tenant: TenantArguments,
    },
    /// Revoke an API key for good
    Revoke {
        /// The id of the key, from `rollcall key list`
        key_id: Uuid,
        #[command(flatten)]
        tenant: TenantArguments,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusArgument {
    Active,
    Ended,
}

impl StatusArgument {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// List sessions, newest first
    #[command(
        after_help = "Examples:\n  rollcall session list --status active\n  rollcall session list --search appointment-4711 --json"
    )]
    List {
        #[command(flatten)]
        tenant: TenantArguments,
        /// Only active or only ended ones
        #[arg(long, value_enum)]
        status: Option<StatusArgument>,
        /// A part of the title or of the external id, or a whole session id
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// End a session now; everybody in it is told and disconnected
    End {
        session_id: Uuid,
        /// Free text for the audit trail
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        tenant: TenantArguments,
    },
    /// Bring a recently ended session back, with the same ids and the gap on record
    Recover {
        session_id: Uuid,
        #[command(flatten)]
        tenant: TenantArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum InviteVerb {
    /// Make an invite link into a session; its token is shown once and stored hashed
    #[command(
        after_help = "Examples:\n  rollcall invite create SESSION_ID\n  rollcall invite create SESSION_ID --role host --max-uses 1 --expires-in-s 3600"
    )]
    Create {
        session_id: Uuid,
        #[command(flatten)]
        tenant: TenantArguments,
        /// `host` may end, extend and kick; every other name is your app's own
        #[arg(long, default_value = "guest")]
        role: String,
        /// For how many seconds the link is good [default: 86400, a day]
        #[arg(long, value_name = "SECONDS")]
        expires_in_s: Option<i64>,
        /// How many different people may come in by it [default: any number]
        #[arg(long, value_name = "N")]
        max_uses: Option<i64>,
        /// Your app's stable name for the person, if the link is for one
        #[arg(long)]
        identity: Option<String>,
        /// The name that others see
        #[arg(long)]
        name: Option<String>,
    },
    /// List the invites of a session
    List {
        session_id: Uuid,
        #[command(flatten)]
        tenant: TenantArguments,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Revoke an invite; whoever came in by it is disconnected
    Revoke {
        /// The id of the invite, from `rollcall invite list`
        invite_id: Uuid,
        #[command(flatten)]
        tenant: TenantArguments,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArgument {
    /// A table with a header line
    Csv,
    /// One JSON object a line
    Jsonl,
    /// CloudEvents 1.0 batches, one JSON array a line
    Cloudevents,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SliceArgument {
    Hour,
    Day,
}

/// What `--ack` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// The receiver has everything up to this position.
    Position(i64),
    /// What this export writes counts as received once it is written.
    Written,
}

#[derive(Debug, Clone, Args)]
pub struct UsageExportArguments {
    #[arg(long, value_enum, default_value_t = FormatArgument::Jsonl)]
    pub format: FormatArgument,
    /// Name or id of the tenant [default: all tenants]
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The first instant, as 2026-11-01 (midnight UTC) or RFC 3339. A new sink starts here
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    pub from: Option<DateTime<Utc>>,
    /// The first instant behind the period [default: as far as the books are complete]
    #[arg(long, value_name = "TIME", value_parser = parse_instant, conflicts_with = "sink")]
    pub to: Option<DateTime<Utc>>,
    /// Cut at the midnights of this zone too, so that no event lies in two billing periods [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// Cut at every hour or every day of UTC [default: day]
    #[arg(long, value_enum)]
    pub slice: Option<SliceArgument>,
    /// Also what is not complete yet: connections that are open, counted up to their last evidence
    #[arg(long, conflicts_with = "sink")]
    pub provisional: bool,
    /// Tell this receiver what it was not told yet; made at its first export, which needs --from
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// With --sink: POSITION of the last event that was received, or `written`: what this export writes counts as received
    #[arg(long, value_name = "POSITION|written", value_parser = parse_acknowledgement, requires = "sink")]
    pub ack: Option<Acknowledgement>,
    /// With --sink: how many events at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), requires = "sink")]
    pub limit: Option<i64>,
    /// How many events a CloudEvents batch has at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// `source` of the CloudEvents: which installation tells it
    #[arg(long, value_name = "URI", default_value = "/rollcall")]
    pub source: String,
    /// A file instead of standard output; it appears when it is whole
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum UsageVerb {
    /// Export usage as events that never overlap and keep their ids
    ///
    /// Without --sink: the usage of a period, the same ids every time. With --sink: what this receiver was not told yet, out
    /// of an outbox that remembers; it is told again until it is acknowledged. docs/BILLING.md has the fields for Stripe,
    /// Lago and OpenMeter.
    #[command(
        after_help = "Examples:\n  rollcall usage export --format csv --from 2026-10-01 --to 2026-11-01 --tz Europe/Berlin > october.csv\n  rollcall usage export --sink lago --from 2026-11-01 --format cloudevents > batches\n  rollcall usage export --sink lago --ack 4711 > batches           the receiver has 4711; what comes next\n  rollcall usage export --sink archive --ack written --output usage.jsonl"
    )]
    Export(UsageExportArguments),
}

fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let instant = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("{error}; write 2026-11-01 for midnight UTC, or 2026-11-01T00:00:00+01:00"))?;
    Ok(instant.with_timezone(&Utc))
}

fn parse_acknowledgement(text: &str) -> Result<Acknowledgement, String> {
    if text == "written" {
        return Ok(Acknowledgement::Written);
    }
    match text.parse() {
        Ok(position) if position >= 0 => Ok(Acknowledgement::Position(position)),
        _ => Err("give the position of an event, or the word written".to_owned()),
    }
}

#[derive(Debug, Clone, Default, Args)]
pub struct VerifyArguments {
    /// Verify this export instead of the database; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proof", "epoch"])]
    pub export: Option<PathBuf>,
    /// Verify this proof of one event, from `audit prove`; needs neither database nor export
    #[arg(long, value_name = "FILE", conflicts_with_all = ["epoch", "checkpoint"])]
    pub proof: Option<PathBuf>,
    /// Checkpoints that were kept outside, to compare with; may be given several times
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Vec<PathBuf>,
    /// A key that checkpoints are signed with, from `audit key`; may be given several times [default: the key of the data
    /// folder, if there is one]
    #[arg(long, value_name = "KEY")]
    pub public_key: Vec<String>,
    /// Verify the records of one epoch only; 0 is the control plane
    #[arg(long, value_name = "N")]
    pub epoch: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Write the whole trail as JSON lines, with everything that is needed to verify it elsewhere
    #[command(
        after_help = "Example:\n  rollcall audit export --output trail.jsonl && rollcall audit verify --export trail.jsonl"
    )]
    Export {
        /// Where to [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The records of one epoch only; 0 is the control plane
        #[arg(long, value_name = "N")]
        epoch: Option<i64>,
    },
    /// Check that no record was changed, removed or added
    ///
    /// Without options the database is verified. Exit code 1 says that something was found.
    #[command(
        after_help = "Examples:\n  rollcall audit verify\n  rollcall audit verify --export trail.jsonl --checkpoint kept/latest --public-key KEY\n  rollcall audit verify --proof event.json --public-key KEY"
    )]
    Verify(VerifyArguments),
    /// Write the proof that one event is in the log
    #[command(
        after_help = "Example:\n  rollcall audit prove 3-1042 --output event.json && rollcall audit verify --proof event.json"
    )]
    Prove {
        /// Epoch and number of the event, like 3-1042
        #[arg(value_name = "EVENT", value_parser = parse_event)]
        event: (i64, i64),
        /// Where to [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the public key that checkpoints of this node are signed with
    Key,
    /// Detach old months of the audit log; their tables stay in the database
    #[command(after_help = "Example:\n  rollcall audit retention --keep-months 24 --dry-run")]
    Retention {
        /// Whole months before the present one that stay [default: audit.keep_months of the configuration]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1200))]
        keep_months: Option<u32>,
        /// Only say which months would be detached
        #[arg(long)]
        dry_run: bool,
    },
}

/// `epoch-number`, as the trail names an event.
fn parse_event(text: &str) -> Result<(i64, i64), String> {
    let parsed = text.split_once('-').and_then(|(epoch, seq)| Some((epoch.parse().ok()?, seq.parse().ok()?)));
    parsed.ok_or_else(|| "an event is named by its epoch and number, like 3-1042".to_owned())
}

#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Erase names, state and the identity itself in all sessions of a tenant
    ///
    /// The audit trail and the metered time stay and stay verifiable: they name the person by participant id only. Refused
    /// while the person is in a session.
    Erase {
        /// Your app's name for the person, as `participants.identity` has it
        identity: String,
        #[command(flatten)]
        tenant: TenantArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum DbVerb {
    /// Start the embedded Postgres and leave it running
    Start,
    /// Stop an embedded Postgres that `db start` left running
    Stop,
    /// Open psql on the embedded Postgres, started for the moment if need be
    #[command(
        after_help = "Examples:\n  rollcall db psql\n  rollcall db psql -c 'select * from rollcall.sessions'\n  rollcall db psql -- --csv -f report.sql"
    )]
    Psql {
        /// Passed on to psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Say what a start of the embedded Postgres would find, with a cure for each fault
    Doctor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocFormat {
    /// The reference, docs/CONFIGURATION.md
    Markdown,
    /// Every setting at its default, rollcall.example.toml
    Toml,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the effective values and where each comes from, with secrets masked
    #[command(
        after_help = "Examples:\n  rollcall config show\n  rollcall config show --for dev\n  rollcall config show --json | jq '.data[] | select(.source != \"default\")'"
    )]
    Show(ModeArguments),
    /// Print the reference of every setting
    #[command(after_help = "Example:\n  rollcall config doc --format toml > rollcall.toml")]
    Doc {
        #[arg(long, value_enum, default_value_t = DocFormat::Markdown)]
        format: DocFormat,
    },
}

impl From<ModeArgument> for Mode {
    fn from(mode: ModeArgument) -> Mode {
        match mode {
            ModeArgument::Dev => Mode::Dev,
            ModeArgument::Serve => Mode::Serve,
        }
    }
}

impl Cli {
    /// Everything that the configuration is made from.
    pub fn inputs(&self, environment: Vec<(String, String)>) -> Inputs {
        let file = match &self.common.config {
            Some(path) => File::Named(path.clone()),
            None => File::IfPresent(PathBuf::from(FILE_NAME)),
        };
        let mut flags = Vec::new();
        let mut set = |name, key, value: &Option<String>| {
            flags.extend(value.clone().map(|value| Flag { name, key, value }));
        };
        set("--data-dir", "data_dir", &self.common.data_dir);
        set("--log", "log.filter", &self.common.log);
        let server = match &self.verb {
            Verb::Dev(server) => Some(server),
            Verb::Serve(serve) => {
                set("--embedded-db", "database.embedded", &serve.embedded_db.then(|| "true".to_owned()));
                Some(&serve.server)
            }
            _ => None,
        };
        if let Some(ServerArguments { listen, public_url, pg_bin }) = server {
            set("--listen", "listen", listen);
            set("--public-url", "public_url", public_url);
            set("--pg-bin", "database.pg_bin", pg_bin);
        }
        Inputs { file, environment, flags }
    }
}
