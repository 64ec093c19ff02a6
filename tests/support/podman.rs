//! podman, where it is installed, with a storage of its own.

use super::harness::{left_out, left_out_everywhere};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether podman is installed; the test is ignored where it isn't, for it is required nowhere (docs/testing.md).
pub fn is_installed() -> bool {
    let found = Command::new("podman").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        left_out_everywhere("podman is not installed");
    }
    found
}

/// podman with a storage below a directory.
pub struct Podman(PathBuf);

impl Podman {
    /// podman; `None`, and the test is ignored, where it isn't installed or can't build from nothing.
    pub fn find(storage: &Path) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let podman = Self(storage.to_owned());
        let context = storage.join("probe");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Containerfile"), "FROM scratch\nCOPY Containerfile /\n").unwrap();
        match podman.command(&["build", "--quiet", "--tag", "localhost/probe"], &context).arg(".").output() {
            Ok(output) if output.status.success() => Some(podman),
            Ok(output) => {
                left_out(&format!("podman can't build: {}", String::from_utf8_lossy(&output.stderr).trim()));
                None
            }
            Err(error) => {
                left_out(&format!("podman can't be run: {error}"));
                None
            }
        }
    }

    fn command(&self, arguments: &[&str], directory: &Path) -> Command {
        let mut command = Command::new("podman");
        command.current_dir(directory).env("BUILDAH_ISOLATION", "chroot").stdin(Stdio::null());
        for (option, name) in [("--root", "storage"), ("--runroot", "run")] {
            command.arg(option).arg(self.0.join(name));
        }
        command.args(["--storage-driver", "vfs"]).args(arguments);
        command
    }

    /// Runs `podman` with arguments in a directory; it must succeed. Returns what it printed.
    pub fn run(&self, arguments: &[&str], directory: &Path) -> String {
        let output = self.command(arguments, directory).output().unwrap();
        assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
