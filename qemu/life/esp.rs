//! An ESP as an installer makes it: a partition, with a boot entry and a UKI for each system.

use crate::toolbox::{Tree, succeed};
use crate::uki::Signed;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the disk. All entries start the same UKI; the first one is the default. `files` are further ones, by their paths on
/// the partition.
///
/// # Errors
/// What the tools said.
pub fn make(
    signed: &Signed,
    entries: &[&str],
    files: &[(String, Arc<Vec<u8>>)],
    directory: &Path,
) -> Result<PathBuf, String> {
    let tree = directory.join("esp");
    for path in ["EFI/BOOT", "EFI/kairos", "loader/entries"] {
        fs::create_dir_all(tree.join(path)).unwrap();
    }
    fs::copy(&signed.boot_loader, tree.join("EFI/BOOT").join(&signed.default_loader)).unwrap();
    fs::write(tree.join("loader/loader.conf"), format!("default {}.conf\ntimeout 0\neditor no\n", entries[0])).unwrap();
    for entry in entries {
        fs::hard_link(&signed.uki, tree.join(format!("EFI/kairos/{entry}.efi"))).unwrap();
        let text = format!("title Sextant, {entry}\nefi /EFI/kairos/{entry}.efi\n");
        fs::write(tree.join(format!("loader/entries/{entry}.conf")), text).unwrap();
    }
    finish(&tree, files, directory)
}

/// Makes a disk whose entries are UKIs in `EFI/Linux`, all with the same content. systemd-boot chooses by their names, and counts
/// where those have a counter.
///
/// # Errors
/// What the tools said.
pub fn of_kernels(
    signed: &Signed,
    kernels: &[&str],
    files: &[(String, Arc<Vec<u8>>)],
    directory: &Path,
) -> Result<PathBuf, String> {
    let tree = directory.join("esp");
    for path in ["EFI/BOOT", "EFI/Linux", "loader"] {
        fs::create_dir_all(tree.join(path)).unwrap();
    }
    fs::copy(&signed.boot_loader, tree.join("EFI/BOOT").join(&signed.default_loader)).unwrap();
    fs::write(tree.join("loader/loader.conf"), "timeout 0\neditor no\n").unwrap();
    for kernel in kernels {
        fs::hard_link(&signed.uki, tree.join("EFI/Linux").join(kernel)).unwrap();
    }
    finish(&tree, files, directory)
}

/// Puts files beside the others, and makes the disk.
fn finish(tree: &Path, files: &[(String, Arc<Vec<u8>>)], directory: &Path) -> Result<PathBuf, String> {
    for (path, bytes) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &**bytes).unwrap();
    }

    let image = directory.join("esp.img");
    // Room for a dozen small extensions. The partition is known to systemd-boot by its UUID, and that to the system by
    // LoaderDevicePartUUID. Of clusters see `disk::esp`.
    let script = r#"
        set -euo pipefail
        size=$(du --summarize --apparent-size --count-links --block-size=1M "$1" | cut -f1)
        size=$((size + 24))
        truncate --size=$((size + 2))M "$2"
        sfdisk --quiet "$2" <<<"label: gpt
            start=1MiB, size=${size}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP"
        mkfs.vfat -F 16 -s 64 -n ESP -h 2048 --offset 2048 "$2" $((size * 1024))
        mcopy -Q -s -i "$2@@1M" "$1"/* ::
    "#;
    succeed(Tree::Trixie.command("bash").args(["-c", script, "esp"]).arg(tree).arg(&image))?;
    fs::remove_dir_all(tree).unwrap();
    Ok(image)
}
