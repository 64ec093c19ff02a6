//! Images with a sound signature whose bytes, or what the bytes hold, don't keep its promise.

use super::{NAME, Row, vendor};
use crate::ddi::{Blueprint, RawImage, good, with_tree};
use crate::trees::{Tree, native_architecture, noise};
use ddi::PartitionKind::{Root, RootVerity};
use ddi::write::{DdiBuilder, VerityParams};

fn image() -> Blueprint {
    good(NAME, vendor())
}

/// An image of several data blocks.
fn blocks() -> Blueprint {
    with_tree(NAME, &Tree::sysext(NAME).file("usr/share/noise", &noise(30_000)), vendor())
}

/// How many.
fn count(image: &Blueprint) -> u64 {
    u64::from_le_bytes(image.parts[1].content[72..80].try_into().unwrap())
}

/// An image with enough data for a tree of two levels, so that there is something to corrupt everywhere.
fn large() -> RawImage {
    with_tree(NAME, &Tree::sysext(NAME).file("usr/share/large", &noise(700_000)), vendor()).render()
}

pub fn rows() -> Vec<Row> {
    [superblock(), bytes(), mounting(), release(), versions(), metadata(), hierarchies()]
        .into_iter()
        .flatten()
        .collect()
}

/// Blocks of 1024 bytes in sectors of 4096.
fn small_blocks() -> Blueprint {
    let params = VerityParams { data_block_size: 1024, ..VerityParams::derived(b"") };
    let builder = DdiBuilder::new(NAME).sector_size(4096).verity(params);
    Blueprint::build(&builder, &Tree::sysext(NAME).squashfs(), Some(vendor()))
}

fn superblock() -> Vec<Row> {
    let bad = |what, offset, bytes: &[u8]| Row::image("bad-superblock", what, image().patch_superblock(offset, bytes));
    let corrupt = |what, offset, bytes: &[u8]| Row::image("corrupt", what, image().patch_superblock(offset, bytes));
    let less = count(&blocks()) - 1;
    vec![
        bad("no superblock", 0, &[0; 8]),
        bad("another version of verity", 8, &[2]),
        bad("hash type 0, as Chrome OS has it", 12, &[0]),
        bad("hash type 2", 12, &[2]),
        bad("SHA-1 in the superblock", 32, b"sha1\0\0"),
        bad("an algorithm that nobody knows", 32, b"crc32\0"),
        bad("bytes behind the algorithm", 32 + 20, b"x"),
        bad("SHA-512 with a root hash of SHA-256", 32, b"sha512"),
        bad("data blocks of 3000 bytes", 64, &3000_u32.to_le_bytes()),
        bad("data blocks of 256 bytes", 64, &256_u32.to_le_bytes()),
        bad("data blocks of no size", 64, &[0; 4]),
        Row::image("bad-superblock", "data blocks smaller than sectors", small_blocks()),
        bad("data blocks of 2 GiB", 64, &(1_u32 << 31).to_le_bytes()),
        bad("hash blocks of 64 KiB", 68, &65_536_u32.to_le_bytes()),
        bad("no data blocks", 72, &[0; 8]),
        bad("2^64 data blocks", 72, &[0xff; 8]),
        bad("more data blocks than there is data", 72, &(1_u64 << 20).to_le_bytes()),
        bad("a salt of 257 bytes", 80, &257_u16.to_le_bytes()),
        bad("a salt of 65535 bytes", 80, &[0xff; 2]),
        bad("bytes between length and salt", 83, &[1]),
        bad("bytes behind the salt", 88 + 40, &[1]),
        corrupt("another salt", 88, &[0xaa]),
        corrupt("no salt", 80, &[0; 34 + 6]),
        Row::image("corrupt", "a data block less than was signed", blocks().patch_superblock(72, &less.to_le_bytes())),
        corrupt("smaller data blocks", 64, &512_u32.to_le_bytes()),
    ]
}

