//! What can be written on the command line. The doc comments are the help texts.

mod books;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use uuid::Uuid;

pub use books::{
    Acknowledgement, AuditVerb, FormatArgument, IdentityVerb, SliceArgument, UsageExportArguments, UsageVerb,
    VerifyArguments,
};

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
