//! Merges the layers of container images (OCI Image Format Specification, `layer.md`).

mod borrowed;

use super::attributes::{is_whiteout, metadata, notes};
use super::header::{ArchiveError, MAX_HEADERS, Member};
use super::member_error::MemberError;
use super::members::Members;
use super::overlay::Notes;
use super::path::{Names, Steps, Way, components, display, join};
use super::select::is_extended;
use super::sparse::{self, SparseError};
use super::{Below, Content, FileTree, Kind, PathError, len};
use crate::build::{LayeredImage, SourceError, Spool};
use ddi::Class;
use ddi::filesystem::EntryKind;
use ddi::text::Text;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use tar::EntryType;

/// Prefix of a whiteout, before the name of the removed file.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory as opaque: it hides the files of lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of files of AUFS, which are not whiteouts.
const AUFS: &[u8] = b".wh..wh.";

/// Error of merging layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The layer can't be fetched or unpacked.
    #[error("reading layer {number}: {error}")]
    Source {
        /// Counted from 1
        number: usize,
        /// Why
        error: SourceError,
    },
    /// The layer is not a valid archive.
    #[error("reading layer {number}: {error}")]
    Archive {
        /// Counted from 1
        number: usize,
        /// Why
        error: ArchiveError,
    },
    /// A member of the layer can't be used.
    #[error("reading {path} in layer {number}: {cause}")]
    Member {
        /// Counted from 1
        number: usize,
        /// Its path
        path: Text,
        /// Why
        cause: MemberError,
    },
    /// The image has fewer layers than requested.
    #[error("layers {}..{} requested; the image has {count}", wanted.start.saturating_add(1), wanted.end)]
    Range {
        /// Requested layers, counted from 0
        wanted: Range<usize>,
        /// Number of layers of the image
        count: usize,
    },
}

/// Selection of layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// All layers.
    All,
    /// The uppermost layer.
    Last,
    /// First and last layer, counted from 1.
    Some(usize, usize),
}

impl Layers {
    /// Reads `all`, `last`, `N` or `N..M`.
    ///
    /// # Errors
    /// The expected forms.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        match text {
            "all" => Some(Self::All),
            "last" => Some(Self::Last),
            _ => match text.split_once("..") {
                None => number(text).map(|one| Self::Some(one, one)),
                Some((first, last)) => {
                    let last = number(last.strip_prefix('=').unwrap_or(last));
                    number(first).zip(last).filter(|(first, last)| first <= last).map(|(a, b)| Self::Some(a, b))
                }
            },
        }
        .ok_or_else(|| "expected all, last, N or N..M, counted from 1".to_owned())
    }

    /// Returns the selected layers of an image with `count` layers, counted from 0.
    ///
    /// # Errors
    /// [`LayerError::Range`]
    pub fn range(&self, count: usize) -> Result<Range<usize>, LayerError> {
        let wanted = match self {
            Self::All => 0..count,
            Self::Last => count.saturating_sub(1)..count,
            Self::Some(first, last) => first.saturating_sub(1)..*last,
        };
        if wanted.end > count { Err(LayerError::Range { wanted, count }) } else { Ok(wanted) }
    }
}

/// Merges the selected layers of an image. `max_size` bounds the bytes of all files, holes included.
///
/// # Errors
/// [`LayerError`]
pub fn apply(image: &mut dyn LayeredImage, layers: &Layers, max_size: u64) -> Result<FileTree, LayerError> {
    apply_for(image, layers, max_size, None)
}

/// Merges layers for an extension of `class`: unreadable attributes of files outside its hierarchies are ignored.
///
/// # Errors
/// [`LayerError`]
pub fn apply_for(
    image: &mut dyn LayeredImage,
    layers: &Layers,
    max_size: u64,
    class: Option<Class>,
) -> Result<FileTree, LayerError> {
    let wanted = layers.range(image.count())?;
    match assemble(image, wanted.clone(), max_size, None, class) {
        // A hard link leads into a layer below the selected ones: its content belongs to the layer with the link.
        Err(LayerError::Member { cause: MemberError::MissingTarget { .. }, .. }) if wanted.start > 0 => {
            let lower = assemble(image, 0..wanted.start, max_size, None, class)?;
            assemble(image, wanted, max_size, Some(lower), class)
        }
        result => result,
    }
}

