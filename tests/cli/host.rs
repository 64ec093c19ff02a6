//! `sextant plan --host`: what of a host an extension hides.

use crate::{Desk, Said, vendor};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::ddi::Blueprint;
use support::trees::Tree;
use support::uki::program;

/// The root of a host on which `/usr/sbin` is a link, as on Fedora 42.
fn root() -> Tree {
    Tree::empty()
        .file("usr/lib/os-release", b"ID=host\n")
        .file("usr/bin/init", b"init")
        .file("usr/bin/mount", b"mount")
        .file("usr/bin/tool", b"the host's")
        .file("usr/share/doc/a/b", b"b")
        .symlink("usr/sbin", "bin")
        .symlink("opt", "usr/local")
        .file("usr/local/bin/x", b"x")
}

fn desk() -> Desk {
    let image = |name: &str, tree: Tree| Blueprint::new(name, &tree.squashfs(), vendor()).render().bytes;
    let sbin = Tree::sysext("sbin").file("usr/sbin/tool", b"tool").file("usr/bin/tool", b"tool");
    let desk = Desk::new()
        .file("sbin.sysext.raw", &image("sbin", sbin))
        .file("paper.sysext.raw", &image("paper", Tree::sysext("paper").file("usr/share/doc", b"a file")))
        .file("opt.sysext.raw", &image("opt", Tree::sysext("opt").file("opt/bin", b"a file")))
        .file("calm.sysext.raw", &image("calm", Tree::sysext("calm").file("usr/bin/new", b"new")))
        .file("white.sysext.raw", &image("white", Tree::sysext("white").whiteout("usr/bin/mount")));
    root().write_to(&desk.path().join("root"));
    desk
}

fn plan(desk: &Desk, host: &str, images: &[&str]) -> (Said, Value) {
    let fixed = ["plan", "--certificate", "vendor.crt", "--host", host];
    let said = desk.run(&[&fixed[..], images].concat());
    let json = desk.run(&[&fixed[..], &["--json"], images].concat());
    assert_eq!(json.status, said.status, "{said:?} {json:?}");
    (said, json.json())
}

/// An archive of everything below a directory, as `find | cpio -o -H newc` makes it.
fn archive(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let metadata = path.symlink_metadata().unwrap();
        let (mode, content) = if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            (0o040_755, Vec::new())
        } else if metadata.is_symlink() {
            (0o120_777, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
        } else {
            (0o100_755, fs::read(&path).unwrap())
        };
        let name = if name.is_empty() { "." } else { name };
        let size = u32::try_from(content.len()).unwrap();
        let mut writer = cpio::newc::Builder::new(name).mode(mode).write(&mut out, size);
        writer.write_all(&content).unwrap();
        writer.finish().unwrap();
    }
    cpio::newc::trailer(&mut out).unwrap();
    out
}

/// A root directory, the archive of it in all forms that are read, and a UKI with that: one answer.
#[test]
fn a_directory_over_a_link_is_named_whatever_holds_the_root() {
    let desk = desk();
    let archive = archive(&desk.path().join("root"));
    let zstd = zstd::encode_all(archive.as_slice(), 3).unwrap();
    let microcode = [b"070701".as_slice(), "0".repeat(88).as_bytes(), b"0000000b00000000TRAILER!!!\0\0\0\0"].concat();
    let desk = desk
        .file("plain.initrd", &archive)
        .file("two.initrd", &[microcode.as_slice(), &zstd].concat())
        .file("active.efi", &program(&[(".linux", b"kernel"), (".initrd", &zstd), (".sdmagic", b"note")]))
        .file(
            "profiles.efi",
            &program(&[(".initrd", &archive), (".profile", b"ID=other"), (".initrd", b"of another profile")]),
        );
    for host in ["root", "plain.initrd", "two.initrd", "active.efi", "profiles.efi"] {
        let (said, json) = plan(&desk, host, &["sbin.sysext.raw"]);
        assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""), "{host}: {said:?}");
        let hidden = json!([{
            "path": "/usr/sbin", "host": "link", "target": "bin", "extension": "directory", "by": ["sbin"],
            "count": 2, "names": ["init", "mount"],
        }]);
        assert_eq!(json["host"]["hidden"], hidden, "{host}");
        assert_eq!(json["host"]["replaced"], json!([{"path": "/usr/bin/tool", "by": ["sbin"]}]), "{host}");
        assert_eq!((&json["host"]["root"], &json["host"]["omitted"]), (&json!(host), &json!(0)));
        for line in [
            &format!("Hidden on host {host}:"),
            "  /usr/sbin  a directory of sbin hides the link to bin with init, mount",
            "  /usr/bin/tool  by sbin",
        ] {
            assert!(said.stdout.lines().any(|it| it == line), "{host}: {line}: {}", said.stdout);
        }
    }
}