fn bytes() -> Vec<Row> {
    let flipped = |what, image: RawImage| Row::image("corrupt", what, image);
    let data = large().place(Root).len();
    let blueprint = |kind, extra: &[u8]| image().change(kind, |part| part.content.extend(extra));
    // A block less, the data of which is zeroed: what is left is all genuine.
    let less = count(&blocks()) - 1;
    let shrunk = blocks().patch_superblock(72, &less.to_le_bytes()).change(Root, |part| {
        let end = part.content.len();
        part.content[end - 4096..].fill(0);
    });
    vec![
        flipped("a bit of the first data block", large().flip(Root, 5)),
        flipped("a bit in file data", large().flip(Root, 300_000)),
        flipped("a bit of the last data block", large().flip(Root, data - 4096)),
        flipped("a bit of the padding behind the file system", large().flip_from_end(Root, 1)),
        flipped("a bit of the top of the tree", large().flip(RootVerity, 4096)),
        flipped("a bit of a leaf of the tree", large().flip(RootVerity, 8192 + 77)),
        flipped("a bit of an unused digest", large().flip(RootVerity, 4096 + 4000)),
        flipped("data swapped for zeros", large().patch_partition(Root, 4096, &[0; 8192])),
        Row::image("corrupt", "bytes behind the data", blueprint(Root, &[1; 4096])),
        Row::image("corrupt", "bytes behind the tree", blueprint(RootVerity, &[1; 4096])),
        Row::image("corrupt", "an image shrunk by a block", shrunk),
    ]
}

fn mounting() -> Vec<Row> {
    let mut cut = Tree::sysext(NAME).file("usr/share/noise", &noise(40_000)).squashfs().to_vec();
    cut.truncate(cut.len() / 2);
    let of = |filesystem: &[u8]| Blueprint::new(NAME, filesystem, vendor());
    vec![
        Row::image("not-mountable", "signed random bytes", of(&noise(40_000))),
        Row::image("not-mountable", "signed zeros", of(&[0; 8192])),
        Row::image("not-mountable", "half a file system", of(&cut)),
        Row::image(
            "not-mountable",
            "squashfs with LZMA, which no kernel reads",
            of(&Tree::sysext(NAME).mksquashfs(&["-comp", "lzma"])),
        ),
    ]
}

fn release() -> Vec<Row> {
    let tree = |token, what, tree: &Tree| Row::image(token, what, with_tree(NAME, tree, vendor()));
    let says = |token, what, text: &str| tree(token, what, &Tree::empty().release(NAME, text));
    let native = native_architecture();
    let foreign = if native == "arm64" { "x86-64" } else { "arm64" };
    let wrong = "wrong-extension-release";
    let path = "usr/lib/extension-release.d/extension-release.hostile";
    vec![
        tree(wrong, "no extension-release", &Tree::empty().file("usr/bin/tool", b"tool")),
        tree(wrong, "the extension-release of another name", &Tree::sysext("innocent")),
        tree(wrong, "a confext's extension-release", &Tree::confext(NAME)),
        tree(wrong, "an extension-release that is a directory", &Tree::empty().directory(path)),
        tree(wrong, "a dangling extension-release", &Tree::empty().symlink(path, "nowhere")),
        tree(
            wrong,
            "an extension-release that leads to itself",
            &Tree::empty().symlink(path, "extension-release.hostile"),
        ),
        tree(wrong, "a huge extension-release", &Tree::empty().file(path, &vec![b'#'; 1 << 20])),
        says(wrong, "an empty extension-release", ""),
        says(wrong, "no ID", "VERSION_ID=1.0\n"),
        says(wrong, "another architecture", &format!("ID=_any\nARCHITECTURE={foreign}\n")),
        says("wrong-scope", "for initrds only", "ID=_any\nSYSEXT_SCOPE=initrd\n"),
        says("wrong-scope", "for portable services only", "ID=_any\nSYSEXT_SCOPE=\"portable initrd\"\n"),
        tree(
            "contains-os-release",
            "an os-release of its own",
            &Tree::sysext(NAME).file("usr/lib/os-release", b"ID=evil\n"),
        ),
        tree(
            "contains-os-release",
            "a link for an os-release",
            &Tree::sysext(NAME).symlink("usr/lib/os-release", "../x"),
        ),
        tree(
            wrong,
            "a FIFO for the release file of another extension",
            &Tree::sysext(NAME).fifo("usr/lib/extension-release.d/extension-release.innocent"),
        ),
        tree(
            wrong,
            "an extension-release that is a link to what the host has elsewhere",
            &Tree::empty().file("run/initctl", b"ID=_any\n").symlink(path, "/run/initctl"),
        ),
        says("incompatible-host", "for another system", "ID=otheros\n"),
        says("incompatible-host", "for another version", "ID=testos\nVERSION_ID=2.0\n"),
        says("incompatible-host", "for a level that the host has not", "ID=testos\nSYSEXT_LEVEL=3\nVERSION_ID=2.0\n"),
    ]
}

