//! A place to build at, with keys, and images to look into.

use ddi::gpt::Table;
use ddi::{PartitionKind, classify};
use sextant_cli::build::tree::{Content, FileTree, Kind};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::harness::left_out;
use support::keys::Authority;
use support::toolbox::Toolbox;
use tempfile::TempDir;

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// Fails unless the run succeeded.
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    /// Fails unless it ended with status 1 and all of `words`, and made nothing of use.
    pub(crate) fn refuses(&self, words: &[&str]) {
        assert_eq!((self.status, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        assert!(words.iter().all(|word| self.stderr.contains(word)), "{words:?}: {self:?}");
    }
}

/// A directory to work in. It lies where the toolbox sees it.
pub(crate) struct Desk(TempDir);

impl Desk {
    /// With the key and certificate of `authority` in `key.pem` and `crt.pem`.
    pub(crate) fn of(authority: &Authority) -> Self {
        let desk = Self(tempfile::Builder::new().prefix("sextant-build.").tempdir_in("/tmp").unwrap());
        let key = desk.file("key.pem", &authority.key.private_key_to_pem_pkcs8().unwrap());
        fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
        desk.file("crt.pem", &authority.pem());
        desk
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `sextant` with these arguments, here.
    pub(crate) fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command.env_remove("SOURCE_DATE_EPOCH").env_remove("SEXTANT_PASSPHRASE").env("DOCKER_HOST", "unix:///nowhere");
        command
    }

    pub(crate) fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Said {
        Said::from(self.command(arguments).output().unwrap())
    }

    /// `sextant build NAME SOURCE` with the key that is here.
    pub(crate) fn build(&self, name: &str, source: &str, more: &[&str]) -> Said {
        let fixed = ["build", name, source, "--private-key", "key.pem", "--certificate", "crt.pem"];
        self.run(&[&fixed, more].concat())
    }

    /// What a boot on a machine that trusts the certificate says: the reason token, empty for a good image.
    pub(crate) fn verdict(&self, image: &str) -> String {
        let said = self.run(&["verify", "--json", "--certificate", "crt.pem", image]);
        let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        report["images"][0]["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// What lies in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A directory for `PATH` with a `mkfs.erofs` that is the toolbox's. `None`, and the test is ignored, without a toolbox.
pub(crate) fn erofs_path(desk: &Desk) -> Option<OsString> {
    Toolbox::find()?;
    let run = support::repository().join("tests/toolbox/run");
    let script = format!("#!/bin/sh\nexec '{}' mkfs.erofs \"$@\"\n", run.display());
    let program = desk.file("tools/mkfs.erofs", script.as_bytes());
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    Some(path)
}

/// Mounts the file system of an image read-only, as long as this lives. `None`, and the test is ignored, where loop devices can't be had.
pub(crate) struct Mounted(TempDir);

impl Mounted {
    pub(crate) fn of(image: &Path) -> Option<Self> {
        let target = tempfile::tempdir().unwrap();
        let bytes = fs::read(image).unwrap();
        let table = Table::read(&bytes).unwrap();
        let root = table.partitions.iter().find(|partition| classify(partition.type_guid).0 == PartitionKind::Root);
        let options = format!("loop,ro,nosuid,nodev,offset={}", root.unwrap().start);
        let output = Command::new("mount").args(["-o", &options]).arg(image).arg(target.path()).output().unwrap();
        if !output.status.success() {
            left_out(String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self(target))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// All there is below.
    pub(crate) fn listing(&self) -> BTreeMap<String, String> {
        listing(self.path())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.path()).status().unwrap();
        assert!(status.success(), "umount {}", self.path().display());
    }
}

/// Type, mode, owner, times in seconds, number of names, target or content, attributes of everything below a directory.
pub(crate) fn listing(directory: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let mut text = format!("{:o} {}:{} {}", metadata.mode(), metadata.uid(), metadata.gid(), metadata.mtime());
            if metadata.is_dir() {
                todo.push(path.clone());
            } else if metadata.is_symlink() {
                write!(text, " -> {}", fs::read_link(&path).unwrap().display()).unwrap();
            } else {
                let digest = openssl::sha::sha256(&fs::read(&path).unwrap());
                write!(text, " {} names, {} bytes, {:02x?}", metadata.nlink(), metadata.len(), &digest[..8]).unwrap();
            }
            for (name, value) in xattrs(&path) {
                write!(text, " {name}={value:02x?}").unwrap();
            }
            found.insert(path.strip_prefix(directory).unwrap().display().to_string(), text);
        }
    }
    found
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let count = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = String::from_utf8(names[..count].to_vec()).unwrap();
    let value = |name: &str| {
        let mut value = vec![0; 4096];
        let count = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        value[..count].to_vec()
    };
    // Labels come from the policy of whoever runs this.
    let names = names.split('\0').filter(|name| !name.is_empty() && *name != "security.selinux");
    names.map(|name| (name.to_owned(), value(name))).collect()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// What is in a tree, by path: the kind, and target or content as text.
pub(crate) fn shape(tree: &FileTree) -> BTreeMap<String, String> {
    let show = |kind: &Kind| match kind {
        Kind::Directory(_) => "directory".to_owned(),
        Kind::File(content) => format!("file {}", text(content)),
        Kind::Symlink(target) => format!("link {}", String::from_utf8_lossy(target)),
        Kind::Special(kind) => kind.to_string(),
    };
    let paths = tree.walk().into_iter();
    paths.map(|(path, id)| (String::from_utf8(path).unwrap(), show(&tree.node(id).unwrap().kind))).collect()
}

fn text(content: &Content) -> String {
    let mut bytes = Vec::new();
    content.reader().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
