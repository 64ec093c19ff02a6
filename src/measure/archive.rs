//! Writes the archive that systemd-stub makes: *newc* cpio (kernel Documentation/driver-api/early-userspace/buffer-format.rst), byte
//! for byte as systemd 257 and 262 do (`src/boot/cpio.c`, `pack_cpio`).

use super::ArchiveError;
use super::bank::{Bank, Digests, Hashers};
use ddi::io::{Pieces, ReadAt};
use ddi::text::Text;

const DIRECTORY: u32 = 0o040_555;
const FILE: u32 = 0o100_444;

/// A file of an archive.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// Name of the file on the partition.
    pub name: &'a str,
    /// Content of the file.
    pub content: &'a dyn ReadAt,
}

/// Computes digests and size of the archive of `members`, in their order, below `directory`.
pub(super) fn measure(directory: &str, members: &[&Member<'_>]) -> Result<(Digests, u64), ArchiveError> {
    let mut hashers = Hashers::new()?;
    let size = write(directory, members, &mut |bytes| hashers.update(bytes))?;
    Ok((hashers.finish()?, size))
}

/// Computes the digest of the same archive in one bank.
pub(super) fn digest(bank: Bank, directory: &str, members: &[&Member<'_>]) -> Result<Vec<u8>, ArchiveError> {
    let mut hasher = bank.hasher()?;
    write(directory, members, &mut |bytes| Ok(hasher.update(bytes)?))?;
    Ok(hasher.finish()?.to_vec())
}

/// Receives the bytes of an archive, piece by piece.
type Sink<'s> = dyn FnMut(&[u8]) -> Result<(), ArchiveError> + 's;

/// Writes the archive, and returns its size in bytes.
fn write(directory: &str, members: &[&Member<'_>], sink: &mut Sink<'_>) -> Result<u64, ArchiveError> {
    let mut archive = Archive { sink, size: 0, inode: 0 };
    let ends = directory.match_indices('/').map(|(end, _)| end).chain([directory.len()]);
    for parent in ends.filter_map(|end| directory.get(..end)) {
        archive.header(DIRECTORY, 0, parent)?;
    }
    for member in members {
        let size = member.content.len();
        let Ok(short) = u32::try_from(size) else {
            return Err(ArchiveError::TooLarge { name: Text::new(member.name), size });
        };
        archive.header(FILE, short, &format!("{directory}/{}", member.name))?;
        archive.content(member)?;
    }
    archive.trailer()?;
    Ok(archive.size)
}

struct Archive<'a, 's> {
    sink: &'a mut Sink<'s>,
    /// Number of bytes written.
    size: u64,
    inode: u32,
}

impl Archive<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        (self.sink)(bytes)
    }

    /// Writes a header. Inodes are numbered from 1; owner, time and devices are zero.
    fn header(&mut self, mode: u32, size: u32, name: &str) -> Result<(), ArchiveError> {
        self.inode = self.inode.saturating_add(1);
        let name_size = name.len().saturating_add(1);
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}{name}\0",
            self.inode, 0, 0, 1, 0, 0, 0, 0, 0, 0
        );
        self.put(header.as_bytes())?;
        self.pad()
    }

    fn content(&mut self, member: &Member<'_>) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Read { name: Text::new(member.name), source };
        let mut pieces = Pieces::of(member.content);
        while let Some(piece) = pieces.read_next().map_err(failed)? {
            self.put(piece)?;
        }
        self.pad()
    }

    /// Writes the trailer, in which the length of the name is the only number in upper case.
    fn trailer(&mut self) -> Result<(), ArchiveError> {
        let zero = "00000000";
        let before = zero.repeat(4) + "00000001" + &zero.repeat(6);
        self.put(format!("070701{before}0000000B{zero}TRAILER!!!\0\0\0\0").as_bytes())
    }

    /// Pads to a multiple of four bytes.
    fn pad(&mut self) -> Result<(), ArchiveError> {
        let zeros: &[u8] = match self.size % 4 {
            0 => return Ok(()),
            1 => &[0; 3],
            2 => &[0; 2],
            _ => &[0; 1],
        };
        self.put(zeros)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use cpio::NewcReader;
    use proptest::prelude::*;
    use std::io::Read;

    /// Path, mode, number of inode and content of each record.
    fn read_back(archive: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut records = Vec::new();
        let mut rest = archive;
        loop {
            let mut reader = NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return records;
            }
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime(), entry.nlink()), (0, 0, 0, 1));
            records.push((entry.name().to_owned(), entry.mode(), entry.ino(), content));
            rest = reader.finish().unwrap();
        }
    }

    proptest! {
        #[test]
        fn another_reader_finds_directories_and_files(
            files in prop::collection::vec(("[!-.0-~]{1,40}", prop::collection::vec(any::<u8>(), 0..70)), 0..9),
        ) {
            let members: Vec<_> = files.iter().map(|(name, content)| Member { name, content }).collect();
            let mut archive = Vec::new();
            let members: Vec<_> = members.iter().collect();
            write(".extra/sysext", &members, &mut |bytes| { archive.extend_from_slice(bytes); Ok(()) }).unwrap();
            prop_assert_eq!(archive.len() % 4, 0);
            let directory = |path: &str, inode| (path.to_owned(), DIRECTORY, inode, Vec::new());
            let mut expected = vec![directory(".extra", 1), directory(".extra/sysext", 2)];
            for (inode, (name, content)) in (3..).zip(&files) {
                expected.push((format!(".extra/sysext/{name}"), FILE, inode, content.clone()));
            }
            prop_assert_eq!(read_back(&archive), expected);
        }
    }

    #[test]
    fn the_trailer_is_as_the_stub_writes_it() {
        let mut archive = Vec::new();
        write(".extra", &[], &mut |bytes| {
            archive.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        let number = |word: usize| {
            let digits = archive.len() - 124 + 6 + 8 * word;
            std::str::from_utf8(&archive[digits..digits + 8]).unwrap()
        };
        // Inode, mode, owner and group; links; times, size, devices; length of the name, checksum.
        assert!([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12].iter().all(|word| number(*word) == "00000000"));
        assert_eq!((number(4), number(11)), ("00000001", "0000000B"));
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
