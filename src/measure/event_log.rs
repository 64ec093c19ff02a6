//! Parser of the event log of a TPM: the crypto-agile format (TCG PC Client Platform Firmware Profile 1.06, section 10).
//!
//! The log is no evidence by itself, because nothing protects it. It is evidence as far as its replay gives the value
//! of a PCR. Only events of the PCRs that extensions are measured into are kept.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use super::bank::{Bank, Values};
use super::{ArchiveError, KERNEL_CONFIG, SYSEXTS, replay};
use ddi::bytes::{array, u16_at, u32_at};
use ddi::text::Text;
use thiserror::Error;

/// Maximum size of a log in bytes. The firmware of a PC reserves 64 KiB to 1 MiB.
pub const MAX_LOG: u64 = 4 << 20;
/// Maximum number of events of PCRs 12 and 13 together. A boot has about ten.
const MAX_ENTRIES: usize = 1024;
/// Maximum number of algorithms. The TCG has registered eight.
const MAX_ALGORITHMS: u32 = 16;
/// Maximum size of a digest in bytes: SHA-512.
const MAX_DIGEST: u16 = 64;
/// Maximum length of a description in UTF-16 units.
const MAX_DESCRIPTION: usize = 256;

/// The signature of the header.
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Size of the fields between the signature and the list of algorithms: platform class, version, errata, size of `UINTN`.
const HEADER_FIELDS: usize = 8;
/// `TCG_PCClientPCREvent.digest`, SHA-1.
const HEADER_DIGEST: usize = 20;

/// An event that is not extended into a PCR.
const EV_NO_ACTION: u32 = 3;
/// An event with a tag before its data.
const EV_EVENT_TAG: u32 = 6;
/// Events of boot loaders; those of systemd-stub are described in UTF-16 (systemd 257, `src/boot/measure.c`).
const EV_IPL: u32 = 13;

/// Error of parsing an event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The bytes end within an event.
    #[error("event at byte {offset} is cut short")]
    Truncated {
        /// Offset of the event.
        offset: usize,
    },
    /// The first event is not the header of the format.
    #[error("not a crypto-agile event log: no header \"Spec ID Event03\"")]
    NoHeader,
    /// The header lists no algorithms, or too many.
    #[error("header lists {count} algorithms; the log must have 1 to {MAX_ALGORITHMS}")]
    AlgorithmCount {
        /// Their number.
        count: u32,
    },
    /// The header lists an algorithm twice.
    #[error("header lists algorithm {algorithm:#06x} twice")]
    AlgorithmTwice {
        /// Its identifier.
        algorithm: u16,
    },
    /// The header gives an algorithm another size of digests than it has.
    #[error("header gives digests of algorithm {algorithm:#06x} a size of {size} bytes")]
    DigestSize {
        /// Its identifier.
        algorithm: u16,
        /// The size in bytes.
        size: u16,
    },
    /// An event has no digests, or more than the header lists algorithms.
    #[error("event at byte {offset} has {count} digests; the header lists {algorithms} algorithms")]
    DigestCount {
        /// Offset of the event.
        offset: usize,
        /// Their number.
        count: u32,
        /// Number of algorithms.
        algorithms: usize,
    },
    /// An event has a digest of an algorithm that the header does not list.
    #[error("event at byte {offset} has a digest of algorithm {algorithm:#06x}, which the header does not list")]
    UnknownAlgorithm {
        /// Offset of the event.
        offset: usize,
        /// The identifier.
        algorithm: u16,
    },
    /// An event has two digests of one algorithm.
    #[error("event at byte {offset} has two digests of algorithm {algorithm:#06x}")]
    DigestTwice {
        /// Offset of the event.
        offset: usize,
        /// The identifier.
        algorithm: u16,
    },
    /// The log has too many events of PCRs 12 and 13.
    #[error("more than {MAX_ENTRIES} events of PCRs {KERNEL_CONFIG} and {SYSEXTS}")]
    TooManyEvents,
}

/// An event that was extended into PCR 12 or 13.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 12 or 13.
    pub pcr: u32,
    /// The digests that were extended.
    pub digests: Values,
    /// Description, if it is text in UTF-16 as systemd-stub and systemd-boot write it.
    pub description: Option<Text>,
}

/// The events of PCRs 12 and 13 in an event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    banks: Vec<Bank>,
    entries: Vec<Entry>,
}

impl EventLog {
    /// Parses a log. Zeros after the last event are ignored: a copy of the memory that the firmware reserved has them.
    ///
    /// # Errors
    /// [`LogError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, LogError> {
        let mut cursor = Cursor { bytes, offset: 0 };
        let algorithms = header(&mut cursor)?;
        let banks = algorithms.iter().filter_map(|it| Bank::of_tcg(it.identifier)).collect();
        let mut entries = Vec::new();
        while let Some(entry) = event(&mut cursor, &algorithms)? {
            if entry.is_kept() {
                if entries.len() >= MAX_ENTRIES {
                    return Err(LogError::TooManyEvents);
                }
                entries.push(entry.finish());
            }
        }
        Ok(Self { banks, entries })
    }

    /// Returns the events of a PCR, in their order.
    pub fn of(&self, pcr: u32) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.pcr == pcr)
    }

    /// Computes the values of PCR 12 or 13 from its events, in each bank in which all of them have a digest.
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn replay(&self, pcr: u32) -> Result<Values, ArchiveError> {
        let mut values = Values::default();
        for bank in &self.banks {
            let digests: Option<Vec<_>> = self.of(pcr).map(|entry| entry.digests.of(*bank)).collect();
            if let Some(digests) = digests {
                values.set(*bank, replay(*bank, digests)?);
            }
        }
        Ok(values)
    }
}

