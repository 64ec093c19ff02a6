//! Parser of `EFI_SIGNATURE_LIST`, the content of PK, KEK, db and dbx (UEFI specification 2.10, section 32.4.1).
//!
//! Parsing is lenient for entries: a list of a type that is irrelevant here (an image hash, an RSA key without
//! certificate, a vendor's type) is skipped, whatever its content, and does not affect other lists. Parsing is strict
//! for sizes: after a list with an invalid size the start of the next one is unknown, so the rest of the variable is
//! ignored.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use ddi::Guid;
use ddi::bytes::{array, u32_at};
use std::fmt;
use thiserror::Error;

/// Size of `SignatureType` + `SignatureListSize` + `SignatureHeaderSize` + `SignatureSize`, in bytes.
const LIST_HEADER: usize = 28;
/// Size of `SignatureOwner`, the GUID before each entry's data, in bytes.
const OWNER: usize = 16;

const X509: Guid = Guid::from_fields(0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5, 0xab15_5c2b_f072);
const X509_SHA256: Guid = Guid::from_fields(0x3bd2_a492, 0x96c0, 0x4079, 0xb420, 0xfcf9_8ef1_03ed);
const X509_SHA384: Guid = Guid::from_fields(0x7076_876e, 0x80c2, 0x4ee6, 0xaad2, 0x28b3_49a6_865b);
const X509_SHA512: Guid = Guid::from_fields(0x446d_bf63, 0x2502, 0x4cda, 0xbcfa, 0x2465_d2b0_fe9d);

/// Types that are normal in a firmware variable and irrelevant for certificates.
const OTHER_TYPES: &[(Guid, &str)] = &[
    (Guid::from_fields(0x826c_a512, 0xcf10, 0x4ac9, 0xb187, 0xbe01_4966_31bd), "SHA-1 image hash"),
    (Guid::from_fields(0x0b6e_5233, 0xa65c, 0x44c9, 0x9407, 0xd9ab_83bf_c8bd), "SHA-224 image hash"),
    (Guid::from_fields(0xc1c4_1626, 0x504c, 0x4092, 0xaca9, 0x41f9_3693_4328), "SHA-256 image hash"),
    (Guid::from_fields(0xff3e_5307, 0x9fd0, 0x48c9, 0x85f1, 0x8ad5_6c70_1e01), "SHA-384 image hash"),
    (Guid::from_fields(0x093e_0fae, 0xa6c4, 0x4f50, 0x9f1b, 0xd41e_2b89_c19a), "SHA-512 image hash"),
    (Guid::from_fields(0x3c58_05ca, 0x95ab, 0x4a45, 0x9f8c, 0x4ffb_3b1a_f5b6), "RSA-2048 key"),
    (Guid::from_fields(0xe2b3_6190, 0x879b, 0x4a3d, 0xad8d, 0xf2e7_bba3_2784), "RSA-2048 signature of SHA-256"),
    (Guid::from_fields(0x67f8_444f, 0x8743, 0x48f1, 0xa328, 0x1eaa_b873_6080), "RSA-2048 signature of SHA-1"),
];

/// The digest algorithm of an entry that revokes a certificate by its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TbsDigest {
    /// `EFI_CERT_X509_SHA256_GUID`
    Sha256,
    /// `EFI_CERT_X509_SHA384_GUID`
    Sha384,
    /// `EFI_CERT_X509_SHA512_GUID`
    Sha512,
}

impl TbsDigest {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the length of the digest in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for TbsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A DER certificate, not parsed yet.
    Certificate(Vec<u8>),
    /// The digest of a certificate's `TBSCertificate`. The revocation time is ignored: an extension's signature has no
    /// trusted time, so any revocation time revokes.
    CertificateDigest {
        /// Digest algorithm.
        digest: TbsDigest,
        /// The digest.
        value: Vec<u8>,
    },
    /// An entry of a type that is irrelevant for certificates.
    Other {
        /// The list's `SignatureType`.
        list_type: Guid,
        /// Name of the type in the specification, if it has one.
        name: Option<&'static str>,
    },
}