/// Counts the files that layers other than `taken` have in the hierarchies of `class`, without directories and whiteouts. Returns
/// the number of each layer, counted from 1, and the number of its files. Links in paths are not followed.
///
/// # Errors
/// [`LayerError`]
pub fn left_behind(
    image: &mut dyn LayeredImage,
    taken: &Range<usize>,
    class: Class,
) -> Result<Vec<(usize, u64)>, LayerError> {
    let mut found = Vec::new();
    let mut left = MAX_HEADERS;
    for index in (0..image.count()).filter(|index| !taken.contains(index)) {
        let number = index.saturating_add(1);
        let archive = image.layer(index).map_err(|error| LayerError::Source { number, error })?;
        let mut members = Members::of(&archive, left);
        let mut files = 0_u64;
        while let Some(member) = members.next().map_err(|error| LayerError::Archive { number, error })? {
            let Ok(parts) = components(&member.path) else { continue };
            let is_wanted = parts.len() > 1 && is_extended(class, &member.path);
            let is_whiteout = parts.last().is_some_and(|name| name.starts_with(WHITEOUT));
            if is_wanted && !is_whiteout && member.entry_type() != EntryType::Directory {
                files = files.saturating_add(1);
            }
        }
        left = members.left();
        found.push((number, files));
    }
    Ok(found)
}

fn assemble(
    image: &mut dyn LayeredImage,
    layers: Range<usize>,
    max_size: u64,
    lower: Option<FileTree>,
    class: Option<Class>,
) -> Result<FileTree, LayerError> {
    let mut assembly = Assembly {
        class,
        has_lower: layers.start > 0,
        number: 0,
        borrowed: HashMap::new(),
        tree: FileTree::default(),
        max_size,
        used: 0,
        headers: MAX_HEADERS,
        steps: Steps::all(),
        replaced: Names::new(),
        lower,
        adopted: HashMap::new(),
    };
    for index in layers {
        let number = index.saturating_add(1);
        let archive = image.layer(index).map_err(|error| LayerError::Source { number, error })?;
        assembly.apply(&archive, number)?;
    }
    Ok(assembly.tree)
}

struct Assembly {
    tree: FileTree,
    max_size: u64,
    used: u64,
    /// Remaining number of headers.
    headers: u64,
    steps: Steps,
    /// Names that are not a directory in the layers below, and are one in the current layer.
    replaced: Names,
    /// Tree of the layers below the selected ones.
    lower: Option<FileTree>,
    /// Nodes of `lower` that have been copied to the tree, by path.
    adopted: HashMap<Vec<u8>, super::NodeId>,
    /// Class of the extension; `None` if unknown.
    class: Option<Class>,
    /// Whether there are layers below the selected ones.
    has_lower: bool,
    /// Number of the current layer, counted from 1.
    number: usize,
    /// Nodes of the layers below that directories and files of the current layer refer to, by path.
    borrowed: HashMap<Vec<u8>, super::NodeId>,
}

impl Assembly {
    fn apply(&mut self, archive: &Spool, number: usize) -> Result<(), LayerError> {
        self.replaced.clear();
        self.borrowed.clear();
        self.number = number;
        // Whiteouts are applied first: they concern the layers below, never the layer itself.
        let mut left = self.headers;
        for pass in [Self::note, Self::take_away, Self::put] {
            let mut members = Members::of(archive, self.headers);
            while let Some(member) = members.next().map_err(|error| LayerError::Archive { number, error })? {
                pass(self, archive, &member).map_err(|cause| LayerError::Member {
                    number,
                    path: display(&member.path),
                    cause,
                })?;
            }
            left = members.left();
        }
        self.headers = left;
        Ok(())
    }

    /// Collects what is needed of the layers below before whiteouts are applied.
    fn note(&mut self, _: &Spool, member: &Member) -> Result<(), MemberError> {
        self.note_directory(member)?;
        self.note_borrowed(member)
    }

