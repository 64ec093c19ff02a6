//! Writes squashfs with the crate `backhand`, in this process.
//!
//! Trees with files that it can't write are refused: extended attributes, long targets of links, times before 1970 or after
//! 2106. Hard links become separate files, whose data is stored once.

use super::{Algorithm, Compression, FormatError, Unfit};
use crate::build::tree::{Content, FileTree, Kind, Metadata, NodeId, Time};
use backhand::compression::{CompressionOptions, Compressor, Gzip, Zstd};
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};
use ddi::text::Text;
use openssl::sha::Sha256;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use xxhash_rust::xxh64::Xxh64;

/// Size of a block of data in bytes, the default of `mksquashfs`. Each is compressed by itself.
const BLOCK_SIZE: u32 = 128 * 1024;

/// Default level of Zstandard. Level 9 takes 4 times as long and saves 7 %, level 15 takes 30 times as long and saves 14 %
/// (537 MiB of programs, libraries and source text).
const ZSTD_LEVEL: u8 = 3;

/// Longest target of a symbolic link in bytes. With more the library panics.
const MAX_TARGET: usize = 255;

pub(super) fn check(compression: Compression) -> Result<(), FormatError> {
    compressor(compression).map(drop)
}

fn compressor(compression: Compression) -> Result<FilesystemCompressor, FormatError> {
    let Compression { algorithm, level } = compression;
    let (id, options) = match algorithm {
        Algorithm::Zstd => {
            let compression_level = u32::from(level.unwrap_or(ZSTD_LEVEL));
            (Compressor::Zstd, CompressionOptions::Zstd(Zstd { compression_level }))
        }
        Algorithm::Deflate => {
            let compression_level = u32::from(level.unwrap_or(9));
            (Compressor::Gzip, CompressionOptions::Gzip(Gzip { compression_level, window_size: 15, strategies: 0 }))
        }
        _ => {
            return Err(FormatError::Compression {
                format: "squashfs",
                algorithm,
                choice: "zstd, gzip (others need --format erofs)",
            });
        }
    };
    FilesystemCompressor::new(id, Some(options)).map_err(library)
}

fn library(error: impl std::fmt::Display) -> FormatError {
    FormatError::Squashfs(error.to_string())
}

/// Checks that the library can write all files of `tree`.
///
/// # Errors
/// The first file that it can't write, in the order of the tree.
pub(super) fn check_tree(tree: &FileTree) -> Result<(), Unfit> {
    let root = (Vec::new(), tree.root());
    for (name, id) in std::iter::once(root).chain(tree.walk()) {
        let Some(node) = tree.node(id) else { continue };
        let unfit = |what: String| Unfit { path: Text::from_bytes(&name), what };
        match &node.kind {
            Kind::Symlink(target) if target.len() > MAX_TARGET => {
                return Err(unfit(format!("a target of {} bytes", target.len())));
            }
            Kind::Special(kind) => return Err(unfit(format!("the type of {kind}"))),
            _ => {}
        }
        if let Some(name) = node.metadata.xattrs.keys().next() {
            return Err(unfit(format!("the extended attribute {}", Text::from_bytes(name))));
        }
        seconds(&name, node.metadata.mtime)?;
    }
    Ok(())
}

