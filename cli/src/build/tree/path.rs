//! Resolves the paths of archives inside a tree.

use super::{FileTree, Kind, Metadata, NodeId, TreeTooLarge};
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Longest path in bytes (the kernel's `PATH_MAX` less its NUL).
const MAX_PATH: usize = 4095;
/// Longest name in bytes (the kernel's `NAME_MAX`).
const MAX_NAME: usize = 255;
/// Maximum number of components of a path.
pub const MAX_DEPTH: usize = 128;
/// Maximum number of symbolic links to follow in one path (the kernel's `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Maximum number of steps from a directory to an entry for all paths of an image. A million files ten directories deep take
/// 30 million.
pub const MAX_STEPS: u64 = 100_000_000;

/// Error of a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path contains `..`, which no tool writes.
    #[error("path contains \"..\"")]
    Upwards,
    /// The path contains a NUL.
    #[error("path contains a NUL byte")]
    Nul,
    /// The path is too long for the kernel.
    #[error("path is {found} bytes; the limit is {MAX_PATH}")]
    TooLong {
        /// Length in bytes
        found: usize,
    },
    /// A name in the path is too long for the kernel.
    #[error("name in the path is {found} bytes; the limit is {MAX_NAME}")]
    NameTooLong {
        /// Length in bytes
        found: usize,
    },
    /// More than [`MAX_DEPTH`] components.
    #[error("path has more than {MAX_DEPTH} components")]
    TooDeep,
    /// More than 40 links, such as links in a circle.
    #[error("path leads through more than {MAX_LINKS} symbolic links")]
    TooManyLinks,
    /// A component of the path is not a directory.
    #[error("{path:?} is {found}, not a directory")]
    NotADirectory {
        /// Its path
        path: Text,
        /// What it is
        found: EntryKind,
    },
    /// More than [`MAX_STEPS`] steps for all paths.
    #[error("following the paths of all members takes more than {MAX_STEPS} steps")]
    TooManySteps,
    /// The tree exceeds its bounds.
    #[error(transparent)]
    TooLarge(#[from] TreeTooLarge),
}

/// Splits a path into components, without empty ones and `.`. A leading slash is ignored, as by `tar`.
///
/// # Errors
/// [`PathError`], but never `NotADirectory`, `TooManyLinks`, `TooManySteps` or `TooLarge`.
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

/// Returns `directory/name`, or `name` at the root.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// Formats a path for a message.
pub(super) fn display(path: &[u8]) -> Text {
    Text::from_bytes(path)
}

/// Remaining steps from a directory to an entry, for all members of an image. Bounded because a member of a few bytes can name a
/// path that leads through thousands of components of links.
#[derive(Debug)]
pub(super) struct Steps(u64);

impl Steps {
    /// Returns the budget of an image.
    pub(super) const fn all() -> Self {
        Self(MAX_STEPS)
    }

    fn take(&mut self) -> Result<(), PathError> {
        self.0 = self.0.checked_sub(1).ok_or(PathError::TooManySteps)?;
        Ok(())
    }
}

/// Result of following a path.
pub(super) enum Way {
    /// The path leads to a directory.
    Found(NodeId),
    /// This directory has no entry of this name.
    Missing(NodeId, Vec<u8>),
    /// The path leads through a marked name.
    Marked,
}

/// Set of directories and names in them.
pub(super) type Names = HashSet<(NodeId, Vec<u8>)>;

/// Walks down a tree, following links as a container runtime does: `..` in the target of a link stops at the root. The walk can
/// continue after a missing directory has been created.
struct Walk<'a> {
    todo: Vec<Cow<'a, [u8]>>,
    trail: Vec<(Cow<'a, [u8]>, NodeId)>,
    links: usize,
}

impl<'a> Walk<'a> {
    fn new(parts: &[&'a [u8]]) -> Self {
        Self { todo: parts.iter().rev().map(|part| Cow::Borrowed(*part)).collect(), trail: Vec::new(), links: 0 }
    }

    /// Walks until the end, a missing entry or a name in `marked`.
    fn go(&mut self, tree: &FileTree, marked: &Names, steps: &mut Steps) -> Result<Way, PathError> {
        loop {
            let here = self.trail.last().map_or(tree.root(), |(_, id)| *id);
            let Some(part) = self.todo.pop() else { return Ok(Way::Found(here)) };
            steps.take()?;
            if *part == *b".." {
                self.trail.pop();
                continue;
            }
            if !marked.is_empty() && marked.contains(&(here, part.to_vec())) {
                return Ok(Way::Marked);
            }
            let found = tree.entry(here, &part).and_then(|id| Some((id, tree.node(id)?)));
            match found.map(|(id, node)| (id, &node.kind)) {
                Some((_, Kind::Symlink(target))) => self.follow(target, steps)?,
                Some((id, Kind::Directory(_))) if self.trail.len() < MAX_DEPTH => self.trail.push((part, id)),
                Some((_, Kind::Directory(_))) => return Err(PathError::TooDeep),
                Some((_, kind)) => {
                    let names = self.trail.iter().map(|(name, _)| &**name).chain([&*part]);
                    let path = names.fold(Vec::new(), |path, name| join(&path, name));
                    return Err(PathError::NotADirectory { path: display(&path), found: kind.entry_kind() });
                }
                None => {
                    let name = part.to_vec();
                    self.todo.push(part);
                    return Ok(Way::Missing(here, name));
                }
            }
        }
    }

    fn follow(&mut self, target: &[u8], steps: &mut Steps) -> Result<(), PathError> {
        self.links = self.links.saturating_add(1);
        if self.links > MAX_LINKS || self.todo.len() > MAX_DEPTH {
            return Err(PathError::TooManyLinks);
        }
        let next = target.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
        for (index, part) in next.enumerate() {
            steps.take()?;
            if index >= MAX_DEPTH {
                return Err(PathError::TooManyLinks);
            }
            self.todo.push(Cow::Owned(part.to_vec()));
        }
        if target.first() == Some(&b'/') {
            self.trail.clear();
        }
        Ok(())
    }
}

impl FileTree {
    /// Follows `parts` until the end, a missing entry or a name in `marked`.
    pub(super) fn way(&self, parts: &[&[u8]], marked: &Names, steps: &mut Steps) -> Result<Way, PathError> {
        Walk::new(parts).go(self, marked, steps)
    }

    /// Returns the directory at `parts`, following links inside the tree; `None` if there is none.
    pub(super) fn directory(&self, parts: &[&[u8]], steps: &mut Steps) -> Result<Option<NodeId>, PathError> {
        Ok(match self.way(parts, &Names::new(), steps)? {
            Way::Found(id) => Some(id),
            Way::Missing(..) | Way::Marked => None,
        })
    }

    /// Returns the directory at `parts`. Creates it and those above it if they are missing.
    pub(super) fn make_directory(&mut self, parts: &[&[u8]], steps: &mut Steps) -> Result<NodeId, PathError> {
        let (mut walk, nothing) = (Walk::new(parts), Names::new());
        loop {
            match walk.go(self, &nothing, steps)? {
                Way::Missing(directory, name) => {
                    let id = self.add(Metadata::implied_directory(), Kind::Directory(BTreeMap::new()))?;
                    self.link(directory, &name, id)?;
                }
                Way::Found(id) => return Ok(id),
                // Not reached: no name is marked.
                Way::Marked => return Ok(self.root()),
            }
        }
    }

    /// Returns the node at `parts`, following links except the last component.
    pub(super) fn find(&self, parts: &[&[u8]], steps: &mut Steps) -> Result<Option<NodeId>, PathError> {
        let Some((name, parents)) = parts.split_last() else { return Ok(Some(self.root())) };
        Ok(self.directory(parents, steps)?.and_then(|directory| self.entry(directory, name)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Forty links of a hundred components each: thousands of steps for a path of one.
    #[test]
    fn steps_through_links_are_counted() {
        let mut tree = FileTree::default();
        let long = "./".repeat(50) + &"a/../".repeat(60);
        let steps = &mut Steps::all();
        let directory = tree.make_directory(&[b"a"], steps).unwrap();
        for number in 0..38 {
            let target = format!("/{long}l{}", number + 1);
            let id = tree.add(Metadata::implied_directory(), Kind::Symlink(target.into_bytes())).unwrap();
            tree.link(tree.root(), format!("l{number}").as_bytes(), id).unwrap();
        }
        tree.link(tree.root(), b"l38", directory).unwrap();
        let mut enough = Steps(10_000);
        assert_eq!(tree.directory(&[b"l0"], &mut enough), Ok(Some(directory)));
        assert!(enough.0 < 4000, "{enough:?}");
        assert_eq!(tree.directory(&[b"l0"], &mut enough), Err(PathError::TooManySteps));
    }

    #[test]
    fn a_name_counts_with_its_whole_path() {
        let mut tree = FileTree::default();
        let long = [b'd'; 255];
        let directory = tree.make_directory(&[&long[..]; 15], &mut Steps::all()).unwrap();
        let id = tree.add(Metadata::implied_directory(), Kind::Symlink(b"x".to_vec())).unwrap();
        let link = |tree: &mut FileTree, number: u32| tree.link(directory, number.to_string().as_bytes(), id);
        let fitting = (0..u32::MAX).take_while(|number| link(&mut tree, *number).is_ok()).count();
        assert!((60_000..70_000).contains(&fitting), "{fitting}");
        assert_eq!(link(&mut tree, u32::MAX), Err(TreeTooLarge::Memory));
        let paths: usize = tree.walk().iter().map(|(path, _)| path.len()).sum();
        assert!(paths < 256 << 20);
        // A name that is there already takes no more.
        tree.held = super::super::MAX_MEMORY;
        link(&mut tree, 0).unwrap();
    }
}
