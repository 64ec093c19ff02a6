#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::*;
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

/// An archive of files, directories and links.
pub(crate) fn archive(records: &[(&str, &str)]) -> Vec<u8> {
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

/// A system that has [`HOST`].
pub(crate) fn host() -> Archive {
    let mut host = Archive::default();
    host.add(&archive(&HOST)).unwrap();
    host
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

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn archives_stand_one_behind_the_other_compressed_or_not() {
    let early = archive(&[("kernel", "directory"), ("kernel/x86", "directory")]);
    let (first, second) = (archive(&HOST), archive(&[("usr/bin/late", "late")]));
    let zeros = vec![0; 1024];
    let forms: [Vec<u8>; 7] = [
        [early.as_slice(), &first, &zeros, &second].concat(),
        [early.as_slice(), &zeros, &zstd(&first), &gzip(&second)].concat(),
        [gzip(&first).as_slice(), &zeros, &zstd(&second), &zeros].concat(),
        zstd(&[first.as_slice(), &zeros, &second].concat()),
        [gzip(&[first.as_slice(), &zeros].concat()), second.clone()].concat(),
        [xz(&first), second.clone()].concat(),
        [early.as_slice(), &xz(&first), &zeros, &xz(&second)].concat(),
    ];
    for (number, bytes) in forms.iter().enumerate() {
        let mut archive = Archive::default();
        archive.add(bytes).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(archive.entry(b"usr/bin/late").unwrap().is_some(), "{number}");
    }
    let magics: [(&[u8], &str); 5] = [
        (b"\x89LZO......", "LZO"),
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
fn parts_are_told_with_their_compression() {
    let (plain, other) = (archive(&HOST), archive(&[("usr/bin/late", "late")]));
    let whole = [plain.as_slice(), &plain, &zstd(&other), &gzip(&other), b"\x02\x21\x4c\x18...."].concat();
    let mut found = Archive::default();
    let _ = found.add(&whole).unwrap_err();
    let parts: Vec<_> = found.segments().iter().map(|segment| segment.compression).collect();
    assert_eq!(parts, [Compression::None, Compression::Zstd, Compression::Gzip, Compression::Lz4]);
    assert_eq!(found.segments()[1].offset, 2 * plain.len() as u64);
}

/// A record of a file that has several names.
fn linked(path: &str, inode: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = record(path, 0o100_755, content);
    bytes[6..14].copy_from_slice(format!("{inode:08x}").as_bytes());
    bytes[38..46].copy_from_slice(b"00000002");
    bytes
}

#[test]
fn contents_are_kept_of_the_files_that_are_asked_for() {
    let records = [
        record("a", 0o100_644, b"first"),
        record("b", 0o100_600, b"second"),
        // GNU cpio has the content behind the last name, others behind the first.
        linked("late/1", 7, b""),
        record("late", 0o040_755, b""),
        linked("late/2", 7, b""),
        linked("late/3", 7, b"late"),
        linked("early1", 8, b"early"),
        linked("early2", 8, b""),
        record("TRAILER!!!", 0, b""),
        // Numbers of inodes are those of one archive.
        linked("other", 8, b"other"),
        record("a", 0o100_640, b"third"),
        record("TRAILER!!!", 0, b""),
    ];
    let bytes = records.concat();
    let mut first = Archive::default();
    first.add(&bytes).unwrap();
    let read = |archive: &Archive, path: &str| archive.read(path.as_bytes(), 5).unwrap();
    assert_eq!((read(&first, "a"), read(&first, "late")), (Read::Unread, Read::Absent));
    let wanted = ["a", "b", "late/2", "early2", "other", "nowhere"];
    let mut second = first.to_keep(wanted.iter().map(|path| (path.as_bytes(), 5)));
    second.add(&bytes).unwrap();
    let text = |path: &str| match read(&second, path) {
        Read::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
        other => format!("{other:?}"),
    };
    assert_eq!(wanted.map(text), ["third", "TooLarge", "late", "early", "other", "Absent"]);
    assert_eq!((text("late/3").as_str(), text("early1").as_str()), ("late", "early"));
    assert_eq!(second.entry(b"a").unwrap().unwrap().mode, 0o640);
    assert_eq!(second.entry(b"late/1").unwrap(), None, "its directory came later");
}

#[test]
fn links_lead_to_files_inside() {
    let records = [
        ("etc", "directory"),
        ("usr", "directory"),
        ("usr/lib", "directory"),
        ("usr/lib/x", "x"),
        ("lib", "link usr/lib"),
        ("etc/x", "link ../../../lib/x"),
        ("etc/y", "link /etc/x"),
        ("etc/z", "link z"),
        ("etc/up", "link .."),
    ];
    let mut system = Archive::default();
    system.add(&archive(&records)).unwrap();
    for path in ["etc/x", "/etc/y", "lib/x", "etc/../lib/./x"] {
        assert_eq!(find(&system, path.as_bytes()).unwrap().as_deref(), Some(b"usr/lib/x".as_slice()), "{path}");
    }
    for path in ["etc/z", "etc/nothing", "etc/up", "", "etc/x/y"] {
        assert_eq!(find(&system, path.as_bytes()).unwrap(), None, "{path}");
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

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..1000, form in 0..5) {
        let good = archive(&HOST);
        let mut whole = match form {
            0 => good,
            1 => gzip(&good),
            2 => zstd(&good),
            3 => xz(&good),
            _ => [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0", &[0; 2], &[9, 0], &[0; 16]].concat(),
        };
        let at = at.min(whole.len());
        let end = at.saturating_add(bytes.len()).min(whole.len());
        whole.splice(at..end, bytes.drain(..));
        let _ = Archive::default().add(&whole);
        let _ = read_initrd(&whole);
    }
}
