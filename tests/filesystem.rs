//! Reading what `mkfs.erofs` and `mksquashfs` write, byte for byte, and surviving what they don't.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "filesystem/owners.rs"]
mod owners;

use support::harness;
use support::images;

use ddi::filesystem::{EntryKind, Filesystem, FilesystemError, Kind, Mask, Node};
use ddi::io::FileSource;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::cases;
use support::images::Noise;
use tempfile::TempDir;

const STRICT: &str = "user.extension-release.strict";

/// A tree with every kind of content that formats store in different ways.
struct Tree {
    directory: TempDir,
    files: BTreeMap<String, Vec<u8>>,
}

fn tree() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| {
        let mut noise = Noise(0x5e87_a117);
        let mut files = BTreeMap::new();
        files.insert("usr/lib/extension-release.d/extension-release.x".to_owned(), b"ID=_any\n".to_vec());
        files.insert("empty".to_owned(), Vec::new());
        let lines = (0..220_000).flat_map(|n| format!("line {n} has {}\n", noise.next() % 1000).into_bytes());
        files.insert("text".to_owned(), lines.collect());
        files.insert("noise".to_owned(), noise.bytes(1 << 20));
        files.insert("zeros".to_owned(), vec![0; 3 << 20]);
        // Neither all noise nor all text, so that extents end in the middle of blocks.
        let mixed = (0..40_u8).flat_map(|n| [vec![n; 5000], noise.bytes(1700)].concat());
        files.insert("mixed".to_owned(), mixed.collect());
        for size in [1_usize, 511, 4095, 4096, 4097, 8192, 131_072, 131_073] {
            let content = if size % 2 == 0 { vec![b'x'; size] } else { noise.bytes(size) };
            files.insert(format!("sizes/{size}"), content);
        }
        for number in 0..700 {
            files.insert(format!("many/a-file-with-a-rather-long-name-{number:04}"), number.to_string().into_bytes());
        }
        let directory = images::directory();
        let root = directory.path();
        for (path, content) in &files {
            images::write(root, path, content);
        }
        // A name of every length up to the longest.
        for len in [2, 100, 255] {
            images::write(root, &format!("names/{}", "n".repeat(len)), b"");
        }
        let link = |target: &str, path: &str| std::os::unix::fs::symlink(target, root.join(path)).unwrap();
        link("/usr/lib/extension-release.d/extension-release.x", "absolute");
        link("text", "relative");
        link("../../../../../empty", "many/upwards");
        link("usr/lib/", "directory-link");
        link("loop-b", "loop-a");
        link("loop-a", "loop-b");
        link("nowhere", "dangling");
        images::set_xattr(root, "usr/lib/extension-release.d/extension-release.x", STRICT, b"false");
        images::set_xattr(root, "usr/lib/extension-release.d/extension-release.x", "user.other", &[b'v'; 600]);
        Tree { directory, files }
    })
}

