//! A Discoverable Disk Image with exactly a root partition, its hash tree and its signature.

use super::gpt::{FLAG_NO_AUTO, GptError, Partition, Table};
use super::signature_partition::{self, SignaturePartition, SignaturePartitionError};
use super::{Architecture, PartitionKind, classify};
use crate::io::ReadAt;
use serde::{Deserialize, Serialize};
use std::io;
use thiserror::Error;

/// Name of a partition that is reserved for a future image, and that systemd skips (systemd 258,
/// `src/shared/dissect-image.c`, `dissect_image`; `systemd-sysupdate` sets it).
const PASSED_OVER: &str = "_empty";

/// Errors of [`Ddi::read`].
///
/// Exhaustive, so that a new variant cannot be without a reason token.
#[derive(Debug, Error)]
pub enum DdiError {
    /// The partition table is invalid.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// Reading the image failed.
    #[error("reading the signature partition: {0}")]
    Io(io::Error),
    /// The image has a partition for `/usr`.
    #[error("partition {index} is a {kind:?} partition, which systemd up to 257 mounts unverified")]
    Usr {
        /// Number of its entry, from 1.
        index: usize,
        /// Its kind.
        kind: PartitionKind,
    },
    /// The image is for other architectures only.
    #[error("image is for {found}; expected {expected}")]
    Architecture {
        /// Architecture of the first such partition.
        found: Architecture,
        /// Architecture of the machine.
        expected: Architecture,
    },
    /// The image has a partition besides the three.
    #[error("partition {index} ({kind}) is not allowed in an extension")]
    Extra {
        /// Number of its entry, from 1.
        index: usize,
        /// Its kind as systemd names it.
        kind: String,
    },
    /// The image has two partitions of one kind.
    #[error("partitions {first} and {second} are both {kind}")]
    Duplicate {
        /// Number of the first entry, from 1.
        first: usize,
        /// Number of the second entry, from 1.
        second: usize,
        /// Their kind as systemd names it.
        kind: String,
    },
    /// The root partition or its hash tree is missing.
    #[error("no {missing} partition")]
    NoVerity {
        /// Kind of the missing partition as systemd names it.
        missing: String,
    },
    /// The signature partition is missing.
    #[error("no {missing} partition")]
    NoSignature {
        /// Kind of the missing partition as systemd names it.
        missing: String,
    },
    /// A partition has the flag `no-auto`.
    #[error("partition {index} is flagged no-auto")]
    NoAuto {
        /// Number of its entry, from 1.
        index: usize,
    },
    /// A partition has the name `_empty`.
    #[error("partition {index} is named {PASSED_OVER}, which systemd 258 and later skips")]
    PassedOver {
        /// Number of its entry, from 1.
        index: usize,
    },
    /// The signature partition is invalid.
    #[error(transparent)]
    SignaturePartition(#[from] SignaturePartitionError),
}

impl From<io::Error> for DdiError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

/// The three partitions of an extension and the content of its signature partition. Unverified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ddi {
    table: Table,
    root: Partition,
    verity: Partition,
    signature: Partition,
    claim: SignaturePartition,
}

impl Ddi {
    /// Reads partition table and signature partition of an image for `architecture`.
    ///
    /// # Errors
    /// [`DdiError`] for the first rule that is broken.
    pub fn read(image: &dyn ReadAt, architecture: Architecture) -> Result<Self, DdiError> {
        let table = Table::read(image)?;
        let [root, verity, signature] = select(&table.partitions, architecture)?;
        if signature.len > signature_partition::MAX_SIZE {
            return Err(SignaturePartitionError::TooLarge { found: signature.len }.into());
        }
        let mut bytes = vec![0; usize::try_from(signature.len).unwrap_or_default()];
        image.read_exact_at(&mut bytes, signature.start)?;
        let claim = signature_partition::parse(&bytes)?;
        Ok(Self { table, root, verity, signature, claim })
    }

    /// Returns the partition table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the partition with the file system.
    #[must_use]
    pub fn root(&self) -> &Partition {
        &self.root
    }

    /// Returns the partition with the hash tree.
    #[must_use]
    pub fn verity(&self) -> &Partition {
        &self.verity
    }

    /// Returns the partition with the signature.
    #[must_use]
    pub fn signature(&self) -> &Partition {
        &self.signature
    }

    /// Returns the content of the signature partition. It is untrusted until the signature is verified.
    #[must_use]
    pub fn claim(&self) -> &SignaturePartition {
        &self.claim
    }
}

/// Finds the three partitions, and refuses any other.
fn select(partitions: &[Partition], native: Architecture) -> Result<[Partition; 3], DdiError> {
    use PartitionKind::{Root, RootVerity, RootVeritySig, Usr, UsrVerity, UsrVeritySig};
    const WANTED: [PartitionKind; 3] = [Root, RootVerity, RootVeritySig];
    let classified: Vec<_> = partitions.iter().map(|partition| (classify(partition.type_guid), partition)).collect();

    for ((kind, _), partition) in &classified {
        if matches!(kind, Usr | UsrVerity | UsrVeritySig) {
            return Err(DdiError::Usr { index: partition.index, kind: *kind });
        }
    }
    let is_wanted = |kind: &PartitionKind| WANTED.contains(kind);
    let has_native = classified.iter().any(|((kind, arch), _)| is_wanted(kind) && *arch == Some(native));
    let mut found: [Option<&Partition>; 3] = [None; 3];
    for ((kind, architecture), partition) in &classified {
        match architecture {
            Some(found) if is_wanted(kind) && *found != native && !has_native => {
                return Err(DdiError::Architecture { found: *found, expected: native });
            }
            _ => {}
        }
        let slot = WANTED.iter().position(|wanted| wanted == kind).filter(|_| *architecture == Some(native));
        let Some(slot) = slot.and_then(|slot| found.get_mut(slot)) else {
            let kind = kind.systemd_name(architecture.unwrap_or(native));
            return Err(DdiError::Extra { index: partition.index, kind });
        };
        if let Some(first) = slot.replace(partition) {
            let kind = kind.systemd_name(native);
            return Err(DdiError::Duplicate { first: first.index, second: partition.index, kind });
        }
    }
    let [root, verity, signature] = found;
    let name = |kind: PartitionKind| kind.systemd_name(native);
    let root = root.ok_or_else(|| DdiError::NoVerity { missing: name(Root) })?;
    let verity = verity.ok_or_else(|| DdiError::NoVerity { missing: name(RootVerity) })?;
    let signature = signature.ok_or_else(|| DdiError::NoSignature { missing: name(RootVeritySig) })?;
    let three = [root, verity, signature];
    if let Some(partition) = three.iter().find(|partition| partition.flags & FLAG_NO_AUTO != 0) {
        return Err(DdiError::NoAuto { index: partition.index });
    }
    if let Some(partition) = three.iter().find(|partition| partition.name == PASSED_OVER) {
        return Err(DdiError::PassedOver { index: partition.index });
    }
    Ok(three.map(Clone::clone))
}
