//! The journal's disk: what was synced survives a crash, and writes fail as the dice say.
//!
//! One append is one transaction of SQLite: a crash in its middle leaves all of it or nothing, because a torn tail of its
//! log is thrown away when it is opened again. After a failed sync the kernel may drop the pages and report the next sync as
//! a success: from then on everything can be read and nothing is durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rollcall::ledger::{JournalBatch, JournalError, JournalRead, JournalStorage};
use rollcall_core::{Epoch, Timestamp};
use rusqlite::ffi;

use super::world::World;

/// Records deleted in one step of trimming; less than in a server, so that steps are met.
const TRIM_RECORDS_MAX: usize = 200;

#[derive(Debug)]
pub struct Disk {
    durable: Records,
    /// Written after a failed sync.
    volatile: Records,
    pub is_full: bool,
    /// The next append fails in its sync.
    pub fails_next: bool,
    pub is_lying: bool,
    /// Syncs take until then.
    pub stalled_until: Timestamp,
    /// The process that has the file open; zero: none.
    pub boot: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            durable: Records::new(),
            volatile: Records::new(),
            is_full: false,
            fails_next: false,
            is_lying: false,
            stalled_until: Timestamp::ZERO,
            boot: 0,
        }
    }
}

type Records = BTreeMap<(Epoch, i64), Vec<u8>>;

impl Disk {
    /// The process is gone, and with it what was not durable.
    pub fn stop(&mut self) {
        self.boot = 0;
        self.fails_next = false;
        self.is_lying = false;
        self.volatile.clear();
    }

    fn get(&self, key: (Epoch, i64)) -> Option<&Vec<u8>> {
        self.durable.get(&key).or_else(|| self.volatile.get(&key))
    }

    fn keys(&self) -> impl Iterator<Item = (Epoch, i64)> {
        let mut keys: Vec<_> = self.durable.keys().chain(self.volatile.keys()).copied().collect();
        keys.sort_unstable();
        keys.into_iter()
    }
}

/// The disk as the process of one boot has it open.
#[derive(Clone)]
pub struct SimulatedJournal {
    pub world: World,
    pub disk: Arc<Mutex<Disk>>,
    pub boot: u64,
}

impl SimulatedJournal {
    fn with<R>(&self, work: impl FnOnce(&mut Disk) -> R) -> R {
        work(&mut self.disk.lock().expect("plain data"))
    }
}

impl JournalStorage for SimulatedJournal {
    type Reader = Self;

    fn reader(&self) -> Result<Self, JournalError> {
        Ok(self.clone())
    }

    fn append<'a>(
        &mut self,
        epoch: Epoch,
        entries: impl IntoIterator<Item = (i64, &'a [u8])>,
    ) -> Result<(), JournalError> {
        let boot = self.boot;
        let crashes = self.world.crashes_in_append(boot);
        let world = self.world.clone();
        self.with(|disk| {
            if disk.boot != boot || crashes == Some(false) {
                // Nobody is left to be told.
                return Err(io_error());
            }
            if disk.is_full {
                world.note("disk.full", boot, String::new);
                return Err(JournalError::Full);
            }
            if std::mem::take(&mut disk.fails_next) {
                world.note("disk.sync_failed", boot, String::new);
                disk.is_lying = true;
                return Err(io_error());
            }
            let target = if disk.is_lying { &mut disk.volatile } else { &mut disk.durable };
            let mut bytes = 0;
            for (seq, body) in entries {
                bytes += body.len() as u64;
                let before = target.insert((epoch, seq), body.to_vec());
                assert!(before.is_none(), "record {seq} of epoch {epoch} was journalled twice");
            }
            world.count("disk.synced", bytes);
            if crashes.is_some() { Err(io_error()) } else { Ok(()) }
        })
    }

    fn trim(&mut self, epoch: Epoch, through: i64) -> Result<bool, JournalError> {
        let boot = self.boot;
        self.world.check_trim(epoch, through);
        self.with(|disk| {
            if disk.boot != boot {
                return Err(io_error());
            }
            let gone: Vec<_> = disk.keys().filter(|(of, seq)| *of == epoch && *seq <= through).collect();
            for key in gone.iter().take(TRIM_RECORDS_MAX) {
                disk.durable.remove(key);
                disk.volatile.remove(key);
            }
            Ok(gone.len() > TRIM_RECORDS_MAX)
        })
    }

    fn forget(&mut self, epoch: Epoch) -> Result<(), JournalError> {
        let boot = self.boot;
        self.with(|disk| {
            if disk.boot != boot {
                return Err(io_error());
            }
            disk.durable.retain(|(of, _), _| *of != epoch);
            disk.volatile.retain(|(of, _), _| *of != epoch);
            Ok(())
        })
    }
}

impl JournalRead for SimulatedJournal {
    fn epochs(&self) -> Result<Vec<Epoch>, JournalError> {
        self.with(|disk| {
            let mut epochs: Vec<_> = disk.keys().map(|(epoch, _)| epoch).collect();
            epochs.dedup();
            Ok(epochs)
        })
    }

    fn range(&self, epoch: Epoch) -> Result<Option<(i64, i64)>, JournalError> {
        self.with(|disk| {
            let all = (epoch, i64::MIN)..=(epoch, i64::MAX);
            let ends = |records: &Records| {
                let mut keys = records.range(all.clone()).map(|((_, seq), _)| *seq);
                let first = keys.next();
                first.map(|first| (first, keys.next_back().unwrap_or(first)))
            };
            Ok(match (ends(&disk.durable), ends(&disk.volatile)) {
                (Some(durable), Some(volatile)) => Some((durable.0.min(volatile.0), durable.1.max(volatile.1))),
                (one, other) => one.or(other),
            })
        })
    }

    fn read(&self, epoch: Epoch, after: i64, records_max: usize) -> Result<JournalBatch, JournalError> {
        self.with(|disk| {
            let Some(first_seq) = [&disk.durable, &disk.volatile]
                .into_iter()
                .filter_map(|records| records.range((epoch, after + 1)..=(epoch, i64::MAX)).next())
                .map(|((_, seq), _)| *seq)
                .min()
            else {
                return Ok(JournalBatch::default());
            };
            let (mut records, mut bytes, mut seq) = (Vec::new(), 0, first_seq);
            while records.len() < records_max
                && let Some(body) = disk.get((epoch, seq))
            {
                let record =
                    serde_json::from_slice(body).map_err(|source| JournalError::Corrupt { epoch, seq, source })?;
                records.push(record);
                bytes += body.len() as u64;
                seq += 1;
            }
            Ok(JournalBatch { first_seq, records: Arc::new(records), bytes })
        })
    }
}

fn io_error() -> JournalError {
    JournalError::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None))
}
