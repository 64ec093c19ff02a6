//! The partitions besides the ESP.

use crate::toolbox::{Tree, succeed};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where `/var/lib/kairos` lies on the persistent partition: immucore binds the directories that the layout file names from
/// below `.state`, `/` written as `-` (immucore 0.20.4, `pkg/op/fs.go`).
const KAIROS: &str = ".state/var-lib-kairos.bind";

/// Something below `/var/lib/kairos`.
#[derive(Debug, Clone)]
pub enum Stored {
    File { path: String, bytes: Arc<Vec<u8>> },
    Link { path: String, target: String },
}

impl Stored {
    /// A file.
    pub fn file(path: &str, bytes: &Arc<Vec<u8>>) -> Self {
        Self::File { path: path.to_owned(), bytes: Arc::clone(bytes) }
    }

    /// A symbolic link.
    pub fn link(path: &str, target: &str) -> Self {
        Self::Link { path: path.to_owned(), target: target.to_owned() }
    }

    /// An extension as `kairos-agent sysext install` and `enable` leave it: a file, and a link to it in the directory of a
    /// boot state.
    pub fn enabled(name: &str, state: &str, bytes: &Arc<Vec<u8>>) -> [Self; 2] {
        let link = Self::link(&format!("extensions/{state}/{name}"), &format!("/var/lib/kairos/extensions/{name}"));
        [Self::file(&format!("extensions/{name}"), bytes), link]
    }
}

/// Makes the disk with `COS_OEM` and `COS_PERSISTENT`, unencrypted. `oem` are files by name.
///
/// # Errors
/// What the tools said.
pub fn make(stored: &[Stored], oem: &[(&str, &str)], directory: &Path) -> Result<PathBuf, String> {
    let (image, tree) = (directory.join("data.img"), directory.join("data"));
    let kairos = tree.join("persistent").join(KAIROS);
    for path in [&kairos, &tree.join("oem")] {
        fs::create_dir_all(path).unwrap();
    }
    for entry in stored {
        let (Stored::File { path, .. } | Stored::Link { path, .. }) = entry;
        let path = kairos.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match entry {
            Stored::File { bytes, .. } => fs::write(&path, &**bytes).unwrap(),
            Stored::Link { target, .. } => symlink(target, &path).unwrap(),
        }
    }
    for (name, text) in oem {
        fs::write(tree.join("oem").join(name), text).unwrap();
    }
    // The journals make up for hard ends; the witness's is one.
    let script = r#"
        set -euo pipefail
        size=$(($(du --summarize --apparent-size --block-size=1M "$1/persistent" | cut -f1) * 9 / 8 + 96))
        truncate --size=$((size + 66))M "$2"
        sfdisk --quiet "$2" <<<"label: gpt
            start=1MiB, size=64MiB, name=oem
            start=65MiB, size=${size}MiB, name=persistent"
        mke2fs -q -F -t ext4 -L COS_OEM -d "$1/oem" -E offset=1048576 "$2" 64M
        mke2fs -q -F -t ext4 -L COS_PERSISTENT -d "$1/persistent" -E offset=68157440 "$2" "${size}M"
    "#;
    succeed(Tree::Trixie.command("bash").args(["-c", script, "data"]).arg(&tree).arg(&image))?;
    fs::remove_dir_all(&tree).unwrap();
    Ok(image)
}