/// Errors of parsing a list or an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListError {
    /// The remaining bytes are fewer than a list header has.
    #[error("{found} trailing bytes at offset {offset} are too few for a list header of {LIST_HEADER} bytes")]
    TruncatedHeader {
        /// Offset of the bytes in the variable.
        offset: usize,
        /// Number of bytes.
        found: usize,
    },
    /// `SignatureListSize` is smaller than the header or larger than the remaining bytes.
    #[error("list at offset {offset} claims {claimed} bytes; {available} are left")]
    ListSize {
        /// Offset of the list in the variable, in bytes.
        offset: usize,
        /// `SignatureListSize` in bytes.
        claimed: u32,
        /// Number of remaining bytes of the variable.
        available: usize,
    },
    /// `SignatureHeaderSize` exceeds the list.
    #[error("list at offset {offset} claims a signature header of {claimed} bytes in a list of {list} bytes")]
    HeaderSize {
        /// Offset of the list in the variable, in bytes.
        offset: usize,
        /// `SignatureHeaderSize` in bytes.
        claimed: u32,
        /// Size of the list in bytes.
        list: u32,
    },
    /// `SignatureSize` is too small for an owner, or the entries are not a multiple of it.
    #[error("list at offset {offset} has {body} bytes of entries of {entry} bytes each")]
    EntrySize {
        /// Offset of the list in the variable, in bytes.
        offset: usize,
        /// `SignatureSize` in bytes.
        entry: u32,
        /// Size of all entries in bytes.
        body: usize,
    },
    /// An entry is shorter than a digest of its type.
    #[error("an entry of the list at offset {offset} holds {found} bytes; a digest of its type has {expected}")]
    EntryLength {
        /// Offset of the list in the variable, in bytes.
        offset: usize,
        /// Size of the entry's data in bytes.
        found: usize,
        /// Length of the digest in bytes.
        expected: usize,
    },
}

/// The content of a variable and the errors of parsing it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureDatabase {
    /// Entries in the order of the variable.
    pub entries: Vec<Entry>,
    /// Errors of the lists and entries that were ignored.
    pub errors: Vec<ListError>,
}

/// Parses the content of PK, KEK or db, without the attribute bytes of efivarfs. A list with a size that is not a
/// multiple of its entry size adds no trust anchor.
///
/// Never fails: errors are in [`SignatureDatabase::errors`]. Memory is bounded by the size of the variable, whatever
/// its length fields are.
#[must_use]
pub fn parse(variable: &[u8]) -> SignatureDatabase {
    read(variable, Remainder::Refused)
}

/// Parses the content of dbx as [`parse`] does, except that the whole entries of a list with a remainder count, because
/// firmware honours them (edk2 `aedf9f7`, `DxeImageVerificationLib.c`, `IsCertHashFoundInDbx`: the number of entries is
/// a quotient rounded down). The remainder is an error as well.
#[must_use]
pub fn parse_revocations(variable: &[u8]) -> SignatureDatabase {
    read(variable, Remainder::Left)
}

/// The treatment of a list with bytes after its last whole entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remainder {
    /// None of its entries counts.
    Refused,
    /// Its whole entries count.
    Left,
}

fn read(variable: &[u8], remainder: Remainder) -> SignatureDatabase {
    let mut database = SignatureDatabase::default();
    let mut offset = 0_usize;
    let mut rest = variable;
    while !rest.is_empty() {
        match split_list(rest, offset) {
            Ok((list, tail)) => {
                if let Err(error) = list.read_into(&mut database, remainder) {
                    database.errors.push(error);
                }
                offset = offset.saturating_add(rest.len().saturating_sub(tail.len()));
                rest = tail;
            }
            Err(error) => {
                if remainder == Remainder::Left
                    && let Some(list) = cut_short(rest, offset)
                {
                    let _ = list.read_into(&mut database, remainder);
                }
                database.errors.push(error);
                break;
            }
        }
    }
    database
}

/// A list whose size fits into the variable.
struct List<'a> {
    offset: usize,
    kind: Guid,
    header_size: u32,
    entry_size: u32,
    size: u32,
    body: &'a [u8],
}

fn split_list(bytes: &[u8], offset: usize) -> Result<(List<'_>, &[u8]), ListError> {
    let truncated = ListError::TruncatedHeader { offset, found: bytes.len() };
    let (Some(kind), Some(list_size), Some(header_size), Some(entry_size)) =
        (array(bytes, 0), u32_at(bytes, 16), u32_at(bytes, 20), u32_at(bytes, 24))
    else {
        return Err(truncated);
    };
    let bad_size = ListError::ListSize { offset, claimed: list_size, available: bytes.len() };
    let Some((list, tail)) = usize::try_from(list_size).ok().and_then(|size| bytes.split_at_checked(size)) else {
        return Err(bad_size);
    };
    let body = list.get(LIST_HEADER..).ok_or(bad_size)?;
    Ok((List { offset, kind: Guid::from_bytes(kind), header_size, entry_size, size: list_size, body }, tail))
}

