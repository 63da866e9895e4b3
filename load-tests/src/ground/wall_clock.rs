//! A wall clock of the server's own that can be set, while the clocks of everybody else go on.
//!
//! A time namespace does not move the wall clock, and setting that of the machine would set it for all. So the server is
//! started with a few lines of C before the C library (`wall_clock.c`) that add to the wall clock what a file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::run;

const SOURCE: &str = include_str!("wall_clock.c");

/// Names the file to the library.
const FILE_VARIABLE: &str = "WALL_CLOCK_OFFSET_FILE";

/// The clock of whoever is started with [`WallClock::environment`].
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    offset: PathBuf,
}

impl WallClock {
    /// Builds the library in `folder`.
    ///
    /// # Errors
    /// There is no C compiler.
    pub fn build(folder: &Path) -> anyhow::Result<Self> {
        let (source, library) = (folder.join("wall_clock.c"), folder.join("wall_clock.so"));
        let offset = folder.join("wall_clock.offset");
        fs::write(&source, SOURCE)?;
        fs::write(&offset, 0_i64.to_ne_bytes())?;
        let (from, to) = (source.to_string_lossy(), library.to_string_lossy());
        run("cc", &["-shared", "-fPIC", "-O2", "-o", &to, &from, "-ldl"]).context("a C compiler is needed")?;
        Ok(Self { library, offset })
    }

    pub fn environment(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [("LD_PRELOAD".to_owned(), text(&self.library)), (FILE_VARIABLE.to_owned(), text(&self.offset))]
    }

    /// Sets the clock this far ahead of the true one, or behind it. Takes effect at once.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, offset: Duration, ahead: bool) -> anyhow::Result<()> {
        let nanos = i64::try_from(offset.as_nanos())?;
        let nanos = if ahead { nanos } else { -nanos };
        // In place: the library has the file mapped, and must not see an empty one.
        let file = fs::File::options().write(true).open(&self.offset)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &nanos.to_ne_bytes(), 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn whoever_is_started_with_it_sees_another_hour() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let clock = WallClock::build(folder.path()).expect("built");
        let seen = || -> i64 {
            let output = Command::new("date").arg("+%s").envs(clock.environment()).output().expect("ran");
            String::from_utf8_lossy(&output.stdout).trim().parse().expect("seconds")
        };
        let ours = || crate::clock::wall_us() / 1_000_000;
        assert!((seen() - ours()).abs() < 60);
        clock.set(Duration::from_secs(3600), true).expect("set");
        assert!((seen() - ours() - 3600).abs() < 60);
        clock.set(Duration::from_secs(3600), false).expect("set");
        assert!((seen() - ours() + 3600).abs() < 60);
    }
}
