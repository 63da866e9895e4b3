//! `rollcall db doctor`: what a start would find, with a cure for each fault. Changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::binaries::{self, Binaries};
use super::cluster::{Content, Layout};
use super::{Error, MAJOR_MIN, Options, identity, lock, postmaster, socket};

/// One checked thing.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// A stable name: `binaries`, `data_dir`, `cluster`, `identity`, `socket`, `lock`, `server`, `durability`.
    pub check: &'static str,
    pub level: Level,
    pub detail: String,
    /// What to do; `None` when nothing is wrong.
    pub cure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// A start works, with a drawback.
    Warning,
    /// A start does not work.
    Failed,
}

/// Checks everything that [`super::start`] needs. Blocks for about a tenth of a second.
pub fn doctor(options: &Options) -> Vec<Finding> {
    let mut findings = Vec::new();
    let layout = check_data_dir(options, &mut findings);
    let content = layout.as_ref().map_or(Ok(Content::Nothing), Layout::content);
    let binaries = check_binaries(options, layout.as_ref(), content.as_ref().ok(), &mut findings);
    check_cluster(layout.as_ref(), &content, &mut findings);
    let server = check_server(layout.as_ref(), &mut findings);
    if let Some(binaries) = binaries {
        check_identity(options, layout.as_ref(), &content, &binaries, server, &mut findings);
    }
    if options.throw_away {
        findings.push(warning(
            "durability",
            "fsync is off: a power cut may destroy the database".to_owned(),
            "use it for tests only",
        ));
    }
    findings
}

fn check_data_dir(options: &Options, findings: &mut Vec<Finding>) -> Option<Layout> {
    if !options.data_dir.exists() {
        let detail = format!("{} will be made", options.data_dir.display());
        findings.push(ok("data_dir", detail));
        return None;
    }
    match Layout::open(&options.data_dir) {
        Ok(layout) => {
            findings.push(ok("data_dir", layout.data_dir.display().to_string()));
            Some(layout)
        }
        Err(error) => {
            findings.push(failed("data_dir", &error, "choose another --data-dir"));
            None
        }
    }
}

fn check_binaries(
    options: &Options,
    layout: Option<&Layout>,
    content: Option<&Content>,
    findings: &mut Vec<Finding>,
) -> Option<Binaries> {
    let cluster = match (layout, content) {
        (Some(layout), Some(Content::Cluster { major })) => Some((layout.cluster.as_path(), *major)),
        _ => None,
    };
    let picked = binaries::survey(options.bin_dir.as_deref()).and_then(|survey| binaries::pick(survey, cluster));
    match picked {
        Ok(binaries) => {
            let detail =
                format!("PostgreSQL {} in {} (from {})", binaries.version, binaries.dir.display(), binaries.source);
            findings.push(ok("binaries", detail));
            Some(binaries)
        }
        Err(error) => {
            let cure = format!("install PostgreSQL {MAJOR_MIN} or newer, or set DATABASE_URL");
            findings.push(failed("binaries", &error, &cure));
            None
        }
    }
}

fn check_cluster(layout: Option<&Layout>, content: &Result<Content, Error>, findings: &mut Vec<Finding>) {
    let Some(layout) = layout else { return };
    let path = layout.cluster.display();
    findings.push(match content {
        Ok(Content::Nothing) => ok("cluster", format!("{path} will be made")),
        Ok(Content::Cluster { major }) if *major < MAJOR_MIN => Finding {
            check: "cluster",
            level: Level::Failed,
            detail: format!("{path} was made by PostgreSQL {major}"),
            cure: Some("dump it with pg_dumpall, restore it into a new --data-dir".to_owned()),
        },
        Ok(Content::Cluster { major }) => ok("cluster", format!("{path}, PostgreSQL {major}")),
        Err(error) => failed("cluster", error, "move the folder away, or restore it"),
    });
}

/// Lock and server; tells whether the folder is busy.
fn check_server(layout: Option<&Layout>, findings: &mut Vec<Finding>) -> bool {
    let Some(layout) = layout else { return false };
    let holder = lock::holder(&layout.lock);
    findings.push(match holder {
        None => ok("lock", "free".to_owned()),
        Some(pid) => warning(
            "lock",
            match pid {
                Some(pid) => format!("held by the rollcall process {pid}"),
                None => "held by a rollcall process".to_owned(),
            },
            "stop that process before you start another one on this data folder",
        ),
    });
    let server = match postmaster::find(&layout.cluster) {
        Ok(server) => server,
        Err(error) => {
            let cure = "run this as the user of rollcall serve";
            findings.push(failed("server", &error, cure));
            return true;
        }
    };
    match &server {
        Some(server) => {
            let detail = format!("running, pid {}", server.pid);
            findings.push(ok("server", detail));
            findings.push(ok("socket", server.socket_dir.display().to_string()));
        }
        None => findings.push(ok("server", "not running".to_owned())),
    }
    holder.is_some() || server.is_some()
}

/// Identity and socket folder, tried out for real unless the folder is in use.
fn check_identity(
    options: &Options,
    layout: Option<&Layout>,
    content: &Result<Content, Error>,
    binaries: &Binaries,
    busy: bool,
    findings: &mut Vec<Finding>,
) {
    let existing = match (layout, content) {
        (Some(layout), Ok(Content::Cluster { .. })) => Some(layout.cluster.as_path()),
        _ => None,
    };
    // Without a cluster: the nearest folder that exists stands for the one that will be made.
    let data_dir = layout.map_or(options.data_dir.as_path(), |layout| &layout.data_dir);
    let place = existing.map(Path::to_owned).or_else(|| nearest_existing(data_dir));
    let chosen = identity::candidates(existing).and_then(|candidates| {
        let place = place.unwrap_or_else(|| PathBuf::from("/"));
        identity::choose(candidates, binaries, &place, false)
    });
    let identity = match chosen {
        Ok(identity) => identity,
        Err(error) => {
            let cure = "run rollcall as an ordinary user, or set DATABASE_URL";
            findings.push(failed("identity", &error, cure));
            return;
        }
    };
    findings.push(ok("identity", format!("PostgreSQL runs as {identity}")));
    if busy {
        return;
    }
    match socket::prepare(&data_dir.join("postgres"), &identity, binaries) {
        Ok(dir) => {
            socket::remove(&dir);
            findings.push(ok("socket", dir.display().to_string()));
        }
        Err(error) => findings.push(failed("socket", &error, "set TMPDIR to a short, writable folder")),
    }
}

fn nearest_existing(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok())
}

fn ok(check: &'static str, detail: String) -> Finding {
    Finding { check, level: Level::Ok, detail, cure: None }
}

fn warning(check: &'static str, detail: String, cure: &str) -> Finding {
    Finding { check, level: Level::Warning, detail, cure: Some(cure.to_owned()) }
}

fn failed(check: &'static str, error: &Error, cure: &str) -> Finding {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        detail.push_str(": ");
        detail.push_str(&error.to_string());
        source = error.source();
    }
    Finding { check, level: Level::Failed, detail, cure: Some(cure.to_owned()) }
}
