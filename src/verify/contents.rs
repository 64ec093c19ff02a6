//! All bytes of an image against its signed root hash.

use super::SignedRoot;
use crate::image::gpt::Partition;
use crate::image::{Ddi, Guid};
use crate::io::{ReadAt, Window};
use crate::reason::Reason;
use crate::text::Message;
use crate::verity::{self, RootHash, SUPERBLOCK_SIZE, Superblock, SuperblockError, TreeError, first_nonzero};
use std::io;
use std::os::fd::BorrowedFd;
use thiserror::Error;

/// Why the bytes don't hold what the signature promises.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// The image can't be read.
    #[error("reading the {partition} partition: {cause}")]
    Io {
        /// Which.
        partition: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// The superblock itself.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The kernel can't read a device in blocks smaller than its sectors.
    #[error("{kind} blocks of {found} bytes are smaller than the sectors of {sector_size} bytes")]
    BlockSize {
        /// `data` or `hash`.
        kind: &'static str,
        /// Block size.
        found: u32,
        /// Sector size of the partition table, which systemd gives the loop device.
        sector_size: u32,
    },
    /// The superblock asks for more than a partition holds, or for another digest than was signed.
    #[error("the superblock does not fit: {0}")]
    Fit(TreeError),
    /// Data or tree.
    #[error(transparent)]
    Tree(TreeError),
    /// A byte that nothing covers is in use.
    #[error("byte {offset} of the {partition} partition, which no hash covers, is not zero")]
    Stray {
        /// Which partition.
        partition: &'static str,
        /// Where in it.
        offset: u64,
    },
}

impl ContentsError {
    /// The rule that was broken.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Io { .. } | Self::Tree(TreeError::Io { .. }) => Reason::Unreadable,
            Self::Superblock(_) | Self::BlockSize { .. } | Self::Fit(_) => Reason::BadSuperblock,
            Self::Tree(_) | Self::Stray { .. } => Reason::Corrupt,
        }
    }
}

/// An image whose data and hash tree give the signed root hash. Only [`IntactImage::check`] makes one.
#[derive(Debug)]
pub struct IntactImage<'a> {
    source: &'a dyn ReadAt,
    signed: &'a SignedRoot,
    root: Partition,
    verity: Partition,
    superblock: Superblock,
}

impl<'a> IntactImage<'a> {
    /// Recomputes the whole hash tree over all data, and looks at what it doesn't cover.
    ///
    /// # Errors
    /// [`ContentsError`]: the first rule that is broken.
    pub fn check(
        source: &'a dyn ReadAt,
        ddi: &Ddi,
        signed: &'a SignedRoot,
        threads: usize,
    ) -> Result<Self, ContentsError> {
        let superblock = examine(source, ddi, signed.root_hash(), threads)?;
        Ok(Self::new(source, ddi, signed, superblock))
    }

    /// The same evidence in the process that waited while another one ran [`Self::check`] and found `superblock`.
    ///
    /// Of what a process says that read hostile bytes nothing is used without being checked: the superblock has to be one, and
    /// what it describes has to be inside of the image. `None` where it isn't.
    pub(super) fn attested(
        source: &'a dyn ReadAt,
        ddi: &Ddi,
        signed: &'a SignedRoot,
        superblock: &[u8],
    ) -> Option<Self> {
        let superblock = Superblock::parse(superblock.first_chunk::<SUPERBLOCK_SIZE>()?).ok()?;
        let geometry = superblock.geometry();
        let fits = signed.root_hash().fits(superblock.algorithm())
            && geometry.data_len() <= ddi.root().len
            && geometry.hash_area_len() <= ddi.verity().len;
        Window::new(source, ddi.root().start, ddi.root().len)?;
        Window::new(source, ddi.verity().start, ddi.verity().len)?;
        fits.then(|| Self::new(source, ddi, signed, superblock))
    }

    fn new(source: &'a dyn ReadAt, ddi: &Ddi, signed: &'a SignedRoot, superblock: Superblock) -> Self {
        Self { source, signed, root: ddi.root().clone(), verity: ddi.verity().clone(), superblock }
    }

