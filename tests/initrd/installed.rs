//! What `make install` lays out.

use crate::{pages, support};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Top of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The static agent, if `make build` was run.
pub(crate) fn built_agent() -> Option<PathBuf> {
    let path = repository().join("target/dist/sextant-agent");
    path.is_file().then_some(path)
}

/// A DESTDIR, which the trees see under the same path.
pub(crate) struct Installed {
    directory: TempDir,
}

impl Installed {
    /// Runs `make install` on the programs at hand: it doesn't matter here how they were built.
    pub(crate) fn new() -> Self {
        let directory = support::toolbox::directory();
        let dist = directory.path().join("dist");
        fs::create_dir(&dist).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sextant"), dist.join("sextant")).unwrap();
        let agent = built_agent().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sextant-agent")));
        fs::copy(agent, dist.join("sextant-agent")).unwrap();
        pages::write_all(&dist).unwrap();
        let installed = Self { directory };
        let mut make = Command::new("make");
        make.args(["--silent", "--no-print-directory", "install"]).current_dir(repository()).stdin(Stdio::null());
        for (name, path) in [("DIST", &dist), ("DESTDIR", &installed.path())] {
            let mut argument = OsString::from(format!("{name}="));
            argument.push(path);
            make.arg(argument);
        }
        // What the outer make says about itself means nothing to this one.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        let output = make.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        installed
    }

    /// The DESTDIR.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A directory of the test's own, beside it.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Adds a file, as if the machine that builds the image had it.
    pub(crate) fn add(&self, path: &str, content: &str) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.path().join(path)).unwrap();
        self
    }
}
