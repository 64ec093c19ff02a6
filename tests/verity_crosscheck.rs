//! Our hash trees against those of `veritysetup` (cryptsetup), both ways. Plain files, no root needed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use support::harness;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use support::cases;

use ddi::io::FileSource;
use ddi::verity::{HashAlgorithm, RootHash, Superblock, TreeError, build, first_nonzero, verify};

/// What one tree is made of.
#[derive(Clone, Debug)]
struct Case {
    algorithm: HashAlgorithm,
    data_block_size: u32,
    hash_block_size: u32,
    data_blocks: u64,
    salt: Vec<u8>,
}

const UUID_TEXT: &str = "6f1ad0e2-3b6c-4d58-9f10-0123456789ab";
const UUID: [u8; 16] = [0x6f, 0x1a, 0xd0, 0xe2, 0x3b, 0x6c, 0x4d, 0x58, 0x9f, 0x10, 1, 0x23, 0x45, 0x67, 0x89, 0xab];

fn cases() -> Vec<Case> {
    let case = |algorithm, data_block_size, hash_block_size, data_blocks, salt_size: usize| {
        let salt = (0..=u8::MAX).map(|byte| byte.wrapping_mul(37).wrapping_add(11)).take(salt_size).collect();
        Case { algorithm, data_block_size, hash_block_size, data_blocks, salt }
    };
    let mut cases = Vec::new();
    for algorithm in HashAlgorithm::ALL {
        // Where a level more begins: 1, 128 and 128 × 128 data blocks; half of that with SHA-512.
        for data_blocks in [1, 2, 63, 64, 65, 127, 128, 129, 4096, 4097, 16384, 16385] {
            cases.push(case(algorithm, 4096, 4096, data_blocks, 32));
        }
        for data_block_size in [512, 1024, 4096] {
            for hash_block_size in [512, 1024, 4096] {
                for data_blocks in [1, 2, 17, 129, 300] {
                    cases.push(case(algorithm, data_block_size, hash_block_size, data_blocks, 32));
                }
            }
        }
        // Around the blocks of the hash, too: 64 bytes, with and without room for the padding.
        for salt_size in [0, 1, 31, 55, 56, 63, 64, 65, 128, 255, 256] {
            cases.push(case(algorithm, 4096, 4096, 130, salt_size));
            cases.push(case(algorithm, 512, 1024, 20, salt_size));
        }
    }
    cases
}

impl Case {
    fn superblock(&self) -> Superblock {
        Superblock::new(self.algorithm, self.data_block_size, self.hash_block_size, self.data_blocks, &self.salt, UUID)
            .unwrap()
    }

    /// Data that differs from block to block.
    fn data(&self) -> Vec<u8> {
        let len = usize::try_from(self.superblock().geometry().data_len()).unwrap();
        let mut state = self.data_blocks;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        })
        .flatten()
        .take(len)
        .collect()
    }

    fn options(&self) -> Vec<String> {
        let salt = self.salt.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        vec![
            format!("--hash={}", self.algorithm),
            format!("--data-block-size={}", self.data_block_size),
            format!("--hash-block-size={}", self.hash_block_size),
            format!("--data-blocks={}", self.data_blocks),
            format!("--salt={}", if salt.is_empty() { "-" } else { &salt }),
            format!("--uuid={UUID_TEXT}"),
        ]
    }
}

/// The tool; `None`, and the test is ignored, where it isn't installed.
fn veritysetup() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // It lives in /usr/sbin, which isn't in every user's PATH.
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join("veritysetup"))
        .find(|tool| tool.is_file());
    if found.is_none() {
        harness::left_out("veritysetup is not installed");
    }
    found
}

fn run(tool: &Path, arguments: &[String]) -> Output {
    Command::new(tool).args(arguments).env("LC_ALL", "C").output().expect("starting veritysetup")
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

fn open(path: &Path) -> FileSource {
    FileSource::new(File::open(path).unwrap()).unwrap()
}

fn trees_of_veritysetup_are_ours_to_the_byte_and_verify() {
    let Some(tool) = veritysetup() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data_path, hash_path) = (directory.path().join("data"), directory.path().join("hash"));
    for case in cases() {
        fs::write(&data_path, case.data()).unwrap();
        let _ = fs::remove_file(&hash_path);
        let mut arguments = vec!["format".to_owned(), text(&data_path), text(&hash_path)];
        arguments.extend(case.options());
        let output = run(&tool, &arguments);
        assert!(output.status.success(), "{case:?}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let root = printed.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash").trim();
        let root = RootHash::from_hex(root).unwrap();

        let theirs = fs::read(&hash_path).unwrap();
        let superblock = Superblock::parse(&theirs).unwrap();
        assert_eq!(superblock, case.superblock(), "{case:?}");
        let (our_root, mut ours) = build(&open(&data_path), &superblock, 2).unwrap();
        assert_eq!(our_root, root, "{case:?}");
        if case.data_blocks == 1 {
            // Without a tree the file ends with the superblock.
            ours.truncate(theirs.len());
        }
        assert!(ours == theirs, "{case:?}: the hash area differs");

        if case.data_blocks > 1 {
            let tree = verify(&open(&data_path), &open(&hash_path), &superblock, &root, 2).unwrap();
            assert_eq!(tree.root_hash(), &root);
            assert_eq!(first_nonzero(&open(&hash_path), tree.hash_area_len()).unwrap(), None);
        }
    }
}

fn veritysetup_accepts_our_trees_and_refuses_them_when_a_byte_is_flipped() {
    let Some(tool) = veritysetup() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data_path, hash_path) = (directory.path().join("data"), directory.path().join("hash"));
    for case in cases() {
        let mut data = case.data();
        let superblock = case.superblock();
        let (root, hash) = build(&data, &superblock, 2).unwrap();
        fs::write(&data_path, &data).unwrap();
        fs::write(&hash_path, &hash).unwrap();
        let arguments = ["verify".to_owned(), text(&data_path), text(&hash_path), root.to_string()];
        let output = run(&tool, &arguments);
        assert!(output.status.success(), "{case:?}: {}", String::from_utf8_lossy(&output.stderr));

        let last = data.len() - 1;
        data[last] ^= 1;
        fs::write(&data_path, &data).unwrap();
        assert!(!run(&tool, &arguments).status.success(), "{case:?}: veritysetup took wrong data");
        let error = verify(&data, &hash, &superblock, &root, 2).unwrap_err();
        match error {
            TreeError::RootMismatch { .. } => assert_eq!(case.data_blocks, 1),
            TreeError::Mismatch { level, block, .. } => assert_eq!((level, block), (0, case.data_blocks - 1)),
            other => panic!("{case:?}: {other}"),
        }
    }
}

fn main() -> ExitCode {
    harness::run(
        "verity_crosscheck.rs",
        cases!(
            crate: trees_of_veritysetup_are_ours_to_the_byte_and_verify,
                veritysetup_accepts_our_trees_and_refuses_them_when_a_byte_is_flipped;
        ),
    )
}
