//! What is damaged in an image that doesn't match its root hash, for people: the file whose data or metadata it is, and where
//! in the image the damage begins.
//!
//! Runs in the worker, once an image has been refused. Whatever comes of it, the verdict stays.

use super::ContentsError;
use super::contents::areas;
use crate::confine::guard;
use ddi::Ddi;
use ddi::filesystem::{Filesystem, FilesystemError, Owners, Part};
use ddi::io::{Damaged, ReadAt};
use ddi::text::{Message, Text};
use ddi::verity::{SoundData, Superblock, TreeError, is_top_damaged, survey};
use std::fmt;
use std::ops::Range;

/// Returns the text for an error: what is damaged, then what the error says.
pub(super) fn describe(source: &dyn ReadAt, ddi: &Ddi, error: &ContentsError) -> Message {
    match guard(|| Ok(locate(source, ddi, error))) {
        Ok(Some(damage)) => Message::new(format_args!("{damage} ({error})")),
        // A mistake in here must not become the reason.
        Ok(None) | Err(_) => Message::new(error),
    }
}

/// Damage, and where it begins in the image.
struct Damage {
    what: What,
    /// Bytes from the beginning of the image.
    at: u64,
    /// Damaged blocks after the first.
    more: u64,
    /// Whether all damaged blocks have been counted.
    is_counted: bool,
    /// Whether there is nothing but zeros.
    are_zero: bool,
}

/// What is damaged.
enum What {
    /// A level of the hash tree; `None` for its top.
    Tree(Option<usize>),
    /// Several places, or the signature is about another image.
    Everything,
    /// The only data block, or the signature is about another one.
    OnlyBlock,
    /// Something that must be zero.
    Unused(&'static str),
    /// A part of the file system.
    Filesystem(Lying),
}

/// What lies in a data block.
enum Lying {
    /// Files, or nothing that a file needs.
    Owners(Owners),
    /// The superblock of the file system.
    Superblock,
    /// Bytes of no file system that is known.
    Unknown,
}

fn locate(source: &dyn ReadAt, ddi: &Ddi, error: &ContentsError) -> Option<Damage> {
    let (root, verity) = (ddi.root().start, ddi.verity().start);
    let single = |what, at| Some(Damage { what, at, more: 0, is_counted: true, are_zero: false });
    let tree = match error {
        ContentsError::Stray { partition: "root", offset } => {
            return single(What::Unused("root partition"), root.saturating_add(*offset));
        }
        ContentsError::Stray { offset, .. } => {
            return single(What::Unused("verity partition"), verity.saturating_add(*offset));
        }
        ContentsError::Tree(tree) => tree,
        _ => return None,
    };
    let (data, hash, superblock) = areas(source, ddi).ok()?;
    match tree {
        TreeError::UnusedNotZero { offset } => single(What::Unused("hash tree"), verity.saturating_add(*offset)),
        TreeError::RootMismatch { expected, .. } => match superblock.geometry().levels().first() {
            None => single(What::OnlyBlock, root),
            Some(top) if is_top_damaged(&data, &hash, &superblock, expected) => {
                single(What::Tree(None), verity.saturating_add(top.offset))
            }
            Some(_) => single(What::Everything, root),
        },
        TreeError::Mismatch { level, block, offset } => {
            let survey = survey(&data, &hash, &superblock, *level, *block);
            let (what, start) = match level {
                0 => (What::Filesystem(lying(&data, &hash, &superblock, *offset)), root),
                level => (What::Tree(Some(*level)), verity),
            };
            Some(Damage {
                what,
                at: start.saturating_add(*offset),
                more: survey.map_or(0, |survey| survey.blocks.saturating_sub(1)),
                is_counted: survey.is_some_and(|survey| survey.is_complete),
                are_zero: survey.is_some_and(|survey| survey.are_zero),
            })
        }
        _ => None,
    }
}

/// Finds out what lies in the data block at `offset`.
fn lying(data: &dyn ReadAt, hash: &dyn ReadAt, superblock: &Superblock, offset: u64) -> Lying {
    let range: Range<u64> = offset..offset.saturating_add(superblock.data_block_size().into());
    let sound = SoundData::new(data, hash, superblock);
    match Filesystem::open(&sound) {
        Ok(filesystem) => Lying::Owners(filesystem.owners(&range)),
        Err(FilesystemError::Io(error)) if Damaged::of(&error).is_some_and(|it| range.contains(&it.offset)) => {
            Lying::Superblock
        }
        Err(_) => Lying::Unknown,
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at, more, is_counted, are_zero } = self;
        match what {
            What::Everything => {
                return f.write_str("the image is not the one that was signed, or is damaged as a whole");
            }
            What::OnlyBlock => {
                let text = "is damaged, or not the one that was signed";
                return write!(f, "the file system, a single block at byte {at} of the file, {text}");
            }
            What::Unused(place) => {
                return write!(f, "a byte that must be zero is in use in the {place}, at byte {at} of the file");
            }
            What::Tree(None) => f.write_str("damaged hash tree, its top block")?,
            What::Tree(Some(level)) => write!(f, "damaged hash tree, level {level}")?,
            What::Filesystem(lying) => write!(f, "damaged {lying}")?,
        }
        write!(f, ", at byte {at} of the file")?;
        match (more, is_counted) {
            (0, _) => {}
            (1, true) => f.write_str(", and 1 more block")?,
            (more, true) => write!(f, ", and {more} more blocks")?,
            (more, false) => write!(f, ", and at least {more} more blocks")?,
        }
        if *are_zero { f.write_str(": only zeros are there, as in an incomplete copy") } else { Ok(()) }
    }
}

impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owners = match self {
            Self::Superblock => return f.write_str("superblock of the file system"),
            Self::Unknown => return f.write_str("data"),
            Self::Owners(owners) => owners,
        };
        if owners.named.is_empty() {
            return f.write_str(match owners {
                Owners { is_behind: true, .. } => "padding behind the file system",
                Owners { is_complete: true, .. } => "metadata of the file system",
                _ => "file system",
            });
        }
        let mut last = None;
        for owner in &owners.named {
            let part = match owner.part {
                Part::Data => "data of",
                Part::Inode => "inode of",
                Part::Names => "directory",
            };
            let separator = if last.is_none() { "" } else { ", " };
            let part = if last.replace(owner.part) == Some(owner.part) { String::new() } else { format!("{part} ") };
            write!(f, "{separator}{part}/{}", Text::from_bytes(&owner.path))?;
        }
        match owners.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
