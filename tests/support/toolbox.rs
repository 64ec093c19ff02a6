//! The toolbox (a Debian tree with the tools that make variables and images in real life) and the fixtures
//! that were made with it. Both are optional for a developer and required in CI.

use super::harness::left_out;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Exit status of `tests/toolbox/run` where the toolbox can't be entered.
const UNAVAILABLE: i32 = 77;

/// A temporary directory that the toolbox sees under the same path.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("sextant-real.").tempdir_in("/tmp").unwrap()
}

/// What `tests/toolbox/make-fixtures` made.
pub struct Fixtures {
    directory: PathBuf,
}

impl Fixtures {
    /// The fixtures; `None`, and the test is ignored, where there are none.
    pub fn find() -> Option<Self> {
        let default = || crate::repository().join("target/fixtures");
        let directory = std::env::var_os("SEXTANT_FIXTURES").map_or_else(default, PathBuf::from);
        if directory.join("images.json").is_file() {
            return Some(Self { directory });
        }
        left_out(&format!("no fixtures in {}: run tests/toolbox/prepare", directory.display()));
        None
    }

    /// A file or directory of the fixtures.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Vec<u8> {
        let path = self.path(path);
        fs::read(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
    }

    /// A file's content as JSON.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.read(path)).unwrap()
    }

    /// Makes a set of variables those of the machine below `root`.
    pub fn install_variables(&self, set: &str, root: &Path) {
        let target = root.join("sys/firmware/efi/efivars");
        let _ = fs::remove_dir_all(&target);
        fs::create_dir_all(&target).unwrap();
        for entry in fs::read_dir(self.path(set)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
        }
    }

    /// The rows of `images.json`.
    pub fn images(&self) -> Vec<FixtureImage> {
        let rows = self.json("images.json");
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let row = |row: &Value| FixtureImage {
            file: text(row, "file"),
            class: text(row, "class"),
            signer: text(row, "signer"),
            filesystem: text(row, "filesystem"),
            reason: row["reason"].as_str().unwrap_or_default().to_owned(),
        };
        rows.as_array().unwrap().iter().map(row).collect()
    }

    /// The bytes of an image.
    pub fn image(&self, file: &str) -> Vec<u8> {
        self.read(&format!("images/{file}"))
    }
}

/// A row of `images.json`.
#[derive(Debug, Clone)]
pub struct FixtureImage {
    pub file: String,
    /// `sysext` or `confext`
    pub class: String,
    /// Name of the key.
    pub signer: String,
    pub filesystem: String,
    /// The token with which it has to be refused on the machine of `efivars`; empty where it is good.
    pub reason: String,
}

impl FixtureImage {
    /// Name of the extension.
    pub fn name(&self) -> String {
        self.file.strip_suffix(&format!(".{}.raw", self.class)).unwrap().to_owned()
    }
}

/// The real yip, static, as `tests/toolbox/make-yip` built it; `None`, and the test is ignored, where it isn't there.
pub fn yip() -> Option<PathBuf> {
    let path = yip_path();
    if path.is_file() {
        return Some(path);
    }
    left_out(&format!("no yip in {}: run tests/toolbox/make-yip", path.display()));
    None
}

/// Where it is, if it is.
pub fn yip_path() -> PathBuf {
    beside_toolbox("-yip/yip")
}

/// Where the real immucore is, if it is: static, as `tests/toolbox/make-immucore` built it.
pub fn immucore_path() -> PathBuf {
    beside_toolbox("-immucore/immucore")
}

/// What is made beside the toolbox.
fn beside_toolbox(end: &str) -> PathBuf {
    let default = || crate::repository().join("target/toolbox").into_os_string();
    let mut path = std::env::var_os("SEXTANT_TOOLBOX").unwrap_or_else(default);
    path.push(end);
    path.into()
}

/// The toolbox, which can be entered.
pub struct Toolbox {
    /// The script that enters it.
    run: PathBuf,
    tree: PathBuf,
}

impl Toolbox {
    /// The toolbox; `None`, and the test is ignored, where it can't be entered.
    pub fn find() -> Option<Self> {
        Self::of(beside_toolbox(""))
    }

    /// The tree with a newer systemd, where few other tools are; `None`, and the test is ignored, where it can't be entered.
    pub fn newer() -> Option<Self> {
        Self::of(beside_toolbox("-forky"))
    }

    /// The tree of an older distribution, where few tools are; `None`, and a word about it, where it can't be entered.
    pub fn older() -> Option<Self> {
        Self::of(beside_toolbox("-bookworm-backports"))
    }

    fn of(tree: PathBuf) -> Option<Self> {
        let toolbox = Self { run: crate::repository().join("tests/toolbox/run"), tree };
        let output = toolbox.command("true").output().unwrap();
        match output.status.code() {
            Some(0) => Some(toolbox),
            Some(UNAVAILABLE) => {
                left_out(String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            _ => panic!("entering the toolbox: {output:?}"),
        }
    }

    /// A command of the tree, for those who want more than what it printed.
    pub fn run(&self, program: &str) -> Command {
        self.command(program)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.run);
        command.env("SEXTANT_TOOLBOX", &self.tree).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a bash script with arguments inside and returns what it printed, whatever its status.
    pub fn script(&self, script: &str, arguments: &[&OsStr]) -> Output {
        self.command("bash").args(["-c", script, "script"]).args(arguments).output().unwrap()
    }

    /// Runs a bash script that must succeed.
    pub fn succeed(&self, script: &str, arguments: &[&OsStr]) -> String {
        let output = self.script(&format!("set -euo pipefail\n{script}"), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether images can be attached to loop devices; the test is ignored where they can't.
    pub fn has_loop_devices(&self) -> bool {
        let probe = r#"
            file=$(mktemp)
            trap 'rm -f "$file"' EXIT
            truncate --size=1M "$file"
            losetup --detach "$(losetup --find --show "$file")"
        "#;
        let output = self.script(&format!("set -e\n{probe}"), &[]);
        if !output.status.success() {
            left_out(&format!("no loop devices: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        output.status.success()
    }
}
