//! A machine to run the agent on: a directory laid out like the root of an initrd.

use super::efi::{Firmware, certificates};
use super::keys::Authority;
use serde_json::Value;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The agent as it is tested. Cargo builds it for each test of the package that this program is a test of.
fn agent() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("agent-under-test")
}

/// A `systemctl` for `sextant refresh` on a tree, which is in `$TREE`: the agent adopts, and what is staged is merged. It fails if
/// there is a file `refuse`, as systemd does for one image that it can't read.
pub const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>"$TREE/calls"
case $* in
"reload-or-restart systemd-sysext.service")
  "$TREE/run/sextant/sextant-agent" adopt --root "$TREE" 2>/dev/null || exit 1
  if [ -e "$TREE/refuse" ]; then
    echo "Job for systemd-sysext.service failed." >&2
    exit 1
  fi
  mkdir -p "$TREE/usr/.systemd-sysext"
  rm -rf "$TREE"/sys/block/dm-*
  ls "$TREE/run/extensions" | sed 's/\.raw$//' >"$TREE/usr/.systemd-sysext/extensions"
  for hash in $(grep -o '"root_hash":"[0-9a-f]*"' "$TREE/run/sextant/state.json" | cut -d '"' -f 4); do
    mkdir -p "$TREE/sys/block/dm-$hash/dm"
    echo "$hash-verity" >"$TREE/sys/block/dm-$hash/dm/name"
  done
  ;;
esac
"#;

/// The tree of a machine. It is deleted with it.
pub struct Machine {
    directory: TempDir,
}

impl Machine {
    /// Secure Boot enforced, no keys, no images.
    pub fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        for directory in [".extra/sysext", ".extra/confext", "run", "etc", "usr/lib", "sys/firmware/efi/efivars"] {
            fs::create_dir_all(machine.path(directory)).unwrap();
        }
        machine.firmware(&Firmware::enforcing())
    }

    /// Secure Boot enforced with `authorities` in db.
    pub fn trusting(authorities: &[&Authority]) -> Self {
        Self::new().firmware(&Firmware::enforcing().db(&certificates(authorities)))
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path below the root.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Replaces all firmware variables.
    pub fn firmware(self, firmware: &Firmware) -> Self {
        firmware.write_to(&self.path("sys/firmware/efi/efivars"));
        self
    }

    /// Writes the sealed configuration.
    pub fn config(self, text: &str) -> Self {
        self.file("etc/sextant.yaml", text.as_bytes())
    }

    /// Writes a sealed certificate, as PEM, to `/etc/verity.d/NAME.crt`.
    pub fn sealed(self, name: &str, authority: &Authority) -> Self {
        self.file(format!("etc/verity.d/{name}.crt"), &authority.pem())
    }

    /// Writes a file.
    pub fn file(self, path: impl AsRef<Path>, content: &[u8]) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Adds an image to `/.extra/sysext` under this file name, such as `good.sysext.raw`.
    pub fn sysext(self, file: &str, image: &[u8]) -> Self {
        self.file(Path::new(".extra/sysext").join(file), image)
    }

    /// Adds an image to `/.extra/confext` under this file name, such as `good.confext.raw`.
    pub fn confext(self, file: &str, image: &[u8]) -> Self {
        self.file(Path::new(".extra/confext").join(file), image)
    }

    /// Does something to the tree that has no method.
    pub fn with(self, change: impl FnOnce(&Path)) -> Self {
        change(self.root());
        self
    }

    /// Runs `sextant-agent stage` on it.
    pub fn stage(&self) -> Outcome {
        self.stage_with(&[])
    }

    /// Runs `sextant-agent stage` on it with more arguments.
    pub fn stage_with(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.agent("stage");
        command.args(arguments);
        self.outcome(command)
    }

    /// `sextant-agent VERB --root DIR`, to be run by the caller.
    pub fn agent(&self, verb: &str) -> Command {
        let mut command = Command::new(agent());
        command.arg(verb).arg("--root").arg(self.root()).stdin(Stdio::null());
        command
    }

    /// Runs a command and collects what came of it. A report of an earlier run is removed before.
    pub fn outcome(&self, mut command: Command) -> Outcome {
        let report = self.path("run/sextant/report.json");
        let _ = fs::remove_file(&report);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = fs::read(report).map_or(Value::Null, |text| {
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("report is not JSON: {error}\n{stderr}"))
        });
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Outcome { status: output.status.code(), stdout, stderr, report }
    }

    /// Names of the extensions in `/run/extensions`, sorted; hidden and unfinished files would show up too.
    pub fn staged_names(&self) -> Vec<String> {
        names(&self.path("run/extensions"), ".raw")
    }

    /// Names of the extensions in `/run/confexts`, sorted.
    pub fn staged_confexts(&self) -> Vec<String> {
        names(&self.path("run/confexts"), ".raw")
    }

    /// Files in `/.extra/sysext`, sorted.
    pub fn left_in_extra(&self) -> Vec<String> {
        names(&self.path(".extra/sysext"), "")
    }

    /// Files in `/run/verity.d`, sorted.
    pub fn exported_certificates(&self) -> Vec<String> {
        names(&self.path("run/verity.d"), "")
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

fn names(directory: &Path, suffix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .map(|entry| String::from_utf8_lossy(entry.unwrap().file_name().as_bytes()).into_owned())
        .map(|name| name.strip_suffix(suffix).map_or_else(|| name.clone(), str::to_owned))
        .collect();
    names.sort();
    names
}

/// What came of running the agent.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// `/run/sextant/report.json`, null if there is none.
    pub report: Value,
}

impl Outcome {
    /// The report's row for a file, given with or without its directory.
    pub fn row(&self, file: &str) -> &Value {
        let is_it = |row: &&Value| {
            let found = row["file"].as_str().unwrap_or_default();
            found == file || Path::new(found).file_name().is_some_and(|name| name == file)
        };
        let rows = self.rows();
        rows.iter().find(is_it).unwrap_or_else(|| panic!("no row for {file} in {:#}\n{}", self.report, self.stderr))
    }

    /// All rows of images.
    pub fn rows(&self) -> &[Value] {
        self.report["images"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Verdict and reason for a file: `("rejected", "bad-gpt")`, `("staged", "")`.
    pub fn verdict(&self, file: &str) -> (&str, &str) {
        let row = self.row(file);
        (row["verdict"].as_str().unwrap_or_default(), row["reason"].as_str().unwrap_or_default())
    }
}
