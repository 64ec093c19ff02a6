//! `EFI_SIGNATURE_LIST`: what PK, KEK, db and dbx consist of (UEFI specification 2.10, section 32.4.1).
//!
//! Entries are judged one by one: a list of a type that means nothing here (a bare hash of a boot
//! loader, an RSA key without certificate, a vendor's own) is reported and skipped, and spoils nothing
//! around it. Sizes are judged strictly: once a size makes no sense, nobody can tell where the next
//! list begins, and the rest is left alone.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use crate::bytes::{array, u32_at};
use crate::image::Guid;
use thiserror::Error;

/// `SignatureType` + `SignatureListSize` + `SignatureHeaderSize` + `SignatureSize`, in bytes.
const LIST_HEADER: usize = 28;
/// `SignatureOwner`, the GUID in front of each entry's data, in bytes.
const OWNER: usize = 16;
/// `EFI_TIME`, in bytes (UEFI specification 2.10, section 8.3).
const EFI_TIME: usize = 16;

const X509: Guid = Guid::from_fields(0xa5c0_59a1, 0x94e4, 0x4aa7, 0x87b5, 0xab15_5c2b_f072);
const X509_SHA256: Guid = Guid::from_fields(0x3bd2_a492, 0x96c0, 0x4079, 0xb420, 0xfcf9_8ef1_03ed);
const X509_SHA384: Guid = Guid::from_fields(0x7076_876e, 0x80c2, 0x4ee6, 0xaad2, 0x28b3_49a6_865b);
const X509_SHA512: Guid = Guid::from_fields(0x446d_bf63, 0x2502, 0x4cda, 0xbcfa, 0x2465_d2b0_fe9d);

/// Types that are normal in a firmware variable and say nothing about certificates.
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

/// The digest by which an entry names the certificate that it revokes.
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
    /// Length of the digest in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// What one entry of a list holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A DER certificate (not looked into here).
    Certificate(Vec<u8>),
    /// The digest of a certificate's `TBSCertificate`. Its revocation time is dropped: an extension's
    /// signature carries no time that anybody vouches for, so whatever the time says, it revokes.
    CertificateDigest {
        /// Digest algorithm.
        digest: TbsDigest,
        /// The digest itself.
        value: Vec<u8>,
    },
    /// A type that has no say about certificates.
    Other {
        /// The list's `SignatureType`.
        list_type: Guid,
        /// Its name, where the specification gives it one.
        name: Option<&'static str>,
    },
}

/// Why a list or an entry was left out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListError {
    /// Fewer bytes than a list header.
    #[error("{found} trailing bytes at offset {offset} are too few for a list header of {LIST_HEADER} bytes")]
    TruncatedHeader {
        /// Where the bytes begin.
        offset: usize,
        /// How many there are.
        found: usize,
    },
    /// `SignatureListSize` is smaller than the header or larger than what is left.
    #[error("list at offset {offset} claims {claimed} bytes where {available} are left")]
    ListSize {
        /// Where the list begins.
        offset: usize,
        /// What it claims.
        claimed: u32,
        /// What is left of the variable.
        available: usize,
    },
    /// `SignatureHeaderSize` reaches beyond the list.
    #[error("list at offset {offset} claims a signature header of {claimed} bytes in a list of {list} bytes")]
    HeaderSize {
        /// Where the list begins.
        offset: usize,
        /// What it claims.
        claimed: u32,
        /// Size of the list.
        list: u32,
    },
    /// `SignatureSize` leaves no room for an owner, or doesn't divide the list.
    #[error("list at offset {offset} has {body} bytes of entries of {entry} bytes each")]
    EntrySize {
        /// Where the list begins.
        offset: usize,
        /// `SignatureSize`.
        entry: u32,
        /// Bytes left for entries.
        body: usize,
    },
    /// An entry's size isn't the one that its type prescribes.
    #[error("entry at offset {offset} holds {found} bytes where its type has {expected}")]
    EntryLength {
        /// Where the list begins.
        offset: usize,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
}

/// All that could be read of a variable, and what could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureDatabase {
    /// Entries in the order of the variable.
    pub entries: Vec<Entry>,
    /// What was left out.
    pub errors: Vec<ListError>,
}

/// Reads the content of PK, KEK, db or dbx (without the attribute bytes of efivarfs).
///
/// Never fails: what can't be read is in [`SignatureDatabase::errors`]. No length field makes it
/// allocate more than the variable's own size.
#[must_use]
pub fn parse(variable: &[u8]) -> SignatureDatabase {
    let mut database = SignatureDatabase::default();
    let mut offset = 0_usize;
    let mut rest = variable;
    while !rest.is_empty() {
        match split_list(rest, offset) {
            Ok((list, tail)) => {
                if let Err(error) = list.read_into(&mut database) {
                    database.errors.push(error);
                }
                offset = offset.saturating_add(rest.len().saturating_sub(tail.len()));
                rest = tail;
            }
            Err(error) => {
                database.errors.push(error);
                break;
            }
        }
    }
    database
}

/// One list whose outer size fits into the variable.
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

impl List<'_> {
    fn read_into(&self, database: &mut SignatureDatabase) -> Result<(), ListError> {
        let entries = usize::try_from(self.header_size)
            .ok()
            .and_then(|size| self.body.get(size..))
            .ok_or(ListError::HeaderSize { offset: self.offset, claimed: self.header_size, list: self.size })?;
        let bad_size = ListError::EntrySize { offset: self.offset, entry: self.entry_size, body: entries.len() };
        let entry_size = usize::try_from(self.entry_size).unwrap_or(usize::MAX);
        if entry_size <= OWNER || entries.is_empty() || entries.len().checked_rem(entry_size) != Some(0) {
            return Err(bad_size);
        }
        for entry in entries.chunks_exact(entry_size) {
            let Some(data) = entry.get(OWNER..) else { return Err(bad_size) };
            match self.interpret(data) {
                Ok(entry) => database.entries.push(entry),
                Err(error) => database.errors.push(error),
            }
        }
        Ok(())
    }

    fn interpret(&self, data: &[u8]) -> Result<Entry, ListError> {
        let digest = match self.kind {
            X509 => return Ok(Entry::Certificate(data.to_vec())),
            X509_SHA256 => TbsDigest::Sha256,
            X509_SHA384 => TbsDigest::Sha384,
            X509_SHA512 => TbsDigest::Sha512,
            list_type => {
                let name = OTHER_TYPES.iter().find(|(guid, _)| *guid == list_type).map(|(_, name)| *name);
                return Ok(Entry::Other { list_type, name });
            }
        };
        let expected = digest.size().saturating_add(EFI_TIME);
        let value = data.get(..digest.size()).filter(|_| data.len() == expected);
        match value {
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
    fn revocation_by_digest_keeps_the_digest_and_drops_the_time() {
        for (guid, digest) in
            [(X509_SHA256, TbsDigest::Sha256), (X509_SHA384, TbsDigest::Sha384), (X509_SHA512, TbsDigest::Sha512)]
        {
            let value = vec![0xab; digest.size()];
            let entry = [value.as_slice(), &[0x11; EFI_TIME]].concat();
            assert_eq!(parse(&list(guid, &[], &[&entry])).entries, [Entry::CertificateDigest { digest, value }]);
            let short = parse(&list(guid, &[], &[&entry[1..]]));
            assert_eq!(
                short.errors,
                [ListError::EntryLength { offset: 0, found: entry.len() - 1, expected: entry.len() }]
            );
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
