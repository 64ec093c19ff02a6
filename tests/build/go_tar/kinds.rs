//! Kinds of odd archives, each with a public report of it, and what Go's `archive/tar` makes of them.

use super::generate::{Number, Writer};
use super::{Go, Row, rows};
use crate::layers::{GENEROUS, Stack, spool};
use sextant_cli::build::tree::{FileTree, Layers, apply};
use std::collections::BTreeMap;

type Records<'a> = &'a [(&'a str, &'a str)];

/// An archive of one member, with records before it. `change` writes on the header.
fn one(kind: u8, name: &str, records: Records, data: &[u8], change: impl FnOnce(&mut [u8])) -> Writer {
    let mut writer = Writer::default();
    if !records.is_empty() {
        let records: Vec<_> =
            records.iter().map(|(keyword, value)| ((*keyword).to_owned(), value.as_bytes().to_vec())).collect();
        writer.records(b'x', &records);
    }
    member(&mut writer, kind, name, data, change);
    writer
}

fn member(writer: &mut Writer, kind: u8, name: &str, data: &[u8], change: impl FnOnce(&mut [u8])) {
    writer.header(
        |header| {
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[156] = kind;
            header[257..265].copy_from_slice(b"ustar\x0000");
            Number::Octal(data.len() as u64).put(&mut header[124..136]);
            change(header);
        },
        9,
    );
    writer.bytes.extend(data);
    writer.pad();
}

/// With another file behind it, and the end.
fn followed(mut writer: Writer) -> Vec<u8> {
    member(&mut writer, b'0', "usr/next", b"next", |_| ());
    ended(writer)
}

fn ended(mut writer: Writer) -> Vec<u8> {
    writer.bytes.extend([0; 1024]);
    writer.bytes
}

fn with(mut writer: Writer, zeros: usize) -> Vec<u8> {
    writer.bytes.resize(writer.bytes.len() + zeros, 0);
    writer.bytes
}

/// A map of holes with this record of pieces.
fn pieces(records: Records, data: &[u8]) -> Vec<u8> {
    ended(one(b'0', "usr/x", records, data, |_| ()))
}

const GNU: &[u8] = b"ustar  \0";

/// Kind, public report, archive, and the paths with kind and size, or words of the error.
type Kind = (&'static str, &'static str, Vec<u8>, Result<&'static [(&'static str, char, u64)], &'static str>);

