//! A small disk in memory that can be full.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// What takes up the space.
const BALLAST: &str = "ballast";

/// Bytes written at once; halved when they do not fit any more.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Less than a page never fits into a full disk.
const CHUNK_BYTES_MIN: usize = 4096;

/// A disk that is gone when this is dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Makes a disk of so many mebibytes and puts it at `folder`, which is made if missing.
    ///
    /// # Errors
    /// This process has no mount table of its own, or the folder cannot be made.
    pub fn mount(folder: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        super::isolation().map_err(anyhow::Error::msg)?;
        fs::create_dir_all(folder)?;
        let options = format!("size={mebibytes}m,mode=0755");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot mount a disk at {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Leaves no byte free. Whoever gives space back afterwards leaves as much for the next one.
    ///
    /// # Errors
    /// Something else than a lack of space.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = fs::File::options().create(true).append(true).open(self.folder.join(BALLAST))?;
        let chunk = vec![0xA5; CHUNK_BYTES];
        let mut length = CHUNK_BYTES;
        while length >= CHUNK_BYTES_MIN {
            match ballast.write(&chunk[..length]) {
                Ok(written) if written == length => {}
                Ok(_) => length /= 2,
                Err(error) if error.kind() == ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives the space back. Idempotent.
    ///
    /// # Errors
    /// The file system does not let the ballast go.
    pub fn free(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.folder.join(BALLAST)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has files open keeps them until it ends; the name is free for the folder's own removal.
        umount2(&self.folder, MntFlags::MNT_DETACH).ok();
    }
}