#[test]
fn files_over_directories_are_named_and_what_is_in_hierarchies_that_are_links() {
    let desk = desk();
    let (said, json) = plan(&desk, "root", &["paper.sysext.raw", "opt.sysext.raw"]);
    assert_eq!(said.status, Some(1));
    let rows: Vec<_> =
        json["host"]["hidden"].as_array().unwrap().iter().map(|it| (&it["path"], &it["names"])).collect();
    let expected = [(json!("/usr/share/doc"), json!(["a/b"])), (json!("/opt/bin"), json!(["x"]))];
    assert_eq!(rows, expected.iter().map(|(path, names)| (path, names)).collect::<Vec<_>>());
    assert!(said.stdout.contains("a file of paper hides the directory with a/b"), "{said:?}");
    let (said, json) = plan(&desk, "root", &["calm.sysext.raw"]);
    assert_eq!((said.status, &json["host"]["hidden"]), (Some(0), &json!([])), "{said:?}");
    assert!(said.stdout.contains("No files of host root are hidden."), "{said:?}");
    // A boot would refuse it, so it hides nothing.
    let (said, json) = plan(&desk, "root", &["white.sysext.raw"]);
    assert_eq!((said.status, &json["left_out"][0]["reason"]), (Some(1), &json!("bad-hierarchy")), "{said:?}");
    assert!(json["left_out"][0]["detail"].as_str().unwrap().contains("/usr/bin/mount is a whiteout"), "{json:#}");
    assert_eq!(json["host"]["hidden"], json!([]));
    // Without the option nothing is compared.
    let json = desk.run(&["plan", "--certificate", "vendor.crt", "--json", "sbin.sysext.raw"]).json();
    assert_eq!(json["host"], Value::Null);
}

/// Names of a host are chosen by others too, and no link leads out of the root.
#[test]
fn a_root_is_never_left() {
    let desk = desk();
    let root = desk.path().join("root");
    fs::remove_file(root.join("usr/sbin")).unwrap();
    symlink("/etc", root.join("usr/sbin")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/\u{1b}[2J\u{202e}"), "x").unwrap();
    let (said, json) = plan(&desk, "root", &["sbin.sysext.raw"]);
    assert_eq!(json["host"]["hidden"][0]["count"], 1, "{json:#}");
    assert!(!said.stdout.contains(['\u{1b}', '\u{202e}']), "{said:?}");
}

#[test]
fn what_is_no_root_is_named() {
    let desk = desk();
    let archive = archive(&desk.path().join("root"));
    let dracut = [archive.as_slice(), &{
        let mut out = Vec::new();
        for (path, mode) in [("etc", 0o040_755), ("etc/initrd-release", 0o100_644)] {
            cpio::newc::Builder::new(path).mode(mode).write(&mut out, 0).finish().unwrap();
        }
        cpio::newc::trailer(&mut out).unwrap();
        out
    }]
    .concat();
    let rows: [(&str, &[u8], &str); 7] = [
        ("dracut.initrd", &dracut, "mounts the root of the host from elsewhere"),
        ("empty", b"", "has no usr/lib/os-release"),
        ("words", b"some words", "data at byte 0 is not a newc cpio archive"),
        ("addon.efi", &program(&[(".cmdline", b"quiet")]), "has no .initrd section"),
        ("dos.exe", &[b"MZ".as_slice(), &[0xff; 100]].concat(), "reading headers of the EFI program"),
        ("cut.efi", &program(&[(".initrd", &archive)])[..5000], ".initrd section exceeds the file"),
        ("lz4.initrd", b"\x02\x21\x4c\x18\0\0\0", "compressed with LZ4"),
    ];
    let mut desk = desk;
    for (name, content, _) in &rows {
        desk = desk.file(name, content);
    }
    for (name, _, words) in rows {
        let said = desk.run(&["plan", "--certificate", "vendor.crt", "--host", name, "calm.sysext.raw"]);
        said.complains(1, &[&format!("reading host {name}: "), words]);
    }
    let plan = ["plan", "--certificate", "vendor.crt", "calm.sysext.raw", "--host"];
    desk.run(&[&plan[..], &["nowhere"]].concat()).complains(1, &["reading host nowhere: No such file"]);
    fs::create_dir(desk.path().join("bare")).unwrap();
    desk.run(&[&plan[..], &["bare"]].concat()).complains(1, &["reading host bare: directory has no usr"]);
    // What is hidden already can't be compared.
    fs::create_dir(desk.path().join("root/usr/.systemd-sysext")).unwrap();
    let (said, _) = plan_of(&desk);
    assert!(said.stderr.contains("extensions are merged into /usr of root at present"), "{said:?}");
}

fn plan_of(desk: &Desk) -> (Said, Value) {
    plan(desk, "root", &["calm.sysext.raw"])
}