/// Parses a list that claims more bytes than there are. Firmware compares its size with that of the whole variable
/// (edk2 `aedf9f7`, `IsCertHashFoundInDbx`), so its entries may count there.
fn cut_short(bytes: &[u8], offset: usize) -> Option<List<'_>> {
    let (kind, size, body) = (array(bytes, 0)?, u32_at(bytes, 16)?, bytes.get(LIST_HEADER..)?);
    let is_longer = usize::try_from(size).is_ok_and(|size| size > bytes.len());
    let (header_size, entry_size) = (u32_at(bytes, 20)?, u32_at(bytes, 24)?);
    is_longer.then_some(List { offset, kind: Guid::from_bytes(kind), header_size, entry_size, size, body })
}

impl List<'_> {
    fn read_into(&self, database: &mut SignatureDatabase, remainder: Remainder) -> Result<(), ListError> {
        let outcome = self.read_entries(database, remainder);
        if !self.is_about_certificates() && outcome.is_err() {
            // The list has no entries that count here.
            database.entries.push(self.other());
            return Ok(());
        }
        outcome
    }

    fn read_entries(&self, database: &mut SignatureDatabase, remainder: Remainder) -> Result<(), ListError> {
        let entries = usize::try_from(self.header_size)
            .ok()
            .and_then(|size| self.body.get(size..))
            .ok_or(ListError::HeaderSize { offset: self.offset, claimed: self.header_size, list: self.size })?;
        if self.body.is_empty() {
            return Ok(());
        }
        let bad_size = ListError::EntrySize { offset: self.offset, entry: self.entry_size, body: entries.len() };
        let entry_size = usize::try_from(self.entry_size).unwrap_or(usize::MAX);
        let is_whole = entries.len().checked_rem(entry_size) == Some(0);
        if entry_size <= OWNER || entries.is_empty() || (!is_whole && remainder == Remainder::Refused) {
            return Err(bad_size);
        }
        for entry in entries.chunks_exact(entry_size) {
            let Some(data) = entry.get(OWNER..) else { return Err(bad_size) };
            match self.interpret(data) {
                Ok(entry) => database.entries.push(entry),
                Err(error) => database.errors.push(error),
            }
        }
        if is_whole { Ok(()) } else { Err(bad_size) }
    }

    fn is_about_certificates(&self) -> bool {
        matches!(self.kind, X509 | X509_SHA256 | X509_SHA384 | X509_SHA512)
    }

    fn other(&self) -> Entry {
        let name = OTHER_TYPES.iter().find(|(guid, _)| *guid == self.kind).map(|(_, name)| *name);
        Entry::Other { list_type: self.kind, name }
    }

    fn interpret(&self, data: &[u8]) -> Result<Entry, ListError> {
        let digest = match self.kind {
            X509 => return Ok(Entry::Certificate(data.to_vec())),
            X509_SHA256 => TbsDigest::Sha256,
            X509_SHA384 => TbsDigest::Sha384,
            X509_SHA512 => TbsDigest::Sha512,
            _ => return Ok(self.other()),
        };
        // Firmware compares the digest and does not check the length. A revocation time after it, or a missing one,
        // makes no difference here.
        let expected = digest.size();
        match data.get(..expected) {
            Some(value) => Ok(Entry::CertificateDigest { digest, value: value.to_vec() }),
            None => Err(ListError::EntryLength { offset: self.offset, found: data.len(), expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects)]
    use super::*;

    const SHA256: Guid = OTHER_TYPES[2].0;

    fn list(kind: Guid, header: &[u8], entries: &[&[u8]]) -> Vec<u8> {
        let entry = entries.first().map_or(OWNER, |entry| OWNER + entry.len());
        let size = LIST_HEADER + header.len() + entry * entries.len();
        let mut out = kind.to_bytes().to_vec();
        for number in [size, header.len(), entry] {
            out.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        out.extend(header);
        for data in entries {
            out.extend([7; OWNER]);
            out.extend(*data);
        }
        out
    }

    fn patch(mut bytes: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    #[test]
    fn an_empty_variable_holds_nothing_and_is_no_error() {
        assert_eq!(parse(&[]), SignatureDatabase::default());
    }

    #[test]
    fn certificates_are_found_between_lists_of_other_types() {
        let variable = [
            list(SHA256, &[], &[&[1; 32], &[2; 32]]),
            list(X509, &[], &[b"first", b"secnd"]),
            list(Guid::from_bytes([0x5a; 16]), &[], &[b"?"]),
            list(OTHER_TYPES[5].0, &[], &[&[3; 256]]),
            list(X509, &[9; 12], &[b"third certificate"]),
        ]
        .concat();
        let database = parse(&variable);
        assert_eq!(database.errors, []);
        let certificates: Vec<_> = database
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Certificate(der) => Some(der.as_slice()),
                _ => None,
            })
            .collect();
        assert_eq!(certificates, [b"first".as_slice(), b"secnd", b"third certificate"]);
        assert_eq!(database.entries.len(), 7);
        assert!(database.entries.contains(&Entry::Other { list_type: Guid::from_bytes([0x5a; 16]), name: None }));
    }

    #[test]
    fn every_other_type_of_the_specification_is_known_by_name() {
        for (guid, name) in OTHER_TYPES {
            let database = parse(&list(*guid, &[], &[&[0; 20]]));
            assert_eq!(database.entries, [Entry::Other { list_type: *guid, name: Some(name) }]);
        }
    }

    #[test]
    fn revocation_by_digest_keeps_the_digest_with_a_time_without_one_and_with_anything_behind_it() {
        for (guid, digest) in
            [(X509_SHA256, TbsDigest::Sha256), (X509_SHA384, TbsDigest::Sha384), (X509_SHA512, TbsDigest::Sha512)]
        {
            let value = vec![0xab; digest.size()];
            for behind in [0, 4, 16, 17] {
                let entry = [value.as_slice(), &vec![0x11; behind]].concat();
                for database in [parse(&list(guid, &[], &[&entry])), parse_revocations(&list(guid, &[], &[&entry]))] {
                    assert_eq!(database.entries, [Entry::CertificateDigest { digest, value: value.clone() }]);
                    assert_eq!(database.errors, []);
                }
            }
            let short = parse_revocations(&list(guid, &[], &[&value[1..]]));
            let expected = digest.size();
            assert_eq!(short.errors, [ListError::EntryLength { offset: 0, found: expected - 1, expected }]);
        }
    }

    #[test]
    fn of_revocations_whole_entries_count_whatever_is_behind_them() {
        let value = vec![0xab; 32];
        let entry = Entry::CertificateDigest { digest: TbsDigest::Sha256, value: value.clone() };
        let good = list(X509_SHA256, &[], &[&value]);
        let with_remainder = patch([good.as_slice(), &[0; 5]].concat(), 16, u32::try_from(good.len() + 5).unwrap());
        let too_long = patch(good.clone(), 16, u32::try_from(good.len() + 5).unwrap());
        for variable in [with_remainder, too_long] {
            let database = parse_revocations(&variable);
            assert_eq!(database.entries, std::slice::from_ref(&entry));
            assert_eq!(database.errors.len(), 1);
            let database = parse(&variable);
            assert_eq!((database.entries.len(), database.errors.len()), (0, 1), "a list at fault adds no anchor");
        }
    }

    #[test]
    fn a_list_that_says_nothing_about_certificates_is_no_fault_whatever_is_in_it() {
        for (at, value) in [(24, 0), (24, 7), (24, u32::MAX), (20, u32::MAX)] {
            let odd = patch(list(SHA256, &[], &[&[1; 32]]), at, value);
            let database = parse_revocations(&[odd, list(X509, &[], &[b"good"])].concat());
            assert_eq!(database.errors, [], "{at} {value}");
            assert_eq!(database.entries.last(), Some(&Entry::Certificate(b"good".to_vec())));
        }
        for kind in [X509, X509_SHA256, SHA256] {
            assert_eq!(parse_revocations(&list(kind, &[], &[])), SignatureDatabase::default(), "an empty list");
        }
    }

    #[test]
    fn a_bad_size_ends_the_reading_and_keeps_what_came_before() {
        let good = list(X509, &[], &[b"good"]);
        let bad = list(X509, &[], &[b"bad!"]);
        for (at, value) in [(16, 0), (16, 27), (16, u32::MAX), (16, 10_000)] {
            let database = parse(&[good.clone(), patch(bad.clone(), at, value)].concat());
            assert_eq!(database.entries, [Entry::Certificate(b"good".to_vec())], "{at} {value}");
            assert_eq!(
                database.errors,
                [ListError::ListSize { offset: good.len(), claimed: value, available: bad.len() }]
            );
        }
        let database = parse(&[good.as_slice(), &bad[..20]].concat());
        assert_eq!(database.entries.len(), 1);
        assert_eq!(database.errors, [ListError::TruncatedHeader { offset: good.len(), found: 20 }]);
    }

    #[test]
    fn a_list_with_impossible_entries_is_skipped_and_the_next_one_is_read() {
        let good = list(X509, &[], &[b"good"]);
        for (at, value) in [(24, 0), (24, 16), (24, 19), (24, u32::MAX), (20, 21), (20, u32::MAX), (20, 20)] {
            let bad = patch(list(X509, &[], &[b"bad!"]), at, value);
            let database = parse(&[bad, good.clone()].concat());
            assert_eq!(database.entries, [Entry::Certificate(b"good".to_vec())], "{at} {value}");
            assert_eq!(database.errors.len(), 1, "{at} {value}");
        }
    }
}
