//! Archives that somebody made to do harm: nothing is written anywhere, and each is refused with its cause.

use crate::layers::{GENEROUS, Layer, Stack, spool};
use sextant_cli::build::tree::{LayerError, Layers, MemberError, TreeTooLarge, apply};
use std::time::{Duration, Instant};
use tar::EntryType;

fn refused(layers: &[Vec<u8>], words: &str) {
    let mut stack = Stack(layers.iter().map(|layer| spool(layer)).collect());
    let error = apply(&mut stack, &Layers::All, GENEROUS).map(|_| words).unwrap_err().to_string();
    assert!(error.contains(words), "{words}: {error}");
}

pub(crate) fn paths_that_lead_upwards_are_refused() {
    for path in ["../etc/passwd", "usr/../../etc/passwd", "usr/..", "/../x"] {
        refused(&[Layer::new().file(path, "x").bytes()], "path contains \"..\"");
    }
    refused(&[Layer::new().file("usr/a", "").link("usr/b", "../../etc/passwd").bytes()], "\"..\"");
}

pub(crate) fn absolute_names_and_links_stay_inside() {
    let layer = Layer::new().symlink("usr", "/etc").file("/usr/passwd", "x").bytes();
    let mut stack = Stack(vec![spool(&layer)]);
    let tree = apply(&mut stack, &Layers::All, GENEROUS).unwrap();
    let shape = crate::desk::shape(&tree);
    // In the tree's own /etc, which an extension doesn't have.
    assert_eq!(shape["etc/passwd"], "file x");
    assert_eq!(shape["usr"], "link /etc");
}

pub(crate) fn links_in_circles_and_files_as_directories_are_refused() {
    refused(&[Layer::new().symlink("usr/a", "b").symlink("usr/b", "a").file("usr/a/x", "").bytes()], "symbolic links");
    refused(&[Layer::new().file("usr/a", "").file("usr/a/x", "").bytes()], "is a regular file, not a directory");
    refused(&[Layer::new().directory("usr/a").link("usr/b", "usr/a").bytes()], "which is a directory");
    refused(&[Layer::new().link("usr/b", "usr/b").bytes()], "which does not exist");
}

pub(crate) fn absurd_paths_are_refused() {
    refused(&[Layer::new().pax(&[("path", "a/".repeat(200).as_bytes())]).file("x", "").bytes()], "components");
    refused(&[Layer::new().pax(&[("path", "a".repeat(300).as_bytes())]).file("x", "").bytes()], "300 bytes");
    refused(&[Layer::new().pax(&[("path", "ab/".repeat(3000).as_bytes())]).file("x", "").bytes()], "9000 bytes");
    refused(&[Layer::new().pax(&[("path", b"a\0b")]).file("x", "").bytes()], "NUL");
    refused(&[Layer::new().entry(EntryType::Symlink, "usr/l", "", b"").bytes()], "invalid link target");
}

/// Each name of a file may be read and written anew.
pub(crate) fn hard_links_and_attributes_count_too() {
    let link = |layer: Layer, number| layer.link(&format!("usr/{number}"), "usr/a");
    let linked = (0..5).fold(Layer::new().file("usr/a", "1234567890"), link).bytes();
    for (limit, fits) in [(60, true), (59, false)] {
        let mut stack = Stack(vec![spool(&linked)]);
        let result = apply(&mut stack, &Layers::All, limit).map(drop).map_err(|error| error.to_string());
        assert_eq!(result.is_ok(), fits, "{limit}: {result:?}");
        assert!(fits || result.unwrap_err().contains("--max-size"));
    }
    let value = vec![b'x'; 100_000];
    let attribute = || Layer::new().pax(&[("SCHILY.xattr.user.a", &value)]);
    let mut stack = Stack(vec![spool(&attribute().file("usr/a", "").bytes())]);
    let error = apply(&mut stack, &Layers::All, 100_000).map(drop).unwrap_err().to_string();
    assert!(error.contains("--max-size"), "{error}");
    let twice: [(&str, &[u8]); 2] = [("SCHILY.xattr.user.a", &value), ("SCHILY.xattr.user.b", &value)];
    refused(&[Layer::new().pax(&twice).file("usr/a", "").bytes()], "extended attributes");
}

pub(crate) fn bombs_are_bounded() {
    // A thousand TiB of zeros in a few hundred bytes.
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"usr/bomb"),
        ("GNU.sparse.realsize", b"1125899906842624"),
    ];
    let mut map = b"0\n".to_vec();
    map.resize(512, 0);
    let sparse = |map: &[u8]| Layer::new().pax(&records).entry(EntryType::Regular, "x", "", map).bytes();
    refused(&[sparse(&map)], "raise the limit with --max-size");
    // Many small ones count together.
    let many = (0..8).fold(Layer::new(), |layer, at| layer.file(&format!("usr/{at}"), &"x".repeat(100)));
    let mut stack = Stack(vec![many.spool()]);
    let error = apply(&mut stack, &Layers::All, 500).unwrap_err().to_string();
    assert!(error.contains("larger than 500 bytes"), "{error}");
    // A header that asks for memory.
    let mut huge = Layer::new().entry(EntryType::XHeader, "x", "", b"").bytes();
    huge[124..136].copy_from_slice(b"77777777777\0");
    fix_checksum(&mut huge);
    refused(&[huge], "the limit is 1048576");
}

