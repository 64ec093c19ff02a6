//! Extended attributes and POSIX ACLs: kept where the format keeps them, and told where none does.

use crate::desk::{Desk, Mounted, Said, erofs_path};
use crate::layers::Layer;
use crate::meant::saved;
use ddi::filesystem::{Filesystem, Kind};
use ddi::gpt::Table;
use ddi::{PartitionKind, classify};
use rustix::fs::{XattrFlags, lremovexattr, lsetxattr};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use support::harness::left_out;
use support::keys;
use support::toolbox::Toolbox;

/// `cap_net_raw+ep`, as setcap(8) writes it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `user::rw-,user:502:r--,group::r--,mask::r--,other::---`, as Linux keeps it.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xf6, 1, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

/// Name, value, and the file of [`desk`]'s tree that has it.
const ATTRIBUTES: [(&str, &[u8], &str); 5] = [
    ("security.capability", CAPABILITY, "usr/bin/ping"),
    ("system.posix_acl_access", ACL, "usr/share/tool/secret"),
    ("system.posix_acl_default", ACL, "usr/share/tool"),
    ("user.note", b"of\nseveral\0lines", "usr/bin/ping"),
    ("user.empty", b"", "opt/tool"),
];

fn desk() -> Desk {
    let desk = Desk::of(keys::rsa("Vendor"));
    desk.file("tree/usr/bin/ping", b"ping");
    desk.file("tree/usr/share/tool/secret", b"secret");
    desk.file("tree/opt/tool/x", b"x");
    // Where no program is.
    fs::create_dir(desk.path("nowhere")).unwrap();
    desk
}

fn build(desk: &Desk, source: &str, path: &OsStr, more: &[&str]) -> Said {
    let fixed = ["build", "tool", source, "--private-key", "key.pem", "--certificate", "crt.pem", "--json"];
    let mut command = desk.command(&[&fixed[..], more].concat());
    Said::from(command.env("PATH", path).output().unwrap())
}

/// Which format was taken, and what was said about it.
fn outcome(said: Said) -> (String, String) {
    let said = said.good();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    (value["format"].as_str().unwrap().to_owned(), said.stderr)
}

fn set(desk: &Desk, path: &str, name: &str, value: &[u8]) -> bool {
    let done = lsetxattr(desk.path("tree").join(path), name, value, XattrFlags::empty());
    if let Err(error) = done {
        left_out(&format!("{name} can't be given to files here: {error}"));
    }
    done.is_ok()
}

/// The file system of an image.
fn filesystem(image: &[u8]) -> &[u8] {
    let table = Table::read(&image).unwrap();
    let root = table.partitions.iter().find(|partition| classify(partition.type_guid).0 == PartitionKind::Root);
    let (start, len) = root.map(|root| (root.start, root.len)).unwrap();
    let (start, len) = (usize::try_from(start).unwrap(), usize::try_from(len).unwrap());
    &image[start..start + len]
}

/// The value of an attribute of a file in an image, as the kernel reads it; `None`, and the test is ignored, where nothing
/// can be mounted.
fn mounted_value(desk: &Desk, path: &str, name: &str) -> Option<Vec<u8>> {
    let mounted = Mounted::of(&desk.path("tool.sysext.raw"))?;
    let mut value = vec![0; 4096];
    let count = rustix::fs::lgetxattr(mounted.path().join(path), name, &mut value).unwrap();
    Some(value[..count].to_vec())
}

/// The same as the project's reader, the kernel, and erofs' own program read it.
fn is_kept(desk: &Desk, path: &str, name: &str, value: &[u8]) {
    assert_eq!(desk.verdict("tool.sysext.raw"), "", "{name}");
    let image = fs::read(desk.path("tool.sysext.raw")).unwrap();
    let bytes = filesystem(&image);
    let read = Filesystem::open(&bytes).unwrap();
    assert_eq!(read.kind(), Kind::Erofs, "{name}");
    // Of attributes, a boot reads those of users only.
    let expected = name.starts_with("user.").then(|| value.to_vec());
    assert_eq!(read.xattr(path, name).unwrap(), expected, "{name}");
    if let Some(found) = mounted_value(desk, path, name) {
        assert_eq!(found, value, "{name}");
    }
    let Some(toolbox) = Toolbox::find() else { return };
    let file = desk.file("filesystem", bytes);
    let dumped = toolbox.succeed(
        r#"fsck.erofs "$1" >&2 && dump.erofs --path="$2" "$1""#,
        &[file.as_os_str(), OsStr::new(&format!("/{path}"))],
    );
    let size = dumped.split("Xattr size:").nth(1).and_then(|text| text.split_whitespace().next()).unwrap();
    assert_ne!(size, "0", "{name}: {dumped}");
}