/// An algorithm of the header.
#[derive(Clone, Copy)]
struct Algorithm {
    identifier: u16,
    size: usize,
}

/// `TCG_PCClientPCREvent` with `TCG_EfiSpecIDEvent` (section 10.2.1).
fn header(cursor: &mut Cursor<'_>) -> Result<Vec<Algorithm>, LogError> {
    let (kind, data) = cursor.sha1_event().ok_or(LogError::NoHeader)?;
    if kind != EV_NO_ACTION || !data.starts_with(SIGNATURE) {
        return Err(LogError::NoHeader);
    }
    let mut fields = Cursor { bytes: data, offset: SIGNATURE.len().saturating_add(HEADER_FIELDS) };
    let truncated = LogError::Truncated { offset: 0 };
    let count = fields.u32().ok_or(truncated)?;
    if count == 0 || count > MAX_ALGORITHMS {
        return Err(LogError::AlgorithmCount { count });
    }
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for _ in 0..count {
        let (algorithm, size) = fields.u16().zip(fields.u16()).ok_or(truncated)?;
        if algorithms.iter().any(|known| known.identifier == algorithm) {
            return Err(LogError::AlgorithmTwice { algorithm });
        }
        let is_wrong = |bank: Bank| usize::from(size) != bank.size();
        if size == 0 || size > MAX_DIGEST || Bank::of_tcg(algorithm).is_some_and(is_wrong) {
            return Err(LogError::DigestSize { algorithm, size });
        }
        algorithms.push(Algorithm { identifier: algorithm, size: usize::from(size) });
    }
    Ok(algorithms)
}

/// An event as it is in the log.
struct Raw<'a> {
    pcr: u32,
    kind: u32,
    digests: Values,
    data: &'a [u8],
}

impl Raw<'_> {
    fn is_kept(&self) -> bool {
        self.kind != EV_NO_ACTION && (self.pcr == SYSEXTS || self.pcr == KERNEL_CONFIG)
    }

    fn finish(self) -> Entry {
        let text = match self.kind {
            EV_IPL => Some(self.data),
            // `TCG_PCClientTaggedEvent`: identifier and size.
            EV_EVENT_TAG => self.data.get(8..),
            _ => None,
        };
        Entry { pcr: self.pcr, digests: self.digests, description: text.and_then(utf16) }
    }
}

/// `TCG_PCR_EVENT2` (section 10.2.2). `None` at the end of the log.
fn event<'a>(cursor: &mut Cursor<'a>, algorithms: &[Algorithm]) -> Result<Option<Raw<'a>>, LogError> {
    if cursor.rest().is_empty() {
        return Ok(None);
    }
    let offset = cursor.offset;
    let truncated = LogError::Truncated { offset };
    let header = (cursor.u32(), cursor.u32(), cursor.u32());
    let (Some(pcr), Some(kind), Some(count)) = header else {
        return if cursor.from(offset).iter().all(|byte| *byte == 0) { Ok(None) } else { Err(truncated) };
    };
    if count == 0 || usize::try_from(count).map_or(true, |count| count > algorithms.len()) {
        // Whatever else it is: this ends the log, so that its rest is looked at once.
        let is_end = count == 0 && cursor.from(offset).iter().all(|byte| *byte == 0);
        let error = LogError::DigestCount { offset, count, algorithms: algorithms.len() };
        return if is_end { Ok(None) } else { Err(error) };
    }
    let mut digests = Values::default();
    let mut seen: Vec<u16> = Vec::new();
    for _ in 0..count {
        let algorithm = cursor.u16().ok_or(truncated)?;
        let known = algorithms.iter().find(|known| known.identifier == algorithm);
        let size = known.ok_or(LogError::UnknownAlgorithm { offset, algorithm })?.size;
        let digest = cursor.take(size).ok_or(truncated)?;
        if seen.contains(&algorithm) {
            return Err(LogError::DigestTwice { offset, algorithm });
        }
        seen.push(algorithm);
        if let Some(bank) = Bank::of_tcg(algorithm) {
            digests.set(bank, digest.to_vec());
        }
    }
    let data = cursor.data().ok_or(truncated)?;
    Ok(Some(Raw { pcr, kind, digests, data }))
}

/// Decodes a text that ends with a NUL. `None` for anything else, and for text that is too long.
fn utf16(data: &[u8]) -> Option<Text> {
    if !data.len().is_multiple_of(2) || data.len() / 2 > MAX_DESCRIPTION {
        return None;
    }
    let units: Vec<u16> = data.chunks(2).filter_map(|unit| u16_at(unit, 0)).collect();
    let (end, text) = units.split_last()?;
    let is_text = *end == 0 && !text.contains(&0);
    if is_text { String::from_utf16(text).ok().map(Text::new) } else { None }
}

/// Reads fields one after the other. Nothing is consumed where the bytes don't suffice.
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn from(&self, offset: usize) -> &'a [u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    fn rest(&self) -> &'a [u8] {
        self.from(self.offset)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..len)?;
        self.offset = self.offset.saturating_add(len);
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        array(self.take(2)?, 0).map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        u32_at(self.take(4)?, 0)
    }

    /// Kind and data of a `TCG_PCClientPCREvent`.
    fn sha1_event(&mut self) -> Option<(u32, &'a [u8])> {
        let (_pcr, kind) = (self.u32()?, self.u32()?);
        self.take(HEADER_DIGEST)?;
        Some((kind, self.data()?))
    }

    /// A size and as many bytes.
    fn data(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }
}
