//! The private folder of the database socket, and the URL that leads to it.
//!
//! The socket is not in the data folder: a socket path has room for about 100 bytes, and data
//! folders are often longer. Nobody needs to remember the folder, since `postmaster.pid` names it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use super::binaries::Binaries;
use super::error::Error;
use super::files;
use super::identity::{self, Identity};

/// Part of the socket's file name, no TCP port. Fixed, so that `PGPORT` of a user's shell does not matter.
pub(super) const PORT: u16 = 5432;

/// `sun_path` has 108 bytes on Linux and 104 on the BSDs and macOS, the final zero included; the
/// smaller counts, and PostgreSQL adds ".lock" to a file beside it.
const SOCKET_PATH_BYTES_MAX: usize = 98;

/// Bytes of the hash in the folder's name: 16 hexadecimal digits.
const NAME_HASH_BYTES: usize = 8;

/// Makes (or takes back after a crash) the 0700 folder for the socket of `cluster`.
///
/// The caller holds the folder lock and knows that no server runs, so leftovers are removed: a
/// stale `.s.PGSQL.5432.lock` whose pid was given to another program would stop the start.
///
/// # Errors
/// [`Error::NoSocketFolder`] with what is wrong with each place.
pub(super) fn prepare(cluster: &Path, identity: &Identity, binaries: &Binaries) -> Result<PathBuf, Error> {
    let name = folder_name(cluster);
    let mut tried = Vec::new();
    for base in bases() {
        let dir = base.join(&name);
        let attempt = check_path(&dir)
            .and_then(|()| make_private(&dir, identity).map_err(|error| error.to_string()))
            .and_then(|()| identity::try_out(identity, binaries, &dir));
        match attempt {
            Ok(()) => return Ok(dir),
            Err(reason) => tried.push(format!("{}: {reason}", dir.display())),
        }
    }
    Err(Error::NoSocketFolder { tried })
}

/// Removes the folder once the server is gone. Best effort: the next start takes back what is left.
pub(super) fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(dir = %dir.display(), %error, "the socket folder stays");
    }
}

/// `postgresql:///DB?host=FOLDER&port=5432&user=rollcall&sslmode=disable`.
///
/// The one form that libpq (psql, pg_dump, every driver on top of it) and sqlx both read: an empty
/// authority and the rest as parameters. `postgresql://rollcall@/db?host=…`, which libpq knows too,
/// has a user without a host, and the URL standard that sqlx follows forbids that. Each parameter is
/// explicit so that `PGPORT`, `PGUSER` and `PGSSLMODE` in somebody's shell change nothing.
pub(super) fn database_url(socket_dir: &Path, port: u16, db: &str) -> String {
    format!(
        "postgresql:///{}?host={}&port={port}&user={}&sslmode=disable",
        percent_encode(db.as_bytes(), b""),
        percent_encode(socket_dir.as_os_str().as_bytes(), b"/"),
        super::SUPERUSER,
    )
}

/// Where sockets may go, best first. `/run` is writable for root alone, so nobody can be in the way
/// there. `XDG_RUNTIME_DIR` is last although it looks made for this: it is removed when the user logs out,
/// and a server left running in tmux would lose its socket.
fn bases() -> Vec<PathBuf> {
    let mut bases = Vec::new();
    if geteuid().is_root() {
        bases.push(PathBuf::from("/run"));
    }
    bases.push(std::env::temp_dir());
    bases.push(PathBuf::from("/tmp"));
    bases.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    bases.dedup();
    bases
}

/// The same for the same cluster, so that a crash leaves at most one folder behind.
fn folder_name(cluster: &Path) -> String {
    let hash = Sha256::digest(cluster.as_os_str().as_bytes());
    let mut name = "rollcall-".to_owned();
    for byte in &hash[..NAME_HASH_BYTES] {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn check_path(dir: &Path) -> Result<(), String> {
    let socket = dir.join(socket_name());
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        return Err(format!("the socket path would have {length} bytes, at most {SOCKET_PATH_BYTES_MAX} work"));
    }
    // unix_socket_directories is a list with its own quoting: stay clear of it.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    if !dir.is_absolute() || !dir.as_os_str().as_bytes().iter().all(plain) {
        return Err("not an absolute path of plain characters".to_owned());
    }
    Ok(())
}

fn make_private(dir: &Path, identity: &Identity) -> io::Result<()> {
    let (uid, gid) = identity.owner();
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // By its descriptor, since in a shared folder anybody may put something else under this name.
    let folder = files::open_folder(dir)?;
    let owner = folder.metadata()?.uid();
    if owner != uid.as_raw() && owner != geteuid().as_raw() {
        return Err(io::Error::other("exists and belongs to somebody else"));
    }
    folder.set_permissions(fs::Permissions::from_mode(0o700))?;
    fchown(&folder, Some(uid.as_raw()), Some(gid.as_raw()))?;
    let socket = socket_name();
    for leftover in [dir.join(&socket), dir.join(socket + ".lock")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn socket_name() -> String {
    format!(".s.PGSQL.{PORT}")
}

fn percent_encode(bytes: &[u8], keep: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_escapes_what_is_special() {
        assert_eq!(
            database_url(Path::new("/tmp/a b"), 5432, "x&y/ä"),
            "postgresql:///x%26y%2F%C3%A4?host=/tmp/a%20b&port=5432&user=rollcall&sslmode=disable"
        );
    }

    #[test]
    fn long_and_odd_folders_are_passed_over() {
        assert!(check_path(Path::new("/tmp/rollcall-0123456789abcdef")).is_ok());
        assert!(check_path(&Path::new("/tmp").join("x".repeat(90))).is_err());
        assert!(check_path(Path::new("/tmp/a,b")).is_err());
        assert!(check_path(Path::new("tmp")).is_err());
    }
}
