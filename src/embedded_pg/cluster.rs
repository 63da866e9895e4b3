//! The cluster folder: where it is, and how it is made.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SUPERUSER;
use super::binaries::Binaries;
use super::error::Error;
use super::identity::{self, Identity};
use super::settings;
use super::spawn::{self, Job};

/// How long initdb may take; about 1 s on a laptop, far longer on a slow network disk.
const INITDB_LIMIT: Duration = Duration::from_secs(180);

/// PostgreSQL cuts paths at 1024 bytes; the rest is for the files below the folder.
const DATA_DIR_BYTES_MAX: usize = 850;

/// The log is set aside as `postgres.log.1` when it is longer than this at a start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The end of the log that an error quotes.
const LOG_TAIL_BYTES: u64 = 2048;

/// Names tried for the folder in which a new cluster is made, before initialisation gives up.
const STAGING_NAMES_MAX: u32 = 16;

const STAGING_PREFIX: &str = "postgres.new.";

/// The paths of one data folder, absolute and free of links.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub data_dir: PathBuf,
    pub cluster: PathBuf,
    pub log: PathBuf,
    pub lock: PathBuf,
}

/// What is in the place of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    Cluster { major: u32 },
}

impl Layout {
    /// Makes the data folder if it is missing.
    pub fn create(data_dir: &Path) -> Result<Self, Error> {
        // PostgreSQL's own user must be able to pass through the folder of root, not to list it.
        let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data_dir)
            .map_err(Error::io("create the data folder", data_dir))?;
        Self::open(data_dir)
    }

    /// The layout of a data folder that exists.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        // Relative names mean something else to initdb and postgres, which work in other folders.
        let data_dir = fs::canonicalize(data_dir).map_err(Error::io("find the data folder", data_dir))?;
        let length = data_dir.as_os_str().len();
        if length > DATA_DIR_BYTES_MAX {
            return Err(Error::PathTooLong { length, max: DATA_DIR_BYTES_MAX });
        }
        Ok(Self {
            cluster: data_dir.join("postgres"),
            log: data_dir.join("postgres.log"),
            lock: data_dir.join("postgres.lock"),
            data_dir,
        })
    }

    /// # Errors
    /// [`Error::NotACluster`] for a folder with other or incomplete content, which is never touched.
    pub fn content(&self) -> Result<Content, Error> {
        let mut entries = match fs::read_dir(&self.cluster) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Nothing),
            Err(error) => return Err(Error::io("look into", &self.cluster)(error)),
        };
        if entries.next().is_none() {
            return Ok(Content::Nothing);
        }
        let not_a_cluster = |reason: &str| Error::NotACluster { path: self.cluster.clone(), reason: reason.to_owned() };
        let version =
            fs::read_to_string(self.cluster.join("PG_VERSION")).map_err(|_| not_a_cluster("no PG_VERSION"))?;
        let major = version.trim().parse().map_err(|_| not_a_cluster("unknown PG_VERSION"))?;
        if !self.cluster.join("global/pg_control").is_file() {
            return Err(not_a_cluster("no global/pg_control"));
        }
        Ok(Content::Cluster { major })
    }

    /// Sets a long log aside and returns the position at which this start begins.
    pub fn rotate_log(&self) -> u64 {
        let length = fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
        if length > LOG_BYTES_MAX && fs::rename(&self.log, self.log.with_extension("log.1")).is_ok() {
            return 0;
        }
        length
    }

    /// The end of the log, at most [`LOG_TAIL_BYTES`], nothing from before `since`.
    pub fn log_tail(&self, since: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(since.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        read().map_or_else(
            |error| format!("(the log cannot be read: {error})"),
            |tail| String::from_utf8_lossy(&tail).trim().to_owned(),
        )
    }
}

/// Makes a new cluster and tells as whom: initdb works in a sibling that gets the final name when
/// it is complete, so that whatever has the final name is complete.
pub(super) fn initialise(layout: &Layout, binaries: &Binaries, throw_away: bool) -> Result<Identity, Error> {
    let staging = make_staging(&layout.data_dir)?;
    let result = fill(layout, &staging, binaries, throw_away);
    if result.is_err()
        && let Err(error) = fs::remove_dir_all(&staging)
    {
        tracing::warn!(dir = %staging.display(), %error, "a half-made cluster stays; the next start removes it");
    }
    result
}

fn fill(layout: &Layout, staging: &Path, binaries: &Binaries, throw_away: bool) -> Result<Identity, Error> {
    let identity = identity::choose(identity::candidates(None)?, binaries, staging, true)?;
    tracing::info!(
        dir = %layout.cluster.display(),
        postgres.version = %binaries.version,
        postgres.identity = %identity,
        "making a new PostgreSQL cluster"
    );
    let log_start = layout.rotate_log();
    let job = Job {
        program: binaries.initdb(),
        args: initdb_args(staging, throw_away),
        identity: &identity,
        directory: Path::new("/"),
        log: &layout.log,
        ends_with_us: true,
    };
    let failed = |status: String| Error::Initdb { status, log_tail: layout.log_tail(log_start) };
    let status = spawn::run(job, INITDB_LIMIT).map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(status.to_string()));
    }
    settings::append_tunable(staging).map_err(Error::io("write postgresql.conf in", staging))?;
    // Takes the place of an empty folder too.
    fs::rename(staging, &layout.cluster)
        .and_then(|()| File::open(&layout.data_dir)?.sync_all())
        .map_err(Error::io("put the new cluster at", &layout.cluster))?;
    Ok(identity)
}

fn initdb_args(staging: &Path, throw_away: bool) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-D".into(), staging.into(), "-U".into(), SUPERUSER.into()];
    args.extend(
        [
            "--encoding=UTF8",
            "--no-locale",
            "--data-checksums",
            "--auth-local=peer",
            "--auth-host=reject",
            "--no-instructions",
        ]
        .map(OsString::from),
    );
    if throw_away {
        args.push("--no-sync".into());
    }
    args
}

/// Removes what interrupted attempts left and makes an empty 0700 folder.
fn make_staging(data_dir: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(data_dir).map_err(Error::io("look into", data_dir))?;
    let left: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().starts_with(STAGING_PREFIX.as_bytes())
        })
        .map(|entry| entry.path())
        .collect();
    for dir in &left {
        tracing::info!(dir = %dir.display(), "removing a half-made cluster");
        if let Err(error) = fs::remove_dir_all(dir) {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a half-made cluster");
        }
    }
    // Never a name of before, even if it could be removed: the initdb of a killed process may still
    // be writing, and it would find our folder under that name.
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in 0..STAGING_NAMES_MAX {
        let dir = data_dir.join(format!("{STAGING_PREFIX}{}.{number}", std::process::id()));
        if left.contains(&dir) {
            continue;
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(Error::io("create", &dir)(error)),
        }
    }
    Err(Error::io("create a new cluster in", data_dir)(last))
}
