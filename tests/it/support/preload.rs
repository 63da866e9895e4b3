//! A few lines of C that stand before the C library of one server.

use std::path::Path;
use std::process::Command;

pub struct Preload {
    pub folder: tempfile::TempDir,
}

impl Preload {
    /// Builds a file of this repository; `None`, with a line that says so, where there is no C compiler.
    pub fn build(source: &str) -> Option<Self> {
        let this = Self { folder: tempfile::tempdir().expect("temporary folder") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o", &this.library()]).arg(source).arg("-ldl").status();
        if built.is_ok_and(|status| status.success()) {
            return Some(this);
        }
        let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!must, "no C compiler (cc)");
        eprintln!("SKIPPED: no C compiler (cc)");
        None
    }

    /// What `LD_PRELOAD` is to name.
    pub fn library(&self) -> String {
        self.folder.path().join("preload.so").to_string_lossy().into_owned()
    }
}
