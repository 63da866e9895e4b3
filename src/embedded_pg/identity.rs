//! Which user PostgreSQL runs as. It refuses to run as root and needs a name for its uid.
//!
//! | we are | the cluster is | PostgreSQL runs as |
//! |---|---|---|
//! | a user with a name | new, or ours | ourselves |
//! | a uid without a name (`docker run --user 54321`) | new, or ours | a named user inside a user namespace |
//! | root | new | `postgres`, else `nobody`, else (their way to the folder is barred) a user namespace |
//! | root | owned by a user | that user |
//! | root | owned by root | a user namespace, which is how it was made |
//!
//! In the namespace one inside uid stands for our own uid: the server sees itself as an ordinary
//! user and its files stay ours, so it works below a 0700 home too. It is second for root, because a
//! container's default seccomp filter forbids it.
//!
//! No candidate is trusted by rule: each is tried by running `postgres --version` in the very folder.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User, getegid, geteuid};

use super::binaries::Binaries;
use super::error::Error;
use super::spawn::{self, Job};

/// How long `postgres --version` may take in a trial; the disk may have to fetch the program first.
const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// Users that PostgreSQL may become when root makes a new cluster.
const ACCOUNTS_TO_DROP_TO: &[&str] = &["postgres", "nobody"];

/// Users to appear as inside a namespace. `nobody` is last: the kernel shows every unmapped uid as
/// nobody, and peer authentication could not tell them apart (the 0700 folder still does).
const ACCOUNTS_INSIDE: &[&str] = &["postgres", "daemon", "nobody"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Current,
    Drop { uid: Uid, gid: Gid },
    Namespace { inside_uid: Uid, inside_gid: Gid, outside_uid: Uid, outside_gid: Gid },
}

impl Identity {
    /// Who owns the files, as seen from outside.
    pub fn owner(&self) -> (Uid, Gid) {
        match *self {
            Self::Current => (geteuid(), getegid()),
            Self::Drop { uid, gid } => (uid, gid),
            Self::Namespace { outside_uid, outside_gid, .. } => (outside_uid, outside_gid),
        }
    }

    /// System users that may connect: the server's own, ourselves, and root (who can read the files
    /// anyway). The names are as the server sees them, hence the inside name of a namespace.
    pub fn trusted_accounts(&self) -> Vec<String> {
        let server = match *self {
            Self::Current => geteuid(),
            Self::Drop { uid, .. } => uid,
            Self::Namespace { inside_uid, .. } => inside_uid,
        };
        let mut names: Vec<String> = [server, geteuid(), Uid::from_raw(0)].into_iter().filter_map(name_of).collect();
        names.sort();
        names.dedup();
        names
    }

    fn namespace() -> Option<Self> {
        let account = ACCOUNTS_INSIDE.iter().find_map(|name| account(name))?;
        Some(Self::Namespace {
            inside_uid: account.uid,
            inside_gid: account.gid,
            outside_uid: geteuid(),
            outside_gid: getegid(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |uid: Uid| name_of(uid).unwrap_or_else(|| "without a name".to_owned());
        match *self {
            Self::Current => write!(f, "this user ({}, uid {})", name(geteuid()), geteuid()),
            Self::Drop { uid, .. } => write!(f, "user {} (uid {uid})", name(uid)),
            Self::Namespace { inside_uid, .. } => {
                write!(f, "user {} (uid {inside_uid}) inside a user namespace", name(inside_uid))
            }
        }
    }
}

/// The identities worth a trial, best first; `existing` is the cluster folder if there is one.
///
/// # Errors
/// [`Error::WrongOwner`] when the cluster belongs to another user and we are not root.
pub(super) fn candidates(existing: Option<&Path>) -> Result<Vec<Identity>, Error> {
    let owner = existing.map(check_owner).transpose()?.flatten();
    let uid = geteuid();
    if !uid.is_root() {
        return Ok(match name_of(uid) {
            Some(_) => vec![Identity::Current],
            None => Identity::namespace().into_iter().collect(),
        });
    }
    Ok(match owner {
        Some((0, _)) => Identity::namespace().into_iter().collect(),
        Some((uid, gid)) => vec![Identity::Drop { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) }],
        None => ACCOUNTS_TO_DROP_TO
            .iter()
            .filter_map(|name| account(name))
            .map(|account| Identity::Drop { uid: account.uid, gid: account.gid })
            .chain(Identity::namespace())
            .collect(),
    })
}

/// Uid and gid of a cluster folder, `None` when there is none.
///
/// Asked before anything in the folder is read, because "permission denied" says less.
///
/// # Errors
/// [`Error::WrongOwner`] when it belongs to another user and we are not root.
pub(super) fn check_owner(cluster: &Path) -> Result<Option<(u32, u32)>, Error> {
    let metadata = match fs::metadata(cluster) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("look at", cluster)(error)),
    };
    let uid = geteuid();
    if !uid.is_root() && metadata.uid() != uid.as_raw() {
        return Err(Error::WrongOwner { path: cluster.to_owned(), owner: metadata.uid(), uid: uid.as_raw() });
    }
    Ok(Some((metadata.uid(), metadata.gid())))
}

/// The first candidate that can run PostgreSQL with `dir` as its own folder.
///
/// With `hand_over` the folder (new and empty) is given to each candidate in turn.
///
/// # Errors
/// [`Error::NoIdentity`] with what happened to each.
pub(super) fn choose(
    candidates: Vec<Identity>,
    binaries: &Binaries,
    dir: &Path,
    hand_over: bool,
) -> Result<Identity, Error> {
    let mut tried = Vec::new();
    for identity in candidates {
        let (uid, gid) = identity.owner();
        if hand_over && let Err(error) = lchown(dir, Some(uid.as_raw()), Some(gid.as_raw())) {
            tried.push(format!("{identity}: the folder cannot be given to it: {error}"));
            continue;
        }
        match try_out(&identity, binaries, dir) {
            Ok(()) => return Ok(identity),
            Err(reason) => tried.push(format!("{identity}: {reason}")),
        }
    }
    if tried.is_empty() {
        tried.push("no named user to run as: /etc/passwd is missing or empty".to_owned());
    }
    Err(Error::NoIdentity { dir: dir.to_owned(), tried })
}

/// Runs `postgres --version` as `identity` with `dir` as its working folder.
pub(super) fn try_out(identity: &Identity, binaries: &Binaries, dir: &Path) -> Result<(), String> {
    let trial = |directory: &Path| {
        let job = Job {
            program: binaries.postgres(),
            args: vec!["--version".into()],
            identity,
            directory,
            log: Path::new("/dev/null"),
            ends_with_us: true,
        };
        match spawn::run(job, TRIAL_LIMIT) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("postgres --version ends with {status}")),
            Err(error) => Err(error.to_string()),
        }
    };
    let Err(reason) = trial(dir) else {
        return Ok(());
    };
    // Tell a barred folder from an identity that cannot be taken or a program that cannot be run.
    Err(match trial(Path::new("/")) {
        Ok(()) => format!("cannot enter {}: {reason}", dir.display()),
        Err(reason) => format!("cannot run {}: {reason}", binaries.postgres().display()),
    })
}

/// A named account that is not root.
fn account(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root())
}

fn name_of(uid: Uid) -> Option<String> {
    User::from_uid(uid).ok().flatten().map(|user| user.name)
}
