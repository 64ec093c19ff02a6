//! The partitions besides the ESP.

use crate::toolbox::{Tree, succeed};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// immucore's store.
pub const STORE: &str = "/var/lib/kairos/extensions";

/// Where a directory that the layout file names lies on the persistent partition: immucore binds it from below `.state`, `/`
/// written as `-` (immucore 0.20.4, `pkg/op/fs.go`).
fn bound(directory: &str) -> String {
    format!(".state/{}.bind", directory.trim_start_matches('/').replace('/', "-"))
}

/// Something on the persistent partition.
#[derive(Debug, Clone)]
pub enum Stored {
    File { path: String, bytes: Arc<Vec<u8>> },
    Link { path: String, target: String },
}

impl Stored {
    /// A file, by its path on the running system, where it lies in `directory`.
    pub fn file(directory: &str, file: &str, bytes: &Arc<Vec<u8>>) -> Self {
        Self::File { path: on_partition(directory, file), bytes: Arc::clone(bytes) }
    }

    /// A symbolic link.
    pub fn link(directory: &str, file: &str, target: &str) -> Self {
        Self::Link { path: on_partition(directory, file), target: target.to_owned() }
    }

    /// An extension as `kairos-agent sysext install` and `enable` leave it: a file, and a link to it in the directory of a
    /// boot state.
    pub fn enabled(name: &str, state: &str, bytes: &Arc<Vec<u8>>) -> [Self; 2] {
        let link = Self::link(&format!("{STORE}/{state}"), name, &format!("{STORE}/{name}"));
        [Self::file(STORE, name, bytes), link]
    }
}

/// Directories that the layout file names (`qemu/guest/kairos/system/oem/00_rootfs.yaml`).
const BOUND: [&str; 3] = ["/var/lib/kairos", "/var/lib/extensions", "/var/lib/confexts"];

/// The path on the partition of a file on the running system.
fn on_partition(directory: &str, file: &str) -> String {
    let below = |top: &str| directory.strip_prefix(top).map(|rest| format!("{}{rest}/{file}", bound(top)));
    let path = BOUND.iter().find_map(|top| below(top));
    // The partition itself is mounted there.
    let path = path.or_else(|| directory.strip_prefix("/usr/local").map(|rest| format!("{rest}/{file}")));
    path.unwrap_or_else(|| panic!("{directory} isn't on the persistent partition")).trim_start_matches('/').to_owned()
}

/// Makes the disk with `COS_OEM` and `COS_PERSISTENT`, unencrypted. `oem` are files by name.
///
/// # Errors
/// What the tools said.
pub fn make(stored: &[Stored], oem: &[(&str, &str)], directory: &Path) -> Result<PathBuf, String> {
    let (image, tree) = (directory.join("data.img"), directory.join("data"));
    let persistent = tree.join("persistent");
    for path in [&persistent, &tree.join("oem")] {
        fs::create_dir_all(path).unwrap();
    }
    for entry in stored {
        let (Stored::File { path, .. } | Stored::Link { path, .. }) = entry;
        let path = persistent.join(path);
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
