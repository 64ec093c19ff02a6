//! `sextant inspect` of UKIs and initrds that others have made: what is wrong is told, and costs little.

use crate::{Desk, Said};
use serde_json::Value;
use std::os::unix::fs::symlink;
use support::ddi::good_image;
use support::uki::{initrd, program};

const FILE: u32 = 0o100_644;
const DIRECTORY: u32 = 0o040_755;

fn inspect(desk: &Desk, file: &str) -> (Said, Value) {
    let json = desk.run(&["inspect", "--json", file]);
    let said = desk.run(&["inspect", file]);
    assert_eq!(json.status, said.status, "{said:?} {json:?}");
    (said, serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}")))
}

fn state(value: &Value, subject: &str) -> String {
    let check = value["checks"].as_array().unwrap().iter().find(|check| check["subject"] == subject);
    check.unwrap_or_else(|| panic!("no {subject}: {value:#}"))["state"].as_str().unwrap().to_owned()
}

/// An initrd of dracut's kind without anything of sextant's.
fn bare() -> Vec<u8> {
    initrd(&[
        ("etc", DIRECTORY, b""),
        ("etc/initrd-release", FILE, b"ID=dracut\n"),
        ("usr", DIRECTORY, b""),
        ("usr/lib", DIRECTORY, b""),
    ])
}

#[test]
fn an_initrd_without_the_agent_is_not_ready_and_says_what_is_missing() {
    let desk = Desk::new().file("initrd.img", &bare());
    let (said, value) = inspect(&desk, "initrd.img");
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""));
    assert_eq!((&value["initrd"], &value["agent"], &value["ready"]), (&"systemd".into(), &Value::Null, &false.into()));
    assert_eq!(state(&value, "/usr/lib/sextant/sextant-agent"), "missing");
    assert_eq!(state(&value, "/usr/lib/systemd/system/sextant-stage.service"), "missing");
    assert_eq!(state(&value, "/usr/lib/modules"), "unknown");
    assert_eq!(state(&value, "defaults"), "ok");
    assert!(
        said.stdout.contains("\nmissing /usr/lib/sextant/sextant-agent\n        At boot: no image is verified"),
        "{said:?}"
    );
}