/// Makes an image with each set of options and compares everything in it with the tree.
fn compare(tool: &str, kind: Kind, variants: &[&str]) {
    let tree = tree();
    let directory = images::directory();
    for options in variants {
        let image = directory.path().join("image");
        let words: Vec<&str> = options.split_whitespace().collect();
        if let Err(reason) = images::make(tool, &words, tree.directory.path(), &image) {
            harness::left_out(&reason);
            continue;
        }
        let source = FileSource::new(File::open(&image).unwrap()).unwrap();
        let filesystem = Filesystem::open(&source).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert_eq!(filesystem.kind(), kind, "{options}");
        compare_all(&filesystem, tree, options);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Upper directories that became images: project-stacker/stacker#322, moby/moby#47962, opencontainers/umoci#572.
fn what_overlayfs_would_hide_is_found() {
    let directory = images::directory();
    let (tree, image) = (directory.path().join("tree"), directory.path().join("image"));
    for path in ["usr/bin/tool", "usr/lib/x/y", "opt/moved/file", "etc/hidden/file", "usr/share/plain"] {
        images::write(&tree, path, b"x");
    }
    let attributes: [(&str, &str, &[u8]); 7] = [
        ("usr/bin", "trusted.overlay.opaque", b"y"),
        ("usr/lib/x", "trusted.overlay.opaque", b"x"),
        ("opt/moved", "trusted.overlay.redirect", b"/opt/old"),
        ("etc/hidden", "trusted.overlay.opaque", b"y"),
        // Without the option `userxattr` these mean nothing.
        ("usr/share", "user.overlay.opaque", b"y"),
        ("usr/lib", "trusted.overlay.origin", b"y"),
        ("usr/lib", "trusted.overlay.opaque2", b"y"),
    ];
    for (path, name, value) in attributes {
        if rustix::fs::setxattr(tree.join(path), name, value, rustix::fs::XattrFlags::empty()).is_err() {
            return harness::left_out("only root can make upper directories");
        }
    }
    let made = std::process::Command::new("mknod").arg(tree.join("usr/lib/gone")).args(["c", "0", "0"]).status();
    let other = std::process::Command::new("mknod").arg(tree.join("usr/lib/null")).args(["c", "1", "3"]).status();
    if !made.is_ok_and(|status| status.success()) || !other.is_ok_and(|status| status.success()) {
        return harness::left_out("only root can make devices");
    }
    for (tool, options) in [("mksquashfs", &[][..]), ("mkfs.erofs", &[]), ("mkfs.erofs", &["-x0"])] {
        if let Err(reason) = images::make(tool, options, &tree, &image) {
            harness::left_out(&reason);
            continue;
        }
        let source = FileSource::new(File::open(&image).unwrap()).unwrap();
        let filesystem = Filesystem::open(&source).unwrap();
        let mut found: Vec<_> = filesystem.masks(&["usr", "opt"], 100).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let found: Vec<_> = found.iter().map(|(path, mask)| (std::str::from_utf8(path).unwrap(), *mask)).collect();
        let expected = [
            ("opt/moved", Mask::Redirect),
            ("usr/bin", Mask::Opaque),
            ("usr/lib/gone", Mask::Whiteout),
            ("usr/lib/x", Mask::Opaque),
        ];
        assert_eq!(found, expected, "{tool} {options:?}");
        assert_eq!(filesystem.masks(&["etc"], 100).unwrap().len(), 1, "{tool} {options:?}");
        assert_eq!(filesystem.masks(&["usr"], 1).unwrap().len(), 1, "{tool} {options:?}");
        assert_eq!(filesystem.masks(&["us", "usr2"], 1).unwrap(), [], "{tool} {options:?}");
        std::fs::remove_file(&image).unwrap();
    }
}

fn compare_all(filesystem: &Filesystem<'_>, tree: &Tree, options: &str) {
    // Of the many alike a few will do.
    for (path, content) in tree.files.iter().filter(|(path, _)| !path.starts_with("many") || path.ends_with("42")) {
        let found =
            filesystem.read_file(path, content.len()).unwrap_or_else(|error| panic!("{options}: {path}: {error}"));
        assert!(found.as_ref() == Some(content), "{options}: {path} differs");
    }
    for (path, target) in [
        ("absolute", "usr/lib/extension-release.d/extension-release.x"),
        ("/relative", "text"),
        ("many/../many/upwards", "empty"),
        (
            "directory-link/extension-release.d//./extension-release.x",
            "usr/lib/extension-release.d/extension-release.x",
        ),
    ] {
        let found = filesystem.read_file(path, 8 << 20).unwrap();
        assert!(found.as_ref() == tree.files.get(target), "{options}: {path} differs");
    }
    for absent in ["absent", "usr/absent/x", "dangling", "many/a-file-with-a-rather-long-name-0700", "tex", "texts"] {
        assert_eq!(filesystem.read_file(absent, 100).unwrap(), None, "{options}: {absent}");
        assert_eq!(filesystem.entry(absent).unwrap(), None, "{options}: {absent}");
    }
    let error = |path: &str, len| filesystem.read_file(path, len).unwrap_err();
    assert!(matches!(error("loop-a", 100), FilesystemError::TooManySteps { .. }), "{options}");
    assert!(matches!(error("text/x", 100), FilesystemError::NotADirectory { found: EntryKind::File }), "{options}");
    assert!(matches!(error("many", 100), FilesystemError::NotAFile { found: EntryKind::Directory }), "{options}");
    assert!(matches!(error("sizes/4097", 4096), FilesystemError::TooLarge { size: 4097, limit: 4096 }), "{options}");

    assert_eq!(filesystem.entry("/").unwrap(), Some(EntryKind::Directory), "{options}");
    assert_eq!(filesystem.entry("directory-link").unwrap(), Some(EntryKind::Directory), "{options}");
    assert_eq!(filesystem.entry_nofollow("/", "dangling").unwrap(), Some(EntryKind::Symlink), "{options}");
    assert_eq!(filesystem.entry_nofollow("directory-link", "absent").unwrap(), None, "{options}");

    for directory in ["", "many", "names", "usr/lib"] {
        let mut expected: Vec<_> = std::fs::read_dir(tree.directory.path().join(directory))
            .unwrap()
            .map(|entry| (entry.as_ref().unwrap().file_name(), kind_of(&entry.unwrap().path())))
            .collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let found = filesystem.list(directory).unwrap().unwrap();
        let found: Vec<_> = found.into_iter().map(|entry| (entry.name, entry.kind)).collect();
        assert_eq!(found, expected, "{options}: {directory}");
    }
    assert_eq!(filesystem.list("absent").unwrap(), None, "{options}");

    let walked = filesystem.walk().unwrap_or_else(|error| panic!("{options}: {error}"));
    assert!(walked.is_sorted_by(|a, b| a.path.split(|byte| *byte == b'/').lt(b.path.split(|byte| *byte == b'/'))));
    let found: BTreeMap<_, _> = walked.into_iter().map(|node| (node.path.clone(), node)).collect();
    let expected: BTreeMap<_, _> =
        on_disk(tree.directory.path()).into_iter().map(|node| (node.path.clone(), node)).collect();
    assert_eq!(found, expected, "{options}");

    let path = "usr/lib/extension-release.d/extension-release.x";
    assert_eq!(filesystem.xattr(path, STRICT).unwrap().as_deref(), Some(b"false".as_slice()), "{options}");
    assert_eq!(filesystem.xattr("absolute", "user.other").unwrap().unwrap(), [b'v'; 600], "{options}");
    assert_eq!(filesystem.xattr(path, "user.extension-release.stric").unwrap(), None, "{options}");
    assert_eq!(filesystem.xattr("text", STRICT).unwrap(), None, "{options}");
    assert_eq!(filesystem.xattr("absent", STRICT).unwrap(), None, "{options}");
}

/// What a walk has to find.
fn on_disk(root: &Path) -> Vec<Node> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let kind = kind_of(&path);
            if kind == EntryKind::Directory {
                todo.push(path.clone());
            }
            found.push(Node {
                path: path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(),
                kind,
                mode: u16::try_from(metadata.mode() & 0o7777).unwrap(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                size: if kind == EntryKind::File { metadata.len() } else { 0 },
                target: std::fs::read_link(&path).ok().map(|target| target.into_os_string().into_vec()),
            });
        }
    }
    found
}

