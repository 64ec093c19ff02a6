//! The bytes of an image against its signed root hash: all of them, or those that decisions depend on.

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

/// How much of an image was verified before it is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    verify: Verify,
    checked: u64,
    len: u64,
}

impl Coverage {
    /// Every byte of an image of `len` bytes.
    pub(super) const fn full(len: u64) -> Self {
        Self { verify: Verify::Full, checked: len, len }
    }

    /// At least `checked` of `len` bytes; dm-verity verifies the others when they are read.
    pub(super) fn on_read(checked: u64, len: u64) -> Self {
        Self { verify: Verify::OnRead, checked: checked.min(len), len }
    }

    /// The way.
    #[must_use]
    pub const fn verify(self) -> Verify {
        self.verify
    }

    /// Bytes of the file that were verified. What the kernel verified in the trial activation isn't counted.
    #[must_use]
    pub const fn checked(self) -> u64 {
        self.checked
    }

    /// Bytes of the file.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no image is empty")]
    pub const fn len(self) -> u64 {
        self.len
    }
}

/// What holds the bytes of an image.
pub trait Held {
    /// The bytes.
    fn bytes(&self) -> &dyn ReadAt;
}

impl<T: ReadAt> Held for &T {
    fn bytes(&self) -> &dyn ReadAt {
        *self
    }
}

/// Evidence that the whole hash tree of an image leads to the signed root hash, and that all bytes outside of tree and data are as
/// they must be: what dm-verity needs to verify the data when it is read.
///
/// Only [`RootedImage::check`] and [`IntactImage::check`] make one.
#[derive(Debug)]
pub struct RootedImage<H> {
    held: H,
    signed: SignedDdi,
    superblock: Superblock,
}

/// An image whose data and hash tree give the signed root hash. Only [`IntactImage::check`] makes one.
///
/// ```compile_fail,E0423
/// fn believe<H>(rooted: sextant::verify::RootedImage<H>) -> sextant::verify::IntactImage<H> {
///     sextant::verify::IntactImage(rooted)
/// }
/// ```
#[derive(Debug)]
pub struct IntactImage<H>(RootedImage<H>);

impl<H: Held> IntactImage<H> {
    /// Recomputes the whole hash tree over all data, and looks at what it doesn't cover.
    ///
    /// # Errors
    /// [`ContentsError`]: the first rule that is broken.
    pub fn check(held: H, signed: SignedDdi, threads: usize) -> Result<Self, ContentsError> {
        let superblock = examine(held.bytes(), signed.ddi(), threads)?;
        Ok(Self(RootedImage { held, signed, superblock }))
    }

    /// As [`RootedImage::attested`].
    pub(super) fn attested(held: H, signed: SignedDdi, superblock: &[u8]) -> Option<Self> {
        RootedImage::attested(held, signed, superblock).map(Self)
    }

    /// The file system: exactly the bytes that the hash tree covers.
    #[must_use]
    pub fn filesystem(&self) -> Option<Window<'_>> {
        let rooted = self.0.lend();
        Window::new(self.0.held.bytes(), rooted.root().start, rooted.data_len())
    }
}

impl<H> IntactImage<H> {
    /// Its hash tree leads to the signed root hash.
    #[must_use]
    pub fn rooted(&self) -> &RootedImage<H> {
        &self.0
    }

    /// What holds the bytes.
    pub(super) fn into_held(self) -> H {
        self.0.held
    }
}

impl<H: Held> RootedImage<H> {
    /// Checks the whole hash tree, what it doesn't cover, and of the data what libblkid looks at.
    ///
    /// # Errors
    /// [`ContentsError`]: the first rule that is broken.
    pub fn check(held: H, signed: SignedDdi) -> Result<(Self, Coverage), ContentsError> {
        let opened = OnRead::open(held.bytes(), signed.ddi())?;
        let superblock = opened.superblock().clone();
        let coverage = opened.finish()?;
        Ok((Self { held, signed, superblock }, coverage))
    }

    /// Returns the same evidence in the process that waited while another one checked the image and found `superblock`.
    ///
    /// Of what a process says that read hostile bytes nothing is used without being checked: the superblock has to be one, and
    /// what it describes has to be inside of the image. `None` where it isn't.
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

