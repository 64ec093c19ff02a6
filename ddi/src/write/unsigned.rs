//! Splits an existing image into its parts, so that it can be signed.

use super::{BuildError, Padded, Parts};
use crate::Architecture;
use crate::PartitionKind;
use crate::classify;
use crate::gpt::{Partition, Table};
use crate::io::{ReadAt, Window};
use crate::partition_uuids;
use crate::signature_partition;
use crate::verity::{self, RootHash, SUPERBLOCK_SIZE, Superblock, first_nonzero};
use std::io;
use thiserror::Error;

/// Errors of [`take_apart`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnsignedError {
    /// The partition table is invalid.
    #[error(transparent)]
    Gpt(#[from] crate::gpt::GptError),
    /// The partitions are not those of an extension.
    #[error("it has {found}, and an extension has a root partition, its hash tree and nothing else")]
    Partitions {
        /// Description of the partitions.
        found: String,
    },
    /// Reading failed.
    #[error("reading it: {0}")]
    Io(io::Error),
    /// The superblock of the hash tree is invalid.
    #[error(transparent)]
    Superblock(#[from] verity::SuperblockError),
    /// Computing the hash tree failed.
    #[error(transparent)]
    Tree(#[from] verity::TreeError),
    /// The hash tree does not match the data.
    #[error("its hash tree does not fit its data: one of them has been damaged since it was built")]
    Damaged,
    /// The data does not match the existing signature.
    #[error(
        "its root hash is {found}, and its signature is about {signed}: its data has been damaged since it was signed"
    )]
    SignedOther {
        /// Root hash of the data.
        found: RootHash,
        /// Root hash that is signed.
        signed: RootHash,
    },
    /// The data is one block, and neither a signature nor a UUID proves its digest.
    #[error(
        "its partition UUIDs do not derive from its root hash, and its data is one block without a hash tree: it may have been damaged since it was built"
    )]
    Unproven,
    /// The image cannot be laid out again.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl From<io::Error> for UnsignedError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// Splits an image into its parts, without its signature if it has one. The hash tree is computed again and must equal
/// the existing one, so the parts are what was built.
///
/// # Errors
/// [`UnsignedError`] for the first fault.
pub fn take_apart<'a>(
    image: &'a dyn ReadAt,
    data: &'a mut Option<Window<'a>>,
    threads: usize,
) -> Result<Parts<'a>, UnsignedError> {
    let table = Table::read(image)?;
    let Found { architecture, root, hash, signature } = find(&table.partitions)?;
    let truncated = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let area = Window::new(image, hash.start, hash.len).ok_or_else(truncated)?;
    let mut bytes = [0; SUPERBLOCK_SIZE];
    area.read_exact_at(&mut bytes, 0)?;
    let superblock = Superblock::parse(&bytes)?;
    let len = superblock.geometry().data_len();
    let data = &*data.insert(Window::new(image, root.start, root.len.min(len)).ok_or_else(truncated)?);
    if data.len() != len {
        return Err(UnsignedError::Damaged);
    }
    let (root_hash, tree) = verity::build(data, &superblock, threads)?;
    let mut found = vec![0; tree.len()];
    if area.len() < ReadAt::len(&found) {
        return Err(UnsignedError::Damaged);
    }
    area.read_exact_at(&mut found, 0)?;
    if found != tree || first_nonzero(&area, ReadAt::len(&tree))?.is_some() {
        return Err(UnsignedError::Damaged);
    }
    // The root hash is not part of the tree. An existing signature proves it; else the UUIDs do, if they derive from
    // it. Without either, the tree must be enough, and data of one block has no tree.
    match signature.and_then(|partition| claimed_root_hash(image, partition)) {
        Some(signed) if signed != root_hash => return Err(UnsignedError::SignedOther { found: root_hash, signed }),
        None if [root.uuid, hash.uuid] != partition_uuids(&root_hash) && superblock.geometry().levels().is_empty() => {
            return Err(UnsignedError::Unproven);
        }
        _ => {}
    }
    let sector_size = table.sector_size;
    let data = Padded::new(data, 1).ok_or(BuildError::TooLarge)?;
    Ok(Parts { architecture, sector_size, data, verity: tree, root_hash, signature: None })
}

/// Returns the root hash in a signature partition, if that can be parsed.
fn claimed_root_hash(image: &dyn ReadAt, partition: &Partition) -> Option<RootHash> {
    let len = usize::try_from(partition.len).ok().filter(|_| partition.len <= signature_partition::MAX_SIZE)?;
    let mut bytes = vec![0; len];
    image.read_exact_at(&mut bytes, partition.start).ok()?;
    signature_partition::parse(&bytes).ok().map(|claim| claim.root_hash)
}

/// The partitions of an extension.
struct Found<'a> {
    architecture: Architecture,
    root: &'a Partition,
    hash: &'a Partition,
    signature: Option<&'a Partition>,
}

fn find(partitions: &[Partition]) -> Result<Found<'_>, UnsignedError> {
    let mut signature = None;
    let mut roots = Vec::new();
    let mut hashes = Vec::new();
    let mut others = 0_usize;
    for partition in partitions {
        match classify(partition.type_guid) {
            (PartitionKind::Root, Some(architecture)) => roots.push((architecture, partition)),
            (PartitionKind::RootVerity, Some(architecture)) => hashes.push((architecture, partition)),
            // It will be replaced.
            (PartitionKind::RootVeritySig, Some(_)) => signature = Some(partition),
            _ => others = others.saturating_add(1),
        }
    }
    match (roots.as_slice(), hashes.as_slice(), others) {
        ([(architecture, root)], [(same, hash)], 0) if architecture == same => {
            Ok(Found { architecture: *architecture, root, hash, signature })
        }
        _ => {
            let found = format!("{} root, {} hash tree and {others} other partitions", roots.len(), hashes.len());
            Err(UnsignedError::Partitions { found })
        }
    }
}
