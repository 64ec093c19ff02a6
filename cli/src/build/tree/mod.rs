//! Tree of the files of an extension: names and metadata in memory, content where it is.
//!
//! No source is ever extracted. Names, links and owners of an archive only become nodes of this tree. So no path can lead out of
//! a directory, and keeping owners needs no privilege. Symbolic links are resolved inside the tree.
// For all modules of this folder.
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

/// Maximum number of files, directories and links of a tree.
pub const MAX_NODES: usize = 1_000_000;

/// Maximum memory for names, paths and attributes of a tree, in bytes, counted by the constants below. Half a million files with
/// paths of 100 bytes need that much.
pub const MAX_MEMORY: u64 = 256 << 20;

/// Memory of a node itself, with its share of the vector's spare capacity.
const NODE_COST: u64 = 192;
/// Memory of a map with its first entry: an allocation for eleven entries.
const MAP_COST: u64 = 560;
/// Memory of a name or attribute: its place in a map, and its allocation.
const ENTRY_COST: u64 = 64;
/// Memory of a piece of a file with holes.
const PART_COST: u64 = 48;

/// Returns a length as `u64`.
fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Identifies a node of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// A time since 1970-01-01 00:00:00 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds
    pub seconds: i64,
    /// Nanoseconds, less than 1 000 000 000
    pub nanoseconds: u32,
}

impl Time {
    /// Returns a time without nanoseconds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// Metadata of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Permissions with set-user-ID, set-group-ID and sticky bit, 0o7777 at most
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
    /// Returns the memory of the attributes in bytes.
    fn held(&self) -> u64 {
        let map = if self.xattrs.is_empty() { 0 } else { MAP_COST };
        let each =
            |(name, value): (&Vec<u8>, &Vec<u8>)| ENTRY_COST.saturating_add(len(name)).saturating_add(len(value));
        self.xattrs.iter().map(each).fold(map, u64::saturating_add)
    }

    /// Returns the metadata of a directory without a member of its own: owner root, mode 0755.
    #[must_use]
    pub fn implied_directory() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: BTreeMap::new() }
    }
}

/// Kind and content of a node.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory with its entries, in the order of their bytes.
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// A device, FIFO or socket.
    Special(EntryKind),
}

impl Kind {
    /// Returns the kind without the content.
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
    /// Owner, mode, time and attributes
    pub metadata: Metadata,
    /// Kind and content
    pub kind: Kind,
    /// Length of the path by which a directory was put into the tree, in bytes.
    path_len: u64,
}

/// Error of a tree that exceeds its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeTooLarge {
    /// More nodes than [`MAX_NODES`].
    #[error("more than {MAX_NODES} files, directories and links")]
    Nodes,
    /// More memory than [`MAX_MEMORY`].
    #[error("paths, links, extended attributes and sparse maps together need more than {} MiB of memory", MAX_MEMORY >> 20)]
    Memory,
}

/// A reference of the source to lower layers that the source does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// Removes the file at this path.
    Whiteout,
    /// Removes the content of the directory at this path.
    Opaque,
    /// Fills a directory with the files of another one.
    Redirect,
    /// Gives a file the content of another one.
    Content,
}

/// A tree of files.
#[derive(Debug, Clone)]
pub struct FileTree {
    /// All nodes. The root is the first, and is never replaced; other replaced nodes stay here without a name.
    nodes: Vec<Node>,
    /// Memory in bytes, by the constants above. Replaced and removed nodes still count.
    held: u64,
    /// References to lower layers that the source does not contain, by path.
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
    /// Returns the root directory.
    #[must_use]
    pub const fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Returns a node; `None` if `id` belongs to another tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0)
    }

    /// Adds a node without a name.
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

    /// Replaces the metadata of a node.
    fn describe(&mut self, id: NodeId, metadata: Metadata) -> Result<(), TreeTooLarge> {
        self.hold(metadata.held())?;
        if let Some(node) = self.node_mut(id) {
            node.metadata = metadata;
        }
        Ok(())
    }

    /// Records a reference to lower layers that the source does not contain.
    fn note_below(&mut self, path: Vec<u8>, what: Below) -> Result<(), TreeTooLarge> {
        self.hold(ENTRY_COST.saturating_add(len(&path)))?;
        self.below.push((path, what));
        Ok(())
    }

    /// Counts memory before it is used.
    fn hold(&mut self, bytes: u64) -> Result<(), TreeTooLarge> {
        self.held = self.held.saturating_add(bytes);
        if self.held > MAX_MEMORY { Err(TreeTooLarge::Memory) } else { Ok(()) }
    }

    /// Returns the entries of a directory; empty for other nodes.
    pub fn entries(&self, directory: NodeId) -> impl Iterator<Item = (&[u8], NodeId)> {
        let entries = self.node(directory).and_then(|node| match &node.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        });
        entries.into_iter().flatten().map(|(name, id)| (name.as_slice(), *id))
    }

    /// Returns the entry `name` of a directory, without following a link.
    #[must_use]
    pub fn entry(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(directory)?.kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Gives a node a name in a directory, and replaces an older entry. Does nothing if `directory` is not a directory.
    ///
    /// # Errors
    /// [`TreeTooLarge::Memory`]. Each name counts with its whole path, which the writer of the tree keeps in memory.
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

    /// Removes a name.
    pub fn unlink(&mut self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &mut self.node_mut(directory)?.kind {
            Kind::Directory(entries) => entries.remove(name),
            _ => None,
        }
    }

    /// Removes all names in a directory.
    fn clear(&mut self, directory: NodeId) {
        if let Some(Node { kind: Kind::Directory(entries), .. }) = self.node_mut(directory) {
            entries.clear();
        }
    }

    /// Lists all names below the root with their paths (no leading slash): directories before their entries, entries in the order
    /// of their bytes. All formats are written in this order, whatever the order of the source.
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

    /// Returns the latest modification time in the tree.
    #[must_use]
    pub fn latest(&self) -> Time {
        let times = self.walk().into_iter().filter_map(|(_, id)| Some(self.node(id)?.metadata.mtime));
        times.max().unwrap_or_default()
    }

    /// Sets later times to `limit`, as `SOURCE_DATE_EPOCH` requires (reproducible-builds.org, "`SOURCE_DATE_EPOCH` specification").
    pub fn clamp_times(&mut self, limit: Time) {
        for node in &mut self.nodes {
            node.metadata.mtime = node.metadata.mtime.min(limit);
        }
    }

    /// Returns the size of all files in bytes; hard links count once.
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
