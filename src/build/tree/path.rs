//! Paths of archives, and where they lead inside a tree.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::{FileTree, Kind, Metadata, NodeId, TooManyNodes};
use crate::filesystem::EntryKind;
use std::collections::BTreeMap;

/// Longest path in bytes (the kernel's `PATH_MAX` less its NUL).
const MAX_PATH: usize = 4095;
/// Longest name in bytes (the kernel's `NAME_MAX`).
const MAX_NAME: usize = 255;
/// Most components of one path.
pub const MAX_DEPTH: usize = 128;
/// Symbolic links followed on one way (the kernel's `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A path that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Leads upwards. No tool writes such names.
    #[error("the path has \"..\" in it")]
    Upwards,
    /// Contains a NUL.
    #[error("the path has a NUL byte in it")]
    Nul,
    /// Beyond what the kernel takes.
    #[error("the path has {found} bytes, the most is {MAX_PATH}")]
    TooLong {
        /// Bytes
        found: usize,
    },
    /// Beyond what the kernel takes.
    #[error("a name in the path has {found} bytes, the most is {MAX_NAME}")]
    NameTooLong {
        /// Bytes
        found: usize,
    },
    /// Deeper than anybody nests directories.
    #[error("the path has more than {MAX_DEPTH} components")]
    TooDeep,
    /// Links that lead round and round.
    #[error("more than {MAX_LINKS} symbolic links have to be followed")]
    TooManyLinks,
    /// A file where a directory should be.
    #[error("{path:?} is {found} and not a directory")]
    NotADirectory {
        /// Its path
        path: String,
        /// What it is
        found: EntryKind,
    },
    /// No more nodes.
    #[error(transparent)]
    TooMany(#[from] TooManyNodes),
}

/// The components of a path: no empty ones and no `.`. A leading slash means nothing, as for `tar`.
///
/// # Errors
/// [`PathError`], but never `NotADirectory`, `TooManyLinks` or `TooMany`.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, PathError> {
    if path.len() > MAX_PATH {
        return Err(PathError::TooLong { found: path.len() });
    }
    if path.contains(&0) {
        return Err(PathError::Nul);
    }
    let parts: Vec<_> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.len() > MAX_DEPTH {
        return Err(PathError::TooDeep);
    }
    for part in &parts {
        if *part == b".." {
            return Err(PathError::Upwards);
        }
        if part.len() > MAX_NAME {
            return Err(PathError::NameTooLong { found: part.len() });
        }
    }
    Ok(parts)
}

/// `directory/name`, or `name` at the root.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// A path for a message.
pub(super) fn display(path: &[u8]) -> String {
    crate::reason::printable(&String::from_utf8_lossy(path))
}

/// Where a path leads.
enum Way {
    /// To a directory.
    Found(NodeId),
    /// This directory has nothing of this name.
    Missing(NodeId, Vec<u8>),
}

impl FileTree {
    /// The directory at `parts`, links followed inside the tree as a container runtime follows them: `..` in a link's
    /// target stops at the root.
    fn way(&self, parts: &[&[u8]]) -> Result<Way, PathError> {
        let mut todo: Vec<&[u8]> = parts.iter().rev().copied().collect();
        let mut trail: Vec<(Vec<u8>, NodeId)> = Vec::new();
        let mut links = 0_usize;
        while let Some(part) = todo.pop() {
            if part == b".." {
                trail.pop();
                continue;
            }
            let (path, directory) = trail.last().cloned().unwrap_or((Vec::new(), self.root()));
            let path = join(&path, part);
            let Some(id) = self.entry(directory, part) else { return Ok(Way::Missing(directory, part.to_vec())) };
            match self.node(id).map(|node| &node.kind) {
                Some(Kind::Symlink(target)) => {
                    links = links.saturating_add(1);
                    let next = target.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
                    let next: Vec<_> = next.collect();
                    if links > MAX_LINKS || next.len() > MAX_DEPTH || todo.len() > MAX_DEPTH {
                        return Err(PathError::TooManyLinks);
                    }
                    if target.first() == Some(&b'/') {
                        trail.clear();
                    }
                    todo.extend(next.into_iter().rev());
                }
                Some(Kind::Directory(_)) if trail.len() < MAX_DEPTH => trail.push((path, id)),
                Some(Kind::Directory(_)) => return Err(PathError::TooDeep),
                Some(kind) => {
                    return Err(PathError::NotADirectory { path: display(&path), found: kind.entry_kind() });
                }
                None => return Ok(Way::Missing(directory, part.to_vec())),
            }
        }
        Ok(Way::Found(trail.last().map_or(self.root(), |(_, id)| *id)))
    }

    /// The directory at `parts`, links followed inside the tree; `None` if there is none.
    pub(super) fn directory(&self, parts: &[&[u8]]) -> Result<Option<NodeId>, PathError> {
        Ok(match self.way(parts)? {
            Way::Found(id) => Some(id),
            Way::Missing(..) => None,
        })
    }

    /// The directory at `parts`, made if it isn't there, and those above it.
    pub(super) fn make_directory(&mut self, parts: &[&[u8]]) -> Result<NodeId, PathError> {
        loop {
            match self.way(parts)? {
                Way::Found(id) => return Ok(id),
                Way::Missing(directory, name) => {
                    let id = self.add(Metadata::implied_directory(), Kind::Directory(BTreeMap::new()))?;
                    self.link(directory, &name, id);
                }
            }
        }
    }

    /// What is at `parts`, links on the way followed, itself not.
    pub(super) fn find(&self, parts: &[&[u8]]) -> Result<Option<NodeId>, PathError> {
        let Some((name, parents)) = parts.split_last() else { return Ok(Some(self.root())) };
        Ok(self.directory(parents)?.and_then(|directory| self.entry(directory, name)))
    }
}
