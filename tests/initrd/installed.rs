//! What `make install` lays out.

use crate::pages;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Top of the repository.
pub(crate) fn repository() -> &'static Path {
    support::repository()
}

/// The static agent, if `make agent` was run.
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
        Self::with(&[])
    }

    /// The same with variables of make.
    pub(crate) fn with(variables: &[&str]) -> Self {
        let directory = support::toolbox::directory();
        let installed = Self { directory };
        let agent = built_agent().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_agent-under-test")));
        let tool = Path::new(env!("CARGO_BIN_EXE_tool-under-test"));
        let (dist, destdir) = (installed.dist(), installed.path());
        support::package::install_with((&agent, tool), pages::write_all, &dist, &destdir, variables);
        installed
    }

    /// The DESTDIR.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// What it was laid out from: the result of `make build`.
    pub(crate) fn dist(&self) -> PathBuf {
        self.directory.path().join("dist")
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
