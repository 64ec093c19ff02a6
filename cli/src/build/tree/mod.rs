//! The files of an extension, in memory: names and metadata, with content left where it is.
//!
//! Nothing of a source is ever extracted. An archive's names, links and owners become nodes of this tree and
//! nothing else, so there is no path of it that could lead out of a directory, and nobody has to be root to keep
//! an owner. Symbolic links are resolved inside the tree.
// For all modules in here.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod acl;
mod archive;
mod attributes;
mod content;
mod directory;
mod header;
mod host;
mod layer;
mod look;
mod member_error;
mod members;
mod overlay;
mod path;
mod pax;
mod release;
mod select;
mod shadow;
mod sparse;

pub use archive::write_tar;
pub use content::{Content, Reader as ContentReader};
pub use directory::{DirectoryError, Owners, read_directory};
pub use header::{ArchiveError, MAX_HEADERS};
pub use layer::{LayerError, Layers, apply, apply_for, left_behind};
pub use member_error::MemberError;
pub(in crate::build) use members::archive_members;
pub use path::{MAX_DEPTH, MAX_STEPS, PathError};
pub use release::{ReleaseOptions, ReleaseProblem, complete_release};
pub use select::{Omission, select};
pub use shadow::{Shadow, shadows};

use ddi::filesystem::EntryKind;
use std::collections::BTreeMap;

/// Most files, directories and links in one tree.
pub const MAX_NODES: usize = 1_000_000;

/// Most memory that the names, paths and attributes of one tree may take, in bytes, as the constants below count it.
/// Half a million files with paths of 100 bytes need as much.
pub const MAX_MEMORY: u64 = 256 << 20;

/// What a node takes besides what is listed here, with its share of the vector's spare room.
const NODE_COST: u64 = 192;
/// A map with its first entry: an allocation for eleven.
const MAP_COST: u64 = 560;
/// A name or attribute: its place in a map, and its allocation.
const ENTRY_COST: u64 = 64;
/// A piece of a file with holes.
const PART_COST: u64 = 48;

/// A length as a number of bytes.
fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Where a node is in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// A moment, since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds
    pub seconds: i64,
    /// Nanoseconds, less than 1 000 000 000
    pub nanoseconds: u32,
}

impl Time {
    /// A whole second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// What is known about a node besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permissions with set-user-id, set-group-id and sticky bit: 0o7777 at most
    pub mode: u16,
    /// User
    pub uid: u32,
    /// Group
    pub gid: u32,
    /// Last modification
    pub mtime: Time,
    /// Extended attributes by their full names
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Memory that its attributes take, in bytes.
    fn held(&self) -> u64 {
        let map = if self.xattrs.is_empty() { 0 } else { MAP_COST };
        let each =
            |(name, value): (&Vec<u8>, &Vec<u8>)| ENTRY_COST.saturating_add(len(name)).saturating_add(len(value));
        self.xattrs.iter().map(each).fold(map, u64::saturating_add)
    }

    /// A directory that nobody described: root's, 0755.
    #[must_use]
    pub fn implied_directory() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: BTreeMap::new() }
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory with its entries, in the order of their bytes.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link and where it leads.
    Symlink(Vec<u8>),
    /// A device, FIFO or socket.
    Special(EntryKind),
}

impl Kind {
    /// The same without what is in it.
    #[must_use]
    pub fn entry_kind(&self) -> EntryKind {
        match self {
            Self::Directory(_) => EntryKind::Directory,
            Self::File(_) => EntryKind::File,
            Self::Symlink(_) => EntryKind::Symlink,
            Self::Special(kind) => *kind,
        }
    }
}

/// A file, directory or link. Hard links are several names for one node.
#[derive(Debug, Clone)]
pub struct Node {
    /// What is known about it
    pub metadata: Metadata,
    /// What it is
    pub kind: Kind,
    /// Length of the path by which a directory was put into the tree, in bytes.
    path_len: u64,
}

/// A tree would grow beyond its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeTooLarge {
    /// More nodes than [`MAX_NODES`].
    #[error("there are more than {MAX_NODES} files, directories and links")]
    Nodes,
    /// More memory than [`MAX_MEMORY`].
    #[error("paths, links, extended attributes and maps of holes take more than {} MiB of memory together", MAX_MEMORY >> 20)]
    Memory,
}

/// What a source says about files below it that aren't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// What is at this path is taken away.
    Whiteout,
    /// What is in the directory of this path is.
    Opaque,
    /// A directory has the files of another one.
    Redirect,
    /// A file has the content of another one.
    Content,
}

/// A tree of files.
#[derive(Debug, Clone)]
pub struct FileTree {
    /// Nodes that were replaced stay here without a name; the root is the first and never replaced.
    nodes: Vec<Node>,
    /// Bytes of memory, by the constants above. What was replaced or taken away still counts.
    held: u64,
    /// By path, what the source says about files below it that aren't there.
    below: Vec<(Vec<u8>, Below)>,
}

impl Default for FileTree {
    fn default() -> Self {
        let kind = Kind::Directory(BTreeMap::new());
        Self {
            nodes: vec![Node { metadata: Metadata::implied_directory(), kind, path_len: 0 }],
            held: NODE_COST,
            below: Vec::new(),
        }
    }
}

