//! The common interface of the formats.

use super::mask::Mask;
use super::meter::Meter;
use super::{EntryKind, FilesystemError};
use std::ops::Range;

/// An entry of a directory as it is on disk.
pub(super) struct Item<'a> {
    /// Name, not yet checked.
    pub(super) name: &'a [u8],
    /// Type in the directory, `None` if the directory does not have it.
    pub(super) kind: Option<EntryKind>,
    /// Number or reference of its inode, as the format defines it.
    pub(super) inode: u64,
}

/// A function that is called for each entry.
pub(super) type Visitor<'v> = dyn FnMut(Item<'_>) -> Result<(), FilesystemError> + 'v;

/// Is shown ranges of the image, in bytes.
pub(super) type Places<'p> = dyn FnMut(Range<u64>) + 'p;

/// Permissions and ownership of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The lower 12 bits of the mode.
    pub(super) mode: u16,
    /// User ID of the owner.
    pub(super) uid: u32,
    /// Group ID.
    pub(super) gid: u32,
}

/// A file system format.
pub(super) trait Format {
    /// A parsed inode.
    type Node: Clone;

    /// Returns the inode of the root directory.
    fn root(&self) -> u64;

    /// Reads an inode.
    fn node(&self, meter: &Meter<'_>, inode: u64) -> Result<Self::Node, FilesystemError>;

    /// Returns the type.
    fn kind(node: &Self::Node) -> EntryKind;

    /// Returns the length of the content in bytes.
    fn size(node: &Self::Node) -> u64;

    /// Returns the device number, `None` if the node is not a device.
    fn device(node: &Self::Node) -> Option<u32>;

    /// Returns the effect of a directory's attributes in overlayfs.
    fn mask(&self, meter: &Meter<'_>, node: &Self::Node) -> Result<Option<Mask>, FilesystemError>;

    /// Returns permissions and ownership.
    fn attributes(&self, meter: &Meter<'_>, node: &Self::Node) -> Result<Attributes, FilesystemError>;

    /// Visits every entry of a directory in order.
    fn visit(
        &self,
        meter: &Meter<'_>,
        directory: &Self::Node,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), FilesystemError>;

    /// Reads the first `len` bytes of a file or of the target of a symbolic link. The caller has checked that there are
    /// as many.
    fn content(&self, meter: &Meter<'_>, node: &Self::Node, len: usize) -> Result<Vec<u8>, FilesystemError>;

    /// Shows where in the image the content of a file or symbolic link is, as far as that isn't in its inode.
    fn places(&self, meter: &Meter<'_>, node: &Self::Node, see: &mut Places<'_>) -> Result<(), FilesystemError>;

    /// Bytes from the beginning that the file system takes up, by its superblock.
    fn used(&self) -> u64;

    /// Returns the value of an extended attribute. `name` is without the prefix `user.`.
    fn user_xattr(&self, meter: &Meter<'_>, node: &Self::Node, name: &[u8])
    -> Result<Option<Vec<u8>>, FilesystemError>;
}