    /// Collects links that the layer replaces by a directory: its whiteouts do not concern the target of such a link.
    fn note_directory(&mut self, member: &Member) -> Result<(), MemberError> {
        if member.entry_type() != EntryType::Directory {
            return Ok(());
        }
        let parts = components(&member.path)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(()) };
        let directory = match self.tree.way(parents, &self.replaced, &mut self.steps) {
            Ok(Way::Found(directory)) => directory,
            Err(error @ PathError::TooManySteps) => return Err(error.into()),
            // Errors are reported when the member is put into the tree.
            Ok(_) | Err(_) => return Ok(()),
        };
        let found = self.tree.entry(directory, name).and_then(|id| self.tree.node(id));
        // Bounded by the number of names in the tree.
        if found.is_some_and(|node| !matches!(node.kind, Kind::Directory(_))) {
            self.replaced.insert((directory, name.to_vec()));
        }
        Ok(())
    }

    /// Returns the path that a member removes from the layers below, and whether it removes a file or the content of a directory.
    fn taken_away(member: &Member) -> Result<Option<(Vec<u8>, Below)>, MemberError> {
        let parts = components(&member.path)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(None) };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let directory = parents.join(&b'/');
            return Ok(match *name {
                name if name == OPAQUE => Some((directory, Below::Opaque)),
                name if name.starts_with(AUFS) => None,
                _ => Some((join(&directory, hidden), Below::Whiteout)),
            });
        }
        let own = || parts.join(&b'/');
        if is_whiteout(member) {
            return Ok(Some((own(), Below::Whiteout)));
        }
        let notes = notes(member);
        Ok(match notes {
            _ if member.entry_type() != EntryType::Directory => None,
            Notes { redirect: Some(_), .. } => Some((own(), Below::Redirect)),
            Notes { opaque: true, .. } => Some((own(), Below::Opaque)),
            _ => None,
        })
    }

    fn take_away(&mut self, _: &Spool, member: &Member) -> Result<(), MemberError> {
        let Some((path, what)) = Self::taken_away(member)? else { return Ok(()) };
        let parts: Vec<&[u8]> = components(&path)?;
        // Reported if layers below the selected ones may have the file, or if the image was made of an upper directory, as its
        // first layer shows.
        if (self.has_lower || self.number == 1) && what != Below::Redirect {
            self.tree.note_below(path.clone(), what)?;
        }
        let (name, parents) = match (what, parts.split_last()) {
            (Below::Whiteout, Some((name, parents))) => (Some(*name), parents),
            (Below::Whiteout, None) => return Ok(()),
            _ => (None, parts.as_slice()),
        };
        let directory = match self.tree.way(parents, &self.replaced, &mut self.steps) {
            Ok(Way::Found(directory)) => directory,
            // Nothing to remove.
            Ok(Way::Missing(..) | Way::Marked) | Err(PathError::NotADirectory { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match name {
            None => self.tree.clear(directory),
            Some(name) => drop(self.tree.unlink(directory, name)),
        }
        Ok(())
    }

    fn put(&mut self, archive: &Spool, member: &Member) -> Result<(), MemberError> {
        sparse::check(member)?;
        let parts = components(&member.path)?;
        let kind = member.entry_type();
        let Some((name, parents)) = parts.split_last() else {
            // The member is the root directory.
            if kind != EntryType::Directory {
                return Err(MemberError::Root);
            }
            let metadata = metadata(member, self.class)?;
            let root = self.tree.root();
            self.tree.describe(root, metadata)?;
            return Ok(());
        };
        if name.starts_with(WHITEOUT) || is_whiteout(member) {
            return Ok(());
        }
        let directory = self.tree.make_directory(parents, &mut self.steps)?;
        if kind == EntryType::Link {
            let id = self.target(&member.link)?;
            // Some archivers write the content again for each name of a file.
            if let Some(Kind::File(content)) = self.tree.node(id).map(|node| &node.kind) {
                self.count(content.len())?;
            }
            self.tree.link(directory, name, id)?;
            return Ok(());
        }
        let mut metadata = metadata(member, self.class)?;
        let notes = Notes::take(&mut metadata.xattrs);
        let own = parts.join(&b'/');
        let borrowed = self.borrowed.get(&own).copied();
        self.count(
            metadata
                .xattrs
                .iter()
                .fold(0, |sum: u64, (name, value)| sum.saturating_add(len(name)).saturating_add(len(value))),
        )?;
        if kind == EntryType::Directory
            && let Some(id) = self.tree.entry(directory, name)
            && matches!(self.tree.node(id).map(|node| &node.kind), Some(Kind::Directory(_)))
        {
            self.tree.describe(id, metadata)?;
            return self.lend(id, &own, notes.redirect.is_some());
        }
        let is_directory = kind == EntryType::Directory;
        let kind = match kind {
            EntryType::Regular if notes.metacopy => {
                let below = borrowed.and_then(|id| self.tree.node(id)).map(|node| node.kind.clone());
                let Some(Kind::File(content)) = below else {
                    self.tree.note_below(own, Below::Content)?;
                    return Ok(());
                };
                self.count(content.len())?;
                Kind::File(content)
            }
            EntryType::Regular | EntryType::GNUSparse => Kind::File(self.content(archive, member)?),
            EntryType::Directory => Kind::Directory(BTreeMap::new()),
            EntryType::Symlink => Kind::Symlink(link_target(&member.link)?),
            EntryType::Char => Kind::Special(EntryKind::CharacterDevice),
            EntryType::Block => Kind::Special(EntryKind::BlockDevice),
            EntryType::Fifo => Kind::Special(EntryKind::Fifo),
            other => return Err(MemberError::Type(char::from(other.as_byte()))),
        };
        let id = self.tree.add(metadata, kind)?;
        self.tree.link(directory, name, id)?;
        if is_directory { self.lend(id, &own, notes.redirect.is_some()) } else { Ok(()) }
    }

    fn content(&mut self, archive: &Spool, member: &Member) -> Result<Content, MemberError> {
        let content = match sparse::content(archive, member)? {
            Some(content) => content,
            None => archive.slice(member.data(), member.size).map(Content::spool).ok_or(SparseError)?,
        };
        self.count(content.len())?;
        Ok(content)
    }

    /// Counts bytes against the limit for all files.
    fn count(&mut self, bytes: u64) -> Result<(), MemberError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.max_size {
            return Err(MemberError::TooMuch { limit: self.max_size });
        }
        Ok(())
    }

    /// Returns the target of a hard link.
    fn target(&mut self, path: &[u8]) -> Result<super::NodeId, MemberError> {
        let parts = components(path)?;
        let found = self.tree.find(&parts, &mut self.steps)?;
        let id = match found {
            Some(id) => id,
            None => self.adopt(&parts)?.ok_or_else(|| MemberError::MissingTarget { target: display(path) })?,
        };
        match self.tree.node(id).map(|node| &node.kind) {
            Some(Kind::Directory(_)) => Err(MemberError::DirectoryTarget { target: display(path) }),
            _ => Ok(id),
        }
    }

    /// Copies a node of the layers below to the tree, without a name.
    fn adopt(&mut self, parts: &[&[u8]]) -> Result<Option<super::NodeId>, MemberError> {
        let Some(lower) = &mut self.lower else { return Ok(None) };
        let key = parts.join(&b'/');
        if let Some(id) = self.adopted.get(&key) {
            return Ok(Some(*id));
        }
        let Some(found) = lower.find(parts, &mut self.steps)? else { return Ok(None) };
        let Some(node) = lower.node(found).cloned() else { return Ok(None) };
        if matches!(node.kind, Kind::Directory(_)) {
            return Err(MemberError::DirectoryTarget { target: display(&key) });
        }
        let id = self.tree.add(node.metadata, node.kind)?;
        self.tree.hold(len(&key))?;
        self.adopted.insert(key, id);
        Ok(Some(id))
    }
}

fn link_target(target: &[u8]) -> Result<Vec<u8>, MemberError> {
    let field = |cause: &str| MemberError::Field { field: "link target", cause: cause.to_owned() };
    if target.is_empty() || target.contains(&0) {
        return Err(field("empty, or contains a NUL byte"));
    }
    // `PATH_MAX` less its NUL.
    if target.len() > 4095 {
        return Err(field("longer than 4095 bytes"));
    }
    Ok(target.to_vec())
}
