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

    /// Returns the bank of a TCG algorithm identifier (TCG Algorithm Registry, table 3); `None` if it is not supported.
    #[must_use]
    pub const fn of_tcg(identifier: u16) -> Option<Self> {
        match identifier {
            0x000b => Some(Self::Sha256),
            0x000c => Some(Self::Sha384),
            _ => None,
        }
    }

    /// Parses a value in hexadecimal. `None` if it has another length or another character.
    #[must_use]
    pub fn parse(self, digits: &str) -> Option<Vec<u8>> {
        let byte = |pair: &[u8]| {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let [high, low] = *pair else { return None };
            Some(digit(high)?.checked_mul(16)?.saturating_add(digit(low)?))
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        bytes.filter(|bytes| bytes.len() == self.size())
    }

    /// Returns the value of a PCR before the first extension.
    #[must_use]
    pub fn zero(self) -> Vec<u8> {
        vec![0; self.size()]
    }

    /// Returns what a PCR of `value` becomes by an extension (TPM 2.0 Library, part 1, "PCR Operations").
    pub(super) fn extend(self, value: &[u8], digest: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        Ok(hash(self.algorithm(), &[value, digest].concat())?.to_vec())
    }

    pub(super) fn hasher(self) -> Result<Hasher, ArchiveError> {
        Ok(Hasher::new(self.algorithm())?)
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

    /// Returns the value of a PCR before the first extension.
    #[must_use]
    pub fn zero() -> Self {
        Self { sha256: Bank::Sha256.zero(), sha384: Bank::Sha384.zero() }
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
        let extend = |bank: Bank| bank.extend(self.of(bank), digest.of(bank));
        Ok(Self { sha256: extend(Bank::Sha256)?, sha384: extend(Bank::Sha384)? })
    }
}

/// Values of some banks, at most one for each: those that a TPM or an event log has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Values {
    #[serde(serialize_with = "as_hex_if_any", skip_serializing_if = "Option::is_none")]
    sha256: Option<Vec<u8>>,
    #[serde(serialize_with = "as_hex_if_any", skip_serializing_if = "Option::is_none")]
    sha384: Option<Vec<u8>>,
}

#[expect(clippy::ref_option, reason = "serde passes the field")]
fn as_hex_if_any<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex).serialize(serializer)
}

/// What systemd 262 extends into PCR 13, and others, after the initrd (`systemd-pcrosseparator.service`;
/// `pcrlock.d/750-os-separator.pcrlock`). The event log of the firmware doesn't have it.
pub const SEPARATOR: &[u8] = b"os-separator";

impl Bank {
    /// Returns what a PCR of `value` becomes by [`SEPARATOR`].
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn separated(self, value: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        self.extend(value, &hash(self.algorithm(), SEPARATOR)?)
    }

    /// Returns whether a PCR that had `value` when the kernel started can have the value `later`: the same, or the one after
    /// [`SEPARATOR`].
    #[must_use]
    pub fn leads_to(self, value: &[u8], later: &[u8]) -> bool {
        value == later || self.separated(value).is_ok_and(|separated| separated == later)
    }
}

impl Values {
    /// Returns the value in a bank.
    #[must_use]
    pub fn of(&self, bank: Bank) -> Option<&[u8]> {
        match bank {
            Bank::Sha256 => self.sha256.as_deref(),
            Bank::Sha384 => self.sha384.as_deref(),
        }
    }

    /// Sets the value in a bank.
    pub fn set(&mut self, bank: Bank, value: Vec<u8>) {
        match bank {
            Bank::Sha256 => self.sha256 = Some(value),
            Bank::Sha384 => self.sha384 = Some(value),
        }
    }

    /// Returns the banks with a value.
    pub fn banks(&self) -> impl Iterator<Item = Bank> {
        Bank::ALL.into_iter().filter(|bank| self.of(*bank).is_some())
    }

    /// Returns whether no bank has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.banks().next().is_none()
    }

    /// Returns whether PCRs that had these values when the kernel started can have the values `later` ([`Bank::leads_to`]). `None` if
    /// there is no bank that both have.
    #[must_use]
    pub fn lead_to(&self, later: &Self) -> Option<bool> {
        let mut both = self.banks().filter_map(|bank| Some((bank, self.of(bank)?, later.of(bank)?))).peekable();
        both.peek()?;
        Some(both.all(|(bank, value, later)| bank.leads_to(value, later)))
    }

    /// Compares the banks that both have. `None` if there are none.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> Option<bool> {
        let mut both = self.banks().filter(|bank| other.of(*bank).is_some()).peekable();
        both.peek()?;
        Some(both.all(|bank| self.of(bank) == other.of(bank)))
    }
}

impl FromIterator<(Bank, Vec<u8>)> for Values {
    fn from_iter<I: IntoIterator<Item = (Bank, Vec<u8>)>>(values: I) -> Self {
        let mut this = Self::default();
        values.into_iter().for_each(|(bank, value)| this.set(bank, value));
        this
    }
}

impl From<&Digests> for Values {
    fn from(digests: &Digests) -> Self {
        Bank::ALL.into_iter().map(|bank| (bank, digests.of(bank).to_vec())).collect()
    }
}

/// Hashes one stream of bytes for all banks.
pub(super) struct Hashers {
    sha256: Hasher,
    sha384: Hasher,
}

impl Hashers {
    pub(super) fn new() -> Result<Self, ArchiveError> {
        Ok(Self { sha256: Bank::Sha256.hasher()?, sha384: Bank::Sha384.hasher()? })
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
