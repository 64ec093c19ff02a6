//! Verification of an image's bytes against its signed root hash: all bytes, or those that decisions depend on.

use super::{SignedDdi, SignedRoot};
use crate::policy::Verify;
use crate::reason::Reason;
use ddi::gpt::Partition;
use ddi::io::{ReadAt, Window};
use ddi::text::Message;
use ddi::verity::{self, CheckedData, SUPERBLOCK_SIZE, Superblock, SuperblockError, TreeError, first_nonzero};
use ddi::{Ddi, partition_uuids};
use std::io;
use std::os::fd::BorrowedFd;
use thiserror::Error;

/// Errors of verifying the contents of an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContentsError {
    /// The image cannot be read.
    #[error("reading the {partition} partition: {cause}")]
    Io {
        /// Name of the partition.
        partition: &'static str,
        /// Error of the system call.
        cause: io::Error,
    },
    /// The superblock is invalid.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// A block size is smaller than the sector size. The kernel cannot read a device in such blocks.
    #[error("{kind} blocks of {found} bytes are smaller than the sectors of {sector_size} bytes")]
    BlockSize {
        /// `data` or `hash`.
        kind: &'static str,
        /// Block size in bytes.
        found: u32,
        /// Sector size of the partition table, which systemd sets on the loop device, in bytes.
        sector_size: u32,
    },
    /// The superblock describes more than a partition has, or another digest size than that of the root hash.
    #[error("the superblock does not fit: {0}")]
    Fit(TreeError),
    /// Data or hash tree do not match the root hash.
    #[error(transparent)]
    Tree(TreeError),
    /// A byte that no hash covers is not zero.
    #[error("byte {offset} of the {partition} partition, which no hash covers, is not zero")]
    Stray {
        /// Name of the partition.
        partition: &'static str,
        /// Offset in the partition, in bytes.
        offset: u64,
    },
}

impl ContentsError {
    /// Returns the reason token.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Io { .. } | Self::Tree(TreeError::Io { .. }) => Reason::Unreadable,
            Self::Superblock(_) | Self::BlockSize { .. } | Self::Fit(_) => Reason::BadSuperblock,
            Self::Tree(_) | Self::Stray { .. } => Reason::Corrupt,
        }
    }
}

/// The coverage of an image: how much of it was verified before it is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    verify: Verify,
    checked: u64,
    len: u64,
}

impl Coverage {
    /// Makes the coverage of an image of `len` bytes of which every byte was verified.
    pub(super) const fn full(len: u64) -> Self {
        Self { verify: Verify::Full, checked: len, len }
    }

    /// Makes the coverage of at least `checked` of `len` bytes. dm-verity verifies the others when they are read.
    pub(super) fn on_read(checked: u64, len: u64) -> Self {
        Self { verify: Verify::OnRead, checked: checked.min(len), len }
    }

    /// Returns the kind of coverage.
    #[must_use]
    pub const fn verify(self) -> Verify {
        self.verify
    }

    /// Returns the number of bytes of the file that were verified. Bytes that only the kernel verified, in the trial
    /// activation, are not counted.
    #[must_use]
    pub const fn checked(self) -> u64 {
        self.checked
    }

    /// Returns the length of the file in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no image is empty")]
    pub const fn len(self) -> u64 {
        self.len
    }
}

/// A holder of an image's bytes.
pub trait Held {
    /// Returns the bytes.
    fn bytes(&self) -> &dyn ReadAt;
}

impl<T: ReadAt> Held for &T {
    fn bytes(&self) -> &dyn ReadAt {
        *self
    }
}

/// Evidence that the whole hash tree of an image leads to the signed root hash, and that all bytes outside of tree and
/// data are valid. dm-verity needs no more to verify the data when it is read.
///
/// Only [`RootedImage::check`] and [`IntactImage::check`] make one.
#[derive(Debug)]
pub struct RootedImage<H> {
    held: H,
    signed: SignedDdi,
    superblock: Superblock,
}

/// An image whose data and hash tree match the signed root hash. Only [`IntactImage::check`] makes one.
///
/// ```compile_fail,E0423
/// fn believe<H>(rooted: sextant::verify::RootedImage<H>) -> sextant::verify::IntactImage<H> {
///     sextant::verify::IntactImage(rooted)
/// }
/// ```
#[derive(Debug)]
pub struct IntactImage<H>(RootedImage<H>);

impl<H: Held> IntactImage<H> {
    /// Recomputes the whole hash tree over all data, and checks the bytes that it does not cover.
    ///
    /// # Errors
    /// [`ContentsError`] for the first rule that is broken.
    pub fn check(held: H, signed: SignedDdi, threads: usize) -> Result<Self, ContentsError> {
        let superblock = examine(held.bytes(), signed.ddi(), threads)?;
        Ok(Self(RootedImage { held, signed, superblock }))
    }

