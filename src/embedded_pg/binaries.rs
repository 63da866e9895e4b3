//! Finds installed PostgreSQL binaries. Nothing is downloaded: a build and a start work offline.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::MAJOR_MIN;
use super::error::Error;

/// Folders that hold one folder for each installed version: `(parent, start of the name, rest of the path)`.
const VERSIONED: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                  // PGDG packages for RHEL and Fedora
    ("/usr/lib", "postgresql", "bin"),          // openSUSE
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew, Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew, Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A PostgreSQL version, ordered by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    /// Zero for a beta or a development build.
    pub minor: u32,
}

impl Version {
    /// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `15.14 (Debian …)`, `19beta1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.rsplit("(PostgreSQL)").next()?.trim_start();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
        let major = numbers.next()??;
        // "19beta1" must not become 19.1.
        let released = text[major_length(text)..].starts_with('.');
        let minor = if released { numbers.next().flatten() } else { None };
        Some(Self { major, minor: minor.unwrap_or(0) })
    }
}

fn major_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub dir: PathBuf,
    pub version: Version,
    /// How it was found, for people: "PATH", "pg_config --bindir".
    pub source: &'static str,
}

impl Binaries {
    pub fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

/// All that was found, in order of preference, and why the rest was passed over.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub usable: Vec<Binaries>,
    pub rejected: Vec<(PathBuf, String)>,
}

/// Looks at the folder that the user named, else at every usual place.
///
/// # Errors
/// [`Error::BinariesUnusable`] when the named folder does not serve: to take another one instead would surprise.
pub(super) fn survey(bin_dir: Option<&Path>) -> Result<Survey, Error> {
    if let Some(dir) = bin_dir {
        let version = inspect(dir).map_err(|reason| Error::BinariesUnusable { dir: dir.to_owned(), reason })?;
        // initdb starts with another working folder, so a relative name would point elsewhere.
        let dir = fs::canonicalize(dir).map_err(Error::io("resolve", dir))?;
        return Ok(Survey { usable: vec![Binaries { dir, version, source: "--pg-bin" }], rejected: Vec::new() });
    }
    let mut survey = Survey::default();
    for (source, dir) in usual_places() {
        if survey.usable.iter().any(|known| known.dir == dir) {
            continue;
        }
        match inspect(&dir) {
            Ok(version) => survey.usable.push(Binaries { dir, version, source }),
            Err(reason) => survey.rejected.push((dir, reason)),
        }
    }
    Ok(survey)
}

/// Takes the binaries of the cluster's own major version, or for a new cluster the highest.
///
/// # Errors
/// [`Error::VersionMismatch`] for a cluster whose version is not installed, [`Error::BinariesNotFound`] for a new one.
pub(super) fn pick(survey: Survey, cluster: Option<(&Path, u32)>) -> Result<Binaries, Error> {
    let found: Vec<String> = survey.usable.iter().map(|b| format!("{} in {}", b.version, b.dir.display())).collect();
    let wanted = |b: &Binaries| cluster.is_none_or(|(_, major)| b.version.major == major);
    // `max_by` keeps the last of equals, and the first is the preferred one: hence `rev`.
    let best = survey.usable.into_iter().rev().filter(wanted).max_by(|a, b| a.version.cmp(&b.version));
    match (best, cluster) {
        (Some(binaries), _) => Ok(binaries),
        (None, Some((path, cluster_major))) => {
            Err(Error::VersionMismatch { cluster: path.to_owned(), cluster_major, available: found })
        }
        (None, None) => Err(Error::BinariesNotFound {
            searched: survey
                .rejected
                .iter()
                .map(|(dir, reason)| format!("{} ({reason})", dir.display()))
                .chain(["pg_config --bindir, PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, Homebrew".to_owned()])
                .collect(),
        }),
    }
}

/// The version of a folder that holds both programs, or why it cannot serve.
fn inspect(dir: &Path) -> Result<Version, String> {
    for program in ["initdb", "postgres"] {
        // Debian's libpq-dev and RPM's client package name folders that hold the client alone.
        if !dir.join(program).is_file() {
            return Err(format!("no {program} in it"));
        }
    }
    let text = output_of(&dir.join("postgres"), "--version").ok_or_else(|| "postgres --version fails".to_owned())?;
    let version = Version::parse(&text).ok_or_else(|| format!("unknown version {text:?}"))?;
    if version.major < MAJOR_MIN {
        return Err(format!("PostgreSQL {version} is older than {MAJOR_MIN}"));
    }
    Ok(version)
}

fn usual_places() -> Vec<(&'static str, PathBuf)> {
    let mut places = Vec::new();
    if let Some(dir) = output_of(Path::new("pg_config"), "--bindir") {
        places.push(("pg_config --bindir", PathBuf::from(dir)));
    }
    for dir in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        // A program in the working folder must not become our database: only absolute entries count.
        if dir.is_absolute()
            && let Ok(postgres) = fs::canonicalize(dir.join("postgres"))
            && let Some(dir) = postgres.parent()
        {
            // Follows links such as Homebrew's, since postgres looks for its share folder beside itself.
            places.push(("PATH", dir.to_owned()));
        }
    }
    for (parent, prefix, rest) in VERSIONED {
        let mut found: Vec<PathBuf> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| starts_with(&entry.file_name(), prefix))
            .map(|entry| entry.path().join(rest))
            .filter(|dir| dir.is_dir())
            .collect();
        found.sort();
        places.extend(found.into_iter().map(|dir| ("installed packages", dir)));
    }
    places
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

/// Standard output of a short informational call; `None` when the program is missing or fails.
fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .filter(|text| !text.is_empty())
}
