//! The lock of a data folder: at most one rollcall process runs or adopts its Postgres.
//!
//! `postmaster.pid` cannot serve for this, because it stays after a crash. The kernel releases an
//! advisory lock when its holder dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::Error;
use super::files;

/// How long a taken lock is tried again before it counts as taken. A process that is just being
/// forked elsewhere holds a copy of our descriptors until its exec, so a released lock may look held for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two tries.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The most that is read from the lock file: one pid and a line end.
const HOLDER_BYTES_MAX: u64 = 32;

/// Held while this value lives.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock and writes our pid into the file, for the message that the next one sees.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder's pid when another process has it for longer than [`LOCK_PATIENCE`].
    pub fn take(path: &Path, data_dir: &Path) -> Result<Self, Error> {
        let mut file = files::open_own(path, OpenOptions::new().read(true).write(true))
            .map_err(Error::io("open the lock file", path))?;
        let tries = LOCK_PATIENCE.as_millis() / LOCK_RETRY.as_millis();
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => {
                    write_pid(&mut file).map_err(Error::io("write the lock file", path))?;
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
                Err(TryLockError::Error(error)) => {
                    return Err(Error::io("lock", path)(error));
                }
            }
        }
        Err(Error::Locked { data_dir: data_dir.to_owned(), holder: read_pid(&mut file) })
    }
}

/// Who holds the lock: `None` when it is free, `Some(None)` when it is held by a process that has not written its pid yet.
pub(super) fn holder(path: &Path) -> Option<Option<u32>> {
    let mut file = OpenOptions::new().read(true).open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
        _ => None,
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