#[test]
fn formats_are_told_apart_by_their_first_bytes() {
    let uki = program(&[(".linux", b"kernel"), (".initrd", &bare())]);
    let desk = Desk::new()
        .file("uki", &uki)
        .file("uki.sysext.raw", &uki)
        .file("k3s", &good_image("k3s", crate::vendor()))
        .file("lz4", b"\x02\x21\x4c\x18....")
        .file("xz", b"\xfd7zXZ\0....")
        .file("junk", b"neither")
        .file("empty", b"");
    let (_, value) = inspect(&desk, "uki");
    assert_eq!(value["uki"]["sections"], serde_json::json!([".linux", ".initrd"]));
    assert_eq!((state(&value, "systemd-stub").as_str(), state(&value, "signature").as_str()), ("wrong", "note"));
    // What is named as an image is judged as one.
    for image in ["uki.sysext.raw", "k3s", "junk", "empty"] {
        let (_, value) = inspect(&desk, image);
        assert!(value["partitions"].is_array(), "{image}: {value:#}");
    }
    let (said, value) = inspect(&desk, "lz4");
    assert_eq!(state(&value, "contents"), "wrong");
    assert!(said.stdout.contains("does not\n        unpack what systemd-stub appends"), "{}", said.stdout);
    assert_eq!(state(&inspect(&desk, "xz").1, "contents"), "wrong");
    let said = desk.run(&["inspect", "--list", "uki"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("--list and trust options are for images"), "{said:?}");
    let said = desk.run(&["inspect", "."]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("directory has no usr, so it is the root of no initrd"), "{said:?}");
}

#[test]
fn what_headers_promise_need_not_be_there() {
    let record = |size: &str| {
        let mut bytes = initrd(&[("etc/sextant.yaml", FILE, b"x")]);
        bytes[54..62].copy_from_slice(size.as_bytes());
        [initrd(&[("etc", DIRECTORY, b"")]), bytes].concat()
    };
    let desk = Desk::new().file("huge", &record("ffffffff")).file("odd", &record("0000fffe"));
    for file in ["huge", "odd"] {
        let (said, value) = inspect(&desk, file);
        assert_eq!((said.status, state(&value, "contents")), (Some(1), "wrong".into()), "{file}");
    }
    // Four thousand sections that begin beyond the end, and headers beyond it.
    let mut many = program(&[(".initrd", &bare())]);
    many[70..72].copy_from_slice(&4000_u16.to_le_bytes());
    let mut beyond = program(&[(".linux", b"kernel"), (".initrd", &bare())]);
    beyond[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut outside = program(&[(".linux", b"kernel"), (".initrd", &bare())]);
    outside[88 + 20..88 + 24].copy_from_slice(&u32::MAX.to_le_bytes());
    let desk = desk.file("many", &many).file("beyond", &beyond).file("outside", &outside);
    assert_eq!(inspect(&desk, "many").0.status, Some(1));
    assert_eq!(state(&inspect(&desk, "beyond").1, "headers"), "wrong");
    assert_eq!(state(&inspect(&desk, "outside").1, ".linux"), "wrong");
}

#[test]
fn a_file_that_is_too_large_is_said_to_be() {
    let large = vec![b'#'; (1 << 20) + 1];
    let with = |path: &str, content: &[u8]| {
        let etc = ("etc", DIRECTORY, b"".as_slice());
        [bare(), initrd(&[etc, ("etc/verity.d", DIRECTORY, b""), (path, FILE, content)])].concat()
    };
    let desk = Desk::new()
        .file("configuration", &with("etc/sextant.yaml", &large))
        .file("certificate", &with("etc/verity.d/a.crt", &large));
    assert_eq!(state(&inspect(&desk, "configuration").1, "/etc/sextant.yaml"), "wrong");
    assert_eq!(state(&inspect(&desk, "certificate").1, "/etc/verity.d/a.crt"), "wrong");
    let (said, _) = inspect(&desk, "configuration");
    assert!(said.stdout.contains("file is larger than 1048576 bytes"), "{}", said.stdout);
}

#[test]
fn links_do_not_lead_out_of_a_directory() {
    let desk = Desk::new()
        .file("secret", b"secure_boot: require\n")
        .file("tree/etc/initrd-release", b"")
        .file("tree/usr/x", b"");
    symlink(desk.path().join("secret"), desk.path().join("tree/etc/sextant.yaml")).unwrap();
    let (_, value) = inspect(&desk, "tree");
    assert_eq!(state(&value, "/etc/sextant.yaml"), "wrong", "{value:#}");
    std::fs::remove_file(desk.path().join("tree/etc/sextant.yaml")).unwrap();
    symlink("../../secret", desk.path().join("tree/etc/sextant.yaml")).unwrap();
    assert_eq!(state(&inspect(&desk, "tree").1, "/etc/sextant.yaml"), "wrong");
}

#[test]
fn names_and_texts_cannot_move_the_cursor() {
    let evil = "\u{1b}[2J\u{202e}";
    let names = [("etc", DIRECTORY, b"".as_slice()), ("etc/verity.d", DIRECTORY, b"")];
    let path = format!("etc/verity.d/{evil}.crt");
    let files = initrd(&[names[0], names[1], (&path, FILE, evil.as_bytes())]);
    let uki = program(&[
        (".osrel", format!("NAME=\"{evil}\"\n").as_bytes()),
        (".cmdline", evil.as_bytes()),
        (".uname", evil.as_bytes()),
        (".linux", b"kernel"),
        (".initrd", &[bare(), files].concat()),
    ]);
    let desk = Desk::new().file("uki.efi", &uki);
    let (said, value) = inspect(&desk, "uki.efi");
    assert!(!said.stdout.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    assert!(value["uki"]["uname"].as_str().unwrap().starts_with("\\u{1b}[2J"), "{value:#}");
}
