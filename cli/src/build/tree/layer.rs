//! Layers of container images, put on top of each other (OCI Image Format Specification, `layer.md`).

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

/// Before the name of what a layer takes away.
const WHITEOUT: &[u8] = b".wh.";
/// Takes all away that lower layers put into a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Of AUFS' own, and never meant as whiteouts.
const AUFS: &[u8] = b".wh..wh.";

/// Why a layer can't be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// It can't be had.
    #[error("reading layer {number}: {error}")]
    Source {
        /// Counted from 1
        number: usize,
        /// Why
        error: SourceError,
    },
    /// It isn't an archive that can be read to its end.
    #[error("reading layer {number}: {error}")]
    Archive {
        /// Counted from 1
        number: usize,
        /// Why
        error: ArchiveError,
    },
    /// One of its members can't be used.
    #[error("reading {path} in layer {number}: {cause}")]
    Member {
        /// Counted from 1
        number: usize,
        /// Its path
        path: Text,
        /// Why
        cause: MemberError,
    },
    /// There is no such layer.
    #[error("layers {}..{} were asked for, and the image has {count}", wanted.start.saturating_add(1), wanted.end)]
    Range {
        /// Counted from 0
        wanted: Range<usize>,
        /// How many there are
        count: usize,
    },
}

/// Which layers count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// All of them.
    All,
    /// The uppermost.
    Last,
    /// These, counted from 1, both ends included.
    Some(usize, usize),
}

impl Layers {
    /// Reads `all`, `last`, `N` or `N..M`.
    ///
    /// # Errors
    /// A sentence that says so.
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
        .ok_or_else(|| "write all, last, N or N..M, counted from 1".to_owned())
    }

    /// The layers of an image with `count` of them, counted from 0.
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

/// Puts the wanted layers of an image on top of each other. `max_size` bounds the bytes of all files, holes included.
///
/// # Errors
/// [`LayerError`]
pub fn apply(image: &mut dyn LayeredImage, layers: &Layers, max_size: u64) -> Result<FileTree, LayerError> {
    apply_for(image, layers, max_size, None)
}

/// The same for an extension of `class`, for which it doesn't matter what can't be read of attributes elsewhere.
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
        // A hard link into a layer that wasn't asked for: its content is part of the layer that links to it.
        Err(LayerError::Member { cause: MemberError::MissingTarget { .. }, .. }) if wanted.start > 0 => {
            let lower = assemble(image, 0..wanted.start, max_size, None, class)?;
            assemble(image, wanted, max_size, Some(lower), class)
        }
        result => result,
    }
}

/// Counts what layers other than `taken` have in the hierarchies of `class`, directories and whiteouts aside: number of the
/// layer, counted from 1, and files. Paths are taken as they stand there.
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
    /// Headers that may still be read.
    headers: u64,
    steps: Steps,
    /// Names of the tree in place of which the layer at hand has a directory, and that aren't one before it.
    replaced: Names,
    /// What lies below the layers that count.
    lower: Option<FileTree>,
    /// Nodes of `lower` that have come into the tree, by path.
    adopted: HashMap<Vec<u8>, super::NodeId>,
    /// What is made of it; `None` if that isn't known.
    class: Option<Class>,
    /// Whether there are layers below those that count.
    has_lower: bool,
    /// The layer at hand, counted from 1.
    number: usize,
    /// What directories and files of the layer at hand, by path, have of the layers below.
    borrowed: HashMap<Vec<u8>, super::NodeId>,
}

impl Assembly {
    fn apply(&mut self, archive: &Spool, number: usize) -> Result<(), LayerError> {
        self.replaced.clear();
        self.borrowed.clear();
        self.number = number;
        // First what the layer takes away, for that means the layers below and never itself.
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

    /// What has to be known of the layers below before something of them is taken away.
    fn note(&mut self, _: &Spool, member: &Member) -> Result<(), MemberError> {
        self.note_directory(member)?;
        self.note_borrowed(member)
    }

    /// What lies behind a link that the layer has a directory in place of is not what it takes something away from.
    fn note_directory(&mut self, member: &Member) -> Result<(), MemberError> {
        if member.entry_type() != EntryType::Directory {
            return Ok(());
        }
        let parts = components(&member.path)?;
        let Some((name, parents)) = parts.split_last() else { return Ok(()) };
        let directory = match self.tree.way(parents, &self.replaced, &mut self.steps) {
            Ok(Way::Found(directory)) => directory,
            Err(error @ PathError::TooManySteps) => return Err(error.into()),
            // What is wrong with it is told when it is put.
            Ok(_) | Err(_) => return Ok(()),
        };
        let found = self.tree.entry(directory, name).and_then(|id| self.tree.node(id));
        // As many as there are names in the tree, at most.
        if found.is_some_and(|node| !matches!(node.kind, Kind::Directory(_))) {
            self.replaced.insert((directory, name.to_vec()));
        }
        Ok(())
    }

    /// What a member takes away of the layers below: the path of that, and whether it is all that is in there.
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
        // Of the lowest layer of an image it can't mean another one, and is an upper directory's that became an image.
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
            // What isn't there needs no taking away.
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
            // The root itself.
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
            // Some file systems read and write it anew for each of its names.
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

    /// Counts bytes against the limit of all.
    fn count(&mut self, bytes: u64) -> Result<(), MemberError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.max_size {
            return Err(MemberError::TooMuch { limit: self.max_size });
        }
        Ok(())
    }

    /// The node that a hard link leads to.
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

    /// Brings a node of a layer below into the tree, without a name for the present.
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
    let field = |cause: &str| MemberError::Field { field: "the target of the link", cause: cause.to_owned() };
    if target.is_empty() || target.contains(&0) {
        return Err(field("it is empty or has a NUL byte in it"));
    }
    // `PATH_MAX` less its NUL.
    if target.len() > 4095 {
        return Err(field("it has more than 4095 bytes"));
    }
    Ok(target.to_vec())
}
