//! Reads the regular files of a tree in pieces, in the order in which `backhand` asks for them.

use super::BLOCK_SIZE;
use crate::build::tree::{Content, ContentReader, FileTree, Kind, NodeId};
use ddi::text::Text;
use openssl::sha::Sha256;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hasher;
use std::io::{self, Read};
use xxhash_rust::xxh64::Xxh64;

/// A regular file.
pub(super) struct File {
    id: NodeId,
    path: Text,
    content: Content,
}

impl File {
    /// Returns its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.content.len()
    }

    /// Returns whether it becomes part of a fragment.
    pub(super) fn is_small(&self) -> bool {
        self.len() < u64::from(BLOCK_SIZE)
    }

    /// Returns a reader of its content.
    pub(super) fn reader(&self) -> ContentReader {
        self.content.reader()
    }

    /// Adds the path to an error of reading it.
    pub(super) fn error(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("reading {}: {error}", self.path))
    }
}

/// Returns the regular files of `tree` in the order of its walk, which is that of `backhand`: by components of the path.
pub(super) fn list(tree: &FileTree) -> Vec<File> {
    let files = tree.walk().into_iter().filter_map(|(name, id)| match &tree.node(id)?.kind {
        Kind::File(content) => Some(File { id, path: Text::from_bytes(&name), content: content.clone() }),
        _ => None,
    });
    files.collect()
}

/// What comes next of the files.
pub(super) enum Step {
    /// A block that `backhand` makes of several small files.
    Fragment(Vec<u8>),
    /// A piece of the file with this number: all of it, or a block.
    Piece(usize, io::Result<Vec<u8>>),
}

/// Reads files, and puts small ones together as `backhand` does.
pub(super) struct Files {
    /// Number of the file that is read next.
    next: usize,
    /// The file before, if its end hasn't been reached.
    open: Option<Open>,
    /// Content of small files since the last fragment.
    fragment: Vec<u8>,
    /// Number of the last small file.
    last_small: Option<usize>,
    /// What has been read and not been asked for.
    ready: VecDeque<Step>,
    digests: Option<Digests>,
}

struct Open {
    number: usize,
    reader: ContentReader,
    left: u64,
    /// Of a file whose digests are compared.
    hashes: Option<(Xxh64, Sha256)>,
}

/// Two files of the same length and XXH64 digest, by which `backhand` takes them for equal, that aren't equal.
#[derive(Debug, thiserror::Error)]
#[error("two files have the same XXH64 digest")]
pub(super) struct Collision;

impl Files {
    /// Begins with the first file. With `compares`, an error that contains [`Collision`] ends the files as soon as it is certain
    /// that XXH64 doesn't tell them apart.
    pub(super) fn new(list: &[File], compares: bool) -> Self {
        let last_small = list.iter().rposition(|file| !file.content.is_empty() && file.is_small());
        let digests = compares.then(|| Digests::of(list));
        Self { next: 0, open: None, fragment: Vec::new(), last_small, ready: VecDeque::new(), digests }
    }

    /// Reads the next piece; `None` after the last one, and after an error.
    pub(super) fn next(&mut self, list: &[File]) -> Option<Step> {
        if self.ready.is_empty() {
            self.advance(list);
        }
        self.ready.pop_front()
    }

    fn advance(&mut self, list: &[File]) {
        let Some(mut open) = self.open.take().or_else(|| self.begin(list)) else { return };
        let number = open.number;
        let piece = match self.read(list, &mut open) {
            Ok(piece) => piece,
            Err(error) => {
                self.next = list.len();
                return self.ready.push_back(Step::Piece(number, Err(error)));
            }
        };
        if open.left > 0 {
            self.open = Some(open);
        }
        if list.get(number).is_some_and(File::is_small) {
            // The library compresses the fragment when the next small file doesn't fit, and the last one at the end. A fragment
            // precedes the piece that ends it: with the piece, the library may ask for it.
            if self.fragment.len().saturating_add(piece.len()) > BLOCK {
                self.ready.push_back(Step::Fragment(std::mem::take(&mut self.fragment)));
            }
            self.fragment.extend_from_slice(&piece);
            if self.last_small == Some(number) {
                self.ready.push_back(Step::Fragment(std::mem::take(&mut self.fragment)));
            }
        }
        self.ready.push_back(Step::Piece(number, Ok(piece)));
    }

    /// Opens the next file that isn't empty.
    fn begin(&mut self, list: &[File]) -> Option<Open> {
        loop {
            let number = self.next;
            let file = list.get(number)?;
            self.next = number.saturating_add(1);
            if file.content.is_empty() {
                continue;
            }
            let is_compared = self.digests.as_ref().is_some_and(|digests| digests.compares(file.len()));
            let hashes = is_compared.then(|| (Xxh64::new(0), Sha256::new()));
            return Some(Open { number, reader: file.reader(), left: file.len(), hashes });
        }
    }

    fn read(&mut self, list: &[File], open: &mut Open) -> io::Result<Vec<u8>> {
        let Some(file) = list.get(open.number) else { return Ok(Vec::new()) };
        let len = usize::try_from(open.left).unwrap_or(usize::MAX).min(BLOCK);
        let mut piece = vec![0; len];
        open.reader.read_exact(&mut piece).map_err(|error| file.error(&error))?;
        open.left = open.left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
        if let Some((weak, strong)) = &mut open.hashes {
            weak.write(&piece);
            strong.update(&piece);
        }
        if open.left == 0
            && let Some((weak, strong)) = open.hashes.take()
            && let Some(digests) = &mut self.digests
            && !digests.tell_apart(file.len(), weak.finish(), strong.finish())
        {
            return Err(io::Error::other(Collision));
        }
        Ok(piece)
    }
}

const BLOCK: usize = BLOCK_SIZE as usize;

/// Digests of files with equal lengths. `backhand` stores files of the same length and XXH64 digest once. XXH64 can be forged: an
/// archive could replace the content of one file by that of another.
struct Digests(HashMap<u64, HashMap<u64, [u8; 32]>>);

impl Digests {
    fn of(files: &[File]) -> Self {
        let mut lengths: BTreeMap<u64, BTreeSet<NodeId>> = BTreeMap::new();
        // Small files are not compared by the library.
        for file in files.iter().filter(|file| !file.is_small()) {
            lengths.entry(file.len()).or_default().insert(file.id);
        }
        Self(lengths.into_iter().filter(|(_, ids)| ids.len() > 1).map(|(len, _)| (len, HashMap::new())).collect())
    }

    fn compares(&self, len: u64) -> bool {
        self.0.contains_key(&len)
    }

    /// Returns whether another file of this length and weak digest has the same strong digest, or there is none.
    fn tell_apart(&mut self, len: u64, weak: u64, strong: [u8; 32]) -> bool {
        self.0.get_mut(&len).is_none_or(|seen| *seen.entry(weak).or_insert(strong) == strong)
    }
}