impl FileTree {
    /// The root directory.
    #[must_use]
    pub const fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// A node; `None` if `id` is another tree's.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0)
    }

    /// Puts a node into the tree that no name leads to yet.
    ///
    /// # Errors
    /// [`TreeTooLarge`]
    pub fn add(&mut self, metadata: Metadata, kind: Kind) -> Result<NodeId, TreeTooLarge> {
        if self.nodes.len() >= MAX_NODES {
            return Err(TreeTooLarge::Nodes);
        }
        let own = match &kind {
            Kind::Directory(entries) => {
                entries.keys().map(|name| ENTRY_COST.saturating_add(len(name))).fold(0, u64::saturating_add)
            }
            Kind::Symlink(target) => len(target),
            Kind::File(content) => content.held(),
            Kind::Special(_) => 0,
        };
        self.hold(NODE_COST.saturating_add(own).saturating_add(metadata.held()))?;
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { metadata, kind, path_len: 0 });
        Ok(id)
    }

    /// Replaces what is known about a node.
    fn describe(&mut self, id: NodeId, metadata: Metadata) -> Result<(), TreeTooLarge> {
        self.hold(metadata.held())?;
        if let Some(node) = self.node_mut(id) {
            node.metadata = metadata;
        }
        Ok(())
    }

    /// Notes what is said about files below the source.
    fn note_below(&mut self, path: Vec<u8>, what: Below) -> Result<(), TreeTooLarge> {
        self.hold(ENTRY_COST.saturating_add(len(&path)))?;
        self.below.push((path, what));
        Ok(())
    }

    /// Counts memory that is about to be taken.
    fn hold(&mut self, bytes: u64) -> Result<(), TreeTooLarge> {
        self.held = self.held.saturating_add(bytes);
        if self.held > MAX_MEMORY { Err(TreeTooLarge::Memory) } else { Ok(()) }
    }

    /// The entries of a directory; empty for anything else.
    pub fn entries(&self, directory: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let entries = self.node(directory).and_then(|node| match &node.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        });
        entries.into_iter().flatten().map(|(name, id)| (name.as_slice(), *id))
    }

    /// What is called `name` in a directory, itself not followed.
    #[must_use]
    pub fn entry(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(directory)?.kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Gives a node a name in a directory, in place of what had it. Nothing happens if `directory` isn't one.
    ///
    /// # Errors
    /// [`TreeTooLarge::Memory`]. Each name counts with its whole path: that is what the writer of the tree holds.
    pub fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId) -> Result<(), TreeTooLarge> {
        let Some(Node { kind: Kind::Directory(entries), path_len, .. }) = self.node(directory) else { return Ok(()) };
        let path_len = path_len.saturating_add(len(name)).saturating_add(1);
        if !entries.contains_key(name) {
            let map = if entries.is_empty() { MAP_COST } else { 0 };
            self.hold(ENTRY_COST.saturating_add(map).saturating_add(path_len).saturating_add(len(name)))?;
        }
        if let Some(Node { kind: Kind::Directory(entries), .. }) = self.node_mut(directory) {
            entries.insert(name.to_vec(), id);
        }
        if let Some(node) = self.node_mut(id) {
            node.path_len = path_len;
        }
        Ok(())
    }

    /// Takes a name away.
    pub fn unlink(&mut self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &mut self.node_mut(directory)?.kind {
            Kind::Directory(entries) => entries.remove(name),
            _ => None,
        }
    }

    /// Takes all names in a directory away.
    fn clear(&mut self, directory: NodeId) {
        if let Some(Node { kind: Kind::Directory(entries), .. }) = self.node_mut(directory) {
            entries.clear();
        }
    }

    /// Every name below the root with its path (no leading slash), directories before what is in them, in the order of
    /// their bytes name by name. This is the order in which all formats are written, whatever the order of the source.
    #[must_use]
    pub fn walk(&self) -> Vec<(Vec<u8>, NodeId)> {
        let mut found = Vec::new();
        let mut stack: Vec<(Vec<u8>, NodeId)> = vec![(Vec::new(), self.root())];
        while let Some((path, id)) = stack.pop() {
            let children: Vec<_> = self.entries(id).map(|(name, child)| (path::join(&path, name), child)).collect();
            stack.extend(children.into_iter().rev());
            if id != self.root() {
                found.push((path, id));
            }
        }
        found
    }

    /// The latest time of modification in the tree.
    #[must_use]
    pub fn latest(&self) -> Time {
        let times = self.walk().into_iter().filter_map(|(_, id)| Some(self.node(id)?.metadata.mtime));
        times.max().unwrap_or_default()
    }

    /// Makes no time later than `limit`, as `SOURCE_DATE_EPOCH` asks for
    /// (reproducible-builds.org, "`SOURCE_DATE_EPOCH` specification").
    pub fn clamp_times(&mut self, limit: Time) {
        for node in &mut self.nodes {
            node.metadata.mtime = node.metadata.mtime.min(limit);
        }
    }

    /// Bytes of content of all files, each once.
    #[must_use]
    pub fn content_len(&self) -> u64 {
        let ids: std::collections::BTreeSet<_> = self.walk().into_iter().map(|(_, id)| id).collect();
        let lens = ids.into_iter().filter_map(|id| match &self.node(id)?.kind {
            Kind::File(content) => Some(content.len()),
            _ => None,
        });
        lens.fold(0, u64::saturating_add)
    }
}
