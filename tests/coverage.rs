//! What is read of an image whose data is left to dm-verity, and what is found there.
#![allow(clippy::default_trait_access, clippy::unwrap_used)]

use ddi::Ddi;
use ddi::PartitionKind::{self, Root, RootVerity};
use ddi::io::ReadAt;
use sextant::policy::Verify;
use sextant::trust::{SealedFile, Source, TrustStore};
use sextant::verify::{ContentsError, Coverage, IntactImage, RootedImage, SignedDdi};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use support::ddi::{RawImage, native, with_tree};
use support::keys;
use support::trees::{Tree, noise};

/// Counts the bytes that are read.
struct Counting<'a> {
    bytes: &'a Vec<u8>,
    read: AtomicU64,
}

impl ReadAt for Counting<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(buf, offset)
    }
}

fn large() -> &'static RawImage {
    static IMAGE: OnceLock<RawImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let tree = Tree::sysext("large").file("usr/share/large/noise", &noise(64 << 20));
        with_tree("large", &tree, keys::ec("Vendor")).render()
    })
}

fn signed(source: &dyn ReadAt) -> SignedDdi {
    let file = SealedFile { path: "vendor.crt".to_owned(), content: Ok(keys::ec("Vendor").pem()) };
    let trust = TrustStore::decide(vec![file.offer(Source::File)], &Default::default());
    let ddi = Ddi::read(source, native()).unwrap();
    SignedDdi::verify(ddi, &trust).unwrap()
}

fn on_read(image: &RawImage) -> Result<Coverage, ContentsError> {
    let signed = signed(&image.bytes);
    RootedImage::check(&image.bytes, signed).map(|(_, coverage)| coverage)
}

fn full(image: &RawImage) -> Result<(), ContentsError> {
    let signed = signed(&image.bytes);
    IntactImage::check(&image.bytes, signed, 2).map(drop)
}

#[test]
fn a_fraction_of_a_large_image_is_read_and_the_coverage_says_how_much() {
    let image = large();
    let source = Counting { bytes: &image.bytes, read: AtomicU64::new(0) };
    let signed = signed(&source);
    let before = source.read.swap(0, Ordering::Relaxed);
    let (rooted, coverage) = RootedImage::check(&source, signed.clone()).unwrap();
    let read = source.read.swap(0, Ordering::Relaxed);
    let len = image.bytes.len() as u64;
    assert_eq!((coverage.verify(), coverage.len()), (Verify::OnRead, len));
    assert!(before + read < len / 8, "{read} of {len} bytes");
    // What was read before, to find the partitions, is in it.
    assert!((read..len / 8).contains(&coverage.checked()), "{coverage:?}, {read} bytes read");
    assert_eq!(rooted.lend().data_len(), image.place(Root).len() as u64);
    IntactImage::check(&source, signed, 2).unwrap();
    assert!(source.read.load(Ordering::Relaxed) >= rooted.lend().data_len());
}

#[test]
fn only_data_that_no_decision_depends_on_may_be_damaged() {
    let image = large();
    let (data, tree) = (image.place(Root).len(), image.place(RootVerity).len());
    let left_to_dm_verity = [(Root, 5 << 20), (Root, data / 2), (Root, data - (3 << 20))];
    for (kind, offset) in left_to_dm_verity {
        let damaged = image.clone().flip(kind, offset);
        assert_eq!(on_read(&damaged).unwrap(), on_read(image).unwrap(), "{offset}");
        assert!(matches!(full(&damaged), Err(ContentsError::Tree(_))), "{offset}");
    }
    let known: [(PartitionKind, usize); 10] = [
        // Where libblkid looks for magic numbers.
        (Root, 0),
        (Root, 64 << 10),
        (Root, 4 << 20),
        (Root, data - 3087 * 512),
        (Root, data - 1),
        // The superblock, what is behind it, all levels of the tree, what is behind that.
        (RootVerity, 90),
        (RootVerity, 600),
        (RootVerity, 4096),
        (RootVerity, 3 * 4096),
        (RootVerity, tree - 1),
    ];
    for (kind, offset) in known {
        let damaged = image.clone().flip(kind, offset);
        assert!(on_read(&damaged).is_err() && full(&damaged).is_err(), "{kind:?} {offset}");
    }
    // The tree of other data.
    let other = with_tree("large", &Tree::sysext("large").file("usr/x", &noise(64 << 20)), keys::ec("Vendor")).render();
    let tree = other.bytes[other.place(RootVerity)].to_vec();
    let swapped = image.clone().patch_partition(RootVerity, 0, &tree[..image.place(RootVerity).len().min(tree.len())]);
    assert!(on_read(&swapped).is_err());
}
