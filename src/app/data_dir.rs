//! The data folder: made when missing, and never used by two servers at once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data folder {path} cannot be used; check that it can be written to")]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "the data folder {path} is in use by another rollcall (process {holder}); stop it, or choose another --data-dir"
    )]
    InUse { path: PathBuf, holder: String },
}

/// Keeps the folder ours until it is dropped; the system also lets go when the process is killed.
pub(super) struct DataDirLock {
    _file: File,
}

const LOCK_FILE: &str = "rollcall.lock";

/// # Errors
/// The folder cannot be made or written, or another process holds it.
pub(super) fn prepare(path: &Path) -> Result<DataDirLock, DataDirError> {
    let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
    // 0711: an embedded Postgres that runs as another user must be able to pass through, and nobody to look in.
    DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(unusable)?;
    let lock_path = path.join(LOCK_FILE);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock_path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(unusable)?;
            return Err(DataDirError::InUse { path: path.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let write = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(unusable)?;
    Ok(DataDirLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_never_share_a_folder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("data");
        let lock = prepare(&path).expect("free");
        let Err(DataDirError::InUse { holder, .. }) = prepare(&path) else { panic!("shared") };
        assert_eq!(holder, std::process::id().to_string());
        drop(lock);
        assert!(prepare(&path).is_ok());
    }
}
