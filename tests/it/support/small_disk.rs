//! A small disk in memory for the data folder of one server, in a mount table that nobody else sees.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Room for the journal and its log, and little more.
const DISK_MIB: u32 = 16;

/// Less than a page never fits into a full disk.
const CHUNK_BYTES: usize = 4096;

pub struct SmallDisk {
    /// Keeps the mount table while no server runs; ends when its input does.
    keeper: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None`, with a line that says so, where only root may mount.
    pub fn mount(folder: &Path) -> Option<Self> {
        let script = format!(r#"mount -t tmpfs -o size={DISK_MIB}m,mode=0700 tmpfs "$0" && echo mounted && exec cat"#);
        let mut keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("read");
        if line.trim() == "mounted" {
            return Some(Self { keeper, folder: folder.to_owned() });
        }
        keeper.wait().expect("ended");
        let must = nix::unistd::geteuid().is_root() && std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!must, "root cannot mount a disk of its own");
        eprintln!("SKIPPED: only root may mount a disk of its own");
        None
    }

    /// The words before a program for which the disk is there.
    pub(super) fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.keeper.id()), "--".to_owned()]
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).expect("ballast");
        let error = loop {
            if let Err(error) = ballast.write_all(&[0; CHUNK_BYTES]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }

    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("freed");
    }

    /// The disk is in the keeper's mount table only, and this is the way into that.
    fn ballast(&self) -> PathBuf {
        let folder = self.folder.strip_prefix("/").expect("absolute");
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(folder).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}