    /// Borrows the evidence, without the way in which the bytes are held.
    #[must_use]
    pub fn lend(&self) -> Rooted<'_> {
        Rooted { bytes: self.held.bytes(), signed: &self.signed, superblock: &self.superblock }
    }
}

impl<H> RootedImage<H> {
    /// The image and its signature.
    #[must_use]
    pub fn signed(&self) -> &SignedDdi {
        &self.signed
    }

    /// What holds the bytes.
    pub(super) fn held(&self) -> &H {
        &self.held
    }

    /// What holds the bytes.
    pub(super) fn into_held(self) -> H {
        self.held
    }
}

/// A [`RootedImage`], lent.
#[derive(Debug, Clone, Copy)]
pub struct Rooted<'a> {
    bytes: &'a dyn ReadAt,
    signed: &'a SignedDdi,
    superblock: &'a Superblock,
}

impl<'a> Rooted<'a> {
    /// Returns how many bytes the hash tree covers.
    #[must_use]
    pub fn data_len(self) -> u64 {
        self.superblock.geometry().data_len()
    }

    /// The file of the whole image, where it is one.
    #[must_use]
    pub fn descriptor(self) -> Option<BorrowedFd<'a>> {
        self.bytes.descriptor()
    }

    /// The root hash and its signature.
    #[must_use]
    pub fn signed(self) -> &'a SignedRoot {
        self.signed.root()
    }

    /// The superblock.
    #[must_use]
    pub fn superblock(self) -> &'a Superblock {
        self.superblock
    }

    /// The partition with the file system.
    #[must_use]
    pub fn root(self) -> &'a Partition {
        self.signed.ddi().root()
    }

    /// The partition with the hash tree.
    #[must_use]
    pub fn verity(self) -> &'a Partition {
        self.signed.ddi().verity()
    }

    /// What a person should know though it changes nothing: partition UUIDs should be the first and the
    /// last 128 bits of the root hash (Discoverable Partitions Specification, "Verity").
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

/// Recomputes the whole hash tree over all data, and looks at what it doesn't cover. Returns the superblock.
///
/// # Errors
/// [`ContentsError`]: the first rule that is broken.
pub(super) fn examine(source: &dyn ReadAt, ddi: &Ddi, threads: usize) -> Result<Superblock, ContentsError> {
    let (data, hash, superblock) = areas(source, ddi)?;
    verity::verify(&data, &hash, &superblock, &ddi.claim().root_hash, threads).map_err(tree_error)?;
    check_tails(&data, &hash, &superblock)?;
    Ok(superblock)
}

/// Bytes at the start of a disk or a partition among which libblkid looks for magic numbers. The last is that of a second LUKS2
/// header, at 4 MiB (util-linux 2.41, `libblkid/src/superblocks/luks.c`, `LUKS2_HDR2_OFFSETS`).
const PROBED_HEAD: u64 = (4 << 20) + (64 << 10);
/// Bytes at the end of one: the first is 3087 sectors from there (`promise_raid.c`).
const PROBED_TAIL: u64 = 2 << 20;

/// An image whose data is checked when it is read.
pub(super) struct OnRead<'a> {
    data: CheckedData<Window<'a>, Window<'a>>,
    len: u64,
}

impl<'a> OnRead<'a> {
    /// Checks the whole hash tree, the bytes that it doesn't cover, and the data in which libblkid looks for magic numbers.
    ///
    /// A magic number that an attacker writes there would make systemd refuse the image, and all others with it. libblkid looks at
    /// the disk and at the partition; the ranges of the disk that are data lie within those of the partition.
    ///
    /// # Errors
    /// [`ContentsError`]: the first rule that is broken.
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

    /// The file system. Each block of it is checked when it is read.
    pub(super) fn filesystem(&self) -> &dyn ReadAt {
        &self.data
    }

    /// The superblock.
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
fn areas<'a>(source: &'a dyn ReadAt, ddi: &Ddi) -> Result<(Window<'a>, Window<'a>, Superblock), ContentsError> {
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

/// Partitions may be longer than what the tree covers. The kernel never shows those bytes, yet libblkid
/// reads them when it probes.
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