pub(super) fn write(
    tree: &FileTree,
    compression: Compression,
    path: &Path,
    time: Time,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<String>, FormatError> {
    check_tree(tree).map_err(FormatError::CannotKeep)?;
    let mut writer = FilesystemWriter::default();
    writer.set_compressor(compressor(compression)?);
    writer.set_block_size(BLOCK_SIZE);
    writer.set_time(seconds(&[], time).map_err(FormatError::CannotKeep)?);
    writer.set_only_root_id();
    // The image is padded when it becomes a partition.
    writer.set_no_padding();
    writer.set_no_duplicate_files(digests_tell_apart(tree, progress)?);

    let root = tree.node(tree.root()).map_or_else(Metadata::implied_directory, |node| node.metadata.clone());
    writer.set_root_mode(root.mode);
    writer.set_root_uid(root.uid);
    writer.set_root_gid(root.gid);
    let failure = Arc::new(Mutex::new(None));
    let mut names: HashMap<NodeId, usize> = HashMap::new();
    for (name, id) in tree.walk() {
        let Some(node) = tree.node(id) else { continue };
        let header = header(&name, &node.metadata)?;
        let place = Path::new(OsStr::from_bytes(&name));
        match &node.kind {
            Kind::Directory(_) => writer.push_dir(place, header),
            Kind::Symlink(target) => writer.push_symlink(PathBuf::from(OsStr::from_bytes(target)), place, header),
            Kind::File(content) => {
                *names.entry(id).or_default() += 1;
                let reader = content.reader();
                let failure = Arc::clone(&failure);
                writer.push_file(Noted { reader, path: Text::from_bytes(&name), failure, progress }, place, header)
            }
            // Refused by the check above.
            Kind::Special(_) => continue,
        }
        .map_err(library)?;
    }
    let mut out = BufWriter::new(File::options().read(true).write(true).create_new(true).open(path)?);
    let written = writer.write(&mut out).map(drop);
    // The library does not pass on errors of reading a file.
    if let Some(error) = failure.lock().ok().and_then(|mut failure| failure.take()) {
        return Err(FormatError::Io(error));
    }
    match written {
        Err(BackhandError::StdIo(error)) => return Err(FormatError::Io(io::Error::other(error.to_string()))),
        Err(error) => return Err(library(error)),
        Ok(()) => out.flush()?,
    }
    let linked = names.values().filter(|count| **count > 1).count();
    let remark = format!(
        "with squashfs, {linked} hard-linked files become a separate file for each name; their data is stored once"
    );
    Ok(if linked > 0 { vec![remark] } else { Vec::new() })
}

fn header(path: &[u8], metadata: &Metadata) -> Result<NodeHeader, FormatError> {
    let mtime = seconds(path, metadata.mtime).map_err(FormatError::CannotKeep)?;
    Ok(NodeHeader { permissions: metadata.mode, uid: metadata.uid, gid: metadata.gid, mtime })
}

/// Converts a time to the seconds of squashfs, which have 32 bits.
fn seconds(path: &[u8], time: Time) -> Result<u32, Unfit> {
    u32::try_from(time.seconds).map_err(|_| Unfit {
        path: Text::from_bytes(path),
        what: format!("the modification time {} (seconds since 1970)", time.seconds),
    })
}

/// Reads a file for the library, and keeps the first error.
struct Noted<'a> {
    reader: crate::build::tree::ContentReader,
    path: Text,
    failure: Arc<Mutex<Option<io::Error>>>,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Noted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buf) {
            Ok(count) => {
                (self.progress)(count as u64);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                if let Ok(mut failure) = self.failure.lock() {
                    failure.get_or_insert(io::Error::new(kind, format!("reading {}: {error}", self.path)));
                }
                Err(kind.into())
            }
        }
    }
}

/// Returns whether files of the same length and XXH64 digest are equal. The library relies on that when it stores equal files
/// once. XXH64 can be forged: an archive could replace the content of one file by that of another.
fn digests_tell_apart(tree: &FileTree, progress: &(dyn Fn(u64) + Sync)) -> Result<bool, FormatError> {
    let mut files: BTreeMap<u64, BTreeSet<NodeId>> = BTreeMap::new();
    for (_, id) in tree.walk() {
        if let Some(Kind::File(content)) = tree.node(id).map(|node| &node.kind) {
            files.entry(content.len()).or_default().insert(id);
        }
    }
    for ids in files.values().filter(|ids| ids.len() > 1) {
        let mut seen: HashMap<u64, [u8; 32]> = HashMap::new();
        for id in ids {
            let Some(Kind::File(content)) = tree.node(*id).map(|node| &node.kind) else { continue };
            let (weak, strong) = digests(content)?;
            // Shows that work goes on, although no content has been written yet.
            progress(0);
            if *seen.entry(weak).or_insert(strong) != strong {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn digests(content: &Content) -> io::Result<(u64, [u8; 32])> {
    let (mut weak, mut strong) = (Xxh64::new(0), Sha256::new());
    let mut reader = content.reader();
    let mut buf = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut buf)?;
        let Some(read) = buf.get(..count).filter(|read| !read.is_empty()) else { break };
        weak.write(read);
        strong.update(read);
    }
    Ok((weak.finish(), strong.finish()))
}