fn kind_of(path: &Path) -> EntryKind {
    let kind = path.symlink_metadata().unwrap().file_type();
    match kind {
        kind if kind.is_dir() => EntryKind::Directory,
        kind if kind.is_symlink() => EntryKind::Symlink,
        _ => EntryKind::File,
    }
}

/// The ways in which erofs lays out compressed content.
fn compare_erofs(compression: &str) {
    let layouts = ["", "-C65536", "-Eztailpacking", "-Efragments -C65536", "-Eall-fragments,dedupe -C131072", "-b512"];
    let more =
        ["-Elegacy-compress", "-C1048576 -Eztailpacking,fragments,dedupe", "-Enoinline_data,force-inode-extended"];
    let variants: Vec<String> = layouts.iter().chain(&more).map(|layout| format!("-z{compression} {layout}")).collect();
    compare("mkfs.erofs", Kind::Erofs, &variants.iter().map(String::as_str).collect::<Vec<_>>());
}

fn erofs_uncompressed() {
    let variants =
        ["", "-b512", "-b1024", "-Eforce-inode-extended", "-Enoinline_data", "--chunksize=4096", "--chunksize=65536"];
    compare("mkfs.erofs", Kind::Erofs, &variants);
}

fn erofs_lz4() {
    compare_erofs("lz4");
}

