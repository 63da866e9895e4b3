//! The local durable queue between memory and Postgres: one SQLite file, one table, appended at the end, trimmed at the
//! start. The simulation has another one, on a disk with faults.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rollcall_core::{Epoch, Record};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

/// How long one connection waits for the other's short transactions.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Page cache of each connection in KiB; negative by SQLite's convention. Records are appended and read once, in order, so
/// the default of 2 MiB would hold pages that nobody looks at again.
const PAGE_CACHE_KIB: i64 = -512;

/// Records deleted in one step of trimming, so that a step never holds up a group commit for long.
const TRIM_RECORDS_MAX: i64 = 5_000;

const FILE_MODE: u32 = 0o600;

/// Bytes behind every record.
const CHECKSUM_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal {path} cannot be opened; check that the folder exists, is writable and has space")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("the journal {path} cannot be made private; check that the folder exists, is writable and has space")]
    Private { path: PathBuf, source: std::io::Error },
    #[error("the journal's disk is full")]
    Full,
    #[error("the journal failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("record {seq} of epoch {epoch} in the journal is not what was written: its checksum does not fit")]
    Damaged { epoch: Epoch, seq: i64 },
    #[error("record {seq} of epoch {epoch} in the journal cannot be read")]
    Corrupt { epoch: Epoch, seq: i64, source: serde_json::Error },
}

/// The writing side of a journal.
pub trait JournalStorage {
    type Reader: JournalRead;

    /// # Errors
    /// The journal cannot be opened a second time.
    fn reader(&self) -> Result<Self::Reader, JournalError>;

    /// Commits all or nothing; durable when it returns.
    ///
    /// # Errors
    /// [`JournalError::Full`] when there is no space: the same call may succeed later. Anything else means that the
    /// disk cannot be trusted any more.
    fn append<'a>(
        &mut self,
        epoch: Epoch,
        entries: impl IntoIterator<Item = (i64, &'a [u8])>,
    ) -> Result<(), JournalError>;

    /// Forgets records of this epoch up to `through`, a bounded number at a time. Returns whether more is left to do.
    ///
    /// # Errors
    /// The deletion failed; nothing is lost by that.
    fn trim(&mut self, epoch: Epoch, through: i64) -> Result<bool, JournalError>;

    /// Forgets an epoch whose records are all in Postgres.
    ///
    /// # Errors
    /// The deletion failed; nothing is lost by that.
    fn forget(&mut self, epoch: Epoch) -> Result<(), JournalError>;
}

/// The reading side of a journal.
pub trait JournalRead {
    /// Epochs that have records, oldest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn epochs(&self) -> Result<Vec<Epoch>, JournalError>;

    /// First and last number that the journal holds of an epoch.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn range(&self, epoch: Epoch) -> Result<Option<(i64, i64)>, JournalError>;

    /// Up to `records_max` records after `after`. Stops before a gap, which the caller can tell by `first_seq`.
    ///
    /// # Errors
    /// The journal cannot be read, or a record in it is damaged.
    fn read(&self, epoch: Epoch, after: i64, records_max: usize) -> Result<JournalBatch, JournalError>;

    /// Like [`JournalRead::read`], unless `ahead` is what is asked for.
    ///
    /// # Errors
    /// As [`JournalRead::read`].
    fn read_unless(
        &self,
        ahead: Option<JournalBatch>,
        epoch: Epoch,
        after: i64,
        records_max: usize,
    ) -> Result<JournalBatch, JournalError> {
        match ahead {
            Some(batch) if batch.first_seq == after + 1 => Ok(batch),
            _ => self.read(epoch, after, records_max),
        }
    }

    /// The records that follow a batch. None where something is wrong with them: it is said when their turn comes.
    fn read_ahead(&self, epoch: Epoch, batch: &JournalBatch, records_max: usize) -> Option<JournalBatch> {
        let next = self.read(epoch, batch.last_seq(), records_max).ok()?;
        (next.first_seq == batch.last_seq() + 1).then_some(next)
    }
}

/// The journal of a server. One per process; the data folder's lock sees to that.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
    path: PathBuf,
}

/// The reading side, for the flusher.
#[derive(Debug)]
pub struct JournalReader {
    connection: Connection,
}

/// Records of one epoch in order, without gaps.
#[derive(Debug, Default)]
pub struct JournalBatch {
    pub first_seq: i64,
    pub records: Arc<Vec<Record>>,
    pub bytes: u64,
}

impl JournalBatch {
    pub fn last_seq(&self) -> i64 {
        self.first_seq + self.records.len() as i64 - 1
    }
}

impl Journal {
    /// Opens or creates the journal.
    ///
    /// # Errors
    /// The file cannot be opened or is no journal.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        make_private(path).map_err(|source| JournalError::Private { path: path.to_owned(), source })?;
        let connection = Connection::open(path).and_then(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "cache_size", PAGE_CACHE_KIB)?;
            // WAL with FULL: a commit returns after the fsync of the log, one for all that is committed together.
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS records (
                     epoch INTEGER NOT NULL,
                     seq INTEGER NOT NULL,
                     body BLOB NOT NULL,
                     PRIMARY KEY (epoch, seq)
                 ) WITHOUT ROWID;",
            )?;
            Ok(connection)
        });
        let connection = connection.map_err(|source| JournalError::Open { path: path.to_owned(), source })?;
        Ok(Self { connection, path: path.to_owned() })
    }
}

