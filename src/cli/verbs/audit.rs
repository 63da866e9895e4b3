//! `audit`: export, verify, prove, key, retention.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::audit::key::{PublicKey, SigningKey};
use crate::audit::lines::Line;
use crate::audit::note::{self, Note};
use crate::audit::verifier::{FINDINGS_MAX, Finding, Report, Severity, Verifier};
use crate::audit::{AuditError, export, proof};
use crate::cli::arguments::{AuditVerb, VerifyArguments};
use crate::cli::database::{Missing, with_store};
use crate::cli::output::{Exit, Failure, OutputFormat, instant, print, print_json, print_list};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::{Store, chain};

/// How often progress is shown on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// The clock is looked at after this many records.
const PROGRESS_RECORDS: u64 = 4_096;

/// Longest line of an export. Metadata of an event is far below.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub async fn run(config: &Config, verb: AuditVerb, output: OutputFormat) -> Result<(), Failure> {
    match verb {
        AuditVerb::Export { output, epoch } => {
            with_current_store(config, async |store| Ok(write_export(store, epoch, output.as_deref()).await?)).await
        }
        AuditVerb::Verify(arguments) => verify(config, &arguments, output).await,
        AuditVerb::Prove { event: (epoch, seq), output } => {
            let text = with_current_store(config, async |store| Ok(proof::prove(store, epoch, seq).await?)).await?;
            let mut out = open_output(output.as_deref())?;
            Ok(writeln!(out, "{text}").and_then(|()| out.flush())?)
        }
        AuditVerb::Key => print_key(config, output),
        AuditVerb::Retention { keep_months, dry_run } => retention(config, keep_months, dry_run, output).await,
    }
}

/// The chain has tables of its own: an older schema is told at once, and not by a refused statement.
async fn with_current_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Store) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_store(config, Missing::Refuse, async |store| {
        if !store.schema_is_current().await? {
            let message = "the schema of the database is not that of this program";
            return Err(Failure::new(Exit::Failed, message).hint("run `rollcall migrate` first"));
        }
        work(store).await
    })
    .await
}

async fn write_export(store: &Store, epoch: Option<i64>, path: Option<&Path>) -> Result<(), AuditError> {
    let mut out = open_output(path)?;
    let mut progress = Progress::new("exported");
    let written = export::read(store, epoch, |line| {
        serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        progress.step();
        Ok(())
    })
    .await
    .and_then(|()| Ok(out.flush()?));
    match written {
        // A reader that went away, as `head` does, is no failure.
        Err(AuditError::Stream(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn open_output(path: Option<&Path>) -> Result<Box<dyn Write + Send>, AuditError> {
    Ok(match path {
        Some(path) => Box::new(BufWriter::new(
            File::create(path).map_err(|source| AuditError::File { path: path.to_owned(), source })?,
        )),
        None => Box::new(BufWriter::new(std::io::stdout())),
    })
}

async fn verify(config: &Config, arguments: &VerifyArguments, output: OutputFormat) -> Result<(), Failure> {
    let keys = public_keys(config, &arguments.public_key)?;
    if let Some(path) = &arguments.proof {
        return verify_proof(path, &keys, output);
    }
    let mut notes: Vec<Note> = Vec::new();
    for path in &arguments.checkpoint {
        notes.extend(note::parse_all(&read_text(path)?)?);
    }
    let mut verifier = Verifier::new(keys.clone());
    match &arguments.export {
        Some(path) => read_export(path, &mut verifier)?,
        None => {
            with_current_store(config, async |store| {
                let mut progress = Progress::new("verified");
                export::read(store, arguments.epoch, |line| {
                    progress.step();
                    verifier.take(line)
                })
                .await?;
                let mut snapshot = store.snapshot().await?;
                for problem in chain::trigger_problems(&mut snapshot).await? {
                    verifier.note_problem(problem);
                }
                Ok(())
            })
            .await?;
        }
    }
    verifier.compare(&notes);
    report(&verifier.finish(), !keys.is_empty(), output)
}

fn read_export(path: &Path, verifier: &mut Verifier) -> Result<(), AuditError> {
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(path).map_err(|source| AuditError::File { path: path.to_owned(), source })?),
    };
    let mut source = BufReader::with_capacity(1 << 20, source);
    let mut progress = Progress::new("verified");
    let mut text = String::new();
    for number in 1_u64.. {
        text.clear();
        if source.by_ref().take(LINE_BYTES_MAX).read_line(&mut text)? == 0 {
            break;
        }
        let line: Line<'_> = serde_json::from_str(&text)
            .map_err(|error| AuditError::Malformed(format!("line {number} of the export cannot be read: {error}")))?;
        verifier.take(line)?;
        progress.step();
    }
    Ok(())
}

fn verify_proof(path: &Path, keys: &[PublicKey], output: OutputFormat) -> Result<(), Failure> {
    let proven = proof::check(&read_text(path)?, keys)?;
    match output {
        OutputFormat::Json => {
            print_json(&json!({ "intact": true, "checkpoint": proven.checkpoint, "signed": proven.signed }))
        }
        OutputFormat::Text => {
            let signature = if proven.signed {
                "which is signed by the given key"
            } else {
                "whose signature was not checked: give --public-key"
            };
            print(&format!("The event is in the log that checkpoint {} saw, {signature}.\n", proven.checkpoint))
        }
    }
}

fn report(report: &Report, signatures_checked: bool, output: OutputFormat) -> Result<(), Failure> {
    match output {
        OutputFormat::Json => print_json(report)?,
        OutputFormat::Text => {
            for finding in &report.findings {
                print(&finding_line(finding))?;
            }
            if report.findings.len() == FINDINGS_MAX {
                print(&format!("… only the first {FINDINGS_MAX} findings are shown\n"))?;
            }
            let signatures = if signatures_checked {
                format!("{} good signatures", report.signatures)
            } else {
                "signatures not checked: give --public-key".to_owned()
            };
            print(&format!(
                "{}: {} records in {} batches, {} checkpoints, {signatures}.\n",
                if report.intact { "Intact" } else { "NOT INTACT" },
                report.records,
                report.batches,
                report.checkpoints,
            ))?;
        }
    }
    if report.intact {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("{} problem(s) found in the audit trail", report.errors)))
}

fn finding_line(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Error => "error",
        Severity::Info => "info",
    };
    let place = match (finding.epoch, finding.seq) {
        (Some(epoch), Some(seq)) => format!(" {epoch}-{seq}"),
        (Some(epoch), None) => format!(" epoch {epoch}"),
        _ => String::new(),
    };
    format!("{word}{place}: {}\n", finding.problem)
}