    /// Makes the evidence as [`RootedImage::attested`] does.
    pub(super) fn attested(held: H, signed: SignedDdi, superblock: &[u8]) -> Option<Self> {
        RootedImage::attested(held, signed, superblock).map(Self)
    }

    /// Returns the file system: exactly the bytes that the hash tree covers.
    #[must_use]
    pub fn filesystem(&self) -> Option<Window<'_>> {
        let rooted = self.0.lend();
        Window::new(self.0.held.bytes(), rooted.root().start, rooted.data_len())
    }
}

impl<H> IntactImage<H> {
    /// Returns the evidence about the hash tree.
    #[must_use]
    pub fn rooted(&self) -> &RootedImage<H> {
        &self.0
    }

    /// Returns the holder of the bytes.
    pub(super) fn into_held(self) -> H {
        self.0.held
    }
}

impl<H: Held> RootedImage<H> {
    /// Checks the whole hash tree, the bytes that it does not cover, and the data that libblkid probes.
    ///
    /// # Errors
    /// [`ContentsError`] for the first rule that is broken.
    pub fn check(held: H, signed: SignedDdi) -> Result<(Self, Coverage), ContentsError> {
        let opened = OnRead::open(held.bytes(), signed.ddi())?;
        let superblock = opened.superblock().clone();
        let coverage = opened.finish()?;
        Ok((Self { held, signed, superblock }, coverage))
    }

    /// Makes the evidence in the agent, after a worker checked the image and reported `superblock`.
    ///
    /// The worker has read hostile bytes, so its answer is checked: the superblock must be valid and describe areas
    /// inside the image. Returns `None` if it does not.
    pub(super) fn attested(held: H, signed: SignedDdi, superblock: &[u8]) -> Option<Self> {
        let superblock = Superblock::parse(superblock.first_chunk::<SUPERBLOCK_SIZE>()?).ok()?;
        let geometry = superblock.geometry();
        let (root, verity) = (signed.ddi().root(), signed.ddi().verity());
        let fits = signed.root().root_hash().fits(superblock.algorithm())
            && geometry.data_len() <= root.len
            && geometry.hash_area_len() <= verity.len;
        Window::new(held.bytes(), root.start, root.len)?;
        Window::new(held.bytes(), verity.start, verity.len)?;
        fits.then_some(Self { held, signed, superblock })
    }

    /// Borrows the evidence without the way in which the bytes are held.
    #[must_use]
    pub fn lend(&self) -> Rooted<'_> {
        Rooted { bytes: self.held.bytes(), signed: &self.signed, superblock: &self.superblock }
    }
}

impl<H> RootedImage<H> {
    /// Returns the image and its signature.
    #[must_use]
    pub fn signed(&self) -> &SignedDdi {
        &self.signed
    }

    /// Returns the holder of the bytes.
    pub(super) fn held(&self) -> &H {
        &self.held
    }

    /// Returns the holder of the bytes.
    pub(super) fn into_held(self) -> H {
        self.held
    }
}

/// A borrowed [`RootedImage`].
#[derive(Debug, Clone, Copy)]
pub struct Rooted<'a> {
    bytes: &'a dyn ReadAt,
    signed: &'a SignedDdi,
    superblock: &'a Superblock,
}

impl<'a> Rooted<'a> {
    /// Returns the number of bytes that the hash tree covers.
    #[must_use]
    pub fn data_len(self) -> u64 {
        self.superblock.geometry().data_len()
    }

    /// Returns the descriptor of the image's file, `None` if the image is not a file.
    #[must_use]
    pub fn descriptor(self) -> Option<BorrowedFd<'a>> {
        self.bytes.descriptor()
    }

    /// Returns the root hash and its signature.
    #[must_use]
    pub fn signed(self) -> &'a SignedRoot {
        self.signed.root()
    }

    /// Returns the superblock.
    #[must_use]
    pub fn superblock(self) -> &'a Superblock {
        self.superblock
    }

    /// Returns the partition with the file system.
    #[must_use]
    pub fn root(self) -> &'a Partition {
        self.signed.ddi().root()
    }

    /// Returns the partition with the hash tree.
    #[must_use]
    pub fn verity(self) -> &'a Partition {
        self.signed.ddi().verity()
    }

    /// Returns the warnings: partition UUIDs should be the first and the last 128 bits of the root hash (Discoverable
    /// Partitions Specification, "Verity").
    #[must_use]
    pub fn warnings(self) -> Vec<Message> {
        let [first, last] = partition_uuids(self.signed().root_hash());
        let checks = [("root", self.root().uuid, first), ("verity", self.verity().uuid, last)];
        checks
            .into_iter()
            .filter(|(_, found, expected)| found != expected)
            .map(|(name, found, _)| {
                let text = "partition does not derive from the root hash";
                Message::new(format_args!("the UUID {found} of the {name} {text}"))
            })
            .collect()
    }
}

