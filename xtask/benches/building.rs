//! Building an extension of 500 MiB: `sextant build` against `systemd-repart`, in the same formats.

use super::measuring::{MIB, Tools, compare, path};
use super::row;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::keys;
use support::trees::Tree;

/// Bytes of the tree.
const SIZE: u64 = 500 * MIB as u64;

/// A format, ours and theirs.
struct Case {
    name: &'static str,
    ours: &'static [&'static str],
    theirs: &'static str,
}

const CASES: [Case; 3] = [
    Case { name: "erofs, not compressed", ours: &["--format=erofs", "--compression=none"], theirs: "Format=erofs" },
    Case {
        name: "erofs, lz4hc",
        ours: &["--format=erofs", "--compression=lz4hc"],
        theirs: "Format=erofs\nCompression=lz4hc",
    },
    Case {
        name: "squashfs, zstd level 3",
        ours: &["--format=squashfs", "--compression=zstd:3"],
        theirs: "Format=squashfs\nCompression=zstd\nCompressionLevel=3",
    },
];

/// Nothing where there is no toolbox, which has `systemd-repart` and `mkfs.erofs`.
pub(super) fn building(tools: &Tools, work: &Path) {
    let run = support::repository().join("tests/toolbox/run");
    let found = Command::new(&run).arg("true").status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("no toolbox: nothing is built (tests/toolbox/make-toolbox makes it)");
        return;
    }
    let tree = tree(work);
    let (key, certificate) = (work.join("key.pem"), work.join("crt.pem"));
    fs::write(&key, keys::rsa("Vendor").key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(&certificate, keys::rsa("Vendor").pem()).unwrap();
    let search = mkfs_erofs(work, &run);
    for case in CASES {
        let definitions = definitions(work, case.theirs);
        let (out, image) = (work.join("out"), work.join("repart.raw"));
        let mut ours = vec!["env".to_owned(), format!("PATH={search}"), path(&tools.sextant), "build".into()];
        ours.extend(["bench".to_owned(), path(&tree), "--keep-owners".into(), "--output".into(), path(&out)]);
        ours.extend(["--private-key".to_owned(), path(&key), "--certificate".into(), path(&certificate)]);
        ours.extend(case.ours.iter().map(|word| (*word).to_owned()));
        let mut theirs = vec![path(&run), "systemd-repart".to_owned()];
        theirs.extend(["--offline=yes", "--empty=create", "--size=auto", "--dry-run=no"].map(str::to_owned));
        theirs.extend([format!("--definitions={}", path(&definitions)), format!("--copy-source={}", path(&tree))]);
        theirs.extend([format!("--private-key={}", path(&key)), format!("--certificate={}", path(&certificate))]);
        theirs.push(path(&image));
        let mut sizes = [0_u64; 2];
        let (a, b) = compare(&ours, &theirs, || {
            let ours = fs::metadata(out.join("bench.sysext.raw")).map_or(sizes[0], |metadata| metadata.len());
            let theirs = fs::metadata(&image).map_or(sizes[1], |metadata| metadata.len());
            sizes = [ours, theirs];
            let _ = fs::remove_dir_all(&out);
            let _ = fs::remove_file(&image);
            fs::create_dir(&out).unwrap();
        });
        let (name, peer) = (format!("build 500 MiB, {}", case.name), "systemd-repart");
        row(&format!("{name}: wall time"), a.wall, b.wall, "s", peer);
        row(&format!("{name}: processor time"), a.cpu, b.cpu, "s", peer);
        row(&format!("{name}: peak memory"), a.memory, b.memory, "MiB", peer);
        #[allow(clippy::cast_precision_loss)]
        let [a, b] = sizes.map(|size| size as f64 / MIB as f64);
        row(&format!("{name}: size of the image"), a, b, "MiB", peer);
    }
}

/// Programs, libraries, text and all else that is in `/usr` of the toolbox and of the trees beside it, up to 500 MiB.
fn tree(work: &Path) -> PathBuf {
    let tree = work.join("tree");
    Tree::sysext("bench").write_to(&tree);
    let usual = || support::repository().join("target/toolbox");
    let toolbox = std::env::var_os("SEXTANT_TOOLBOX").map_or_else(usual, PathBuf::from);
    let mut left = SIZE;
    for suffix in ["", "-forky", "-bookworm-backports"] {
        let root = PathBuf::from(format!("{}{suffix}", toolbox.display()));
        let mut todo = vec![root.join("usr")];
        while let Some(directory) = todo.pop() {
            let mut entries: Vec<_> =
                fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            for path in entries {
                let metadata = path.symlink_metadata().unwrap();
                if metadata.is_dir() {
                    todo.push(path);
                } else if metadata.is_file() && metadata.len() <= left && path.file_name().unwrap() != "os-release" {
                    left -= metadata.len();
                    let target = tree.join(format!("usr/tree{suffix}")).join(path.strip_prefix(&root).unwrap());
                    fs::create_dir_all(target.parent().unwrap()).unwrap();
                    fs::copy(&path, target).unwrap();
                }
            }
        }
    }
    assert!(left < SIZE / 10, "the trees have only {} MiB", (SIZE - left) / MIB as u64);
    tree
}

/// What `--make-ddi=sysext` means, in some format.
fn definitions(work: &Path, format: &str) -> PathBuf {
    let directory = work.join("definitions");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    let root =
        "[Partition]\nType=root\nCopyFiles=/usr/\nCopyFiles=/opt/\nVerity=data\nVerityMatchKey=root\nMinimize=best\n";
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    write("10-root.conf", &format!("{root}{format}\n"));
    write("20-verity.conf", "[Partition]\nType=root-verity\nVerity=hash\nVerityMatchKey=root\nMinimize=best\n");
    write("30-signature.conf", "[Partition]\nType=root-verity-sig\nVerity=signature\nVerityMatchKey=root\n");
    directory
}

/// `PATH` with the toolbox's `mkfs.erofs` first, which `systemd-repart` there runs as well.
fn mkfs_erofs(work: &Path, run: &Path) -> String {
    let directory = work.join("tools");
    fs::create_dir(&directory).unwrap();
    let program = directory.join("mkfs.erofs");
    fs::write(&program, format!("#!/bin/sh\nexec '{}' mkfs.erofs \"$@\"\n", path(run))).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", path(&directory), std::env::var("PATH").unwrap())
}
