//! What is shown of a bundle, or a report by itself. Both may have come from an attacker.

use super::{DIRECTORY, NEIGHBOURS, REPORT};
use crate::plot::Neighbours;
use sextant::report::{MAX_LEN, Report, ReportError};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// Largest bundle that is read, in bytes: more than is ever written.
const MAX_BUNDLE: u64 = 64 << 20;
/// Most members that are looked at.
const MAX_MEMBERS: usize = 64;
/// Largest report, in bytes. One byte more is too much for its own parser.
const MAX_REPORT: u64 = 2 * MAX_LEN as u64 + 1;
/// Largest list of units, in bytes.
const MAX_NEIGHBOURS: u64 = 1 << 20;
/// The size of a header, which holds a magic number at this place (POSIX.1-2024, pax, "ustar Interchange Format").
const HEADER: u64 = 512;
const MAGIC: (usize, &[u8]) = (257, b"ustar");

/// Why there is no report to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The report can't be understood.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The list of units can't be understood.
    #[error("parsing {DIRECTORY}/{NEIGHBOURS}")]
    Neighbours(#[from] serde_json::Error),
    /// The archive is no bundle, or one without a report.
    #[error("it is a tar archive without {DIRECTORY}/{REPORT} among its first {MAX_MEMBERS} members")]
    NoReport,
}

/// Reads the report in the file at `path`, a bundle or a report. Nothing is extracted.
///
/// # Errors
/// [`BundleError`]
pub fn report(path: &Path) -> Result<Report, BundleError> {
    read(File::open(path)?)
}

/// Reads when systemd started units, as the bundle at `path` has it. There are none in a report by itself, and in a bundle of an
/// older version.
///
/// # Errors
/// [`BundleError`]
pub fn neighbours(path: &Path) -> Result<Neighbours, BundleError> {
    read_neighbours(File::open(path)?)
}

/// What a file is by its first bytes.
enum Content<R> {
    Archive(R),
    Other(R),
}

fn content<R: Read>(mut file: R) -> io::Result<Content<impl Read>> {
    let mut start = Vec::new();
    file.by_ref().take(HEADER).read_to_end(&mut start)?;
    let (place, magic) = MAGIC;
    let is_archive = start.get(place..).is_some_and(|rest| rest.starts_with(magic));
    let whole = io::Cursor::new(start).chain(file);
    Ok(if is_archive { Content::Archive(whole) } else { Content::Other(whole) })
}

fn read(file: impl Read) -> Result<Report, BundleError> {
    let text = match content(file)? {
        Content::Archive(archive) => member(archive, REPORT, MAX_REPORT)?.ok_or(BundleError::NoReport)?,
        Content::Other(text) => bounded(text, MAX_REPORT)?,
    };
    Ok(Report::parse(&text)?)
}

fn read_neighbours(file: impl Read) -> Result<Neighbours, BundleError> {
    let Content::Archive(archive) = content(file)? else { return Ok(Neighbours::default()) };
    let Some(text) = member(archive, NEIGHBOURS, MAX_NEIGHBOURS)? else { return Ok(Neighbours::default()) };
    Ok(serde_json::from_slice(&text)?)
}

