//! Lets the checks of a boot read a tree as they read the file system of an image.

use super::path::Steps;
use super::{FileTree, Kind, NodeId};
use ddi::filesystem::{DirEntry, EntryKind, FilesystemError, Tree};
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

impl FileTree {
    /// Returns the node at `path`, following links.
    fn at(&self, path: &str) -> Option<NodeId> {
        let mut path = path.as_bytes().to_vec();
        // The same bound as that of the reader of images.
        for _ in 0..32 {
            let parts: Vec<&[u8]> =
                path.split(|byte| *byte == b'/').filter(|it| !it.is_empty() && *it != b".").collect();
            let (name, parents) = match parts.split_last() {
                Some((name, parents)) if *name != b".." => (*name, parents),
                _ => return self.directory(&parts, &mut Steps::all()).ok()?,
            };
            let id = self.entry(self.directory(parents, &mut Steps::all()).ok()??, name)?;
            let Some(Kind::Symlink(target)) = self.node(id).map(|node| &node.kind) else { return Some(id) };
            path = if target.starts_with(b"/") {
                target.clone()
            } else {
                [parents.join(&b'/').as_slice(), target].join(&b'/')
            };
        }
        None
    }
}

impl Tree for FileTree {
    fn read_file(&self, path: &str, max_len: usize) -> Result<Option<Vec<u8>>, FilesystemError> {
        let Some(node) = self.at(path).and_then(|id| self.node(id)) else { return Ok(None) };
        let Kind::File(content) = &node.kind else {
            return Err(FilesystemError::NotAFile { found: node.kind.entry_kind() });
        };
        let limit = u64::try_from(max_len).unwrap_or(u64::MAX);
        if content.len() > limit {
            return Err(FilesystemError::TooLarge { size: content.len(), limit });
        }
        let mut bytes = Vec::new();
        content.reader().read_to_end(&mut bytes).map_err(FilesystemError::Io)?;
        Ok(Some(bytes))
    }

    fn entry(&self, path: &str) -> Result<Option<EntryKind>, FilesystemError> {
        Ok(self.at(path).and_then(|id| self.node(id)).map(|node| node.kind.entry_kind()))
    }

    fn entry_nofollow(&self, directory: &str, name: &str) -> Result<Option<EntryKind>, FilesystemError> {
        let found = self.at(directory).and_then(|directory| FileTree::entry(self, directory, name.as_bytes()));
        Ok(found.and_then(|id| self.node(id)).map(|node| node.kind.entry_kind()))
    }

    fn list(&self, directory: &str) -> Result<Option<Vec<DirEntry>>, FilesystemError> {
        let Some(id) = self.at(directory) else { return Ok(None) };
        let kind = |id| self.node(id).map_or(EntryKind::File, |node| node.kind.entry_kind());
        let entries =
            self.entries(id).map(|(name, id)| DirEntry { name: OsString::from_vec(name.to_vec()), kind: kind(id) });
        Ok(Some(entries.collect()))
    }

    fn link_target(&self, directory: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let found = self.at(directory).and_then(|directory| FileTree::entry(self, directory, name.as_bytes()));
        Ok(found.and_then(|id| self.node(id)).and_then(|node| match &node.kind {
            Kind::Symlink(target) => Some(target.clone()),
            _ => None,
        }))
    }

    fn xattr(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let node = self.at(path).and_then(|id| self.node(id));
        Ok(node.and_then(|node| node.metadata.xattrs.get(name.as_bytes()).cloned()))
    }
}
