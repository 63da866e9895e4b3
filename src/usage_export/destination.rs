//! Where an export goes: standard output, or a file that appears only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

pub enum Destination {
    Stdout(BufWriter<io::Stdout>),
    File {
        /// Written here first; takes the name when it is whole.
        part: PathBuf,
        path: PathBuf,
        file: BufWriter<File>,
    },
}

impl Destination {
    /// Standard output without a path.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()))) };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = BufWriter::new(File::create(&part)?);
        Ok(Self::File { part, path: path.to_owned(), file })
    }

    /// # Errors
    /// The disk is full, or the reader went away.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(text.as_bytes()),
            Self::File { file, .. } => file.write_all(text.as_bytes()),
        }
    }

    /// Everything is where it should be, and survives a power cut where it is a file.
    ///
    /// # Errors
    /// As [`Destination::write`]; nothing must be acknowledged then.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush(),
            Self::File { part, path, file } => {
                file.into_inner()?.sync_all()?;
                std::fs::rename(&part, &path)?;
                // The name, too, must be on the disk.
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(folder)?.sync_all()
            }
        }
    }
}