fn erofs_lz4hc() {
    compare_erofs("lz4hc,12");
}

fn erofs_lzma() {
    // The effort of the compressor makes no difference to the format, but a large one to the time.
    compare_erofs("lzma,level=1");
}

fn erofs_deflate() {
    compare_erofs("deflate");
}

fn erofs_libdeflate() {
    compare_erofs("libdeflate");
}

fn erofs_zstd() {
    compare_erofs("zstd");
}

fn squashfs_gzip() {
    compare(
        "mksquashfs",
        Kind::Squashfs,
        &["-comp gzip", "-comp gzip -b 4096 -no-fragments", "-comp gzip -no-exports"],
    );
}

fn squashfs_xz() {
    compare(
        "mksquashfs",
        Kind::Squashfs,
        &["-comp xz", "-comp xz -Xbcj x86,arm,ia64", "-comp xz -b 1M -Xdict-size 8K"],
    );
}

fn squashfs_lzo() {
    let variants = ["-comp lzo", "-comp lzo -Xalgorithm lzo1x_1", "-comp lzo -Xalgorithm lzo1x_1_15 -b 1M"];
    compare("mksquashfs", Kind::Squashfs, &variants);
}

fn squashfs_lz4() {
    compare("mksquashfs", Kind::Squashfs, &["-comp lz4", "-comp lz4 -Xhc -b 8192"]);
}

fn squashfs_zstd() {
    compare(
        "mksquashfs",
        Kind::Squashfs,
        &["-comp zstd", "-comp zstd -Xcompression-level 22 -b 1M -always-use-fragments"],
    );
}

fn squashfs_uncompressed() {
    compare("mksquashfs", Kind::Squashfs, &["-noI -noD -noF -noX", "-noD", "-noI"]);
}

fn squashfs_lzma_is_known_and_refused() {
    let directory = images::directory();
    let image = directory.path().join("image");
    images::write(directory.path(), "tree/file", b"content");
    if let Err(reason) = images::make("mksquashfs", &["-comp", "lzma"], &directory.path().join("tree"), &image) {
        return harness::left_out(&reason);
    }
    let bytes = std::fs::read(&image).unwrap();
    let error = Filesystem::open(&bytes).unwrap_err();
    assert!(matches!(error, FilesystemError::UnsupportedByKernel { .. }));
    assert_eq!(error.to_string(), "squashfs with lzma compression is supported by no kernel");
}

fn anything_else_is_no_filesystem() {
    for bytes in [Vec::new(), vec![0; 95], vec![0; 4096], Noise(1).bytes(8192)] {
        assert!(matches!(Filesystem::open(&bytes), Err(FilesystemError::UnknownFilesystem)));
    }
}

/// Does everything that can be done to an image; what comes of it doesn't matter.
fn exercise(bytes: &[u8]) {
    let Ok(filesystem) = Filesystem::open(&bytes) else { return };
    for path in ["file", "link/deep/er", "usr/lib/extension-release.d/extension-release.x", "text"] {
        let _ = filesystem.read_file(path, 1 << 20);
        let _ = filesystem.xattr(path, STRICT);
    }
    let _ = filesystem.list("usr/lib/extension-release.d");
    let _ = filesystem.list("many");
    let _ = filesystem.walk();
    let _ = filesystem.owners(&(4096..8192));
}

