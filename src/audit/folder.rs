//! Where checkpoints stand outside the database: one file per log and incarnation that only grows, and `latest`.
//!
//! Copy them to a place that whoever runs the database cannot change: that copy is what makes a cut-off end visible.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::AuditError;
use super::note::{Note, parse_all};

/// The newest checkpoint, for tools that want one note in a file.
const LATEST: &str = "latest";

#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    path: PathBuf,
    log_id: Uuid,
}

impl CheckpointFolder {
    /// # Errors
    /// The folder cannot be made.
    pub fn open(path: &Path, log_id: Uuid) -> Result<Self, AuditError> {
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(AuditError::file(path))?;
        Ok(Self { path: path.to_owned(), log_id })
    }

    /// The last note that was written here of this log.
    ///
    /// # Errors
    /// The folder cannot be read, or a file in it is damaged.
    pub fn last(&self) -> Result<Option<Note>, AuditError> {
        let mut newest = None;
        for incarnation in 1.. {
            let path = self.file(incarnation);
            match std::fs::read_to_string(&path) {
                Ok(text) => newest = parse_all(&text)?.pop().or(newest),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(AuditError::file(&path)(error)),
            }
        }
        Ok(newest)
    }

    /// Adds notes behind those that are there, durably.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn append(&self, notes: &[(i32, i64, String)]) -> Result<(), AuditError> {
        for (incarnation, _, note) in notes {
            let path = self.file(*incarnation);
            let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(AuditError::file(&path))?;
            // In one write, so that a crash leaves a whole note or none.
            file.write_all(format!("{note}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(AuditError::file(&path))?;
        }
        let Some((.., newest)) = notes.last() else { return Ok(()) };
        let (path, fresh) = (self.path.join(LATEST), self.path.join("latest.new"));
        let replace = || -> std::io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(newest.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)
        };
        replace().map_err(AuditError::file(&path))
    }

    fn file(&self, incarnation: i32) -> PathBuf {
        self.path.join(format!("{}-{incarnation}.txt", self.log_id))
    }
}
