//! `sextant inspect` of UKIs and initrds that others have made: what is wrong is told, and costs little.

use crate::{Desk, Said};
use serde_json::Value;
use std::os::unix::fs::symlink;
use support::ddi::good_image;
use support::uki::{initrd, program};

const FILE: u32 = 0o100_644;
const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;

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
    let words = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("the configuration is larger than 1048576 bytes, all files together"), "{words}");
}

/// An archive is read twice: what is asked for is known after the first time.
#[test]
fn drop_ins_of_an_archive_are_read_as_the_agent_reads_them() {
    let directories = ["etc", "etc/sextant.yaml.d", "usr", "usr/lib", "usr/lib/sextant.yaml.d"]
        .map(|path| (path, DIRECTORY, b"".as_slice()));
    let with = |files: &[(&str, u32, &[u8])]| [bare(), initrd(&[&directories[..], files].concat())].concat();
    let of = |files: &[(&str, u32, &[u8])]| {
        let desk = Desk::new().file("initrd", &with(files));
        inspect(&desk, "initrd").1
    };
    let (good, empty) = (b"metrics: true\n".as_slice(), b"".as_slice());
    let value = of(&[
        ("usr/lib/sextant.yaml", FILE, good),
        ("usr/lib/sextant.yaml.d/10-a.yaml", FILE, good),
        ("usr/lib/sextant.yaml.d/30-c.yaml", FILE, b"nonsense: true\n"),
        ("etc/sextant.yaml.d/20-b.yaml", FILE, b"limits: {images: 3}\n"),
        ("etc/sextant.yaml.d/30-c.yaml", LINK, b"/dev/null"),
        ("etc/sextant.yaml.d/10-a.yaml", FILE, good),
        ("etc/sextant.yaml.d/README.md", FILE, empty),
        ("etc/sextant.yaml.d/.hidden", FILE, empty),
    ]);
    assert_eq!(value["sealed"]["configuration"], "/usr/lib/sextant.yaml");
    let drop_ins = ["10-a", "20-b", "30-c"].map(|name| format!("/etc/sextant.yaml.d/{name}.yaml"));
    assert_eq!(value["sealed"]["drop_ins"], serde_json::json!(drop_ins));
    let rows = value["checks"].as_array().unwrap().iter().filter(|row| row["group"] == "configuration");
    let rows: Vec<_> = rows.map(|row| [&row["subject"], &row["state"], &row["detail"]].map(|it| it.as_str())).collect();
    let row =
        |subject: &'static str, state: &'static str, detail: Option<&'static str>| [Some(subject), Some(state), detail];
    let expected = [
        row("/usr/lib/sextant.yaml", "ok", None),
        row("/etc/sextant.yaml.d/10-a.yaml", "ok", Some("replaces /usr/lib/sextant.yaml.d/10-a.yaml")),
        row("/etc/sextant.yaml.d/20-b.yaml", "ok", None),
        row("/etc/sextant.yaml.d/30-c.yaml", "ok", Some("masks /usr/lib/sextant.yaml.d/30-c.yaml")),
        row("/etc/sextant.yaml.d/README.md", "note", Some("does not count: its name does not end in .yaml")),
    ];
    assert_eq!(rows, expected);

    let wrong = |files: &[(&str, u32, &[u8])], subject: &str, detail: &str| {
        let value = of(files);
        let rows = value["checks"].as_array().unwrap().iter();
        let rows: Vec<_> = rows.filter(|row| row["group"] == "configuration" && row["state"] == "wrong").collect();
        let said = rows.iter().map(|row| row["detail"].as_str().unwrap()).collect::<Vec<_>>();
        assert!(rows.len() == 1 && rows[0]["subject"] == subject && said[0].contains(detail), "{rows:#?}");
    };
    let name = "/etc/sextant.yaml.d/1.yaml";
    let path = &name[1..];
    wrong(&[(path, FILE, b"metrics: true\nmetriks: true\n")], name, "1.yaml, line 2, metriks: ");
    wrong(&[(path, LINK, b"/run/x.yaml")], name, "entity not found");
    wrong(&[("oem", DIRECTORY, b""), ("oem/x", FILE, good), (path, LINK, b"/oem/x")], name, "leads to /oem/x");
    wrong(&[(path, DIRECTORY, b"")], name, "not a regular file");
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
