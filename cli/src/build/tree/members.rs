//! Iterates over the members of a tar archive, combining the headers of each.
//!
//! Formats: POSIX.1-2024 pax (ustar and extended headers) and GNU tar ("Basic Tar Format" of its manual). Where these leave a
//! choice, it is that of Go's `archive/tar`, which all container engines use, so that a layer has the same files here and there.

use super::header::{
    ArchiveError, BLOCK, CHECKSUM, MAX_HEADERS, MAX_NAMES, MAX_PARTS, Member, SIZE, broken_number, has_no_data,
    numeric, octal, path_of,
};
use super::pax;
use crate::build::Spool;
use ddi::io::ReadAt;
use std::io;
use tar::{EntryType, Header};

/// Iterator over the members of an archive.
pub(super) struct Members<'a> {
    archive: &'a Spool,
    position: u64,
    left: u64,
}

impl<'a> Members<'a> {
    /// Begins at the start of `archive`, and reads at most `left` headers.
    pub(super) fn of(archive: &'a Spool, left: u64) -> Self {
        Self { archive, position: 0, left }
    }

    /// Returns the remaining number of headers.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Returns the next member; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        let (mut records, mut long_path, mut long_link) = (Vec::new(), None, None);
        loop {
            let offset = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            self.left = self.left.checked_sub(1).ok_or(ArchiveError::TooMany)?;
            let fail = |cause: &str| ArchiveError::Header { offset, cause: cause.to_owned() };
            let kind = header.entry_type();
            let to_size = |size: i64| u64::try_from(size).map_err(|_| fail("size is negative"));
            let own = header.as_bytes().get(SIZE).and_then(numeric).unwrap_or_default();
            let own_size = if has_no_data(kind) { 0 } else { to_size(own)? };
            if matches!(
                kind,
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
            ) {
                let data = self.description(offset, own_size)?;
                let text = || data.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
                match kind {
                    EntryType::XHeader => {
                        let found = pax::records(&data).map_err(|error| ArchiveError::Pax { offset, error })?;
                        records = found.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                    }
                    EntryType::GNULongName => long_path = Some(text()),
                    EntryType::GNULongLink => long_link = Some(text()),
                    // A global header is only a comment in practice, and engines ignore it. For Go it is a member of its own, which
                    // uses up the extended headers before it.
                    _ => {
                        pax::records(&data).map_err(|error| ArchiveError::Pax { offset, error })?;
                        (records, long_path, long_link) = (Vec::new(), None, None);
                    }
                }
                self.skip(offset, own_size)?;
                continue;
            }
            pax::check(&records).map_err(|error| ArchiveError::Pax { offset, error })?;
            let size = pax::last(&records, "size").and_then(pax::integer).unwrap_or(own);
            // If headers of GNU tar and of POSIX are mixed, those of GNU tar win in Go.
            let text = |long: Option<Vec<u8>>, keyword: &str| {
                long.filter(|text| !text.is_empty()).or_else(|| pax::last(&records, keyword).map(<[u8]>::to_vec))
            };
            let path = text(long_path, "path").unwrap_or_else(|| path_of(&header));
            let link = text(long_link, "linkpath");
            let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
            let mut member = Member { header, offset, path, link, size: 0, pax: records };
            if !has_no_data(member.entry_type()) {
                member.size = to_size(size)?;
            }
            if let Some(name) = super::sparse::name(&member) {
                member.path = name;
            }
            self.skip(offset, member.size)?;
            return Ok(Some(member));
        }
    }

    /// Reads the header at the position; `None` at the end of the archive, with or without end marker.
    fn header(&self) -> Result<Option<Header>, ArchiveError> {
        let offset = self.position;
        if offset >= self.archive.len() {
            return Ok(None);
        }
        let header = self.block(offset)?;
        let cause = |cause: String| ArchiveError::Header { offset, cause };
        let is_zero = |header: &Header| header.as_bytes().iter().all(|byte| *byte == 0);
        if is_zero(&header) {
            // Two blocks of zeros mark the end. After the first, nothing but the second is valid.
            let next = offset.saturating_add(BLOCK);
            if next < self.archive.len() && !is_zero(&self.block(next)?) {
                return Err(cause("single block of zeros; an archive ends with two".to_owned()));
            }
            return Ok(None);
        }
        // The checksum counts its own field as spaces. Old archivers added signed bytes.
        let bytes =
            || header.as_bytes().iter().enumerate().map(|(at, byte)| if CHECKSUM.contains(&at) { &32 } else { byte });
        let sum: i64 = bytes().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let found = header.as_bytes().get(CHECKSUM).and_then(octal);
        let found = found.ok_or_else(|| cause("checksum is not a number".to_owned()))?;
        if found != sum && found != signed {
            return Err(cause(format!("checksum is {found}; computed {sum}")));
        }
        match broken_number(&header) {
            Some(field) => Err(cause(format!("{field} is not a number"))),
            None => Ok(Some(header)),
        }
    }

    fn block(&self, offset: u64) -> Result<Header, ArchiveError> {
        let mut header = Header::new_old();
        match self.archive.read_exact_at(header.as_mut_bytes(), offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::Truncated { offset }),
            result => Ok(result.map(|()| header)?),
        }
    }

    /// Reads the data of an extended header.
    fn description(&self, offset: u64, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let too_long = || ArchiveError::TooLong { offset, found: size };
        if size > pax::MAX_LEN {
            return Err(too_long());
        }
        let mut data = vec![0; usize::try_from(size).map_err(|_| too_long())?];
        match self.archive.read_exact_at(&mut data, offset.saturating_add(BLOCK)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ArchiveError::Truncated { offset }),
            result => Ok(result.map(|()| data)?),
        }
    }

    /// Moves behind the member at `offset`. The further map blocks of GNU's old sparse files precede the data and are not
    /// part of its size.
    fn skip(&mut self, offset: u64, size: u64) -> Result<(), ArchiveError> {
        let truncated = || ArchiveError::Truncated { offset };
        let more = super::sparse::extension_blocks(self.archive, offset)?;
        let start = offset.checked_add(BLOCK).and_then(|start| start.checked_add(more)).ok_or_else(truncated)?;
        let end = start.checked_add(size).filter(|end| *end <= self.archive.len()).ok_or_else(truncated)?;
        self.position = end.checked_next_multiple_of(BLOCK).ok_or_else(truncated)?;
        Ok(())
    }
}

