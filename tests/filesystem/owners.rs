//! Whose data or metadata a damaged block is, in what `mkfs.erofs` and `mksquashfs` write.

use ddi::filesystem::{Filesystem, Part};
use ddi::io::{Damaged, ReadAt};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use support::images::Noise;
use support::{harness, images};

/// A source of which one block is damaged.
struct Holed<'a>(&'a [u8], Range<u64>);

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

/// Random bytes that every compression but the weakest makes smaller.
fn digits(noise: &mut Noise, len: usize) -> Vec<u8> {
    (0..len).map(|_| b"0123456789abcdef"[usize::try_from(noise.next() % 16).unwrap()]).collect()
}

fn contents(random: fn(&mut Noise, usize) -> Vec<u8>) -> BTreeMap<&'static str, Vec<u8>> {
    let mut noise = Noise(0x0dd_b10c);
    let lines = (0..9000).flat_map(|n| format!("line {n} has {}\n", noise.next() % 1000).into_bytes()).collect();
    [
        ("usr/bin/noise", random(&mut noise, 70_000)),
        ("usr/bin/text", lines),
        ("usr/lib/short", b"brief".to_vec()),
        ("usr/lib/tail", random(&mut noise, 4097)),
        ("etc/other", random(&mut noise, 2500)),
    ]
    .into()
}

/// The files with bytes in a range of an image without compression, whose blocks have `block` bytes.
fn stored<'f>(image: &[u8], files: &BTreeMap<&'f str, Vec<u8>>, block: usize, range: &Range<u64>) -> BTreeSet<&'f str> {
    let place = |part: &[u8]| {
        let found: Vec<usize> =
            image.windows(part.len()).enumerate().filter(|(_, it)| *it == part).map(|(at, _)| at).collect();
        assert_eq!(found.len(), 1, "{} bytes are to be found once", part.len());
        u64::try_from(found[0]).unwrap()..u64::try_from(found[0] + part.len()).unwrap()
    };
    let is_inside = |part: &[u8]| {
        let place = place(part);
        place.start < range.end && range.start < place.end
    };
    files.iter().filter(|(_, content)| content.chunks(block).any(is_inside)).map(|(path, _)| *path).collect()
}

/// What can be read of each file, with and without the damage, has to agree with whose data or metadata is said to be damaged.
pub(crate) fn the_owners_of_a_damaged_block_are_those_that_cannot_be_read_without_it() {
    const BLOCK: usize = 4096;
    let directory = images::directory();
    let image = directory.path().join("image");
    let [noise, digits] = [("noise", Noise::bytes as fn(&mut Noise, usize) -> Vec<u8>), ("digits", digits)]
        .map(|(name, random)| (directory.path().join(name), contents(random)));
    for (tree, files) in [&noise, &digits] {
        for (path, content) in files {
            images::write(tree, path, content);
        }
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
        ("mksquashfs", "-noI -noD -noF -noX -b 8192 -always-use-fragments"),
        ("mksquashfs", "-comp gzip -no-fragments"),
    ] {
        // What can't be compressed is stored, be it among blocks that are compressed.
        let is_compressed = tool == "mksquashfs" && !options.contains("-noD");
        let (tree, files) = if is_compressed { &digits } else { &noise };
        let words: Vec<&str> = options.split_whitespace().collect();
        if let Err(reason) = images::make(tool, &words, tree, &image) {
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
            let place = format!("{tool} {options}, block {start}: {owners:?}");
            assert!(owners.is_complete, "{place}");
            parts.extend(owners.named.iter().map(|owner| owner.part));
            let named = |path: &str, part| owners.named.iter().any(|it| it.path == path.as_bytes() && it.part == part);
            let lost: BTreeSet<&str> = files
                .iter()
                .filter(|(path, content)| filesystem.read_file(path, Vec::len(content)).is_err())
                .map(|(path, _)| *path)
                .collect();
            // Those that cannot be reached: their own inode is damaged, or that of a directory above, or its names.
            let is_hidden = |path: &str| {
                let mut above = path.match_indices('/').map(|(at, _)| &path[..at]).chain([""]);
                named(path, Part::Inode) || above.any(|it| named(it, Part::Inode) || named(it, Part::Names))
            };
            let stored = options.contains("-noF").then(|| stored(&bytes, files, 8192, &range));
            if owners.named.iter().all(|owner| owner.part == Part::Data) {
                // Exactly these, of which three are named and the others counted.
                let expected = stored.as_ref().unwrap_or(&lost);
                let told: BTreeSet<&str> = files.keys().copied().filter(|path| named(path, Part::Data)).collect();
                assert!(told.is_subset(expected) && told.len() == owners.named.len(), "{place}, not {expected:?}");
                let count = told.len() + usize::try_from(owners.more).unwrap();
                assert_eq!(count, expected.len(), "{place}, not {expected:?}");
                // Squashfs reads a fragment block as a whole, also where the end of this file in it is intact.
                assert!(expected.is_subset(&lost), "{place}: {lost:?}");
                assert!(lost.is_empty() || !expected.is_empty(), "{place}: {lost:?}");
            } else {
                for path in files.keys() {
                    let is_told = named(path, Part::Data) || is_hidden(path);
                    assert!(is_told == lost.contains(path) || owners.more > 0, "{place}: {path}, {lost:?}");
                }
            }
        }
        assert!(parts.contains(&Part::Data), "{tool} {options}: no block has data");
        all.extend(parts);
        std::fs::remove_file(&image).unwrap();
    }
    // Where all inodes are in the block of the superblock, none is found in others.
    assert!(all.contains(&Part::Inode), "no block has inodes");
}
