#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::indexing_slicing)]
use super::*;
use crate::build::Spool;
use crate::build::tree::Content;
use backhand::compression::{CompressionAction, DefaultCompressor};
use backhand::{FilesystemReader, InnerNode};
use std::io::Read;
use std::sync::Mutex;

const BLOCK: usize = BLOCK_SIZE as usize;
const ZSTD: Compression = Compression::of(Algorithm::Zstd);

/// Text that compresses, and never repeats.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut words = Vec::new();
    while words.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        words.extend_from_slice(format!("{} ", state >> 52).as_bytes());
    }
    words.truncate(len);
    words
}

fn tree(files: &[(&str, Content)]) -> FileTree {
    let mut tree = FileTree::default();
    for (name, content) in files {
        let metadata = Metadata { mode: 0o644, ..Metadata::implied_directory() };
        let id = tree.add(metadata, Kind::File(content.clone())).unwrap();
        tree.link(tree.root(), name.as_bytes(), id).unwrap();
    }
    tree
}

/// Files of all kinds of lengths: empty, small, of whole blocks and not, with blocks of zeros, equal ones.
fn mixed() -> FileTree {
    let large = text(1, 5 * BLOCK + 77);
    let holes = [vec![0; 2 * BLOCK], text(2, BLOCK), vec![0; 100]].concat();
    let mut files = vec![
        ("empty".to_owned(), Vec::new()),
        ("one-block".to_owned(), text(3, BLOCK)),
        ("nearly-one-block".to_owned(), text(4, BLOCK - 1)),
        ("holes".to_owned(), holes),
        ("large".to_owned(), large.clone()),
        ("large-again".to_owned(), large),
        ("large-other".to_owned(), text(5, 5 * BLOCK + 77)),
    ];
    files.extend((0..200).map(|number| (format!("small-{number:03}"), text(number + 10, 37 * number as usize % 9001))));
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), Content::bytes(bytes))).collect();
    tree(&files)
}

fn job(tree: &FileTree, compression: Compression, threads: usize) -> Job<'_> {
    Job { tree, packing: packing(compression).unwrap(), time: Time::from_seconds(1), threads }
}

/// What the library writes by itself.
fn by_library(tree: &FileTree, compression: Compression) -> Vec<u8> {
    let mut writer = FilesystemWriter::default();
    writer.set_compressor(packing(compression).unwrap().library);
    writer.set_block_size(BLOCK_SIZE);
    writer.set_time(1);
    writer.set_only_root_id();
    writer.set_no_padding();
    writer.set_root_mode(0o755);
    for (name, id) in tree.walk() {
        let Kind::File(content) = &tree.node(id).unwrap().kind else { continue };
        let header = header(&name, &tree.node(id).unwrap().metadata).unwrap();
        writer.push_file(content.reader(), Path::new(OsStr::from_bytes(&name)), header).unwrap();
    }
    let mut out = io::Cursor::new(Vec::new());
    let (_, len) = writer.write(&mut out).unwrap();
    let mut bytes = out.into_inner();
    bytes.truncate(usize::try_from(len).unwrap());
    bytes
}

fn written(tree: &FileTree, compression: Compression, threads: usize) -> (Result<Written, FormatError>, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let place = Place { path: file.path(), offset: 4096 };
    let parameters = Parameters { time: Time::from_seconds(1), uuid: [0; 16], threads };
    let result = write(tree, compression, place, parameters, &|_| {});
    (result, std::fs::read(file.path()).unwrap().split_off(4096))
}

#[test]
fn the_bytes_are_those_of_the_library_whatever_the_number_of_threads() {
    let tree = mixed();
    let deflate = Compression { algorithm: Algorithm::Deflate, level: Some(1) };
    let slow = Compression { level: Some(12), ..ZSTD };
    for compression in [ZSTD, slow, deflate] {
        let expected = by_library(&tree, compression);
        for threads in [1, 2, 3, 8] {
            let (result, bytes) = written(&tree, compression, threads);
            assert_eq!(result.unwrap().len, expected.len() as u64);
            assert!(bytes == expected, "{compression:?}, {threads} threads");
        }
    }
}

#[test]
fn threads_compress_all_blocks_of_files() {
    let tree = mixed();
    let blocks: u64 = files::list(&tree)
        .iter()
        .filter(|file| !file.is_small())
        .map(|file| file.len().div_ceil(u64::from(BLOCK_SIZE)))
        .sum();
    let small: u64 = files::list(&tree).iter().filter(|file| file.is_small()).map(files::File::len).sum();
    for threads in [2, 8] {
        let file = tempfile::tempfile().unwrap();
        let Outcome::Written { hits, .. } = job(&tree, ZSTD, threads).write(&file, 0, true, &|_| {}).unwrap() else {
            panic!("a collision");
        };
        // Two blocks are zeros, and not stored.
        let least = blocks - 2 + small / u64::from(BLOCK_SIZE);
        assert!(hits >= least, "{hits} of at least {least}");
    }
}

