//! Checks the trail line by line: every leaf, every root, every chain, every checkpoint and its signature. It keeps one
//! batch in memory, and of each checkpoint its root and the heads that have not been met yet.
//!
//! What it knows nothing of is whether the server told the truth when it wrote a record.

mod checkpoints;
mod epoch;

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollcall_core::chain::{EventEntry, Hash, MarkEntry, RefusedEntry, sha256};
use serde::Serialize;
use uuid::Uuid;

use self::checkpoints::Checkpoints;
use self::epoch::EpochCheck;
use super::AuditError;
use super::key::PublicKey;
use super::lines::{EXPORT_VERSION, EndLine, EventLine, Line, LogLine, RefusedLine};
use super::note::Note;
use crate::store::mapping::from_utc;

/// Findings that are kept; of more, only the number. A destroyed log must not fill the memory.
pub const FINDINGS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The log is not what it was.
    Error,
    /// To know, and no fault.
    Info,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub epoch: Option<i64>,
    pub seq: Option<i64>,
    pub problem: String,
}

/// What came of a verification.
#[derive(Debug, Serialize)]
pub struct Report {
    pub intact: bool,
    pub records: u64,
    pub batches: u64,
    pub checkpoints: u64,
    /// Checkpoints with a good signature, here and outside.
    pub signatures: u64,
    /// Of all findings, also those that are not listed.
    pub errors: u64,
    pub findings: Vec<Finding>,
}

/// Collects what was found.
#[derive(Debug, Default)]
struct Findings {
    kept: Vec<Finding>,
    errors: u64,
}

impl Findings {
    fn error(&mut self, epoch: impl Into<Option<i64>>, seq: impl Into<Option<i64>>, problem: impl Into<String>) {
        self.errors += 1;
        self.keep(Severity::Error, epoch.into(), seq.into(), problem.into());
    }

    fn info(&mut self, epoch: impl Into<Option<i64>>, seq: impl Into<Option<i64>>, problem: impl Into<String>) {
        self.keep(Severity::Info, epoch.into(), seq.into(), problem.into());
    }

    fn keep(&mut self, severity: Severity, epoch: Option<i64>, seq: Option<i64>, problem: String) {
        if self.kept.len() < FINDINGS_MAX {
            self.kept.push(Finding { severity, epoch, seq, problem });
        }
    }
}

pub struct Verifier {
    keys: Vec<PublicKey>,
    findings: Findings,
    counts: EndLine,
    end: Option<EndLine>,
    log: Option<LogLine>,
    checkpoints: Checkpoints,
    detached: HashMap<i64, Vec<(i64, i64)>>,
    epoch: Option<EpochCheck>,
}

