//! With which settings the server runs, and who may connect.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::cluster::Layout;
use super::error::Error;
use super::files;
use super::identity::Identity;
use super::postmaster::{LIFETIME_DETACHED, LIFETIME_PROCESS, LIFETIME_SETTING};
use super::{Lifetime, Options, SUPERUSER};

/// Below this `/dev/shm` (64 MB in a container by default) cannot carry parallel queries.
#[cfg(target_os = "linux")]
const DEV_SHM_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Written once, at the end of `postgresql.conf`, so that an operator may tune them there.
const TUNABLE: &str = "
# Rollcall's defaults, written when the cluster was made. Yours to change; a restart of rollcall applies them.
# Sockets, durability and authentication are not here: rollcall gives them on the command line.
max_connections = 100
shared_buffers = 128MB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
";

/// Writes `pg_hba.conf` and `pg_ident.conf`, at every start, since the identity may have changed.
///
/// Peer authentication: the kernel tells the server which system user is at the other end, and the
/// map lets only the server's own user, ourselves and root in. There is no password to leak. The
/// 0700 folder and the 0700 socket alone would do; the map is for the day somebody opens them.
pub(super) fn write_access_files(cluster: &Path, identity: &Identity) -> Result<(), Error> {
    const HEAD: &str = "# Written by rollcall at every start; changes are lost. See its module embedded_pg.\n";
    // The superuser, and the roles that Rollcall's migrations make, so that `psql -U` tries them out.
    const ROLES: &[&str] = &[SUPERUSER, "rollcall_server", "rollcall_billing", "rollcall_auditor"];
    let hba = format!("{HEAD}local all all peer map=rollcall\n");
    let mut ident = HEAD.to_owned();
    for account in identity.trusted_accounts() {
        for role in ROLES {
            ident.push_str(&format!("rollcall \"{account}\" {role}\n"));
        }
    }
    for (name, content) in [("pg_hba.conf", hba), ("pg_ident.conf", ident)] {
        let path = cluster.join(name);
        files::replace(&path, identity, &content).map_err(Error::io("write", &path))?;
    }
    Ok(())
}

/// The command line of the server. What privacy and durability rest on is here rather than in
/// `postgresql.conf`, so that neither a stray edit nor `ALTER SYSTEM` changes it.
pub(super) fn server_args(layout: &Layout, socket_dir: &Path, options: &Options) -> Vec<OsString> {
    let on = if options.throw_away { "off" } else { "on" };
    let lifetime = match options.lifetime {
        Lifetime::Process => LIFETIME_PROCESS,
        Lifetime::Detached => LIFETIME_DETACHED,
    };
    let settings = [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("fsync", on),
        ("full_page_writes", on),
        ("dynamic_shared_memory_type", shared_memory_type()),
        // Both would replace the log that our errors point to.
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        (LIFETIME_SETTING, lifetime),
    ];
    let mut args: Vec<OsString> = vec!["-D".into(), layout.cluster.clone().into_os_string()];
    for (name, value) in settings {
        args.extend(["-c".into(), format!("{name}={value}").into()]);
    }
    args.extend(["-c".into(), format!("port={}", super::socket::PORT).into()]);
    let mut sockets = OsString::from("unix_socket_directories=");
    sockets.push(socket_dir);
    args.extend(["-c".into(), sockets]);
    args
}

/// Adds [`TUNABLE`] to the `postgresql.conf` of a new cluster.
pub(super) fn append_tunable(staging: &Path) -> io::Result<()> {
    let mut file =
        OpenOptions::new().append(true).custom_flags(nix::libc::O_NOFOLLOW).open(staging.join("postgresql.conf"))?;
    file.write_all(TUNABLE.as_bytes())?;
    file.sync_all()
}

/// `posix` (`/dev/shm`) where there is room, else files in the cluster.
#[cfg(target_os = "linux")]
fn shared_memory_type() -> &'static str {
    match nix::sys::statvfs::statvfs("/dev/shm") {
        Ok(shm) if shm.blocks_available() * shm.fragment_size() >= DEV_SHM_BYTES_MIN => "posix",
        _ => "mmap",
    }
}

#[cfg(not(target_os = "linux"))]
fn shared_memory_type() -> &'static str {
    "posix"
}
