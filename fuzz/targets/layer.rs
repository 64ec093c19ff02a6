//! Layers of container images: what comes of them is a tree of names, within its bounds, or a sentence.
#![no_main]

use ddi::Class;
use libfuzzer_sys::fuzz_target;
use sextant_cli::build::source::{LayeredImage, SourceError, Spool};
use sextant_cli::build::tree::{FileTree, Layers, MAX_DEPTH, MAX_NODES, apply, select, write_tar};
use sextant_fuzz as _;
use std::fs::File;
use std::io::Write;

/// Most bytes of all files.
const MAX_SIZE: u64 = 1 << 20;

/// A lower layer, and one on top of it.
struct Image([Spool; 2]);

impl LayeredImage for Image {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn layer(&mut self, index: usize) -> Result<Spool, SourceError> {
        Ok(self.0[index].clone())
    }

    fn architecture(&self) -> Option<&str> {
        None
    }
}

/// An archive in memory.
fn spool(bytes: &[u8]) -> Spool {
    let file = nix::sys::memfd::memfd_create("layer", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("memfd_create");
    let mut file = File::from(file);
    file.write_all(bytes).expect("write");
    Spool::new(file).expect("fstat")
}

fn check(mut tree: FileTree) {
    let names = tree.walk();
    assert!(names.len() <= MAX_NODES);
    for (path, _) in &names {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        assert!(parts.iter().all(|part| !matches!(*part, b"" | b"." | b"..")), "{path:?}");
        assert!(parts.len() <= MAX_DEPTH + 1 && !path.contains(&0), "{path:?}");
    }
    assert!(tree.content_len() <= MAX_SIZE);
    select(&mut tree, Class::Sysext);
    let mut written = Vec::new();
    if write_tar(&tree, &mut written, &|_| ()).is_ok() {
        // What was written is an archive of the same files.
        let mut again = Image([spool(&written), spool(&[])]);
        let again = apply(&mut again, &Layers::All, u64::MAX).expect("what write_tar wrote");
        let paths = |tree: &FileTree| tree.walk().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(paths(&again), paths(&tree));
    }
}

fuzz_target!(|data: &[u8]| {
    // The first bytes say, in blocks, where the lower layer ends.
    let Some((cut, data)) = data.split_first_chunk::<2>() else { return };
    let cut = (usize::from(u16::from_le_bytes(*cut)) * 512).min(data.len());
    let mut data = data.to_vec();
    // Otherwise nearly everything would end at a checksum.
    for header in data.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let (lower, upper) = data.split_at(cut);
    let mut image = Image([spool(lower), spool(upper)]);
    for layers in [Layers::All, Layers::Last] {
        match apply(&mut image, &layers, MAX_SIZE) {
            Ok(tree) => check(tree),
            Err(error) => assert!(error.to_string().len() < 64 << 10),
        }
    }
});
