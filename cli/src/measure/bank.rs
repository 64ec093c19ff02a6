//! Computes the values of a PCR in the banks of a TPM, one for each algorithm.

use super::ArchiveError;
use ddi::bytes::hex;
use openssl::hash::{Hasher, MessageDigest, hash};
use serde::{Serialize, Serializer};
use std::fmt;

/// A bank: a digest algorithm of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// SHA-256, which every TPM 2.0 of a PC has (TCG PC Client Platform TPM Profile).
    Sha256,
    /// SHA-384.
    Sha384,
}

impl Bank {
    /// All supported banks.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha384];

    /// Returns the length of its values in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        self.algorithm().size()
    }

    fn algorithm(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        })
    }
}

/// One value for each bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digests {
    #[serde(serialize_with = "as_hex")]
    sha256: Vec<u8>,
    #[serde(serialize_with = "as_hex")]
    sha384: Vec<u8>,
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

impl Digests {
    /// Returns these digests; `None` if one has another length than those of its algorithm.
    #[must_use]
    pub fn new(sha256: Vec<u8>, sha384: Vec<u8>) -> Option<Self> {
        let fit = sha256.len() == Bank::Sha256.size() && sha384.len() == Bank::Sha384.size();
        fit.then_some(Self { sha256, sha384 })
    }

    /// Hashes `bytes`.
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn hash(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut hashers = Hashers::new()?;
        hashers.update(bytes)?;
        hashers.finish()
    }

    /// Returns the value of a PCR before the first extension.
    #[must_use]
    pub fn zero() -> Self {
        let zeros = |bank: Bank| vec![0; bank.algorithm().size()];
        Self { sha256: zeros(Bank::Sha256), sha384: zeros(Bank::Sha384) }
    }

    /// Returns the value in a bank.
    #[must_use]
    pub fn of(&self, bank: Bank) -> &[u8] {
        match bank {
            Bank::Sha256 => &self.sha256,
            Bank::Sha384 => &self.sha384,
        }
    }

    /// Extends a PCR of this value with `digest` (TPM 2.0 Library, part 1, "PCR Operations").
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn extended(&self, digest: &Self) -> Result<Self, ArchiveError> {
        let extend = |bank: Bank| -> Result<Vec<u8>, ArchiveError> {
            let both = [self.of(bank), digest.of(bank)].concat();
            Ok(hash(bank.algorithm(), &both)?.to_vec())
        };
        Ok(Self { sha256: extend(Bank::Sha256)?, sha384: extend(Bank::Sha384)? })
    }
}

/// Hashes one stream of bytes for all banks.
pub(super) struct Hashers {
    sha256: Hasher,
    sha384: Hasher,
}

impl Hashers {
    pub(super) fn new() -> Result<Self, ArchiveError> {
        let hasher = |bank: Bank| Hasher::new(bank.algorithm());
        Ok(Self { sha256: hasher(Bank::Sha256)?, sha384: hasher(Bank::Sha384)? })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.sha256.update(bytes)?;
        self.sha384.update(bytes)?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Digests, ArchiveError> {
        Ok(Digests { sha256: self.sha256.finish()?.to_vec(), sha384: self.sha384.finish()?.to_vec() })
    }
}
