//! The disks: an ESP without loop devices or privileges, and one for what the witness found.

use crate::images::Offer;
use crate::toolbox::{Tree, succeed};
use crate::uki::Signed;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// Behind the nonce.
const TAR_OFFSET: u64 = 4096;

/// Makes the ESP: boot loader, an entry, its UKI and beside that the extensions.
///
/// # Errors
/// What the tools said.
pub fn esp(signed: &Signed, entry: &str, offers: &[Offer], directory: &Path) -> Result<PathBuf, String> {
    let tree = directory.join("esp");
    let extra = tree.join(format!("EFI/kairos/{entry}.efi.extra.d"));
    let global = tree.join("loader/extensions");
    for path in [&extra, &global, &tree.join("EFI/BOOT"), &tree.join("loader/entries")] {
        fs::create_dir_all(path).unwrap();
    }
    fs::copy(&signed.boot_loader, tree.join("EFI/BOOT").join(&signed.default_loader)).unwrap();
    fs::copy(&signed.uki, tree.join(format!("EFI/kairos/{entry}.efi"))).unwrap();
    fs::write(tree.join("loader/loader.conf"), format!("default {entry}.conf\ntimeout 0\neditor no\n")).unwrap();
    let text = format!("title Sextant\nefi /EFI/kairos/{entry}.efi\n");
    fs::write(tree.join(format!("loader/entries/{entry}.conf")), text).unwrap();
    for offer in offers {
        fs::write(if offer.is_global { &global } else { &extra }.join(&offer.file), &*offer.bytes).unwrap();
    }

    let image = directory.join("esp.img");
    let script = r#"
        set -euo pipefail
        size=$(du --summarize --apparent-size --block-size=1M "$1" | cut -f1)
        rm -f "$2"
        truncate --size=$((size * 21 / 20 + 160))M "$2"
        # The firmware reads cluster by cluster: with small ones it takes a second for each MiB.
        mkfs.vfat -F 16 -s 64 -n ESP "$2"
        # -m keeps time stamps, -Q ends at the first error, -s is for directories.
        mcopy -Q -s -i "$2" "$1"/* ::
    "#;
    let mut command = Tree::Trixie.command("bash");
    // For names that aren't ASCII.
    command.env("LC_ALL", "C.UTF-8");
    succeed(command.args(["-c", script, "esp"]).arg(&tree).arg(&image))?;
    fs::remove_dir_all(&tree).unwrap();
    Ok(image)
}

/// Copies all of an ESP into a directory.
///
/// # Errors
/// What the tools said.
pub fn read_esp(image: &Path, directory: &Path) -> Result<(), String> {
    fs::create_dir_all(directory).map_err(|error| format!("making {}: {error}", directory.display()))?;
    let mut copy = Tree::Trixie.command("mcopy");
    copy.env("LC_ALL", "C.UTF-8")
        .args(["-Q", "-s", "-n", "-i"])
        .arg(image)
        .args(["::/EFI", "::/loader"])
        .arg(directory);
    succeed(&mut copy).map(drop)
}

/// Makes the witness's disk, which begins with the nonce.
pub fn witness(nonce: &str, directory: &Path) -> PathBuf {
    let path = directory.join("witness.img");
    let mut file = File::create(&path).unwrap();
    file.write_all(nonce.as_bytes()).unwrap();
    file.set_len(64 * MIB).unwrap();
    path
}

/// Unpacks what the witness left.
///
/// # Errors
/// If it left nothing.
pub fn unpack(disk: &Path, directory: &Path) -> Result<(), String> {
    let tar = directory.with_extension("tar");
    let mut file = File::open(disk).unwrap();
    file.seek(SeekFrom::Start(TAR_OFFSET)).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    fs::write(&tar, content).unwrap();
    fs::create_dir_all(directory).unwrap();
    let mut command = std::process::Command::new("tar");
    command.arg("--extract").arg("--no-same-owner").arg("--file").arg(&tar).arg("--directory").arg(directory);
    succeed(&mut command)?;
    fs::remove_file(&tar).unwrap();
    Ok(())
}
