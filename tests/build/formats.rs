//! Both file systems: what the kernel reads is what the source had, and what can't be kept is an error.

use crate::desk::{Desk, Mounted, Said, erofs_path, listing};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::harness::left_out;
use support::keys;

/// A tree with everything that both formats keep.
fn desk() -> Desk {
    let desk = Desk::of(keys::ec("Vendor"));
    let mut noise = vec![0; 700_000];
    openssl::rand::rand_bytes(&mut noise).unwrap();
    desk.file("tree/usr/bin/noise", &noise);
    desk.file("tree/usr/bin/text", &b"all work and no play\n".repeat(20_000));
    desk.file("tree/usr/bin/tiny", b"x");
    desk.file("tree/opt/empty", b"");
    // More than a directory of the simple kind holds.
    for number in 0..2000 {
        desk.file(&format!("tree/usr/share/many/a file with a rather long name, number {number}"), b"same");
    }
    symlink("x".repeat(255), desk.path("tree/usr/bin/long")).unwrap();
    fs::set_permissions(desk.path("tree/usr/bin/text"), Permissions::from_mode(0o2750)).unwrap();
    desk
}

/// Builds with the toolbox's `mkfs.erofs`.
fn build_erofs(desk: &Desk, name: &str, path: &std::ffi::OsStr, more: &[&str]) -> Said {
    let fixed = ["build", name, "tree", "--private-key", "key.pem", "--certificate", "crt.pem", "--format", "erofs"];
    let mut command = desk.command(&[&fixed, more].concat());
    Said::from(command.env("PATH", path).output().unwrap())
}

fn same_as_tree(desk: &Desk, image: &str) {
    assert_eq!(desk.verdict(image), "", "{image}");
    let Some(mounted) = Mounted::of(&desk.path(image)) else { return };
    let mut found = mounted.listing();
    found.retain(|path, _| !path.starts_with("usr/lib"));
    let mut expected = listing(&desk.path("tree"));
    expected.retain(|path, _| !path.starts_with("usr/lib"));
    assert_eq!(found, expected, "{image}");
}

pub(crate) fn squashfs_holds_what_the_tree_has() {
    let desk = desk();
    for compression in ["zstd", "zstd:19", "gzip", "gzip:1"] {
        let name = format!("c_{}", compression.replace(':', "-"));
        desk.build(&name, "tree", &["--compression", compression]).good();
        same_as_tree(&desk, &format!("{name}.sysext.raw"));
    }
    desk.build("x", "tree", &["--compression", "lzma"])
        .refuses(&["compression lzma is not supported with squashfs", "zstd"]);
}

pub(crate) fn erofs_holds_what_the_tree_has() {
    let desk = desk();
    let Some(path) = erofs_path(&desk) else { return };
    // A capability, as `setcap` would write it, and an attribute of a directory.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(desk.path(path), name, value, rustix::fs::XattrFlags::empty())
    };
    let capable = set("tree/usr/bin/tiny", "security.capability", &capability).is_ok();
    set("tree/usr/share", "user.note", b"of\nseveral\0lines").unwrap();
    fs::hard_link(desk.path("tree/usr/bin/noise"), desk.path("tree/opt/second name")).unwrap();
    for compression in ["none", "lz4", "lz4hc:9", "deflate", "zstd:6"] {
        let name = format!("c_{}", compression.replace(':', "-"));
        // A matter of how it was compiled.
        let said = build_erofs(&desk, &name, &path, &["--compression", compression]);
        if said.status != Some(0) && compression.starts_with("zstd") {
            said.refuses(&["mkfs.erofs"]);
            left_out(&format!("{compression}: {}", said.stderr.trim()));
            continue;
        }
        assert_eq!(said.status, Some(0), "{compression}: {said:?}");
        same_as_tree(&desk, &format!("{name}.sysext.raw"));
    }
    if !capable {
        left_out("capabilities can't be given to files here");
    }
}