fn damaged_images_cost_little_time_and_never_panic() {
    const ROUNDS: usize = 1500;
    let directory = images::directory();
    let tree = directory.path().join("tree");
    images::write(&tree, "file", b"short");
    images::write(&tree, "text", "a line of text\n".repeat(1500).as_bytes());
    images::write(&tree, "directory/deep/er", &Noise(3).bytes(3000));
    for number in 0..40 {
        images::write(&tree, &format!("many/{number}"), format!("{number}").repeat(number).as_bytes());
    }
    images::write(&tree, "usr/lib/extension-release.d/extension-release.x", b"ID=_any\n");
    images::set_xattr(&tree, "usr/lib/extension-release.d/extension-release.x", STRICT, b"0");
    std::os::unix::fs::symlink("/directory", tree.join("link")).unwrap();

    let mut noise = Noise(0xdead_beef);
    for (tool, options) in [
        ("mkfs.erofs", "-b1024"),
        ("mkfs.erofs", "-b512 --chunksize=512"),
        ("mkfs.erofs", "-zlz4 -b1024"),
        ("mkfs.erofs", "-zlz4hc -b512 -C4096 -Eztailpacking,fragments"),
        ("mkfs.erofs", "-zlzma -b1024"),
        ("mkfs.erofs", "-zdeflate -b1024 -Elegacy-compress"),
        ("mkfs.erofs", "-zzstd -b1024 -Eall-fragments"),
        ("mksquashfs", "-comp gzip"),
        ("mksquashfs", "-comp xz -Xbcj x86"),
        ("mksquashfs", "-comp lzo -b 4096"),
        ("mksquashfs", "-comp lz4"),
        ("mksquashfs", "-comp zstd"),
        ("mksquashfs", "-noI -noD -noF -noX -b 4096"),
    ] {
        let image = directory.path().join("image");
        let words: Vec<&str> = options.split_whitespace().collect();
        if let Err(reason) = images::make(tool, &words, &tree, &image) {
            harness::left_out(&reason);
            continue;
        }
        let original = std::fs::read(&image).unwrap();
        let source = Filesystem::open(&original).unwrap();
        assert_eq!(source.read_file("file", 10).unwrap().as_deref(), Some(b"short".as_slice()), "{options}");
        // Padding at the end would waste most of the damage.
        let used = original.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        for round in 0..ROUNDS {
            let mut bytes = original.clone();
            for _ in 0..=noise.below(4) {
                let at = noise.below(used);
                bytes[at] = match noise.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ (1 << noise.below(8)),
                    _ => noise.bytes(1)[0],
                };
            }
            if noise.below(20) == 0 {
                bytes.truncate(noise.below(used));
            }
            let begun = Instant::now();
            exercise(&bytes);
            let taken = begun.elapsed();
            assert!(taken < Duration::from_secs(20), "{tool} {options}, round {round}: {taken:?}");
        }
        std::fs::remove_file(&image).unwrap();
    }
}

fn main() -> ExitCode {
    harness::run(
        "filesystem.rs",
        cases!(
            crate: erofs_uncompressed,
                erofs_lz4,
                erofs_lz4hc,
                erofs_lzma,
                erofs_deflate,
                erofs_libdeflate,
                erofs_zstd,
                squashfs_gzip,
                squashfs_xz,
                squashfs_lzo,
                squashfs_lz4,
                squashfs_zstd,
                squashfs_uncompressed,
                squashfs_lzma_is_known_and_refused,
                what_overlayfs_would_hide_is_found,
                anything_else_is_no_filesystem,
                damaged_images_cost_little_time_and_never_panic;
            owners: the_owners_of_a_damaged_block_are_those_that_cannot_be_read_without_it;
        ),
    )
}
