//! Finds the live server of a cluster folder, and ends it.
//!
//! The file `postmaster.pid` is a hint, never a proof: it stays after a crash, and its pid may
//! belong to another program by now. Only a process that works in the folder counts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::Error;
use super::spawn::gone_is_fine;

/// After SIGINT (fast shutdown: sessions are ended, a checkpoint is written) this long passes before SIGQUIT.
pub(super) const FAST_STOP_LIMIT: Duration = Duration::from_secs(30);

/// After SIGQUIT (immediate shutdown, as safe as a power cut) this long passes before we give up.
/// PostgreSQL itself kills its children after 5 s.
pub(super) const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two looks at a process that is not our child.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// The setting by which a server tells who is to end it; it is on its command line, which PostgreSQL keeps in `postmaster.opts`.
pub(super) const LIFETIME_SETTING: &str = "rollcall.lifetime";
pub(super) const LIFETIME_PROCESS: &str = "process";
pub(super) const LIFETIME_DETACHED: &str = "detached";

/// A live server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub pid: i32,
    pub port: u16,
    pub socket_dir: PathBuf,
}

/// The live server of `cluster`; `None` when there is none, whatever `postmaster.pid` says.
///
/// # Errors
/// [`Error::Io`] when the file is there and may not be read.
pub(super) fn find(cluster: &Path) -> Result<Option<Postmaster>, Error> {
    let path = cluster.join("postmaster.pid");
    let text = match read_lossy(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    Ok(parse(&text).filter(|postmaster| serves(postmaster, cluster)))
}

/// True while the process runs and works in `cluster`.
#[cfg(target_os = "linux")]
pub(super) fn serves(postmaster: &Postmaster, cluster: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let process = PathBuf::from(format!("/proc/{}", postmaster.pid));
    // PostgreSQL works in its data folder. Device and inode rather than the name, which another
    // mount namespace spells differently; the owner, because we may be about to signal as root.
    let (Ok(folder), Ok(working), Ok(owner)) =
        (fs::metadata(cluster), fs::metadata(process.join("cwd")), fs::metadata(&process))
    else {
        return false;
    };
    (folder.dev(), folder.ino()) == (working.dev(), working.ino()) && owner.uid() == folder.uid()
}

/// Without `/proc`: the process exists and something answers on its socket.
#[cfg(not(target_os = "linux"))]
pub(super) fn serves(postmaster: &Postmaster, _cluster: &Path) -> bool {
    let socket = postmaster.socket_dir.join(format!(".s.PGSQL.{}", postmaster.port));
    exists(postmaster.pid) && std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Removes a `postmaster.pid` whose pid was given to another program: PostgreSQL would take that
/// one for its predecessor and refuse to start. It is safe only while no server runs (lock held, [`find`] said none).
pub(super) fn remove_recycled_pid_file(cluster: &Path) -> Result<(), Error> {
    let path = cluster.join("postmaster.pid");
    let pid = read_lossy(&path).ok().and_then(|text| pid(&text));
    match pid {
        // With no such process PostgreSQL handles the file itself, and checks its shared memory too.
        Some(pid) if exists(pid) => {
            tracing::info!(postgres.pid = pid, "removing a stale postmaster.pid");
            fs::remove_file(&path).map_err(Error::io("remove", &path))
        }
        _ => Ok(()),
    }
}

/// True when the server was started to end with the rollcall process that started it.
pub(super) fn belongs_to_a_process(cluster: &Path) -> bool {
    let mark = format!("{LIFETIME_SETTING}={LIFETIME_PROCESS}");
    read_lossy(&cluster.join("postmaster.opts")).is_ok_and(|opts| opts.contains(&mark))
}

/// Ends a server that is not our child and waits until it is gone: SIGINT, after [`FAST_STOP_LIMIT`] SIGQUIT. Blocks.
///
/// # Errors
/// [`Error::StopTimeout`] when it survives both.
pub(super) fn end(postmaster: &Postmaster, cluster: &Path) -> Result<(), Error> {
    let steps = [(Signal::SIGINT, FAST_STOP_LIMIT), (Signal::SIGQUIT, IMMEDIATE_STOP_LIMIT)];
    for (name, limit) in steps {
        kill(Pid::from_raw(postmaster.pid), name)
            .or_else(gone_is_fine)
            .map_err(|error| Error::io("signal the server of", cluster)(error.into()))?;
        for _ in 0..limit.as_millis() / POLL.as_millis() {
            if !serves(postmaster, cluster) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
    Err(Error::StopTimeout { pid: postmaster.pid, limit: FAST_STOP_LIMIT + IMMEDIATE_STOP_LIMIT })
}

/// Both files quote the data folder, whose name need not be UTF-8.
fn read_lossy(path: &Path) -> io::Result<String> {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines of the file: pid, data folder, start time, port, first socket folder, TCP address, shared memory, status.
fn parse(text: &str) -> Option<Postmaster> {
    let mut lines = text.lines();
    let pid = pid(lines.next()?)?;
    let port = lines.nth(2).and_then(|line| line.trim().parse().ok());
    let socket_dir = lines.next().unwrap_or_default().trim();
    Some(Postmaster {
        pid,
        // A server that is just starting has not written the last lines yet.
        port: port.unwrap_or(super::socket::PORT),
        socket_dir: PathBuf::from(socket_dir),
    })
}

/// The pid in the first line. A single-user backend writes it with a minus sign.
fn pid(text: &str) -> Option<i32> {
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    pid.checked_abs().filter(|&pid| pid > 1)
}

fn exists(pid: i32) -> bool {
    // Signal 0 to a process of another user is refused, so it exists.
    matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(nix::Error::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_complete_and_half_written_files() {
        let full = "4711\n/data/postgres\n1700000000\n5433\n/tmp/s\n\n  5432001 7\nready   \n";
        let expected = Postmaster { pid: 4711, port: 5433, socket_dir: "/tmp/s".into() };
        assert_eq!(parse(full), Some(expected));
        assert_eq!(parse("4711\n/data\n").map(|p| (p.pid, p.port)), Some((4711, 5432)));
        assert_eq!(parse("-12\n").map(|p| p.pid), Some(12));
        for useless in ["", "\n", "0\n", "1\n", "junk\n", "-2147483648\n"] {
            assert_eq!(parse(useless), None, "{useless:?}");
        }
    }
}