impl JournalStorage for Journal {
    type Reader = JournalReader;

    fn reader(&self) -> Result<JournalReader, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "cache_size", PAGE_CACHE_KIB)?;
            Ok(connection)
        });
        let connection = open.map_err(|source| JournalError::Open { path: self.path.clone(), source })?;
        Ok(JournalReader { connection })
    }

    fn append<'a>(
        &mut self,
        epoch: Epoch,
        entries: impl IntoIterator<Item = (i64, &'a [u8])>,
    ) -> Result<(), JournalError> {
        let result = (|| {
            let transaction = self.connection.transaction()?;
            {
                let mut insert =
                    transaction.prepare_cached("INSERT INTO records (epoch, seq, body) VALUES (?1, ?2, ?3)")?;
                let mut sealed = Vec::new();
                for (seq, body) in entries {
                    sealed.clear();
                    sealed.extend_from_slice(body);
                    sealed.extend_from_slice(&checksum(epoch, seq, body));
                    insert.execute(params![epoch.0, seq, sealed])?;
                }
            }
            transaction.commit()
        })();
        result.map_err(|error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => JournalError::Full,
            _ => JournalError::Sqlite(error),
        })
    }

    fn trim(&mut self, epoch: Epoch, through: i64) -> Result<bool, JournalError> {
        let deleted = self.connection.execute(
            "DELETE FROM records WHERE epoch = ?1 AND seq <= ?2 AND seq < ?3 +
                 (SELECT coalesce(min(seq), 0) FROM records WHERE epoch = ?1)",
            params![epoch.0, through, TRIM_RECORDS_MAX],
        )?;
        Ok(deleted as i64 == TRIM_RECORDS_MAX)
    }

    fn forget(&mut self, epoch: Epoch) -> Result<(), JournalError> {
        self.connection.execute("DELETE FROM records WHERE epoch = ?1", params![epoch.0])?;
        Ok(())
    }
}

impl JournalRead for JournalReader {
    fn epochs(&self) -> Result<Vec<Epoch>, JournalError> {
        let mut select = self.connection.prepare_cached("SELECT DISTINCT epoch FROM records ORDER BY epoch")?;
        let epochs = select.query_map([], |row| row.get(0).map(Epoch))?.collect::<Result<_, _>>()?;
        Ok(epochs)
    }

    fn range(&self, epoch: Epoch) -> Result<Option<(i64, i64)>, JournalError> {
        let mut select = self.connection.prepare_cached("SELECT min(seq), max(seq) FROM records WHERE epoch = ?1")?;
        let (first, last): (Option<i64>, Option<i64>) =
            select.query_row(params![epoch.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(first.zip(last))
    }

    fn read(&self, epoch: Epoch, after: i64, records_max: usize) -> Result<JournalBatch, JournalError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT seq, body FROM records WHERE epoch = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?;
        let mut rows = select.query(params![epoch.0, after, records_max as i64])?;
        let (mut first_seq, mut records, mut bytes) = (0, Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            if records.is_empty() {
                first_seq = seq;
            } else if seq != first_seq + records.len() as i64 {
                break;
            }
            let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let body = unsealed(epoch, seq, body).ok_or(JournalError::Damaged { epoch, seq })?;
            let record = serde_json::from_slice(body).map_err(|source| JournalError::Corrupt { epoch, seq, source })?;
            bytes += body.len() as u64;
            records.push(record);
        }
        Ok(JournalBatch { first_seq, records: Arc::new(records), bytes })
    }
}

/// The journal names people, so nobody but the server's user may read it. SQLite gives its log the mode of the file.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))
}

/// SQLite checks its log, but not its pages: a bit that flips on the disk would be read as if it had been written. The
/// place is part of the sum, so that a row cannot stand in for another either.
fn checksum(epoch: Epoch, seq: i64, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.0.to_be_bytes());
    hasher.update(&seq.to_be_bytes());
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

/// The record before its checksum, if that fits.
fn unsealed(epoch: Epoch, seq: i64, sealed: &[u8]) -> Option<&[u8]> {
    let (body, found) = sealed.split_last_chunk::<CHECKSUM_BYTES>()?;
    (checksum(epoch, seq, body) == *found).then_some(body)
}

#[cfg(test)]
mod tests {
    use rollcall_core::{Fact, Heard, Timestamp};

    use super::*;

    fn body(at: i64) -> Vec<u8> {
        let record = Record { at: Timestamp(at), fact: Fact::EvidenceMark { heard: Vec::new() } };
        serde_json::to_vec(&record).expect("plain data")
    }

