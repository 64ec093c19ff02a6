//! A directory of the host as the source.

use crate::desk::{Desk, Mounted, listing};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use support::harness::left_out;
use support::keys;

fn desk() -> Desk {
    Desk::of(keys::ec("Vendor"))
}

fn chown(desk: &Desk, path: &str, owner: u32) {
    std::os::unix::fs::lchown(desk.path(path), Some(owner), Some(owner)).unwrap();
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        left_out("only root can give files away");
    }
    root
}

pub(crate) fn what_the_kernel_shows_is_what_the_directory_had() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", &vec![7; 300_000]);
    desk.file("tree/opt/x/empty", b"");
    desk.file("tree/usr/share/\u{e4} name with spaces\n", b"x");
    fs::create_dir_all(desk.path("tree/usr/lib/empty")).unwrap();
    symlink("../bin/tool", desk.path("tree/usr/lib/link")).unwrap();
    symlink("/nowhere", desk.path("tree/usr/lib/dangling")).unwrap();
    fs::set_permissions(desk.path("tree/usr/bin/tool"), Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(desk.path("tree/usr/lib/empty"), Permissions::from_mode(0o1777)).unwrap();
    let sparse = fs::File::create(desk.path("tree/usr/lib/sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    let said = desk.build("tool", "tree", &["--keep-owners"]).good();
    assert_eq!(said.stderr, "");
    assert!(desk.path("tool.sysext.raw").metadata().unwrap().len() < 4 << 20, "holes take room");
    let Some(mounted) = Mounted::of(&desk.path("tool.sysext.raw")) else { return };
    let mut found = mounted.listing();
    let release = mounted.path().join("usr/lib/extension-release.d/extension-release.tool");
    let text = fs::read_to_string(release).unwrap();
    assert!(text.contains("ID=_any\n") && text.contains("ARCHITECTURE="), "{text}");
    found.retain(|path, _| !path.starts_with("usr/lib/extension-release.d"));
    assert_eq!(found, listing(&desk.path("tree")));
}

pub(crate) fn what_is_mine_becomes_roots() {
    if !is_root() {
        return;
    }
    let desk = desk();
    desk.file("tree/usr/mine", b"x");
    desk.file("tree/usr/other", b"x");
    chown(&desk, "tree/usr/other", 1234);
    // Some user, for whom those files are his.
    for (options, expected) in [("", "0:0 1234:1234"), ("--keep-owners", "1235:1235 1234:1234")] {
        chown(&desk, "tree/usr/mine", 1235);
        fs::set_permissions(desk.path("."), Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(desk.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
        let output = Command::new("setpriv")
            .args([
                "--reuid=1235",
                "--regid=1235",
                "--clear-groups",
                env!("CARGO_BIN_EXE_tool-under-test"),
                "build",
                "tool",
            ])
            .args(["tree", "--private-key", "key.pem", "--certificate", "crt.pem"])
            .args(options.split_whitespace())
            .current_dir(desk.path("."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let Some(mounted) = Mounted::of(&desk.path("tool.sysext.raw")) else { return };
        let listing = mounted.listing();
        let owner = |path: &str| listing[path].split(' ').nth(1).unwrap().to_owned();
        assert_eq!(format!("{} {}", owner("usr/mine"), owner("usr/other")), expected, "{options}");
    }
}

pub(crate) fn what_cannot_be_in_an_extension_is_left_out_with_a_line_or_refused() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    desk.file("tree/usr-local/x", b"x");
    desk.file("tree/etc/passwd", b"x");
    desk.file("tree/usr/lib/os-release", b"ID=evil\n");
    let _socket = UnixListener::bind(desk.path("tree/usr/lib/socket")).unwrap();
    let status = Command::new("mkfifo").arg(desk.path("tree/usr/lib/fifo")).status().unwrap();
    assert!(status.success());
    let said = desk.build("tool", "tree", &["--json"]).good();
    let lines = [
        "sextant: left out /etc (2 files and directories): a sysext extends only /usr and /opt",
        "sextant: left out /usr-local (2 files and directories): a sysext extends only /usr and /opt",
        "sextant: left out /usr/lib/fifo: a FIFO can't be part of an extension",
        "sextant: left out /usr/lib/socket: a socket can't be part of an extension",
        "sextant: left out /usr/lib/os-release: it would replace that of the host, so every boot rejects it",
    ];
    assert_eq!(said.stderr.lines().collect::<Vec<_>>(), lines);
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(value["left_out"].as_array().unwrap().len(), 5);
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
    desk.build("tool", "tree", &["--strict"]).refuses(&["5 files would be left out, which --strict does not allow"]);
    assert!(!desk.path("tool.sysext.raw").exists());
}

pub(crate) fn nothing_to_extend_is_an_error() {
    let desk = desk();
    desk.file("tree/etc/app/conf", b"x");
    desk.build("tool", "tree", &[]).refuses(&["no usr or opt in tree"]);
    desk.build("tool", "nowhere", &[]).refuses(&["nowhere"]);
    desk.build("tool", "tree", &["--class", "confext"]).good();
    assert_eq!(desk.verdict("tool.confext.raw"), "");
}

pub(crate) fn a_link_as_usr_is_not_followed() {
    let desk = desk();
    desk.file("secret/bin/tool", b"x");
    desk.file("tree/opt/x", b"x");
    symlink("../secret", desk.path("tree/usr")).unwrap();
    let said = desk.build("tool", "tree", &[]).good();
    assert!(said.stderr.contains("left out /usr: it is a symbolic link, not a directory"), "{said:?}");
}

pub(crate) fn a_file_that_changes_while_it_is_read_makes_no_image() {
    let desk = desk();
    // Large enough that reading it takes longer than to write to the last file of the walk.
    let mut noise = vec![0; 48 << 20];
    openssl::rand::rand_bytes(&mut noise).unwrap();
    desk.file("tree/usr/a", &noise);
    desk.file("tree/usr/z", b"before");
    let mut child = desk
        .command(&["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Names and metadata have been read when the file system is begun, in a directory of its own.
    let begun = |entry: &fs::DirEntry| entry.path().join("tool.sysext.raw").exists();
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !fs::read_dir(desk.path(".")).unwrap().any(|entry| begun(&entry.unwrap())) {
        assert!(child.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline, "never begun");
    }
    desk.file("tree/usr/z", b"something longer");
    let said = crate::desk::Said::from(child.wait_with_output().unwrap());
    said.refuses(&["usr/z", "changed"]);
    assert!(!desk.names().iter().any(|name| name.contains("sysext") || name.starts_with('.')), "{:?}", desk.names());
}

pub(crate) fn a_release_file_is_written_or_checked() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    let release = "tree/usr/lib/extension-release.d/extension-release.tool";
    let options = ["--id", "kairos", "--version-id", "3.1", "--sysext-level", "2", "--scope", "system,initrd"];
    desk.build("tool", "tree", &[&options[..], &["--reload-manager", "--arch", "arm64"]].concat()).good();
    if let Some(mounted) = Mounted::of(&desk.path("tool.sysext.raw")) {
        let text = fs::read_to_string(mounted.path().join(release.strip_prefix("tree/").unwrap())).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let expected = [
            "ID=kairos",
            "VERSION_ID=3.1",
            "SYSEXT_LEVEL=2",
            "SYSEXT_SCOPE=\"system initrd\"",
            "ARCHITECTURE=arm64",
            "EXTENSION_RELOAD_MANAGER=1",
        ];
        assert_eq!(lines, expected);
    }
    desk.file(release, b"ID=kairos\n");
    desk.build("tool", "tree", &[]).good();
    let said = desk.build("tool", "tree", &["--id", "debian"]);
    said.refuses(&["source contains ", "can't be used with it"]);
    let said = desk.build("other", "tree", &[]);
    said.refuses(&["extension-release.tool, which is for another name: build as tool, or remove the file"]);
    desk.file(release, b"ID=_any\nARCHITECTURE=arm64\n");
    desk.build("tool", "tree", &["--arch", "amd64"]).refuses(&["of the source: ", "arm64"]);
    desk.file(release, b"ARCHITECTURE=\n");
    desk.build("tool", "tree", &[]).refuses(&["of the source: "]);
}

pub(crate) fn wrong_options_are_usage() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    for (name, more) in [
        ("..", &[][..]),
        ("a/b", &[]),
        ("tool", &["--arch", "pdp11"]),
        ("tool", &["--scope", "initrd"]),
        ("tool", &["--compression", "brotli"]),
        ("tool", &["--max-size", "much"]),
        ("tool", &["--layers", "2..1"]),
        ("tool", &["--version-id", "1"]),
        ("tool", &["--unsigned"]),
    ] {
        let said = desk.build(name, "tree", more);
        assert_eq!(said.status, Some(2), "{name} {more:?}: {said:?}");
    }
    // A key without a certificate, and neither of them without `--unsigned`.
    for more in [&[][..], &["--private-key", "key.pem"], &["--certificate", "crt.pem"]] {
        let said = desk.run(&[&["build", "tool", "tree"], more].concat());
        assert_eq!(said.status, Some(2), "{more:?}: {said:?}");
        assert!(said.stderr.contains("signing needs --"), "{said:?}");
    }
    assert!(!desk.names().iter().any(|name| name.contains("sysext")));
}
