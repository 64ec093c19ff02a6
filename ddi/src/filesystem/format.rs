//! What the two formats have in common.

use super::mask::Mask;
use super::meter::Meter;
use super::{EntryKind, FilesystemError};

/// An entry of a directory as it stands there.
pub(super) struct Item<'a> {
    /// Its name; checked by whoever visits.
    pub(super) name: &'a [u8],
    /// What the directory says it is; `None` where it doesn't say.
    pub(super) kind: Option<EntryKind>,
    /// Where its inode is, in terms of the format.
    pub(super) inode: u64,
}

/// Visits entries one by one.
pub(super) type Visitor<'v> = dyn FnMut(Item<'_>) -> Result<(), FilesystemError> + 'v;

/// Who may do what with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The lower 12 bits of the mode.
    pub(super) mode: u16,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

/// A format of file system.
pub(super) trait Format {
    /// What an inode says.
    type Node: Clone;

    /// The inode of the root directory.
    fn root(&self) -> u64;

    /// Reads an inode.
    fn node(&self, meter: &Meter<'_>, inode: u64) -> Result<Self::Node, FilesystemError>;

    /// What a node is.
    fn kind(node: &Self::Node) -> EntryKind;

    /// Bytes of content.
    fn size(node: &Self::Node) -> u64;

    /// The number of a device; `None` of anything else.
    fn device(node: &Self::Node) -> Option<u32>;

    /// What an attribute of a directory makes overlayfs hide.
    fn mask(&self, meter: &Meter<'_>, node: &Self::Node) -> Result<Option<Mask>, FilesystemError>;

    /// Who may do what with a node.
    fn attributes(&self, meter: &Meter<'_>, node: &Self::Node) -> Result<Attributes, FilesystemError>;

    /// Shows every entry of a directory, in order.
    fn visit(
        &self,
        meter: &Meter<'_>,
        directory: &Self::Node,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), FilesystemError>;

    /// The first `len` bytes of the content of a file, or of the target of a symbolic link;
    /// the caller has checked that there are so many.
    fn content(&self, meter: &Meter<'_>, node: &Self::Node, len: usize) -> Result<Vec<u8>, FilesystemError>;

    /// An extended attribute of the `user.` namespace; `name` is what follows that.
    fn user_xattr(&self, meter: &Meter<'_>, node: &Self::Node, name: &[u8])
    -> Result<Option<Vec<u8>>, FilesystemError>;
}
