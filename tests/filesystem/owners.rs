//! Whose data or metadata a damaged block is, in what `mkfs.erofs` and `mksquashfs` write.

use ddi::filesystem::{Filesystem, Part};
use ddi::io::{Damaged, ReadAt};
use std::collections::BTreeMap;
use support::images::Noise;
use support::{harness, images};

/// A source of which one block is damaged.
struct Holed<'a>(&'a [u8], std::ops::Range<u64>);

impl ReadAt for Holed<'_> {
    fn len(&self) -> u64 {
        ReadAt::len(self.0)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset < self.1.end && self.1.start < offset + ReadAt::len(&*buf) {
            return Err(std::io::Error::other(Damaged { offset: self.1.start }));
        }
        self.0.read_exact_at(buf, offset)
    }
}

/// What can be read of each file, with and without the damage, has to agree with whose data or metadata is said to be damaged.
pub(crate) fn the_owners_of_a_damaged_block_are_those_that_cannot_be_read_without_it() {
    const BLOCK: usize = 4096;
    let directory = images::directory();
    let (tree, image) = (directory.path().join("tree"), directory.path().join("image"));
    let mut noise = Noise(0x0dd_b10c);
    let lines = (0..9000).flat_map(|n| format!("line {n} has {}\n", noise.next() % 1000).into_bytes()).collect();
    let files: BTreeMap<&str, Vec<u8>> = [
        ("usr/bin/noise", noise.bytes(70_000)),
        ("usr/bin/text", lines),
        ("usr/lib/short", b"short".to_vec()),
        ("usr/lib/tail", noise.bytes(4097)),
        ("etc/other", noise.bytes(2500)),
    ]
    .into();
    for (path, content) in &files {
        images::write(&tree, path, content);
    }
    let mut all = Vec::new();
    for (tool, options) in [
        ("mkfs.erofs", ""),
        ("mkfs.erofs", "--chunksize=4096"),
        ("mkfs.erofs", "-zlz4hc"),
        ("mkfs.erofs", "-zlz4hc -C65536 -Eztailpacking"),
        ("mkfs.erofs", "-zlz4hc -Efragments"),
        ("mkfs.erofs", "-zzstd -Eall-fragments,dedupe -C131072"),
        ("mksquashfs", "-comp zstd"),
        ("mksquashfs", "-comp xz -b 4096"),
        ("mksquashfs", "-noI -noD -noF -noX -b 8192"),
        ("mksquashfs", "-comp gzip -no-fragments"),
    ] {
        let words: Vec<&str> = options.split_whitespace().collect();
        if let Err(reason) = images::make(tool, &words, &tree, &image) {
            harness::left_out(&reason);
            continue;
        }
        let mut bytes = std::fs::read(&image).unwrap();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let mut parts = Vec::new();
        for start in (0..bytes.len()).step_by(BLOCK) {
            let range = u64::try_from(start).unwrap()..u64::try_from(start + BLOCK).unwrap();
            let damaged = Holed(&bytes, range.clone());
            let Ok(filesystem) = Filesystem::open(&damaged) else {
                assert_eq!(start, 0, "{tool} {options}: only the first block has the superblock");
                continue;
            };
            let owners = filesystem.owners(&range);
            assert!(owners.is_complete, "{tool} {options}, block {start}: {owners:?}");
            parts.extend(owners.named.iter().map(|owner| owner.part));
            let named = |path: &str, part| owners.named.iter().any(|it| it.path == path.as_bytes() && it.part == part);
            for (path, content) in &files {
                let is_data = named(path, Part::Data);
                let is_lost = filesystem.read_file(path, content.len()).is_err();
                assert!(!is_data || is_lost, "{tool} {options}, block {start}: {path} is intact: {owners:?}");
                let above = path.match_indices('/').map(|(at, _)| &path[..at]).chain([""]);
                let is_reached = above.clone().all(|it| !named(it, Part::Inode) && !named(it, Part::Names));
                let is_told = is_data || named(path, Part::Inode) || !is_reached || owners.more > 0;
                // Squashfs reads a fragment block as a whole, also where the end of this file in it is intact.
                let is_fragment = tool == "mksquashfs" && owners.named.iter().any(|owner| owner.part == Part::Data);
                let shared = owners.named.is_empty() || is_fragment;
                assert!(!is_lost || is_told || shared, "{tool} {options}, block {start}: {path} is lost: {owners:?}");
            }
        }
        assert!(parts.contains(&Part::Data), "{tool} {options}: no block has data");
        all.extend(parts);
        std::fs::remove_file(&image).unwrap();
    }
    // Where all inodes are in the block of the superblock, none is found in others.
    assert!(all.contains(&Part::Inode), "no block has inodes");
}