    /// The file system: exactly the bytes that the hash tree covers.
    #[must_use]
    pub fn filesystem(&self) -> Option<Window<'a>> {
        Window::new(self.source, self.root.start, self.superblock.geometry().data_len())
    }

    /// The file of the whole image, where it is one.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.source.descriptor()
    }

    /// The root hash and its signature.
    #[must_use]
    pub fn signed(&self) -> &SignedRoot {
        self.signed
    }

    /// The superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The partition with the file system.
    #[must_use]
    pub fn root(&self) -> &Partition {
        &self.root
    }

    /// The partition with the hash tree.
    #[must_use]
    pub fn verity(&self) -> &Partition {
        &self.verity
    }

    /// What a person should know though it changes nothing: partition UUIDs should be the first and the
    /// last 128 bits of the root hash (Discoverable Partitions Specification, "Verity").
    #[must_use]
    pub fn warnings(&self, ddi: &Ddi) -> Vec<Message> {
        let (first, last) = uuids(self.signed.root_hash());
        let checks = [("root", ddi.root().uuid, first), ("verity", ddi.verity().uuid, last)];
        checks
            .into_iter()
            .filter(|(_, found, expected)| Some(*found) != *expected)
            .map(|(name, found, _)| {
                let text = "partition does not derive from the root hash";
                Message::new(format_args!("the UUID {found} of the {name} {text}"))
            })
            .collect()
    }
}

/// Recomputes the whole hash tree over all data, and looks at what it doesn't cover. Returns the superblock.
///
/// # Errors
/// [`ContentsError`]: the first rule that is broken.
pub(super) fn examine(
    source: &dyn ReadAt,
    ddi: &Ddi,
    root_hash: &RootHash,
    threads: usize,
) -> Result<Superblock, ContentsError> {
    let data = window(source, ddi.root(), "root")?;
    let hash = window(source, ddi.verity(), "verity")?;
    let mut bytes = [0; SUPERBLOCK_SIZE];
    hash.read_exact_at(&mut bytes, 0).map_err(|cause| ContentsError::Io { partition: "verity", cause })?;
    let superblock = Superblock::parse(&bytes)?;
    let sector_size = ddi.table().sector_size;
    for (kind, found) in [("data", superblock.data_block_size()), ("hash", superblock.hash_block_size())] {
        if found < sector_size {
            return Err(ContentsError::BlockSize { kind, found, sector_size });
        }
    }
    let tree = verity::verify(&data, &hash, &superblock, root_hash, threads).map_err(|error| match error {
        TreeError::DataTooShort { .. } | TreeError::HashAreaTooShort { .. } | TreeError::DigestSizeMismatch { .. } => {
            ContentsError::Fit(error)
        }
        error => ContentsError::Tree(error),
    })?;
    // Partitions may be longer than what the tree covers. The kernel never shows those bytes, yet libblkid
    // reads them when it probes.
    check_tail(&data, tree.data_len(), "root")?;
    check_tail(&hash, tree.hash_area_len(), "verity")?;
    Ok(superblock)
}

impl std::fmt::Debug for dyn ReadAt + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

fn uuids(root_hash: &RootHash) -> (Option<Guid>, Option<Guid>) {
    let bytes = root_hash.as_bytes();
    (bytes.first_chunk().copied().map(Guid::from_id128), bytes.last_chunk().copied().map(Guid::from_id128))
}

fn window<'a>(source: &'a dyn ReadAt, partition: &Partition, name: &'static str) -> Result<Window<'a>, ContentsError> {
    Window::new(source, partition.start, partition.len)
        .ok_or_else(|| ContentsError::Io { partition: name, cause: io::ErrorKind::UnexpectedEof.into() })
}

fn check_tail(partition: &dyn ReadAt, from: u64, name: &'static str) -> Result<(), ContentsError> {
    match first_nonzero(partition, from) {
        Ok(None) => Ok(()),
        Ok(Some(offset)) => Err(ContentsError::Stray { partition: name, offset }),
        Err(cause) => Err(ContentsError::Io { partition: name, cause }),
    }
}