#[test]
fn a_compressor_that_is_used_again_gives_the_same_bytes() {
    let blocks = [text(1, BLOCK), text(2, 5000), vec![7; BLOCK], text(3, BLOCK), text(1, BLOCK), vec![1]];
    for level in 1..=22 {
        let packing = packing(Compression { level: Some(level), ..ZSTD }).unwrap();
        let mut packer = packer::Packer::new(packing);
        for block in &blocks {
            let expected = DefaultCompressor.compress(block, packing.library, BLOCK_SIZE).ok().unwrap();
            assert!(packer.pack(block).ok().unwrap() == expected, "level {level}");
        }
    }
}

/// A file that was longer when its length was read.
fn truncated(len: u64) -> Content {
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    let spool = Spool::new(file.try_clone().unwrap()).unwrap();
    file.set_len(len / 2).unwrap();
    Content::spool(spool)
}

#[test]
fn the_first_file_that_cannot_be_read_is_named() {
    let large = text(1, 3 * BLOCK);
    let tree = tree(&[
        ("a", Content::bytes(&large)),
        ("b-large", truncated(40 * BLOCK as u64)),
        ("c", Content::bytes(b"small")),
        ("d-small", truncated(100)),
        ("e-large", truncated(4 * BLOCK as u64)),
    ]);
    for threads in [1, 2, 3, 8] {
        let error = written(&tree, ZSTD, threads).0.unwrap_err().to_string();
        assert!(error.starts_with("reading b-large: "), "{error}");
    }
}

/// Two blocks with the same XXH64 digest: what the first number changes in a lane, the fifth takes back.
fn collision() -> [Vec<u8>; 2] {
    const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
    const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
    let round =
        |lane: u64, input: u64| lane.wrapping_add(input.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1);
    // By Newton's method, modulo 2^64.
    let inverse = (0..6).fold(PRIME_2, |x, _| x.wrapping_mul(2_u64.wrapping_sub(PRIME_2.wrapping_mul(x))));
    let start = PRIME_1.wrapping_add(PRIME_2);
    let first = text(9, BLOCK);
    let number = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    let changed = number(0) ^ 1;
    let difference = round(start, number(0)).wrapping_sub(round(start, changed));
    let repaired = number(32).wrapping_add(difference.wrapping_mul(inverse));
    let mut second = first.clone();
    second[..8].copy_from_slice(&changed.to_le_bytes());
    second[32..40].copy_from_slice(&repaired.to_le_bytes());
    [first, second]
}

#[test]
fn files_with_the_same_digest_keep_their_contents() {
    let [first, second] = collision();
    assert!(first != second);
    let digest = |bytes: &[u8]| xxhash_rust::xxh64::xxh64(bytes, 0);
    assert_eq!(digest(&first), digest(&second));
    let large = text(8, 9 * BLOCK);
    let files = [("a", &first), ("b", &second), ("c", &first), ("d", &large)];
    let contents: Vec<_> = files.iter().map(|(name, bytes)| (*name, Content::bytes(bytes))).collect();
    let tree = tree(&contents);
    for threads in [1, 2, 8] {
        let (result, bytes) = written(&tree, ZSTD, threads);
        result.unwrap();
        let reader = FilesystemReader::from_reader(io::Cursor::new(bytes)).ok().unwrap();
        let mut found = Vec::new();
        for node in reader.files() {
            let InnerNode::File(file) = &node.inner else { continue };
            let mut content = Vec::new();
            reader.file(file).reader().read_to_end(&mut content).unwrap();
            found.push(content);
        }
        assert!(found.iter().eq(files.iter().map(|(_, bytes)| *bytes)), "{threads} threads");
    }
}

#[test]
fn files_that_are_asked_for_in_another_order_are_read_all_the_same() {
    let (first, second) = (text(1, 3 * BLOCK), text(2, 2 * BLOCK + 5));
    let tree = tree(&[("a", Content::bytes(&first)), ("b", Content::bytes(&second)), ("c", Content::bytes(b"c"))]);
    for threads in [1, 2] {
        let ahead = Arc::new(Ahead::new(files::list(&tree), packing(ZSTD).unwrap(), true, threads));
        thread::scope(|scope| {
            let _end = End(&ahead);
            ahead.start(scope, threads);
            for (number, expected) in [(1, second.as_slice()), (0, &first), (2, b"c")] {
                let mut content = Vec::new();
                Supplied::new(&ahead, number, &|_| {}).read_to_end(&mut content).unwrap();
                assert!(content == expected, "file {number}, {threads} threads");
                let block = &expected[..expected.len().min(BLOCK)];
                let packed = ahead.compress(block).ok().unwrap();
                assert!(
                    packed
                        == DefaultCompressor.compress(block, packing(ZSTD).unwrap().library, BLOCK_SIZE).ok().unwrap()
                );
            }
        });
    }
}

#[test]
fn progress_is_the_same_whatever_the_number_of_threads() {
    let tree = mixed();
    let mut all = Vec::new();
    for threads in [1, 2, 8] {
        let calls = Mutex::new(Vec::new());
        let file = tempfile::tempfile().unwrap();
        job(&tree, ZSTD, threads).write(&file, 0, true, &|bytes| calls.lock().unwrap().push(bytes)).unwrap();
        let calls = calls.into_inner().unwrap();
        assert_eq!(calls.iter().sum::<u64>(), work(&tree));
        assert!(calls.iter().all(|bytes| *bytes <= u64::from(BLOCK_SIZE)));
        all.push(calls);
    }
    assert!(all.iter().all(|calls| *calls == all[0]));
}