pub(crate) fn what_squashfs_cannot_keep_is_an_error_that_says_what_can() {
    let desk = desk();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(desk.path("tree/usr/share"), "user.note", b"x", flags).unwrap();
    let said = desk.build("tool", "tree", &["--format", "squashfs"]);
    said.refuses(&["/usr/share has the extended attribute user.note", "use --format erofs"]);
    rustix::fs::lremovexattr(desk.path("tree/usr/share"), "user.note").unwrap();
    // Before 1970.
    let status = Command::new("touch").args(["-d", "1960-01-01"]).arg(desk.path("tree/opt")).status();
    assert!(status.unwrap().success());
    desk.build("tool", "tree", &["--format", "squashfs"]).refuses(&["/opt has the modification time -"]);
    assert!(Command::new("touch").arg(desk.path("tree/opt")).status().unwrap().success());
    symlink("x".repeat(256), desk.path("tree/opt/far")).unwrap();
    desk.build("tool", "tree", &["--format", "squashfs"]).refuses(&["/opt/far has a target of 256 bytes"]);
    assert!(!desk.path("tool.sysext.raw").exists());
}

pub(crate) fn a_missing_or_old_program_is_named_before_work_begins() {
    let desk = desk();
    let tools = desk.path("old");
    for (script, words) in [
        (
            "#!/bin/sh\necho 'mkfs.erofs 1.5'\n",
            "mkfs.erofs reports version \"mkfs.erofs 1.5\"; install erofs-utils 1.8 or later",
        ),
        ("#!/bin/sh\nexit 1\n", "1.8 or later"),
    ] {
        let program = desk.file("old/mkfs.erofs", script.as_bytes());
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let said = build_erofs(&desk, "tool", tools.as_os_str(), &[]);
        said.refuses(&[words, "--format squashfs"]);
    }
    fs::remove_file(desk.path("old/mkfs.erofs")).unwrap();
    let said = build_erofs(&desk, "tool", tools.as_os_str(), &[]);
    said.refuses(&["running mkfs.erofs", "install erofs-utils"]);
}

pub(crate) fn a_program_that_fails_half_way_makes_no_image() {
    let desk = desk();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'mkfs.erofs (erofs-utils) 1.8.6' && exit\n\
                  head -c 1000 > /dev/null\necho 'erofs: no space' >&2\nexit 1\n";
    let program = desk.file("bad/mkfs.erofs", script.as_bytes());
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", desk.path("bad").display(), std::env::var("PATH").unwrap());
    build_erofs(&desk, "tool", path.as_ref(), &[]).refuses(&["mkfs.erofs: erofs: no space (exit status: 1)"]);
    assert!(!desk.names().iter().any(|name| name.contains("sysext") || name.starts_with('.')), "{:?}", desk.names());
}

pub(crate) fn who_interrupts_it_finds_nothing_half_done() {
    let desk = desk();
    // The listener exists already.
    let begun = desk.path("begun");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] || exec echo 'mkfs.erofs (erofs-utils) 1.8.6'\n: >'{}'\nexec sleep 30\n",
        begun.display()
    );
    desk.file("bin/mkfs.erofs", script.as_bytes());
    fs::set_permissions(desk.path("bin/mkfs.erofs"), Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let fixed =
            ["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem", "--format", "erofs"];
        let mut command = desk.command(&[&fixed[..], &["--output", "out"]].concat());
        let mut building = command.env("PATH", &path).stderr(Stdio::null()).spawn().unwrap();
        let workshop = || fs::read_dir(desk.path("out")).into_iter().flatten().flatten().next();
        let deadline = Instant::now() + Duration::from_mins(1);
        while !begun.exists() {
            assert!(Instant::now() < deadline && building.try_wait().unwrap().is_none(), "it makes nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(workshop().is_some());
        fs::remove_file(&begun).unwrap();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", building.id())]).status().unwrap();
        assert!(sent.success());
        assert_eq!(building.wait().unwrap().code(), Some(status));
        assert!(workshop().is_none(), "{:?}", workshop());
    }
}
