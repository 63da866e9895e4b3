//! Starts PostgreSQL programs: another identity, an own session, an end with ours.
//!
//! This is the only file of the module with `unsafe`: what happens between fork and exec has no safe
//! form in the standard library, and neither has waiting for a child without reaping it.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid};

use super::files;
use super::identity::Identity;

/// What the child keeps of our environment. Everything else is dropped: `PG*` would change the
/// server, and our own settings hold secrets that the database has no business with.
const ENVIRONMENT_KEPT: &[&str] = &["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"];

/// Pause between two looks at a program that is expected to end by itself.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A program to run, and how.
pub(super) struct Job<'a> {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub identity: &'a Identity,
    /// Working folder, entered with the new identity.
    pub directory: &'a Path,
    /// Gets standard output and standard error.
    pub log: &'a Path,
    /// Send SIGINT (for Postgres: a clean, fast shutdown) when the *thread* that starts it ends,
    /// which a `kill -9` of the process includes. Linux only; elsewhere the next start ends the orphan.
    pub ends_with_us: bool,
}

/// Starts the job. The caller's thread must outlive the child when `ends_with_us` is set.
///
/// # Errors
/// What fork, the change of identity, chdir or exec reports.
pub(super) fn spawn(job: Job<'_>) -> io::Result<Child> {
    let log = files::open_own(job.log, OpenOptions::new().append(true))?;
    let mut command = Command::new(&job.program);
    command
        .args(&job.args)
        .env_clear()
        // Messages stay English (this module reads one of them), and a bogus locale cannot stop the start.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    for name in ENVIRONMENT_KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let before_exec = BeforeExec::new(&job)?;
    // SAFETY: the closure runs in the forked child of a process with several threads, so it may only
    // make async-signal-safe calls: `BeforeExec::run` makes system calls on memory that was prepared
    // before the fork, does not allocate, takes no lock and does not unwind.
    unsafe {
        command.pre_exec(move || before_exec.run());
    }
    command.spawn()
}

/// Runs a program to its end; a longer run than `limit` is killed with its whole process group.
///
/// # Errors
/// As [`spawn`]; [`io::ErrorKind::TimedOut`] after a kill.
pub(super) fn run(job: Job<'_>, limit: Duration) -> io::Result<ExitStatus> {
    let mut child = spawn(job)?;
    let tries = limit.as_millis() / EXIT_POLL.as_millis();
    for _ in 0..tries {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(EXIT_POLL);
    }
    // Not reaped yet, so the group id is still the child's own; gone already is as good as killed.
    killpg(pid_of(&child), Signal::SIGKILL).or_else(gone_is_fine)?;
    child.wait()?;
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no end within {limit:?}")))
}

/// Blocks until the child has exited and leaves it unreaped, so that its pid cannot be given to
/// another process before the caller has stopped using it.
pub(super) fn wait_without_reaping(child: &Child) -> io::Result<()> {
    loop {
        // SAFETY: `info` is plain data for which zero is a valid value, it lives across the call, and
        // the kernel writes nothing but it.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(super) fn pid_of(child: &Child) -> Pid {
    // Pids fit into 31 bits on every system that runs PostgreSQL.
    Pid::from_raw(child.id().cast_signed())
}

pub(super) fn gone_is_fine(error: nix::Error) -> Result<(), nix::Error> {
    match error {
        nix::Error::ESRCH => Ok(()),
        other => Err(other),
    }
}

/// Everything the forked child needs, prepared before the fork.
struct BeforeExec {
    switch: Switch,
    directory: CString,
    parent: Option<Pid>,
}

enum Switch {
    Keep,
    Drop { uid: Uid, gid: Gid },
    Namespace { uid_map: Vec<u8>, gid_map: Vec<u8> },
}

impl BeforeExec {
    fn new(job: &Job<'_>) -> io::Result<Self> {
        let switch = match *job.identity {
            Identity::Current => Switch::Keep,
            Identity::Drop { uid, gid, .. } => Switch::Drop { uid, gid },
            Identity::Namespace { inside_uid, inside_gid, outside_uid, outside_gid, .. } => Switch::Namespace {
                uid_map: format!("{inside_uid} {outside_uid} 1\n").into_bytes(),
                gid_map: format!("{inside_gid} {outside_gid} 1\n").into_bytes(),
            },
        };
        Ok(Self {
            switch,
            directory: CString::new(job.directory.as_os_str().as_bytes())?,
            parent: job.ends_with_us.then(Pid::this),
        })
    }

    /// Runs in the child. Only async-signal-safe calls; see the call site.
    fn run(&self) -> io::Result<()> {
        // An own session: neither Ctrl-C nor a closed terminal reaches Postgres. We stop it last.
        nix::unistd::setsid()?;
        nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
        match &self.switch {
            Switch::Keep => {}
            Switch::Drop { uid, gid } => drop_to(*uid, *gid)?,
            Switch::Namespace { uid_map, gid_map } => enter_namespace(uid_map, gid_map)?,
        }
        nix::unistd::chdir(self.directory.as_c_str())?;
        if let Some(parent) = self.parent {
            // After the change of uid, which clears it.
            #[cfg(target_os = "linux")]
            nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
            // The parent may have died between the fork and the line above.
            if nix::unistd::getppid() != parent {
                return Err(nix::Error::ESRCH.into());
            }
        }
        Ok(())
    }
}

fn drop_to(uid: Uid, gid: Gid) -> nix::Result<()> {
    let groups = [gid.as_raw()];
    // SAFETY: the pointer and the length describe `groups`. (nix has no setgroups for Apple systems.)
    nix::Error::result(unsafe { libc::setgroups(1, groups.as_ptr()) })?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)
}

/// Makes this process a plain user inside a namespace of its own, while the files stay ours outside.
#[cfg(target_os = "linux")]
fn enter_namespace(uid_map: &[u8], gid_map: &[u8]) -> nix::Result<()> {
    use nix::sched::{CloneFlags, unshare};
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this an unprivileged process may not write the gid map.
    write_to(c"/proc/self/setgroups", b"deny")?;
    write_to(c"/proc/self/uid_map", uid_map)?;
    write_to(c"/proc/self/gid_map", gid_map)
}

#[cfg(target_os = "linux")]
fn write_to(path: &std::ffi::CStr, content: &[u8]) -> nix::Result<()> {
    use nix::fcntl::OFlag;
    let file = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    // The kernel takes a map in one write or not at all.
    nix::unistd::write(&file, content).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn enter_namespace(_: &[u8], _: &[u8]) -> nix::Result<()> {
    Err(nix::Error::ENOSYS)
}
