//! Fuzzing of a journal whose disk has damaged it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;

use rollcall_core::{Epoch, Fact, Heard, Record, Timestamp};

use super::journal::{JournalRead as _, JournalStorage as _};
use super::{Journal, JournalError};

const EPOCH: Epoch = Epoch(7);
/// Records in the file itself, and as many again in its log.
const RECORDS: i64 = 40;
const RECORDS_READ_AT_ONCE: usize = 16;
/// Damages of one input; more only take time.
const DAMAGES_MAX: usize = 64;

/// A whole journal as its files: some records are in the database, the rest is still in the log.
struct Whole {
    database: Vec<u8>,
    log: Vec<u8>,
}

static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let path = folder_of_this_process().join("whole.sqlite");
    let open = || Journal::open(&path).expect("a journal");
    let mut journal = open();
    append(&mut journal, 1..=RECORDS);
    // The last connection moves the log into the database when it goes.
    drop(journal);
    let mut journal = open();
    append(&mut journal, RECORDS + 1..=2 * RECORDS);
    let read = |path: PathBuf| fs::read(path).expect("a file of SQLite");
    Whole { database: read(path.clone()), log: read(log_of(&path)) }
});

/// What is read from a damaged journal is what was written, or an error. The input is lines: `set database 100 255`
/// changes a byte, `cut log 500` cuts a file off, and any other line is put into the journal as a record.
pub fn journal(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let path = folder_of_this_process().join("damaged.sqlite");
    let mut files = [WHOLE.database.clone(), WHOLE.log.clone()];
    let mut bodies = Vec::new();
    for line in text.lines().take(DAMAGES_MAX) {
        if damage(&mut files, line).is_none() {
            bodies.push(line);
        }
    }
    let [database, log] = files;
    // The index of the log is made anew; one of the input before would not fit.
    fs::remove_file(path.with_extension("sqlite-shm")).ok();
    fs::write(&path, database).expect("written");
    fs::write(log_of(&path), log).expect("written");
    let mut journal = match Journal::open(&path) {
        Ok(journal) => journal,
        Err(_) => return,
    };
    put(&mut journal, &bodies);
    read_all(&journal);
}

/// `None` when the line is no damage.
fn damage(files: &mut [Vec<u8>; 2], line: &str) -> Option<()> {
    let mut words = line.split(' ');
    let verb = words.next()?;
    let file = match words.next()? {
        "database" => &mut files[0],
        "log" => &mut files[1],
        _ => return None,
    };
    let at = words.next()?.parse::<usize>().ok()? % file.len().max(1);
    match verb {
        "set" => *file.get_mut(at)? = words.next()?.parse().ok()?,
        "cut" => file.truncate(at),
        _ => return None,
    }
    Some(())
}

/// Anything at all, written in the orderly way: it is read as a record or refused by its number.
fn put(journal: &mut Journal, bodies: &[&str]) {
    let other = Epoch(EPOCH.0 + 1);
    let entries = (1..).zip(bodies.iter().map(|body| body.as_bytes()));
    if journal.append(other, entries).is_err() {
        return;
    }
    let Ok(reader) = journal.reader() else { return };
    for (seq, body) in (1..).zip(bodies) {
        match reader.read(other, seq - 1, 1) {
            Ok(batch) => assert!(batch.records.is_empty() || serde_json::from_str::<Record>(body).is_ok()),
            Err(JournalError::Corrupt { seq: found, .. } | JournalError::Damaged { seq: found, .. }) => {
                assert!(found >= seq);
            }
            Err(_) => return,
        }
    }
}

fn read_all(journal: &Journal) {
    let Ok(reader) = journal.reader() else { return };
    reader.epochs().ok();
    reader.range(EPOCH).ok();
    let mut after = 0;
    while let Ok(batch) = reader.read(EPOCH, after, RECORDS_READ_AT_ONCE) {
        if batch.records.is_empty() || batch.first_seq <= after {
            return;
        }
        for (seq, found) in (batch.first_seq..).zip(batch.records.iter()) {
            assert_eq!(*found, record(seq), "record {seq} is not what was written");
        }
        after = batch.last_seq();
    }
}

fn append(journal: &mut Journal, seqs: std::ops::RangeInclusive<i64>) {
    let bodies: Vec<_> = seqs.map(|seq| (seq, serde_json::to_vec(&record(seq)).expect("plain data"))).collect();
    journal.append(EPOCH, bodies.iter().map(|(seq, body)| (*seq, body.as_slice()))).expect("appended");
}

fn record(seq: i64) -> Record {
    let heard = vec![Heard { counter: seq, evidence_at: Timestamp(seq * 1_000), activity_at: None }];
    Record { at: Timestamp(seq * 1_000_000), fact: Fact::EvidenceMark { heard } }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("sqlite-wal")
}

/// Fuzzers run side by side.
fn folder_of_this_process() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("rollcall-fuzz-{}", process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}