/// What one member makes the tree hold in memory may be far more than its size in the archive, and far more again than the
/// archive's size once it is compressed.
pub(crate) fn memory_is_bounded_whatever_is_held_in_it() {
    let value = vec![b'x'; 120_000];
    let deep = |number: usize| format!("{number:x}/").repeat(126);
    let pieces: String =
        std::iter::once("500000\n".to_owned()).chain((0..500_000).map(|at| format!("{}\n1\n", 2 * at))).collect();
    let holes: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"usr/holes"),
        ("GNU.sparse.realsize", b"1000000"),
    ];
    let mut map = pieces.into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    map.resize(map.len() + 500_000, b'x');
    let attributes =
        |layer: Layer, at: usize| layer.pax(&[("SCHILY.xattr.user.a", &value)]).file(&format!("usr/{at}"), "");
    let directories =
        |layer: Layer, at: usize| layer.pax(&[("path", format!("{}x", deep(at)).as_bytes())]).file("x", "");
    let sparse = |layer: Layer, _| layer.pax(&holes).entry(EntryType::Regular, "x", "", &map);
    for (what, layer) in [
        ("attributes", (0..2500).fold(Layer::new(), attributes)),
        ("directories that no member describes", (0..8000).fold(Layer::new(), directories)),
        ("pieces between holes", (0..15).fold(Layer::new(), sparse)),
    ] {
        let mut stack = Stack(vec![layer.spool()]);
        let error = apply(&mut stack, &Layers::All, 8 << 30).map(drop).unwrap_err();
        let LayerError::Member { cause, .. } = &error else { panic!("{what}: {error}") };
        let is_bound = matches!(
            cause,
            MemberError::TooLarge(TreeTooLarge::Memory)
                | MemberError::Path(sextant_cli::build::tree::PathError::TooLarge(TreeTooLarge::Memory))
        );
        assert!(is_bound, "{what}: {error}");
        assert!(error.to_string().contains("more than 256 MiB of memory"), "{what}: {error}");
    }
}

pub(crate) fn attributes_and_records_are_counted() {
    let names: Vec<String> = (0..257).map(|number| format!("SCHILY.xattr.user.{number}")).collect();
    let records = |count: usize| names.iter().take(count).map(|name| (name.as_str(), &b"x"[..])).collect::<Vec<_>>();
    refused(&[Layer::new().pax(&records(257)).file("usr/a", "").bytes()], "more than 256");
    let mut stack = Stack(vec![Layer::new().pax(&records(256)).file("usr/a", "").spool()]);
    apply(&mut stack, &Layers::All, GENEROUS).unwrap();
    let many: Vec<(&str, &[u8])> = vec![("comment", b""); 16_385];
    refused(&[Layer::new().pax(&many).file("usr/a", "").bytes()], "more than 16384 records");
}