    fn append(journal: &mut Journal, epoch: i64, seqs: std::ops::RangeInclusive<i64>) -> Result<(), JournalError> {
        let bodies: Vec<_> = seqs.map(|seq| (seq, body(seq))).collect();
        journal.append(Epoch(epoch), bodies.iter().map(|(seq, body)| (*seq, body.as_slice())))
    }

    #[test]
    fn survives_reopening_and_trims_from_the_start() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("journal.sqlite");
        let mut journal = Journal::open(&path).expect("new journal");
        append(&mut journal, 1, 1..=3).expect("appended");
        append(&mut journal, 2, 1..=7_000).expect("appended");
        drop(journal);

        let mut journal = Journal::open(&path).expect("old journal");
        let reader = journal.reader().expect("reader");
        assert_eq!(reader.epochs().expect("read"), [Epoch(1), Epoch(2)]);
        let batch = reader.read(Epoch(2), 10, 5).expect("read");
        assert_eq!((batch.first_seq, batch.last_seq()), (11, 15));
        assert_eq!(batch.records[0].at, Timestamp(11));

        assert!(journal.trim(Epoch(2), 6_000).expect("trimmed"), "more is left after a bounded step");
        assert!(!journal.trim(Epoch(2), 6_000).expect("trimmed"));
        assert_eq!(reader.range(Epoch(2)).expect("read"), Some((6_001, 7_000)));
        journal.forget(Epoch(1)).expect("forgotten");
        assert_eq!(reader.epochs().expect("read"), [Epoch(2)]);
    }

    #[test]
    fn a_batch_stops_before_a_gap() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("new journal");
        append(&mut journal, 1, 1..=3).expect("appended");
        append(&mut journal, 1, 5..=6).expect("appended");
        let reader = journal.reader().expect("reader");
        assert_eq!(reader.read(Epoch(1), 0, 100).expect("read").last_seq(), 3);
        assert_eq!(reader.read(Epoch(1), 3, 100).expect("read").first_seq, 5);
    }

    #[test]
    fn the_same_number_is_never_taken_twice() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("new journal");
        append(&mut journal, 1, 1..=3).expect("appended");
        assert!(matches!(append(&mut journal, 1, 3..=4), Err(JournalError::Sqlite(_))));
        let reader = journal.reader().expect("reader");
        assert_eq!(reader.range(Epoch(1)).expect("read"), Some((1, 3)), "all or nothing");
    }

    #[test]
    fn a_record_that_was_changed_on_the_disk_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("new journal");
        append(&mut journal, 1, 1..=3).expect("appended");
        let reader = journal.reader().expect("reader");
        let change = |sql: &str| journal.connection.execute(sql, []).expect("changed");
        // One digit of an instant: still a record, and still wrong.
        change("UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '2', '3') AS BLOB) WHERE seq = 2");
        assert!(matches!(reader.read(Epoch(1), 0, 10), Err(JournalError::Damaged { seq: 2, .. })));
        change("UPDATE records SET body = (SELECT body FROM records WHERE seq = 1) WHERE seq = 2");
        assert!(matches!(reader.read(Epoch(1), 0, 10), Err(JournalError::Damaged { seq: 2, .. })));
        assert_eq!(reader.read(Epoch(1), 2, 10).expect("the third is whole").last_seq(), 3);
    }

    #[test]
    fn lines_of_a_mark_are_understood_in_both_forms() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("new journal");
        let mark = Record {
            at: Timestamp(9),
            fact: Fact::EvidenceMark {
                heard: vec![
                    Heard { counter: 1, evidence_at: Timestamp(7), activity_at: None },
                    Heard { counter: 2, evidence_at: Timestamp(8), activity_at: Some(Timestamp(6)) },
                ],
            },
        };
        let written = serde_json::to_vec(&mark).expect("plain data");
        assert_eq!(written, br#"{"at":9,"fact":{"evidence_mark":{"heard":[[1,7],[2,8,6]]}}}"#);
        // As an earlier version left it behind.
        let named = br#"{"at":9,"fact":{"evidence_mark":{"heard":[{"counter":1,"evidence_at":7},{"counter":2,"evidence_at":8,"activity_at":6}]}}}"#;
        journal.append(Epoch(1), [(1, &written[..]), (2, &named[..])]).expect("appended");
        let batch = journal.reader().expect("reader").read(Epoch(1), 0, 10).expect("read");
        assert_eq!(*batch.records, [mark.clone(), mark]);
    }

    #[test]
    fn nobody_else_may_read_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("journal.sqlite");
        std::fs::write(&path, "").expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("an open file");
        let mut journal = Journal::open(&path).expect("an empty file is a new journal");
        append(&mut journal, 1, 1..=3).expect("appended");
        let files = std::fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("a file"));
        let modes: Vec<_> = files.map(|file| file.metadata().expect("a file").permissions().mode() & 0o777).collect();
        assert!(modes.len() > 1, "there is a log");
        assert!(modes.iter().all(|mode| *mode == FILE_MODE), "{modes:?}");
    }
}