/// A member of an archive, at most `limit` bytes of it. Members are read as they are (`raw`), so none has a name or a size that
/// others set for it.
fn member(archive: impl Read, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(archive.take(MAX_BUNDLE));
    let wanted = format!("{DIRECTORY}/{name}");
    for member in archive.entries()?.raw(true).take(MAX_MEMBERS) {
        let member = member?;
        if member.header().entry_type().is_file() && *member.path_bytes() == *wanted.as_bytes() {
            let size = member.size();
            let text = bounded(member, limit)?;
            if text.len() as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn bounded(text: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    text.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::Bundle;
    use std::time::SystemTime;

    const REPORT_TEXT: &[u8] =
        br#"{"version": 1, "trust": [], "ignored_certificates": [], "images": [], "error": "odd"}"#;

    fn bundle(parts: &[(&'static str, &[u8])]) -> Vec<u8> {
        let mut bundle = Bundle::default();
        for (name, content) in parts {
            bundle.add(name, Ok((content.to_vec(), false)));
        }
        bundle.encode(SystemTime::UNIX_EPOCH).unwrap()
    }

    fn error(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_report_is_found_in_a_bundle_and_by_itself() {
        for bytes in [bundle(&[("journal.json", b"{}"), (REPORT, REPORT_TEXT)]), REPORT_TEXT.to_vec()] {
            assert_eq!(read(bytes.as_slice()).unwrap().error.unwrap(), "odd");
        }
    }

    #[test]
    fn units_are_found_in_a_bundle_that_has_them() {
        let found = |bytes: &[u8]| read_neighbours(bytes).map(|found| found.units.len()).map_err(|it| it.to_string());
        let row = r#"{"name": "a.service", "begin_usec": 1, "end_usec": 2, "until_usec": null}"#;
        let boot = r#""boot": {"initrd_usec": null, "host_usec": null, "finished_usec": null}"#;
        let units = format!(r#"{{"units": [{row}], {boot}, "problems": []}}"#);
        assert_eq!(found(&bundle(&[(REPORT, REPORT_TEXT), (NEIGHBOURS, units.as_bytes())])), Ok(1));
        // An older bundle, and a report by itself.
        assert_eq!((found(&bundle(&[(REPORT, REPORT_TEXT)])), found(REPORT_TEXT)), (Ok(0), Ok(0)));
        let error = found(&bundle(&[(NEIGHBOURS, b"{\"units\"")])).unwrap_err();
        assert_eq!(error, "parsing sextant-bundle/units.json");
        // Larger than any that is written.
        let rows = vec![row; 20_000].join(",");
        let large = format!(r#"{{"units": [{rows}], {boot}, "problems": []}}"#);
        assert!(found(&bundle(&[(NEIGHBOURS, large.as_bytes())])).is_err());
    }

    #[test]
    fn what_is_no_bundle_is_an_error() {
        assert!(error(&bundle(&[("journal.json", b"{}")])).contains("without sextant-bundle/report.json"));
        assert!(error(b"").contains("EOF"));
        let whole = bundle(&[(REPORT, REPORT_TEXT)]);
        // Cut off in a header, in the report, and right before it.
        let start = whole.windows(REPORT_TEXT.len()).position(|window| window == REPORT_TEXT).unwrap();
        for len in [600, start - 100, start + 10] {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        // More bytes than there are, and more than a report can have.
        for size in ["77777777777", "00000000200"] {
            let mut odd = whole.clone();
            let at = start - 512 + 124;
            odd[at..at + 11].copy_from_slice(size.as_bytes());
            let sum = start - 512 + 148;
            odd[sum..sum + 8].copy_from_slice(b"        ");
            let total: u32 = odd[start - 512..start].iter().map(|byte| u32::from(*byte)).sum();
            odd[sum..sum + 7].copy_from_slice(format!("{total:06o}\0").as_bytes());
            assert!(read(odd.as_slice()).is_err(), "{size}");
        }
    }

    #[test]
    fn a_bundle_without_end_is_read_to_its_bound_only() {
        // A name as long as the rest of an endless archive.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(b'x'));
        assert!(read(endless).is_err());
        assert!(read(io::repeat(b' ')).is_err());
        // Many members.
        let mut archive = tar::Builder::new(Vec::new());
        for name in (0..100).map(|number| format!("{number}")).chain([format!("{DIRECTORY}/{REPORT}")]) {
            let mut header = tar::Header::new_ustar();
            header.set_size(REPORT_TEXT.len() as u64);
            archive.append_data(&mut header, name, REPORT_TEXT).unwrap();
        }
        assert!(error(&archive.into_inner().unwrap()).contains("among its first 64 members"));
    }
}