/// Recomputes the whole hash tree over all data, and checks the bytes that it does not cover. Returns the superblock.
///
/// # Errors
/// [`ContentsError`] for the first rule that is broken.
pub(super) fn examine(source: &dyn ReadAt, ddi: &Ddi, threads: usize) -> Result<Superblock, ContentsError> {
    let (data, hash, superblock) = areas(source, ddi)?;
    verity::verify(&data, &hash, &superblock, &ddi.claim().root_hash, threads).map_err(tree_error)?;
    check_tails(&data, &hash, &superblock)?;
    Ok(superblock)
}

/// Number of bytes at the start of a disk or partition in which libblkid looks for magic numbers. The last is that of a
/// second LUKS2 header, at 4 MiB (util-linux 2.41, `libblkid/src/superblocks/luks.c`, `LUKS2_HDR2_OFFSETS`).
const PROBED_HEAD: u64 = (4 << 20) + (64 << 10);
/// Number of such bytes at the end of a disk or partition: the first is 3087 sectors before the end (`promise_raid.c`).
const PROBED_TAIL: u64 = 2 << 20;

/// An image whose data is checked when it is read.
pub(super) struct OnRead<'a> {
    data: CheckedData<Window<'a>, Window<'a>>,
    len: u64,
}

impl<'a> OnRead<'a> {
    /// Checks the whole hash tree, the bytes that it does not cover, and the data in which libblkid looks for magic
    /// numbers.
    ///
    /// A magic number that an attacker writes there would make systemd refuse the image, and all others with it.
    /// libblkid probes the disk and the partition. The ranges of the disk that are data are inside those of the
    /// partition.
    ///
    /// # Errors
    /// [`ContentsError`] for the first rule that is broken.
    pub(super) fn open(source: &'a dyn ReadAt, ddi: &Ddi) -> Result<Self, ContentsError> {
        let (data, hash, superblock) = areas(source, ddi)?;
        check_tails(&data, &hash, &superblock)?;
        let data = CheckedData::open(data, hash, superblock, ddi.claim().root_hash.clone()).map_err(tree_error)?;
        let len = ddi.root().len;
        for range in [0..PROBED_HEAD, len.saturating_sub(PROBED_TAIL)..len] {
            data.check(range).map_err(tree_error)?;
        }
        Ok(Self { data, len: source.len() })
    }

    /// Returns the file system. Each block of it is checked when it is read.
    pub(super) fn filesystem(&self) -> &dyn ReadAt {
        &self.data
    }

    /// Returns the superblock.
    pub(super) fn superblock(&self) -> &Superblock {
        self.data.superblock()
    }

    /// Returns the coverage.
    ///
    /// # Errors
    /// The first fault that a read of [`Self::filesystem`] found, even if its caller ignored it.
    pub(super) fn finish(self) -> Result<Coverage, ContentsError> {
        if let Some(fault) = self.data.take_fault() {
            return Err(tree_error(fault));
        }
        let unchecked = self.data.len().saturating_sub(self.data.checked_len());
        Ok(Coverage::on_read(self.len.saturating_sub(unchecked), self.len))
    }
}

/// Returns the areas of data and hash tree, and the superblock.
pub(super) fn areas<'a>(
    source: &'a dyn ReadAt,
    ddi: &Ddi,
) -> Result<(Window<'a>, Window<'a>, Superblock), ContentsError> {
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
    Ok((data, hash, superblock))
}

fn tree_error(error: TreeError) -> ContentsError {
    match error {
        TreeError::DataTooShort { .. } | TreeError::HashAreaTooShort { .. } | TreeError::DigestSizeMismatch { .. } => {
            ContentsError::Fit(error)
        }
        error => ContentsError::Tree(error),
    }
}

/// Checks that the bytes of the partitions after the areas of the tree are zero. The kernel never shows these bytes,
/// but libblkid probes them.
fn check_tails(data: &dyn ReadAt, hash: &dyn ReadAt, superblock: &Superblock) -> Result<(), ContentsError> {
    let geometry = superblock.geometry();
    check_tail(data, geometry.data_len(), "root")?;
    check_tail(hash, geometry.hash_area_len(), "verity")
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

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
