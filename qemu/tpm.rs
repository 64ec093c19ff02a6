//! A TPM in software.

use crate::toolbox::{Tree, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a new one whose state is in `state`. It has one bank of PCRs: each costs time in each boot.
///
/// # Errors
/// What the tool said.
pub fn make(state: &Path) -> Result<(), String> {
    fs::create_dir_all(state).map_err(|error| format!("making {}: {error}", state.display()))?;
    let mut setup = Tree::Trixie.command("swtpm_setup");
    setup.args(["--tpm2", "--pcr-banks", "sha256", "--overwrite", "--tpm-state"]).arg(state);
    succeed(&mut setup).map(drop)
}

/// One that runs. It is stopped when this goes away.
pub struct Tpm {
    child: Child,
    /// The length of a socket's path is bounded, so that it isn't beside the state.
    directory: TempDir,
}

impl Tpm {
    /// Switches it on.
    pub fn start(state: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("sextant-tpm.").tempdir_in("/tmp").unwrap();
        let mut command = Tree::Trixie.command("swtpm");
        command.args(["socket", "--tpm2", "--tpmstate"]).arg(format!("dir={}", state.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", socket_in(directory.path()).display()));
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let tpm = Self { child, directory };
        let deadline = Instant::now() + PATIENCE;
        while !tpm.socket().exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        tpm
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("socket")
}