/// Each whiteout and directory goes down its path once.
pub(crate) fn what_is_taken_away_at_great_depth_takes_no_longer() {
    let deep: String = format!("{}/", "d".repeat(29)).repeat(120);
    let at = |name: &str| format!("{deep}{name}");
    let file = |layer: Layer, name: &str| layer.pax(&[("path", at(name).as_bytes())]).file("x", "");
    let lower = file(Layer::new(), "kept").bytes();
    let whiteouts = (0..3000).fold(Layer::new(), |layer, number| file(layer, &format!(".wh.{number}"))).bytes();
    let begun = Instant::now();
    let mut stack = Stack(vec![spool(&lower), spool(&whiteouts)]);
    let tree = apply(&mut stack, &Layers::All, GENEROUS).unwrap();
    assert_eq!(tree.walk().len(), 121);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

pub(crate) fn maps_of_holes_have_to_hold_together() {
    let sparse = |map: &str, size: &str| {
        let count = map.split(',').count().div_ceil(2).to_string();
        let records = [
            ("GNU.sparse.map", map.as_bytes()),
            ("GNU.sparse.numblocks", count.as_bytes()),
            ("GNU.sparse.size", size.as_bytes()),
        ];
        Layer::new().pax(&records).file("usr/x", "0123456789").bytes()
    };
    for (map, size) in [
        ("0,11", "20"),
        ("0,5,4,5", "20"),
        ("8,5,2,5", "20"),
        ("0", "20"),
        ("18,5", "20"),
        ("0,x", "20"),
        ("18446744073709551615,5", "20"),
        ("0,5", ""),
    ] {
        refused(&[sparse(map, size)], "sparse map is inconsistent");
    }
    let mut stack = Stack(vec![spool(&sparse("2,3,10,7", "20"))]);
    let tree = apply(&mut stack, &Layers::All, GENEROUS).unwrap();
    assert_eq!(crate::desk::shape(&tree)["usr/x"], "file \0\x00012\0\0\0\0\x003456789\0\0\0");
}

pub(crate) fn broken_archives_are_refused_where_they_break() {
    let good = Layer::new().file("usr/a", &"x".repeat(2000)).file("usr/b", "y").bytes();
    refused(&[good[..1500].to_vec()], "archive ends within the member at byte 0");
    refused(&[good[..2700].to_vec()], "archive ends within the member at byte 2560");
    let mut damaged = good.clone();
    damaged[2560] ^= 1;
    refused(&[damaged], "no valid header at byte 2560: checksum");
    let mut damaged = good.clone();
    damaged[100..108].fill(b'9');
    fix_checksum(&mut damaged);
    refused(&[damaged], "mode is not a number");
    refused(&[Layer::new().pax(&[("SCHILY.xattr.", b"x")]).file("usr/a", "").bytes()], "extended attribute");
    refused(&[Layer::new().pax(&[("SCHILY.acl.access", b"user::rw-")]).file("usr/a", "").bytes()], "attribute access");
    refused(&[Layer::new().pax(&[("mtime", b"soon")]).file("usr/a", "").bytes()], "mtime");
    refused(&[Layer::new().pax(&[("uid", b"4294967296")]).file("usr/a", "").bytes()], "invalid owner");
    refused(&[Layer::new().entry(EntryType::new(b'Z'), "usr/a", "", b"").bytes()], "type 'Z'");
    refused(&[vec![0x55; 1024]], "no valid header at byte 0");
}

fn fix_checksum(archive: &mut [u8]) {
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An archive with all that an archive can have: long names, records, both kinds of holes, links, whiteouts.
fn rich() -> Vec<u8> {
    let map: [(&str, &[u8]); 3] =
        [("GNU.sparse.map", b"2,3,10,7"), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.size", b"20")];
    let records: [(&str, &[u8]); 4] =
        [("path", b"usr/of/a/record"), ("mtime", b"-1.5"), ("uid", b"70000"), ("SCHILY.xattr.user.note", b"\n\0")];
    let one_zero: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"usr/sparse"),
        ("GNU.sparse.realsize", b"4096"),
    ];
    let mut data = b"1\n100\n5\n".to_vec();
    data.resize(512, 0);
    data.extend(b"hello");
    Layer::new()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .entry(EntryType::GNULongName, "././@LongLink", "", &[b"usr/long/".as_slice(), &[b'n'; 120]].concat())
        .file("x", "content")
        .pax(&records)
        .file("x", "content")
        .pax(&map)
        .file("usr/holes", "0123456789")
        .pax(&one_zero)
        .entry(EntryType::Regular, "x", "", &data)
        .link("lib/hard", "usr/holes")
        .file("usr/.wh.gone", "")
        .file("usr/lib/.wh..wh..opq", "")
        .bytes()
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, failure_persistence: None, ..Default::default() })]

    fn whatever_became_of_an_archive(
        edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..6),
        cut in proptest::option::of(proptest::prelude::any::<proptest::sample::Index>()),
    ) {
        let mut archive = rich();
        for (at, byte) in edits {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        // Otherwise nearly everything would end at a checksum.
        for header in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            fix_checksum(header);
        }
        if let Some(cut) = cut {
            archive.truncate(cut.index(archive.len()));
        }
        let mut stack = Stack(vec![spool(&rich()), spool(&archive)]);
        if let Ok(tree) = apply(&mut stack, &Layers::All, 1 << 20) {
            for (path, _) in tree.walk() {
                assert!(path.split(|byte| *byte == b'/').all(|name| !matches!(name, b"" | b"." | b"..")), "{path:?}");
                assert!(!path.contains(&0));
            }
            assert!(tree.content_len() <= 1 << 20);
            let mut written = Vec::new();
            let _ = sextant_cli::build::tree::write_tar(&tree, &mut written, &|_| ());
        }
    }
}

/// It is refused, or gives a tree in which every name is one.
pub(crate) fn no_archive_leads_out_of_the_tree_or_into_a_panic() {
    whatever_became_of_an_archive();
}

pub(crate) fn the_archive_that_is_damaged_is_a_good_one() {
    let mut stack = Stack(vec![spool(&rich())]);
    let shape = crate::desk::shape(&apply(&mut stack, &Layers::All, GENEROUS).unwrap());
    assert_eq!(shape["usr/of/a/record"], "file content");
    assert_eq!(shape["usr/lib/hard"], "file \0\x00012\0\0\0\0\x003456789\0\0\0");
    assert_eq!(shape["usr/sparse"].len(), "file ".len() + 4096);
    assert!(shape.contains_key(&format!("usr/long/{}", "n".repeat(120))));
}
