//! Files that we write where a less trusted user may write too.
//!
//! As root we run the clusters of others, and a link in their folder must not lead us elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::libc::{O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::geteuid;

use super::identity::Identity;

/// Opens or makes a file of ours beside the cluster (lock, log). Nobody else may read it: the log quotes SQL.
///
/// Root gives a file to the owner of its folder, so that a single `sudo rollcall` does not lock the user out.
pub(super) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW).open(path)?;
    let metadata = file.metadata()?;
    // A second name would be the work of somebody who wants another file of root's.
    if geteuid().is_root() && metadata.is_file() && metadata.nlink() == 1 {
        let folder = fs::symlink_metadata(path.parent().unwrap_or(path))?;
        if metadata.uid() != folder.uid() {
            fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
        }
    }
    Ok(file)
}

/// Opens a folder itself, never what a link points to.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_DIRECTORY | O_NOFOLLOW).open(path)
}

/// Replaces a file of the cluster. The folder may belong to a less trusted user than us, so nothing
/// that is there already is opened: a new file is made and renamed over it.
pub(super) fn replace(path: &Path, identity: &Identity, content: &str) -> io::Result<()> {
    let fresh = path.with_extension("conf.rollcall");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content.as_bytes())?;
    let (uid, gid) = identity.owner();
    if file.metadata()?.uid() != uid.as_raw() {
        fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)
}
