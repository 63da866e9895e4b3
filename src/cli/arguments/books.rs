//! Arguments of the verbs for the books: usage, audit, identity.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand, ValueEnum};

use super::TenantArguments;

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