/// A file or link of an archive.
pub(in crate::build) struct ArchiveMember {
    /// Path, unchanged.
    pub(in crate::build) path: String,
    /// Content of a regular file.
    pub(in crate::build) content: Option<Spool>,
    /// Target of a link, and whether the link is symbolic.
    pub(in crate::build) link: Option<(String, bool)>,
}

/// Lists the files and links of an archive of images. Names that are not UTF-8 are ignored.
pub(in crate::build) fn archive_members(archive: &Spool) -> Result<Vec<ArchiveMember>, ArchiveError> {
    let mut found = Vec::new();
    let mut members = Members::of(archive, MAX_HEADERS);
    let mut names = 0_usize;
    while let Some(member) = members.next()? {
        names = names.saturating_add(member.path.len()).saturating_add(member.link.len());
        if found.len() >= MAX_PARTS || names > MAX_NAMES {
            return Err(ArchiveError::TooManyParts);
        }
        let Ok(path) = String::from_utf8(member.path.clone()) else { continue };
        let link = String::from_utf8_lossy(&member.link).into_owned();
        let (content, link) = match member.entry_type() {
            EntryType::Regular => (archive.slice(member.data(), member.size), None),
            EntryType::Symlink => (None, Some((link, true))),
            EntryType::Link => (None, Some((link, false))),
            _ => continue,
        };
        found.push(ArchiveMember { path, content, link });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn spool(headers: &[Header]) -> Spool {
        let mut file = tempfile::tempfile().unwrap();
        for header in headers {
            file.write_all(header.as_bytes()).unwrap();
        }
        Spool::new(file).unwrap()
    }

    fn header(kind: EntryType, name: &str) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(name).unwrap();
        header.set_size(0);
        header.set_cksum();
        header
    }

    /// As Go's `archive/tar` has them in `TestParseNumeric`; golang/go#12594, #21005 are about such fields.
    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let long: [u8; 12] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
        for (field, expected) in [
            (&b""[..], Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b" \0 \0", Some(0)),
            (b"0000000\0", Some(0)),
            (b"0000644\0", Some(0o644)),
            (b" 0000644 ", Some(0o644)),
            (b"\x00000644\0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"00000128\0", None),
            (b"12 34\0", None),
            (b"-1\0", None),
            (b"+1\0", None),
            (b"1777777777777777777777", None),
            (b"\x80", Some(0)),
            (b"\x80\0\0", Some(0)),
            (b"\x80\0\0\x01", Some(1)),
            (b"\xbf", Some(0x3f)),
            (b"\xff", Some(-1)),
            (b"\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xfe", Some(-2)),
            (&long, Some(-2)),
            (b"\x87\x76\xa2\x22\xeb\x8a\x72\x61", Some(537_795_476_381_659_745)),
            (b"\x80\0\0\0\x07\x76\xa2\x22\xeb\x8a\x72\x61", Some(537_795_476_381_659_745)),
            (b"\xf7\x76\xa2\x22\xeb\x8a\x72\x61", Some(-615_126_028_225_187_231)),
            (b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\x80\0\0\0\0\0\0\0", None),
            (b"\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(numeric(field), expected, "{field:02x?}");
        }
    }

    #[test]
    fn headers_are_counted_also_those_that_describe_nothing() {
        let archive = spool(&[
            header(EntryType::XGlobalHeader, "g"),
            header(EntryType::XGlobalHeader, "g"),
            header(EntryType::Fifo, "f"),
        ]);
        let mut members = Members::of(&archive, 3);
        assert_eq!(members.next().unwrap().unwrap().path, b"f");
        assert_eq!(members.left(), 0);
        assert!(members.next().unwrap().is_none());
        assert!(matches!(Members::of(&archive, 2).next(), Err(ArchiveError::TooMany)));
    }

    #[test]
    fn an_archive_of_images_has_names_of_usual_length() {
        let long = header(EntryType::Regular, &"n".repeat(99));
        let count = MAX_PARTS + 1;
        let archive = spool(&vec![long; count]);
        assert!(matches!(archive_members(&archive), Err(ArchiveError::TooManyParts)));
    }
}