/// Versions below the lowest one that may run, and such that no signature covers.
fn versions() -> Vec<Row> {
    let row = |what, file: &str, tree: &Tree| {
        Row::file("too-old", what, format!("{file}.sysext.raw"), with_tree(file, tree, vendor()))
    };
    let says = |text: &str| Tree::sysext("aged").release("aged", &format!("ID=_any\n{text}"));
    vec![
        row("a version below the lowest one", "aged_1.29", &Tree::sysext("aged_1.29")),
        row("a version before the lowest one", "aged_1.30~rc1", &Tree::sysext("aged_1.30~rc1")),
        row("no version", "aged", &says("")),
        row("a version in the name of the file only", "aged_9.9", &says("")),
        row(
            "a version in the name of the file that the release file contradicts",
            "aged_9.8",
            &says("SYSEXT_VERSION_ID=1.29\n"),
        ),
        row("a confext's version", "aged_9.7", &says("CONFEXT_VERSION_ID=1.30\n")),
    ]
}

/// What systemd reads of every image before it merges any: it waits, or gives up the whole merge.
fn metadata() -> Vec<Row> {
    let bad = |what, tree: &Tree| Row::image("bad-metadata", what, with_tree(NAME, tree, vendor()));
    let good = || Tree::sysext(NAME);
    vec![
        bad("a FIFO for an os-release outside of what is merged", &good().fifo("etc/os-release")),
        bad("a link to a FIFO for a machine ID", &good().fifo("srv/fifo").symlink("etc/machine-id", "/srv/fifo")),
        bad("a FIFO for an initrd-release", &good().fifo("usr/lib/initrd-release")),
        bad("a directory for a host name", &good().directory("etc/hostname")),
        bad("a host name that no pipe holds", &good().file("etc/hostname", &vec![b'x'; 1 << 20])),
        bad("an os-release that leads to itself", &good().symlink("etc/os-release", "os-release")),
        bad("a file called etc", &good().file("etc", b"file")),
    ]
}

fn hierarchies() -> Vec<Row> {
    let bad = |what, tree: &Tree| Row::image("bad-hierarchy", what, with_tree(NAME, tree, vendor()));
    let good = || Tree::sysext(NAME);
    vec![
        bad("a file where systemd merges a directory", &good().file("opt", b"file")),
        bad(
            "a link to a directory where systemd merges one",
            &good().directory("usr/share/opt").symlink("opt", "usr/share/opt"),
        ),
        bad("a directory for systemd to delete", &good().file("usr/.systemd-sysext/work_dir", b"var/lib")),
        bad("systemd's notes about confexts", &good().directory("opt/.systemd-confext")),
        bad("a file where Kairos merges a directory", &good().file("usr/local/bin", b"file")),
        bad("a link to a file there", &good().file("usr/file", b"file").symlink("usr/sbin", "file")),
        bad("a whiteout of a file of the host", &good().whiteout("usr/bin/bash")),
        bad("a whiteout far down", &good().whiteout("opt/a/b/c/d/e/f/g")),
    ]
}
