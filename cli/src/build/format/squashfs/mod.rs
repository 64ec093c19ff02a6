//! Writes squashfs with the crate `backhand`, in this process.
//!
//! Trees with files that it can't write are refused: extended attributes, long targets of links, times before 1970 or after
//! 2106. Hard links become separate files, whose data is stored once.

mod ahead;
mod compressor;
mod files;
mod packer;

use super::{Algorithm, Compression, FormatError, Parameters, Place, Unfit, Written};
use crate::build::tree::{FileTree, Kind, Metadata, NodeId, Time};
use ahead::{Ahead, Failure, Supplied};
use backhand::compression::{CompressionOptions, Compressor, Gzip, Zstd};
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};
use ddi::text::Text;
use packer::Packing;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// Size of a block of data in bytes, the default of `mksquashfs`. Each is compressed by itself.
const BLOCK_SIZE: u32 = 128 * 1024;

/// Default level of Zstandard. Level 9 takes 4 times as long and saves 7 %, level 15 takes 30 times as long and saves 14 %
/// (537 MiB of programs, libraries and source text).
const ZSTD_LEVEL: u8 = 3;

/// Number of bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Longest target of a symbolic link in bytes. With more the library panics.
const MAX_TARGET: usize = 255;

pub(super) fn check(compression: Compression) -> Result<(), FormatError> {
    packing(compression).map(drop)
}

fn packing(compression: Compression) -> Result<Packing, FormatError> {
    let Compression { algorithm, level } = compression;
    let mut zstd_level = None;
    let (id, options) = match algorithm {
        Algorithm::Zstd => {
            let level = level.unwrap_or(ZSTD_LEVEL);
            zstd_level = Some(i32::from(level));
            (Compressor::Zstd, CompressionOptions::Zstd(Zstd { compression_level: u32::from(level) }))
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
    let library = FilesystemCompressor::new(id, Some(options)).map_err(library)?;
    Ok(Packing { library, zstd_level })
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

/// Returns the number of bytes of all files. The library reads a file once for each of its names.
pub(super) fn work(tree: &FileTree) -> u64 {
    files::list(tree).iter().map(files::File::len).fold(0, u64::saturating_add)
}

pub(super) fn write(
    tree: &FileTree,
    compression: Compression,
    place: Place<'_>,
    Parameters { time, threads, .. }: Parameters,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Written, FormatError> {
    check_tree(tree).map_err(FormatError::CannotKeep)?;
    let packing = packing(compression)?;
    let job = Job { tree, packing, time, threads };
    let file = place.open()?;
    let len = match job.write(&file, place.offset, true, progress)? {
        Outcome::Written { len, .. } => len,
        // All that has been written is written again. Only content that was made for it leads here.
        Outcome::Collision => match job.write(&file, place.offset, false, &|_| progress(0))? {
            Outcome::Written { len, .. } => len,
            Outcome::Collision => return Err(library("a collision of digests that nothing depends on")),
        },
    };
    // Behind it there may be a file that turned out to be the same as another one.
    file.set_len(place.offset.saturating_add(len))?;
    Ok(Written { len, remarks: remarks(tree) })
}

/// What is to be written.
struct Job<'a> {
    tree: &'a FileTree,
    packing: Packing,
    time: Time,
    threads: usize,
}

enum Outcome {
    Written {
        /// Length in bytes.
        len: u64,
        /// Number of blocks that threads compressed ahead.
        #[cfg_attr(not(test), expect(dead_code, reason = "tests look whether threads do the work"))]
        hits: u64,
    },
    /// Two files have equal digests, and are not equal.
    Collision,
}

impl Job<'_> {
    /// Writes the file system at `offset` of `file`. With `shares`, files of the same length and XXH64 digest share their data.
    fn write(
        &self,
        file: &File,
        offset: u64,
        shares: bool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Outcome, FormatError> {
        let ahead = Arc::new(Ahead::new(files::list(self.tree), self.packing, shares, self.threads));
        let mut writer = self.writer(&ahead, progress)?;
        writer.set_no_duplicate_files(shares);
        let written = thread::scope(|scope| {
            let _end = End(&ahead);
            ahead.start(scope, self.threads);
            let _installed = compressor::Installed::new(&ahead);
            let mut out = BufWriter::with_capacity(BUFFER, file);
            let (_, len) = writer.write_with_offset(&mut out, offset)?;
            out.flush()?;
            Ok(len)
        });
        match (ahead.failure(), written) {
            (Some(Failure::Collision), _) => Ok(Outcome::Collision),
            (Some(Failure::Read(error)), _) => Err(FormatError::Io(error)),
            (None, Ok(len)) => Ok(Outcome::Written { len, hits: ahead.hits() }),
            (None, Err(BackhandError::StdIo(error))) => {
                Err(FormatError::Io(io::Error::new(error.kind(), error.to_string())))
            }
            (None, Err(error)) => Err(library(error)),
        }
    }

    fn writer<'a>(
        &self,
        ahead: &Arc<Ahead>,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Result<FilesystemWriter<'a, 'a, 'a>, FormatError> {
        let mut writer = FilesystemWriter::default();
        writer.set_kind(compressor::kind());
        writer.set_compressor(self.packing.library);
        writer.set_block_size(BLOCK_SIZE);
        writer.set_time(seconds(&[], self.time).map_err(FormatError::CannotKeep)?);
        writer.set_only_root_id();
        // The image is padded when it becomes a partition.
        writer.set_no_padding();

        let root = self.tree.node(self.tree.root());
        let root = root.map_or_else(Metadata::implied_directory, |node| node.metadata.clone());
        writer.set_root_mode(root.mode);
        writer.set_root_uid(root.uid);
        writer.set_root_gid(root.gid);
        let mut number = 0;
        for (name, id) in self.tree.walk() {
            let Some(node) = self.tree.node(id) else { continue };
            let header = header(&name, &node.metadata)?;
            let place = Path::new(OsStr::from_bytes(&name));
            match &node.kind {
                Kind::Directory(_) => writer.push_dir(place, header),
                Kind::Symlink(target) => writer.push_symlink(PathBuf::from(OsStr::from_bytes(target)), place, header),
                Kind::File(_) => {
                    let file = Supplied::new(ahead, number, progress);
                    number += 1;
                    writer.push_file(file, place, header)
                }
                // Refused by the check above.
                Kind::Special(_) => continue,
            }
            .map_err(library)?;
        }
        Ok(writer)
    }
}

/// Ends the threads when the library returns, or panics.
struct End<'a>(&'a Ahead);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn remarks(tree: &FileTree) -> Vec<String> {
    let mut names: HashMap<NodeId, usize> = HashMap::new();
    for (_, id) in tree.walk() {
        if tree.node(id).is_some_and(|node| matches!(node.kind, Kind::File(_))) {
            *names.entry(id).or_default() += 1;
        }
    }
    let linked = names.values().filter(|count| **count > 1).count();
    let remark = format!(
        "with squashfs, {linked} hard-linked files become a separate file for each name; their data is stored once"
    );
    if linked > 0 { vec![remark] } else { Vec::new() }
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