/// The given keys, else that of the data folder.
fn public_keys(config: &Config, given: &[String]) -> Result<Vec<PublicKey>, Failure> {
    if given.is_empty() {
        return Ok(own_key(config)?.into_iter().collect());
    }
    let parse = |text: &String| {
        PublicKey::parse(text).map_err(|error| Failure::new(Exit::Usage, format!("--public-key: {error}")))
    };
    given.iter().map(parse).collect()
}

fn own_key(config: &Config) -> Result<Option<PublicKey>, Failure> {
    let (path, _) = config.checkpoint_key();
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(SigningKey::load(&path, &Clock::system(), false)?.public()))
}

fn print_key(config: &Config, output: OutputFormat) -> Result<(), Failure> {
    let Some(key) = own_key(config)? else {
        let path = config.checkpoint_key().0;
        let failure = Failure::new(Exit::Failed, format!("there is no key at {}", path.display()));
        return Err(failure.hint("the server makes it at its first start; name its folder with --data-dir"));
    };
    let latest = config.checkpoint_dir().join("latest");
    let origin =
        std::fs::read_to_string(latest).ok().and_then(|text| Note::parse(&text).ok()).map(|note| note.origin());
    let verifier = origin.as_deref().map(|origin| key.note_verifier(origin));
    match output {
        OutputFormat::Json => {
            print_json(&json!({ "public_key": key.to_base64(), "origin": origin, "note_verifier": verifier }))
        }
        OutputFormat::Text => print(&format!("{}\n", key.to_base64())),
    }
}

async fn retention(
    config: &Config,
    keep_months: Option<u32>,
    dry_run: bool,
    output: OutputFormat,
) -> Result<(), Failure> {
    let Some(keep_months) = keep_months.or(Some(config.audit.keep_months)).filter(|months| *months > 0) else {
        let failure =
            Failure::new(Exit::Usage, "the configuration keeps everything in the log (audit.keep_months = 0)");
        return Err(failure.hint("say how many months stay, like --keep-months 24"));
    };
    let detached =
        with_current_store(config, async |store| Ok(store.detach_audit_partitions(keep_months, dry_run).await?))
            .await?;
    let empty = "No month of the audit log is that old.";
    print_list(output, &detached, empty, &["TABLE", "FROM", "TO", "RECORDS"], |one| {
        vec![format!("rollcall.{}", one.name), instant(one.from), instant(one.to), one.records.to_string()]
    })
}

fn read_text(path: &Path) -> Result<String, AuditError> {
    std::fs::read_to_string(path).map_err(|source| AuditError::File { path: path.to_owned(), source })
}

/// A line on the terminal that says how far it has come; nothing where nobody looks.
struct Progress {
    word: &'static str,
    lines: u64,
    clock: Clock,
    shown_at: rollcall_core::Timestamp,
    shown: bool,
}

impl Progress {
    fn new(word: &'static str) -> Self {
        let clock = Clock::system();
        Self { word, lines: 0, clock, shown_at: clock.now(), shown: false }
    }

    fn step(&mut self) {
        self.lines += 1;
        if !self.lines.is_multiple_of(PROGRESS_RECORDS) || !std::io::stderr().is_terminal() {
            return;
        }
        let now = self.clock.now();
        if now.since(self.shown_at) >= PROGRESS_EVERY {
            eprint!("\r{} {} lines", self.word, self.lines);
            (self.shown_at, self.shown) = (now, true);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprintln!("\r{} {} lines", self.word, self.lines);
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => Self::from(error),
            error => Self::from_error(&error),
        }
    }
}
