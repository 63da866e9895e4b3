//! Everything that can go wrong with the embedded Postgres, each with what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an operator can copy when no usable PostgreSQL is installed.
const INSTALL: &str = "\
  Debian, Ubuntu:  sudo apt-get install postgresql
  Fedora, RHEL:    sudo dnf install postgresql-server
  macOS:           brew install postgresql@17
or use a database that is already there:
  export DATABASE_URL=postgresql://user:password@host:5432/rollcall
or name the folder of initdb and postgres with --pg-bin (ROLLCALL_PG_BIN)";

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no PostgreSQL {min} or newer is installed here; install one:\n{INSTALL}\nlooked in: {}",
        list(searched),
        min = super::MAJOR_MIN
    )]
    BinariesNotFound { searched: Vec<String> },

    #[error("{} is not a usable PostgreSQL bin folder: {reason}; correct --pg-bin (ROLLCALL_PG_BIN), or leave it out to search the usual places", dir.display())]
    BinariesUnusable { dir: PathBuf, reason: String },

    #[error(
        "{} was made by PostgreSQL {cluster_major}, but here is only {}; either install PostgreSQL {cluster_major} again, or dump with the old version and restore with the new one:\n  pg_dumpall -h SOCKET_FOLDER -U {user} > rollcall.sql   (with PostgreSQL {cluster_major} running)\n  psql -f rollcall.sql postgres                         (into the new, empty data folder)",
        cluster.display(), list(available), user = super::SUPERUSER
    )]
    VersionMismatch { cluster: PathBuf, cluster_major: u32, available: Vec<String> },

    #[error("{} was made by PostgreSQL {cluster_major}, rollcall needs {min} or newer; dump it with pg_dumpall and restore it into a new --data-dir", cluster.display(), min = super::MAJOR_MIN)]
    ClusterTooOld { cluster: PathBuf, cluster_major: u32 },

    #[error("{} is in use by another rollcall process{}; stop it, or choose another --data-dir", data_dir.display(), pid_text(*holder))]
    Locked { data_dir: PathBuf, holder: Option<u32> },

    #[error("{} is not empty and not a complete PostgreSQL cluster ({reason}); nothing was changed: move it away, or restore it from a backup", path.display())]
    NotACluster { path: PathBuf, reason: String },

    #[error("the cluster {} belongs to uid {owner}, but this process is uid {uid}; run as that user, or: chown -R {uid} {}", path.display(), path.display())]
    WrongOwner { path: PathBuf, owner: u32, uid: u32 },

    #[error(
        "PostgreSQL refuses to run as this user, and no other identity works with {}:\n{}\nrun rollcall as an ordinary user that has a line in /etc/passwd, choose a --data-dir below a folder that everybody may enter (chmod o+x), or set DATABASE_URL",
        dir.display(), lines(tried)
    )]
    NoIdentity { dir: PathBuf, tried: Vec<String> },

    #[error(
        "no folder for the private database socket can be used:\n{}\nset TMPDIR to a short, writable folder",
        lines(tried)
    )]
    NoSocketFolder { tried: Vec<String> },

    #[error("the data folder path has {length} bytes, PostgreSQL takes at most {max}; choose a shorter --data-dir")]
    PathTooLong { length: usize, max: usize },

    #[error("initdb failed ({status}); its last words:\n{log_tail}")]
    Initdb { status: String, log_tail: String },

    #[error("PostgreSQL ended during its start ({status}); the end of {}:\n{log_tail}", log.display())]
    Exited { status: String, log: PathBuf, log_tail: String },

    #[error("PostgreSQL did not answer within {limit:?}; the end of {}:\n{log_tail}", log.display())]
    StartTimeout { limit: Duration, log: PathBuf, log_tail: String },

    #[error(
        "PostgreSQL (pid {pid}) did not stop within {limit:?}, not even by SIGQUIT; look at it, then kill it by its pid: the next start recovers"
    )]
    StopTimeout { pid: i32, limit: Duration },

    #[error("cannot talk to the embedded PostgreSQL over its socket {}; `rollcall db doctor` tells more", socket_dir.display())]
    Connect { socket_dir: PathBuf, source: sqlx::Error },

    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// True when a needed program is missing: the command line exits with 69 then.
    pub fn needs_installation(&self) -> bool {
        matches!(self, Self::BinariesNotFound { .. } | Self::BinariesUnusable { .. } | Self::VersionMismatch { .. })
    }

    /// For `map_err`: names the action and the path that an [`io::Error`] does not know.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn pid_text(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    items.join(", ")
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}
