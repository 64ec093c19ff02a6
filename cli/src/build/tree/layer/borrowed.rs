//! Applies marks of overlayfs by which directories and files of a layer refer to the layers below.

use super::{Assembly, MemberError};
use crate::build::tree::attributes::notes;
use crate::build::tree::header::Member;
use crate::build::tree::path::components;
use crate::build::tree::{Below, Kind, NodeId, PathError, len};
use std::collections::BTreeMap;
use tar::EntryType;

impl Assembly {
    /// Finds the node of the layers below that a directory or file refers to, before whiteouts are applied: a renamed file has a
    /// whiteout at its old path.
    pub(super) fn note_borrowed(&mut self, member: &Member) -> Result<(), MemberError> {
        let kind = member.entry_type();
        let notes = notes(member);
        let wanted = match (kind, &notes.redirect) {
            (EntryType::Directory, Some(redirect)) => Some(redirect.as_slice()),
            (EntryType::Regular, redirect) if notes.metacopy => Some(redirect.as_deref().unwrap_or(&member.path)),
            _ => None,
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let own = components(&member.path)?;
        let path = match own.split_last() {
            // A name without a slash is relative to the parent directory.
            Some((_, parents)) if !wanted.contains(&b'/') => [parents, &[wanted]].concat().join(&b'/'),
            _ => wanted.to_vec(),
        };
        let found = match self.tree.find(&components(&path)?, &mut self.steps) {
            Ok(found) => found,
            Err(PathError::NotADirectory { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let fits = |kind_below: &Kind| match kind_below {
            Kind::Directory(_) => kind == EntryType::Directory,
            Kind::File(_) => kind == EntryType::Regular,
            _ => false,
        };
        let below = found.and_then(|id| self.tree.node(id)).filter(|node| fits(&node.kind)).cloned();
        if let Some(node) = below {
            let key = own.join(&b'/');
            self.tree.hold(len(&key))?;
            // A copy, because the original may be emptied by a later whiteout.
            let id = self.tree.add(node.metadata, node.kind)?;
            self.borrowed.insert(key, id);
        }
        Ok(())
    }

    /// Fills a directory with the entries of the directory below that it refers to.
    pub(super) fn lend(&mut self, id: NodeId, path: &[u8], is_redirected: bool) -> Result<(), MemberError> {
        if !is_redirected {
            return Ok(());
        }
        let Some(source) = self.borrowed.get(path).copied() else {
            self.tree.note_below(path.to_vec(), Below::Redirect)?;
            return Ok(());
        };
        let mut todo = vec![(source, id)];
        while let Some((from, to)) = todo.pop() {
            let entries: Vec<(Vec<u8>, NodeId)> =
                self.tree.entries(from).map(|(name, child)| (name.to_vec(), child)).collect();
            for (name, child) in entries {
                // Entries of the layer itself come first in the archive, and are kept.
                if self.tree.entry(to, &name).is_some() || child == id {
                    continue;
                }
                let Some(node) = self.tree.node(child) else { continue };
                match &node.kind {
                    Kind::Directory(_) => {
                        let metadata = node.metadata.clone();
                        let copy = self.tree.add(metadata, Kind::Directory(BTreeMap::new()))?;
                        self.tree.link(to, &name, copy)?;
                        todo.push((child, copy));
                    }
                    Kind::File(content) => {
                        let len = content.len();
                        self.count(len)?;
                        self.tree.link(to, &name, child)?;
                    }
                    _ => self.tree.link(to, &name, child)?,
                }
            }
        }
        Ok(())
    }
}
