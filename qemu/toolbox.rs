//! The tools: the Debian trees that `tests/toolbox/make-toolbox` makes, and running commands in them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::toolbox::{immucore_path, yip_path};

/// The repository, which the trees see under the same path.
pub fn repository() -> &'static Path {
    support::repository()
}

/// Where everything lies that is made here.
pub fn work() -> PathBuf {
    let work = repository().join("target/qemu");
    fs::create_dir_all(&work).unwrap();
    work
}

/// Makes an empty directory, in place of what an earlier run left there.
///
/// # Errors
/// If it can't be made.
pub fn fresh(directory: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).map_err(|error| format!("making {}: {error}", directory.display()))
}

/// A tree: the toolbox itself, or that of another guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    Trixie,
    Forky,
    /// Without a kernel.
    Bookworm,
    /// bookworm with systemd from its backports.
    Backports,
    /// trixie for 64-bit ARM
    Arm64,
}

impl Tree {
    /// Where it is.
    pub fn path(self) -> PathBuf {
        let default = || repository().join("target/toolbox");
        let mut path = std::env::var_os("SEXTANT_TOOLBOX").map_or_else(default, PathBuf::from).into_os_string();
        path.push(match self {
            Self::Trixie => "",
            Self::Forky => "-forky",
            Self::Bookworm => "-bookworm",
            Self::Backports => "-bookworm-backports",
            Self::Arm64 => "-arm64",
        });
        path.into()
    }

    /// Why it can't be used here: it isn't there.
    pub fn obstacle(self) -> Option<String> {
        let path = self.path();
        let asked = if matches!(self, Self::Bookworm | Self::Arm64) { " machines" } else { "" };
        let missing = || format!("no tree {}: run tests/toolbox/prepare{asked}", path.display());
        (!path.join(".stamp").is_file()).then(missing)
    }

    /// Why its programs can't be run here, though it is there.
    pub fn inability(self) -> Option<String> {
        let output = self.command("true").output().unwrap();
        (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Says what it was made of.
    pub fn stamp(self) -> Vec<u8> {
        fs::read(self.path().join(".stamp")).unwrap()
    }

    /// A command in it.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(repository().join("tests/toolbox/run"));
        command.arg(program).env("SEXTANT_TOOLBOX", self.path()).stdin(Stdio::null());
        command
    }

    /// The file of this directory of the tree whose name begins so; there is one.
    pub fn find(self, directory: &str, prefix: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(self.path().join(directory)).ok()?;
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        let name = names.find(|name| name.to_string_lossy().starts_with(prefix))?;
        Some(self.path().join(directory).join(name))
    }
}

/// Why machines can't be made here.
pub fn obstacle() -> Option<String> {
    if std::env::var_os("SEXTANT_QEMU").is_some_and(|value| value == "skip") {
        return Some("SEXTANT_QEMU=skip".to_owned());
    }
    [Tree::Trixie, Tree::Forky].into_iter().find_map(|tree| tree.obstacle().or_else(|| tree.inability()))
}

/// Whether this run is to have all machines, and not only those that each run of the tests has.
pub fn whole_matrix() -> bool {
    std::env::var_os("SEXTANT_KAIROS").is_some_and(|value| value == "matrix")
}

/// Why yip can't be run here.
pub fn no_yip() -> Option<String> {
    let yip = yip_path();
    (!yip.is_file()).then(|| format!("no yip in {}: run tests/toolbox/make-yip", yip.display()))
}

/// Why Kairos machines can't be made here.
pub fn no_kairos() -> Option<String> {
    let immucore = immucore_path();
    if !immucore.is_file() {
        return Some(format!("no immucore in {}: run tests/toolbox/make-immucore", immucore.display()));
    }
    let is_there = Tree::Trixie.path().join("usr/bin/swtpm").is_file();
    (!is_there).then(|| "the toolbox has no swtpm: run tests/toolbox/prepare".to_owned())
}

/// Runs a command that has to succeed.
///
/// # Errors
/// What it printed.
pub fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("starting {command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{command:?} failed, {}:\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr)))
}

/// Makes `output` by `make`, unless it is there and was made of the same `inputs`.
///
/// # Errors
/// Of `make`.
pub fn cached(output: &Path, inputs: &[Vec<u8>], make: impl FnOnce() -> Result<(), String>) -> Result<PathBuf, String> {
    let mut hasher = openssl::sha::Sha256::new();
    for input in inputs {
        hasher.update(&input.len().to_le_bytes());
        hasher.update(input);
    }
    let stamp = hasher.finish();
    let stamp_file = output.with_extension("stamp");
    // Two runs at the same time must not make it over each other.
    let lock = fs::File::create(output.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if output.exists() && fs::read(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(output.to_owned());
    }
    let _ = fs::remove_file(&stamp_file);
    make()?;
    fs::write(&stamp_file, stamp).map_err(|error| format!("writing {}: {error}", stamp_file.display()))?;
    Ok(output.to_owned())
}

/// Names and contents of all files below a directory, for [`cached`].
pub fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        found.push(path.as_os_str().as_encoded_bytes().to_vec());
        if path.is_symlink() {
            found.push(fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push(fs::read(&path).unwrap());
        }
    }
    found
}
