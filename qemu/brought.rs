//! What somebody brings to a machine on a stick: the tool, files, and what is to be done, as
//! a script that the host's witness runs before it looks at anything.

use crate::initrd::TOOL;
use crate::toolbox::{Tree, repository, succeed};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the disk, which the guest sees at `/run/brought`; `copies` of files and `files` by content come to these paths on
/// it.
///
/// # Errors
/// What the tools said.
pub fn make(
    script: &Path,
    copies: &[(&Path, &str)],
    files: &[(String, Vec<u8>)],
    directory: &Path,
) -> Result<PathBuf, String> {
    let (tree, image) = (directory.join("brought"), directory.join("brought.img"));
    fs::create_dir_all(tree.join("bin")).unwrap();
    let steps = repository().join("qemu/guest/brought/steps");
    let tool = std::env::var_os("SEXTANT_TOOL").map_or_else(|| PathBuf::from(TOOL), PathBuf::from);
    for (from, to) in [(&*tool, "bin/sextant"), (script, "script"), (&steps, "steps")].iter().chain(copies) {
        fs::copy(from, tree.join(to)).map_err(|error| format!("copying {}: {error}", from.display()))?;
    }
    for (path, bytes) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let script = r#"
        set -euo pipefail
        size=$(du --summarize --apparent-size --block-size=1M "$1" | cut -f1)
        mke2fs -q -F -t ext4 -O ^has_journal -d "$1" "$2" "$((size * 5 / 4 + 4))M"
    "#;
    succeed(Tree::Trixie.command("bash").args(["-c", script, "brought"]).arg(&tree).arg(&image))?;
    fs::remove_dir_all(&tree).unwrap();
    Ok(image)
}
