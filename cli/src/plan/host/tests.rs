#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::merge_order;
use ddi::filesystem::Node;
use proptest::prelude::*;
use std::io::Write;

/// A record of an archive.
fn record(path: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let fields = [1, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
    let fields = fields.map(|field| format!("{field:08x}"));
    let mut bytes = format!("070701{}{path}\0", fields.concat()).into_bytes();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn archive(records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, what) in records {
        bytes.extend(match what.split_once(' ') {
            Some(("link", target)) => record(path, 0o120_777, target.as_bytes()),
            _ if *what == "directory" => record(path, 0o040_755, b""),
            _ => record(path, 0o100_644, what.as_bytes()),
        });
    }
    bytes.extend(record("TRAILER!!!", 0, b""));
    bytes
}

const HOST: [(&str, &str); 15] = [
    (".", "directory"),
    ("./usr", "directory"),
    ("usr/bin", "directory"),
    ("usr/bin/init", "init"),
    ("usr/bin/mount", "mount"),
    ("usr/sbin", "link bin"),
    ("usr/lib", "directory"),
    ("usr/lib/os-release", "ID=host"),
    ("sbin", "link usr/sbin"),
    ("/sbin/ip", "ip"),
    ("usr/share", "directory"),
    ("usr/share/doc", "directory"),
    ("usr/share/doc/a", "directory"),
    ("usr/share/doc/a/b", "b"),
    ("nowhere/x", "x"),
];

fn host() -> Archive {
    let mut host = Archive::default();
    host.add(&archive(&HOST)).unwrap();
    host
}

fn extension(name: &str, nodes: &[(&str, &str)]) -> Extension {
    let nodes = nodes.iter().map(|(path, what)| {
        let (kind, target) = match what.split_once(' ') {
            Some((_, target)) => (EntryKind::Symlink, Some(target.as_bytes().to_vec())),
            None if *what == "directory" => (EntryKind::Directory, None),
            None => (EntryKind::File, None),
        };
        Node { path: path.as_bytes().to_vec(), kind, mode: 0o755, uid: 0, gid: 0, size: 0, target }
    });
    Extension { name: name.to_owned(), class: Class::Sysext, nodes: nodes.collect() }
}

fn compared(extensions: &[Extension]) -> Comparison {
    let hierarchies = Hierarchies::default();
    compare(&merge_order(extensions), &hierarchies, &host(), "host".into()).unwrap()
}

#[test]
fn a_directory_over_a_link_hides_what_the_link_leads_to() {
    let one = extension("one", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/ip", "file")]);
    let two = extension("two", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/tool", "file")]);
    let found = compared(&[one, two]);
    assert_eq!(found.hidden.len(), 1, "{found:?}");
    let hidden = &found.hidden[0];
    assert_eq!((hidden.path.as_str(), hidden.host, hidden.extension), ("/usr/sbin", Shape::Link, Shape::Directory));
    assert_eq!(hidden.target.as_ref().map(Text::as_str), Some("bin"));
    // What an extension brings itself can be reached.
    assert_eq!((hidden.count, &hidden.names), (2, &vec![Text::new("init"), Text::new("mount")]));
    assert_eq!(hidden.by, [Text::new("one"), Text::new("two")]);
    assert_eq!(found.replaced, []);
}

#[test]
fn anything_else_over_a_directory_hides_all_of_it() {
    let link = extension("link", &[("usr", "directory"), ("usr/share", "link ../opt")]);
    let file = extension(
        "file",
        &[("usr", "directory"), ("usr/bin", "file"), ("usr/lib", "directory"), ("usr/lib/os-release", "file")],
    );
    let found = compared(&[link, file]);
    let rows: Vec<_> = found.hidden.iter().map(|it| (it.path.as_str(), it.extension, it.count)).collect();
    assert_eq!(rows, [("/usr/bin", Shape::File, 3), ("/usr/share", Shape::Link, 1)]);
    assert_eq!(found.hidden[1].names, [Text::new("doc/a/b")]);
    assert_eq!(found.replaced, [Replaced { path: "/usr/lib/os-release".into(), by: vec!["file".into()] }]);
    // The same link hides nothing, and what the host hasn't can't be hidden.
    let same = [("usr", "directory"), ("usr/new", "directory"), ("usr/new/x", "file"), ("usr/sbin", "link bin")];
    let found = compared(&[extension("same", &same)]);
    assert_eq!((found.hidden, found.replaced), (vec![], vec![]));
}

#[test]
fn an_archive_is_read_as_the_kernel_unpacks_it() {
    let host = host();
    let kind = |path: &str| host.entry(path.as_bytes()).unwrap().map(|entry| entry.kind);
    assert_eq!(kind("usr/bin/ip"), Some(EntryKind::File), "through two links");
    assert_eq!(kind("usr/sbin"), Some(EntryKind::Symlink));
    assert_eq!((kind("nowhere"), kind("usr/sbin/ip")), (None, None));
    // What comes later takes the place of what was there, unless that is a directory with something in it.
    let mut later = host;
    let second =
        archive(&[("usr/sbin", "directory"), ("usr/bin", "file"), ("usr/lib", "directory"), ("usr/lib/x", "y")]);
    later.add(&second).unwrap();
    let kind = |path: &str| later.entry(path.as_bytes()).unwrap().map(|entry| entry.kind);
    assert_eq!(kind("usr/sbin"), Some(EntryKind::Directory));
    assert_eq!((kind("usr/bin"), kind("usr/lib/x")), (Some(EntryKind::Directory), Some(EntryKind::File)));
    assert!(kind("usr/lib/os-release").is_some());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn archives_stand_one_behind_the_other_compressed_or_not() {
    let early = archive(&[("kernel", "directory"), ("kernel/x86", "directory")]);
    let (first, second) = (archive(&HOST), archive(&[("usr/bin/late", "late")]));
    let zeros = vec![0; 1024];
    let forms: [Vec<u8>; 5] = [
        [early.as_slice(), &first, &zeros, &second].concat(),
        [early.as_slice(), &zeros, &zstd(&first), &gzip(&second)].concat(),
        [gzip(&first).as_slice(), &zeros, &zstd(&second), &zeros].concat(),
        zstd(&[first.as_slice(), &zeros, &second].concat()),
        [gzip(&[first.as_slice(), &zeros].concat()), second.clone()].concat(),
    ];
    for (number, bytes) in forms.iter().enumerate() {
        let mut archive = Archive::default();
        archive.add(bytes).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(archive.entry(b"usr/bin/late").unwrap().is_some(), "{number}");
    }
    let magics: [(&[u8], &str); 5] = [
        (b"\xfd7zXZ\0....", "xz"),
        (b"BZh9......", "bzip2"),
        (b"\x5d\0\0\x80..", "LZMA"),
        (b"\x02\x21\x4c\x18....", "LZ4"),
        (b"nothing of the kind", "is not a newc cpio archive"),
    ];
    for (bytes, words) in magics {
        let error = Archive::default().add(&bytes.to_vec()).unwrap_err().to_string();
        assert!(error.contains(words) && error.starts_with("data at byte 0 "), "{error}");
    }
}

#[test]
fn damaged_archives_are_refused_where_they_break() {
    let good = archive(&HOST);
    for len in 1..good.len() - 3 {
        let cut = good[..len].to_vec();
        let _ = Archive::default().add(&cut).unwrap_err();
    }
    let wrong: [(&[u8], &str); 5] = [
        (&record("a/../b", 0o100_644, b""), "\"..\""),
        (&record(&"a/".repeat(200), 0o040_755, b""), "components"),
        (&record("a", 0o120_777, b""), "header 1 of an archive is damaged"),
        (&record("a", 0o100_644, b"")[..60], "initrd ends within an archive"),
        (&[b"070701", [b'z'; 104].as_slice()].concat(), "header 1 of an archive is damaged"),
    ];
    for (bytes, words) in wrong {
        let error = Archive::default().add(&bytes.to_vec()).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn links_in_circles_end() {
    let records = [("a", "link b"), ("b", "link a"), ("a/x", "x"), ("usr", "directory"), ("usr/sbin", "link /a/y")];
    let mut host = Archive::default();
    host.add(&archive(&records)).unwrap();
    let tool = extension("tool", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/x", "file")]);
    let found = compare(&merge_order(&[tool]), &Hierarchies::default(), &host, "host".into()).unwrap();
    assert_eq!((found.hidden.len(), found.hidden[0].count), (1, 0));
}

#[test]
fn rows_are_bounded() {
    let paths: Vec<String> = (0..1500).map(|number| format!("usr/{number:04}")).collect();
    let mut records = vec![("usr", "directory")];
    records.extend(paths.iter().map(|path| (path.as_str(), "file")));
    let mut host = Archive::default();
    host.add(&archive(&records)).unwrap();
    for what in ["file", "directory"] {
        let nodes: Vec<_> =
            std::iter::once(("usr", "directory")).chain(paths.iter().map(|path| (path.as_str(), what))).collect();
        let tool = extension("tool", &nodes);
        let found = compare(&merge_order(&[tool]), &Hierarchies::default(), &host, "host".into()).unwrap();
        assert_eq!((found.hidden.len() + found.replaced.len(), found.omitted), (1000, 500), "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..1000, form in 0..4) {
        let good = archive(&HOST);
        let mut whole = match form {
            0 => good,
            1 => gzip(&good),
            2 => zstd(&good),
            _ => [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0", &[0; 2], &[9, 0], &[0; 16]].concat(),
        };
        let at = at.min(whole.len());
        let end = at.saturating_add(bytes.len()).min(whole.len());
        whole.splice(at..end, bytes.drain(..));
        let _ = Archive::default().add(&whole);
        let _ = read_initrd(&whole);
    }
}
