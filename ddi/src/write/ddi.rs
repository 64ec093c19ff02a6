//! Construction of a signed, verity-protected disk image from a file system.

use super::gpt::{ALIGNMENT, FLAG_READ_ONLY, GptError, NewPartition, Table};
use super::padded::Padded;
use super::signature::{SignError, Signer, fingerprint, signature_json, signature_partition};
use crate::Architecture;
use crate::Guid;
use crate::PartitionKind;
use crate::io::ReadAt;
use crate::partition_uuids;
use crate::verity::{self, HashAlgorithm, RootHash, Superblock, SuperblockError, TreeError};
use openssl::sha::Sha256;
use std::io::{Seek, Write};
use thiserror::Error;

/// Errors of building an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The file system is empty.
    #[error("the file system is empty")]
    Empty,
    /// No architecture was given, and there are no partition types for that of this program.
    #[error("no partition types are defined for this architecture, and no other was named")]
    NoArchitecture,
    /// The image would exceed the maximum length of a file.
    #[error("the image would be larger than a file can be")]
    TooLarge,
    /// The format does not allow these verity parameters.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// Computing the hash tree failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The partition table cannot be laid out or written.
    #[error(transparent)]
    Gpt(#[from] GptError),
}

/// Parameters of the hash tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerityParams {
    /// Hash algorithm.
    pub algorithm: HashAlgorithm,
    /// Size of a data block in bytes.
    pub data_block_size: u32,
    /// Size of a hash block in bytes.
    pub hash_block_size: u32,
    /// Salt, at most 256 bytes.
    pub salt: Vec<u8>,
    /// UUID of the superblock, in the byte order of the text form.
    pub uuid: [u8; 16],
}

impl VerityParams {
    /// Returns the parameters of `systemd-repart`: SHA-256, blocks of 4096 bytes, a salt of 32 bytes. Salt and UUID are
    /// derived from `seed`, such as the extension's name, as repart derives them from its own seed.
    ///
    /// The salt need not be secret or unpredictable. It prevents that one table of block hashes can be used against all
    /// images.
    #[must_use]
    pub fn derived(seed: &[u8]) -> Self {
        Self {
            algorithm: HashAlgorithm::Sha256,
            data_block_size: 4096,
            hash_block_size: 4096,
            salt: derive("verity salt", seed).to_vec(),
            uuid: derive_uuid("verity uuid", seed),
        }
    }
}

/// A builder of images.
#[derive(Debug, Clone)]
pub struct DdiBuilder {
    architecture: Option<Architecture>,
    sector_size: u32,
    verity: VerityParams,
    threads: usize,
}

impl DdiBuilder {
    /// Makes a builder with the defaults: the architecture of this program (if it has partition types), sectors of 512
    /// bytes, [`VerityParams::derived`] from `seed`.
    #[must_use]
    pub fn new(seed: &str) -> Self {
        Self {
            architecture: Architecture::native(),
            sector_size: 512,
            verity: VerityParams::derived(seed.as_bytes()),
            threads: verity::default_threads(),
        }
    }

    /// Sets the architecture of the partition types.
    #[must_use]
    pub fn architecture(self, architecture: Architecture) -> Self {
        Self { architecture: Some(architecture), ..self }
    }

    /// Sets the sector size in bytes, 512 to 4096.
    #[must_use]
    pub fn sector_size(self, sector_size: u32) -> Self {
        Self { sector_size, ..self }
    }

    /// Sets the parameters of the hash tree.
    #[must_use]
    pub fn verity(self, verity: VerityParams) -> Self {
        Self { verity, ..self }
    }

    /// Sets the number of threads that compute the hash tree. The result does not depend on it.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Computes the hash tree of `filesystem`, padded with zeros to 4 KiB. The tree is kept in memory (1/128 of the
    /// data with SHA-256), the data is not.
    ///
    /// # Errors
    /// [`BuildError`] except `Sign` and `Gpt`.
    pub fn protect<'a>(&self, filesystem: &'a dyn ReadAt) -> Result<Parts<'a>, BuildError> {
        let architecture = self.architecture.ok_or(BuildError::NoArchitecture)?;
        if filesystem.is_empty() {
            return Err(BuildError::Empty);
        }
        let data = Padded::new(filesystem, ALIGNMENT).ok_or(BuildError::TooLarge)?;
        let VerityParams { algorithm, data_block_size, hash_block_size, salt, uuid } = &self.verity;
        let data_blocks = data.len().checked_div(u64::from(*data_block_size)).unwrap_or(0);
        let superblock = Superblock::new(*algorithm, *data_block_size, *hash_block_size, data_blocks, salt, *uuid)?;
        let (root_hash, verity) = verity::build(&data, &superblock, self.threads)?;
        let sector_size = self.sector_size;
        Ok(Parts { architecture, sector_size, data, verity, root_hash, signature: None })
    }
}