impl Verifier {
    /// Without keys the signatures of checkpoints are not looked at.
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self {
            keys,
            findings: Findings::default(),
            counts: EndLine { records: 0, batches: 0, checkpoints: 0 },
            end: None,
            log: None,
            checkpoints: Checkpoints::default(),
            detached: HashMap::new(),
            epoch: None,
        }
    }

    /// Records seen so far.
    pub const fn records(&self) -> u64 {
        self.counts.records
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// It is no export, or one of a version that this program does not know.
    pub fn take(&mut self, line: Line<'_>) -> Result<(), AuditError> {
        if self.end.is_some() {
            self.findings.error(None, None, "the export goes on behind its end");
        }
        match line {
            Line::Log(log) if log.version == EXPORT_VERSION => self.log = Some(log),
            Line::Log(log) => {
                let problem = format!("version {} of the export is not known to this program", log.version);
                return Err(AuditError::Malformed(problem));
            }
            Line::Checkpoint(line) => {
                self.counts.checkpoints += 1;
                let log_id = self.log_id()?;
                self.checkpoints.take(&line, log_id, &self.keys, &mut self.findings);
            }
            Line::Detached(line) => self.detached.entry(line.epoch).or_default().extend(line.ranges),
            Line::Epoch(line) => {
                self.close_epoch();
                self.epoch = Some(self.open(line.epoch, Some(line.applied_seq)));
            }
            Line::Batch(line) => {
                self.counts.batches += 1;
                self.enter(line.epoch);
                if let Some(epoch) = &mut self.epoch {
                    epoch.batch(&line, &mut self.checkpoints, &mut self.findings);
                }
            }
            Line::Event(line) => self.record(line.epoch, line.seq, line.leaf.0, event_leaf(&line)),
            Line::Mark(line) => {
                let entry = MarkEntry {
                    epoch: line.epoch,
                    seq: line.seq,
                    marked_at: from_utc(line.marked_at),
                    connections: line.connections,
                };
                self.record(line.epoch, line.seq, line.leaf.0, entry.leaf());
            }
            Line::Refused(line) => self.record(line.epoch, line.seq, line.leaf.0, refused_leaf(&line)),
            Line::End(line) => self.end = Some(line),
        }
        Ok(())
    }

    /// Looks at notes that were kept outside of what was verified.
    pub fn compare(&mut self, notes: &[Note]) {
        let log_id = self.log.as_ref().map(|log| log.log_id);
        self.checkpoints.compare(notes, log_id, &self.keys, &mut self.findings);
    }

    /// Adds what was found in another way.
    pub fn note_problem(&mut self, problem: String) {
        self.findings.error(None, None, problem);
    }

    pub fn finish(mut self) -> Report {
        self.close_epoch();
        match (&self.log, self.end) {
            (None, _) => {
                self.findings.error(None, None, "this is no export of an audit trail: its first line is missing")
            }
            (_, None) => self.findings.error(None, None, "the export is cut off: its last line is missing"),
            (_, Some(end)) => {
                let (records, batches, checkpoints) = (end.records, end.batches, end.checkpoints);
                let counts = self.counts;
                if (records, batches, checkpoints) != (counts.records, counts.batches, counts.checkpoints) {
                    self.findings.error(None, None, "the export has not as many lines as its end says");
                }
            }
        }
        let only = self.log.as_ref().and_then(|log| log.epoch);
        self.checkpoints.finish(only, &mut self.findings);
        Report {
            intact: self.findings.errors == 0,
            records: self.counts.records,
            batches: self.counts.batches,
            checkpoints: self.counts.checkpoints,
            signatures: self.checkpoints.signatures,
            errors: self.findings.errors,
            findings: self.findings.kept,
        }
    }

    fn log_id(&self) -> Result<Uuid, AuditError> {
        let log = self.log.as_ref();
        log.map(|log| log.log_id).ok_or_else(|| AuditError::Malformed("this is no export of an audit trail".to_owned()))
    }

    fn record(&mut self, epoch: i64, seq: i64, stored: Hash, computed: Hash) {
        self.counts.records += 1;
        self.enter(epoch);
        if let Some(check) = &mut self.epoch {
            check.record(seq, stored, computed, &mut self.findings);
        }
    }

    /// Lines of an epoch that has no line of its own: the database does not know it.
    fn enter(&mut self, epoch: i64) {
        if self.epoch.as_ref().is_some_and(|open| open.number() == epoch) {
            return;
        }
        self.close_epoch();
        self.findings.error(
            epoch,
            None,
            "there are records or batches of this epoch, but node_epochs does not know it",
        );
        self.epoch = Some(self.open(epoch, None));
    }

    fn open(&self, epoch: i64, applied_seq: Option<i64>) -> EpochCheck {
        EpochCheck::new(epoch, applied_seq, self.detached.get(&epoch).cloned().unwrap_or_default())
    }

    fn close_epoch(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            epoch.finish(&mut self.findings);
        }
    }
}

/// The leaf that the columns of an event give.
pub fn event_leaf(line: &EventLine<'_>) -> Hash {
    let entry = EventEntry {
        epoch: line.epoch,
        seq: line.seq,
        occurred_at: from_utc(line.occurred_at),
        tenant: line.tenant_id,
        session: line.session_id,
        participant: line.participant_id,
        connection: line.connection.as_deref(),
        event_type: &line.event_type,
        actor: &line.actor,
        metadata: line.metadata.get(),
    };
    entry.leaf()
}

fn refused_leaf(line: &RefusedLine<'_>) -> Hash {
    // What is not base64 has another hash than the record.
    let body = BASE64_STANDARD.decode(line.body.as_bytes()).unwrap_or_default();
    RefusedEntry { epoch: line.epoch, seq: line.seq, body_sha256: sha256(&body), error: &line.error }.leaf()
}