#[allow(clippy::too_many_lines, reason = "a table")]
fn kinds() -> Vec<Kind> {
    let plain = || one(b'0', "usr/x", &[], b"x", |_| ());
    let mut data = b"1\n100\n5\n".to_vec();
    data.resize(512, 0);
    data.extend(b"hello");
    let v1: Records = &[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "usr/real"),
        ("GNU.sparse.realsize", "4096"),
    ];
    let map = |count: &'static str, map: &'static str| {
        pieces(&[("GNU.sparse.map", map), ("GNU.sparse.numblocks", count), ("GNU.sparse.size", "20")], b"0123456789")
    };
    vec![
        ("no end", "composefs/tar-rs#171", with(plain(), 0), Ok(&[("usr/x", 'f', 1)])),
        ("half an end", "composefs/tar-rs#171", with(plain(), 512), Ok(&[("usr/x", 'f', 1)])),
        ("more than an end", "wader/fq#87", with(plain(), 512 * 20), Ok(&[("usr/x", 'f', 1)])),
        (
            "a lone block of zeros",
            "composefs/tar-rs#35",
            {
                let mut writer = plain();
                writer.bytes.extend([0; 512]);
                followed(writer)
            },
            Err("single block of zeros"),
        ),
        (
            "a directory before POSIX",
            "composefs/tar-rs#172",
            followed(one(0, "usr/x/", &[], b"", |header| header[257..265].fill(0))),
            Ok(&[("usr/next", 'f', 4), ("usr/x", 'd', 0)]),
        ),
        (
            "a file whose name ends in a slash",
            "python/cpython#75738",
            followed(one(b'0', "usr/x/", &[], b"x", |_| ())),
            Ok(&[("usr/next", 'f', 4), ("usr/x", 'f', 1)]),
        ),
        (
            "a directory with a size",
            "mafintosh/tar-stream#69",
            followed(one(b'5', "usr/x", &[], b"", |header| Number::Octal(4096).put(&mut header[124..136]))),
            Ok(&[("usr/next", 'f', 4), ("usr/x", 'd', 0)]),
        ),
        (
            "no owner",
            "golang/go#5290",
            ended(one(b'0', "usr/x", &[], b"x", |header| header[108..124].fill(0))),
            Ok(&[("usr/x", 'f', 1)]),
        ),
        (
            "a time in 1754",
            "plougher/squashfs-tools#315",
            ended(one(b'0', "usr/x", &[], b"x", |header| {
                header[136..148]
                    .copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x6a, 0xf6, 0xf7, 0x1d]);
            })),
            Ok(&[("usr/x", 'f', 1)]),
        ),
        (
            "a path where GNU tar has times",
            "golang/go#12594",
            ended(one(b'0', "x", &[], b"x", |header| {
                header[257..265].copy_from_slice(GNU);
                header[345..355].copy_from_slice(b"usr/prefix");
            })),
            Ok(&[("usr/prefix/x", 'f', 1)]),
        ),
        (
            "letters as a group, and a record in their place",
            "libarchive/libarchive#825",
            ended(one(b'0', "usr/x", &[("gid", "0")], b"x", |header| header[116..124].fill(b'x'))),
            Err("group is not a number"),
        ),
        (
            "a file with holes under the name of another one",
            "dotnet/runtime#125281",
            ended(one(b'0', "usr/GNUSparseFile.0/real", v1, &data, |_| ())),
            Ok(&[("usr/real", 'f', 4096)]),
        ),
        ("data at the end, and no more", "composefs/tar-rs#243", map("2", "0,3,13,7"), Ok(&[("usr/x", 'f', 20)])),
        ("data that belongs to no piece", "aquaproj/aqua#5001", map("1", "0,3"), Err("sparse map is inconsistent")),
        ("another number of pieces", "python/cpython#153636", map("3", "0,3,13,7"), Err("sparse map is inconsistent")),
        ("a number that is none", "python/cpython#153636", map("x", "0,3,13,7"), Err("sparse map is inconsistent")),
        ("less than nothing", "Tarsnap/tarsnap#898", map("2", "0,-3,13,7"), Err("sparse map is inconsistent")),
        (
            "lengths without offsets",
            "libarchive/libarchive#1541",
            pieces(&[("GNU.sparse.numbytes", "3"), ("GNU.sparse.offset", "0")], b"012"),
            Err("is malformed"),
        ),
    ]
}

fn read(bytes: &[u8]) -> Result<FileTree, String> {
    apply(&mut Stack(vec![spool(bytes)]), &Layers::All, GENEROUS).map_err(|error| error.to_string())
}

pub(crate) fn each_kind_of_archive_is_read_or_refused_as_go_does() {
    let mut go = Go::start();
    for (kind, report, archive, expected) in kinds() {
        let ours = read(&archive);
        match (&ours, expected) {
            (Ok(tree), Ok(expected)) => {
                let found = rows(tree, &BTreeMap::new());
                let shown: Vec<_> =
                    found.iter().map(|(path, Row { kind, size, .. })| (path.as_slice(), *kind, *size)).collect();
                let expected: Vec<_> =
                    expected.iter().map(|(path, kind, size)| (path.as_bytes(), *kind, *size)).collect();
                assert_eq!(shown, expected, "{kind} ({report})");
                assert!(found.values().all(|row| row.mtime == (0, 0) && row.uid == 0), "{kind} ({report}): {found:?}");
            }
            (Err(error), Err(words)) => assert!(error.contains(words), "{kind} ({report}): {error}"),
            (ours, expected) => panic!("{kind} ({report}): {ours:?} instead of {expected:?}"),
        }
        if let Some(go) = &mut go {
            let theirs = go.list(&archive);
            assert_eq!(theirs.is_ok(), expected.is_ok(), "{kind} ({report}): Go says {theirs:?}");
        }
    }
}