/// The parts of an image. All fields are public: each part may be replaced before the layout.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// Architecture of the partition types.
    pub architecture: Architecture,
    /// Sector size in bytes.
    pub sector_size: u32,
    /// The file system.
    pub data: Padded<'a>,
    /// Verity superblock and hash tree.
    pub verity: Vec<u8>,
    /// Root hash of the tree.
    pub root_hash: RootHash,
    /// Content of the signature partition, `None` for an image without one.
    pub signature: Option<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// Adds the signature partition.
    ///
    /// # Errors
    /// [`BuildError::Sign`].
    pub fn sign(self, signer: &Signer<'_>) -> Result<Self, BuildError> {
        let pkcs7 = signer.sign(&self.root_hash)?;
        Ok(self.attach(&pkcs7, &fingerprint(signer.certificate)?))
    }

    /// Adds a signature partition with an external PKCS#7 signature (DER). `fingerprint` is lower-case hexadecimal and
    /// only for information.
    #[must_use]
    pub fn attach(self, pkcs7: &[u8], fingerprint: &str) -> Self {
        let text = signature_json(&self.root_hash, fingerprint, pkcs7);
        Self { signature: Some(signature_partition(text.as_bytes())), ..self }
    }

    /// Returns the partitions in the order of `systemd-repart`. The UUIDs of root and root-verity are the first and
    /// last 128 bits of the root hash. The UUID of the signature partition is derived from the root hash.
    #[must_use]
    pub fn partitions(&'a self) -> Vec<NewPartition<'a>> {
        let root_hash = self.root_hash.as_bytes();
        let [first, last] = partition_uuids(&self.root_hash);
        let new = |kind: PartitionKind, uuid, content| NewPartition {
            type_guid: kind.type_guid(self.architecture),
            uuid,
            name: kind.systemd_name(self.architecture),
            // systemd-repart 257 sets no flags for the signature partition.
            flags: if kind == PartitionKind::RootVeritySig { 0 } else { FLAG_READ_ONLY },
            content,
        };
        let signature = self
            .signature
            .as_ref()
            .map(|bytes| (Guid::from_id128(derive_uuid("signature partition", root_hash)), bytes))
            .map(|(uuid, bytes)| new(PartitionKind::RootVeritySig, uuid, bytes));
        [new(PartitionKind::Root, first, &self.data), new(PartitionKind::RootVerity, last, &self.verity)]
            .into_iter()
            .chain(signature)
            .collect()
    }

    /// Lays out the whole image.
    ///
    /// # Errors
    /// [`BuildError::Gpt`].
    pub fn table(&'a self) -> Result<Table<'a>, BuildError> {
        Ok(Table::place(self.sector_size, self.disk_guid(), self.partitions())?)
    }

    /// Returns the disk GUID, which is derived from the root hash.
    #[must_use]
    pub fn disk_guid(&self) -> Guid {
        Guid::from_id128(derive_uuid("disk", self.root_hash.as_bytes()))
    }

    /// Writes the image to `out`, from its start on.
    ///
    /// # Errors
    /// [`BuildError::Gpt`].
    pub fn write_to(&self, out: &mut (impl Write + Seek)) -> Result<(), BuildError> {
        Ok(self.table()?.write_to(out)?)
    }

    /// Writes the image around the file system, which `out` has at [`FIRST_PARTITION`](super::gpt::FIRST_PARTITION)
    /// already and ends with.
    ///
    /// # Errors
    /// [`BuildError::Gpt`].
    pub fn write_around(&self, out: &mut (impl Write + Seek)) -> Result<(), BuildError> {
        Ok(self.table()?.write_around(out)?)
    }
}

fn derive(purpose: &str, seed: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"sextant ");
    hash.update(purpose.as_bytes());
    hash.update(&[0]);
    hash.update(seed);
    hash.finish()
}

/// Derives a UUID from `purpose` and `seed` only: version 4 of RFC 9562, section 5.4, in the byte order of the text
/// form.
#[must_use]
pub fn derive_uuid(purpose: &str, seed: &[u8]) -> [u8; 16] {
    let number = u128::from_be_bytes(derive(purpose, seed).first_chunk().copied().unwrap_or_default());
    let fixed = 0xf000_u128 << 64 | 0xc000_u128 << 48;
    (number & !fixed | 0x4000 << 64 | 0x8000 << 48).to_be_bytes()
}

#[cfg(test)]
#[path = "ddi_tests.rs"]
mod tests;