/// Files of a plain tree are a squashfs, with and without a program for erofs; what has attributes is an erofs.
pub(crate) fn erofs_is_taken_as_soon_as_the_source_needs_it() {
    let desk = desk();
    let nowhere = desk.path("nowhere");
    let Some(path) = erofs_path(&desk) else { return };
    let bytes = || fs::read(desk.path("tool.sysext.raw")).unwrap();
    let mut plain = Vec::new();
    for path in [path.as_os_str(), nowhere.as_os_str()] {
        assert_eq!(outcome(build(&desk, "tree", path, &["--strict"])), ("squashfs".to_owned(), String::new()));
        plain.push(bytes());
    }
    assert!(plain[0] == plain[1]);
    for (name, value, file) in ATTRIBUTES {
        if !set(&desk, file, name, value) {
            continue;
        }
        let (format, said) = outcome(build(&desk, "tree", &path, &["--strict"]));
        assert_eq!(format, "erofs", "{name}");
        let line =
            format!("using erofs: /{file} has the extended attribute {name}, which is not supported with squashfs");
        assert!(said.contains(&line), "{name}: {said}");
        is_kept(&desk, file, name, value);
        let first = bytes();
        outcome(build(&desk, "tree", &path, &["--format", "erofs"]));
        assert!(first == bytes(), "{name}: another image than with --format erofs");
        fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
        // Which programs there are never decides.
        let words = format!("/{file} has the extended attribute {name}, which requires erofs; running mkfs.erofs: ");
        build(&desk, "tree", nowhere.as_os_str(), &[]).refuses(&[&words, "; install erofs-utils 1.8 or later\n"]);
        let words = format!("/{file} has the extended attribute {name}, which is not supported with squashfs");
        build(&desk, "tree", &path, &["--format", "squashfs"]).refuses(&[&words, "--format erofs"]);
        assert!(!desk.path("tool.sysext.raw").exists(), "{name}");
        lremovexattr(desk.path("tree").join(file), name).unwrap();
    }
    assert_eq!(outcome(build(&desk, "tree", &path, &[])).0, "squashfs");
}

/// Attributes as Go writes them, and lists as star does: opencontainers/image-spec#725, moby/moby#20331,
/// canonical/lxd#12027, AgentD/squashfs-tools-ng#83.
pub(crate) fn attributes_of_layers_are_kept() {
    let desk = desk();
    let Some(path) = erofs_path(&desk) else { return };
    let list: &[u8] = b"user::rw-,user:lisa:r--:502,group::r--,mask::r--,other::---";
    for (keyword, value, name, expected) in [
        ("SCHILY.xattr.security.capability", CAPABILITY, "security.capability", CAPABILITY),
        ("SCHILY.xattr.system.posix_acl_access", ACL, "system.posix_acl_access", ACL),
        ("SCHILY.xattr.user.note", b"x\n", "user.note", b"x\n"),
        ("SCHILY.acl.access", list, "system.posix_acl_access", ACL),
        ("LIBARCHIVE.xattr.user.note", b"eA", "user.note", b"x"),
    ] {
        saved(&desk, "image.tar", &[Layer::new().pax(&[(keyword, value)]).file("usr/x", "x").bytes()]);
        let (format, said) = outcome(build(&desk, "image.tar", &path, &["--arch", "amd64", "--strict"]));
        assert_eq!(format, "erofs", "{keyword}: {said}");
        is_kept(&desk, "usr/x", name, expected);
    }
}

/// Times and links that are not supported with squashfs.
pub(crate) fn erofs_is_taken_for_times_and_long_links_too() {
    let desk = desk();
    let Some(path) = erofs_path(&desk) else { return };
    symlink("x".repeat(256), desk.path("tree/opt/far")).unwrap();
    let (format, said) = outcome(build(&desk, "tree", &path, &[]));
    assert!(format == "erofs" && said.contains("using erofs: /opt/far has a target of 256 bytes"), "{said}");
    fs::remove_file(desk.path("tree/opt/far")).unwrap();
    for (time, seconds) in [("1960-01-01 UTC", -315_619_200), ("@5000000000", 5_000_000_000_i64), ("@-1.25", -2)] {
        let status = Command::new("touch").args(["-d", time]).arg(desk.path("tree/opt")).status();
        assert!(status.unwrap().success());
        let (format, said) = outcome(build(&desk, "tree", &path, &[]));
        let words = format!("/opt has the modification time {seconds} (seconds since 1970)");
        assert!(format == "erofs" && said.contains(&words), "{said}");
        let Some(mounted) = Mounted::of(&desk.path("tool.sysext.raw")) else { return };
        let found = mounted.path().join("opt").metadata().unwrap();
        assert_eq!(found.mtime(), seconds, "{time}");
    }
}

/// `btrfs.compression` and `system.nfs4_acl` belong to the file system that the source lies on, and `mkfs.erofs` drops them
/// in silence: opencontainers/umoci#252, AgentD/squashfs-tools-ng#25.
pub(crate) fn what_no_file_system_keeps_is_told_or_refused() {
    let desk = desk();
    let none = desk.path("nowhere");
    let attribute = |name: &str| Layer::new().pax(&[(&format!("SCHILY.xattr.{name}"), b"x")]);
    for name in ["btrfs.compression", "system.nfs4_acl", "lustre.lov", "note", "user."] {
        saved(&desk, "image.tar", &[attribute(name).file("usr/x", "x").bytes()]);
        let (format, said) = outcome(build(&desk, "image.tar", none.as_os_str(), &["--arch", "amd64"]));
        let line = format!("left out the extended attribute {name} of /usr/x: neither squashfs nor erofs supports it");
        assert!(format == "squashfs" && said.contains(&line), "{name}: {said}");
        let said = build(&desk, "image.tar", none.as_os_str(), &["--arch", "amd64", "--strict"]);
        said.refuses(&[&line, "--strict does not allow"]);
        // Outside of what is taken it is no matter.
        let outside = attribute(name).file("etc/x", "x").file("usr/x", "x").bytes();
        saved(&desk, "image.tar", &[outside]);
        let (_, said) = outcome(build(&desk, "image.tar", none.as_os_str(), &["--arch", "amd64"]));
        assert!(!said.contains(name), "{name}: {said}");
    }
}
