//! Writes a tree as a tar archive, for programs that make file systems of archives.

use super::{FileTree, Kind, Metadata, NodeId, Time};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

/// Number of bytes to copy at once.
const CHUNK: u64 = 1 << 18;

/// Writes `tree` to `out`, in the order of [`FileTree::walk`], with ustar headers, and extended headers for values that exceed
/// them. Equal trees give equal bytes. `progress` is called with the length of each piece of content in bytes.
///
/// # Errors
/// Errors of reading a file or writing. A special file is [`io::ErrorKind::Unsupported`].
pub fn write_tar(tree: &FileTree, out: &mut dyn Write, progress: &dyn Fn(u64)) -> io::Result<()> {
    let mut first_names: HashMap<NodeId, Vec<u8>> = HashMap::new();
    let root = [(b"./".to_vec(), tree.root())];
    for (path, id) in root.into_iter().chain(tree.walk()) {
        let Some(node) = tree.node(id) else { continue };
        let mut member = Member { path, link: Vec::new(), size: 0, kind: EntryType::Regular };
        if let Some(first) = first_names.get(&id) {
            member.link.clone_from(first);
            member.kind = EntryType::Link;
            member.write(&node.metadata, out)?;
            continue;
        }
        match &node.kind {
            Kind::Directory(_) => {
                member.kind = EntryType::Directory;
                member.write(&node.metadata, out)?;
            }
            Kind::Symlink(target) => {
                first_names.insert(id, member.path.clone());
                member.link.clone_from(target);
                member.kind = EntryType::Symlink;
                member.write(&node.metadata, out)?;
            }
            Kind::File(content) => {
                first_names.insert(id, member.path.clone());
                member.size = content.len();
                member.write(&node.metadata, out)?;
                copy(&mut content.reader(), member.size, out, progress).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", super::path::display(&member.path)))
                })?;
            }
            Kind::Special(_) => return Err(io::ErrorKind::Unsupported.into()),
        }
    }
    // Two blocks of zeros mark the end.
    out.write_all(&[0; 1024])
}

struct Member {
    path: Vec<u8>,
    link: Vec<u8>,
    size: u64,
    kind: EntryType,
}

impl Member {
    fn write(&self, metadata: &Metadata, out: &mut dyn Write) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(self.kind);
        header.set_mode(u32::from(metadata.mode));
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut record = |keyword: &[u8], value: &[u8]| records.push((keyword.to_vec(), value.to_vec()));
        // Larger numbers exceed the octal digits of the field.
        for (keyword, value) in [(&b"uid"[..], metadata.uid), (b"gid", metadata.gid)] {
            if value > 0o777_7777 {
                record(keyword, value.to_string().as_bytes());
            }
        }
        header.set_uid(u64::from(metadata.uid.min(0o777_7777)));
        header.set_gid(u64::from(metadata.gid.min(0o777_7777)));
        if self.size > 0o777_7777_7777 {
            record(b"size", self.size.to_string().as_bytes());
        }
        header.set_size(self.size.min(0o777_7777_7777));
        match metadata.mtime {
            Time { seconds, nanoseconds: 0 } if (0..=0o777_7777_7777).contains(&seconds) => {
                header.set_mtime(u64::try_from(seconds).unwrap_or_default());
            }
            time => {
                header.set_mtime(0);
                record(b"mtime", decimal(time).as_bytes());
            }
        }
        if !set_bytes(&mut header, 0..100, &self.path) {
            record(b"path", &self.path);
        }
        if !set_bytes(&mut header, 157..257, &self.link) {
            record(b"linkpath", &self.link);
        }
        for (name, value) in &metadata.xattrs {
            record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() && self.kind != EntryType::Link {
            extended(&records, out)?;
        } else if self.kind == EntryType::Link {
            // The metadata of a hard link's target have been written with the target.
            records.retain(|(keyword, _)| keyword == b"path" || keyword == b"linkpath");
            if !records.is_empty() {
                extended(&records, out)?;
            }
        }
        header.set_cksum();
        out.write_all(header.as_bytes())
    }
}

/// Writes a field of the header if `value` fits into it.
fn set_bytes(header: &mut Header, field: std::ops::Range<usize>, value: &[u8]) -> bool {
    // The last byte stays NUL, which some readers require.
    let fits = value.len() < field.len();
    let value = value.get(..value.len().min(field.len().saturating_sub(1))).unwrap_or_default();
    if let Some(field) = header.as_mut_bytes().get_mut(field) {
        field.fill(0);
        if let Some(start) = field.get_mut(..value.len()) {
            start.copy_from_slice(value);
        }
    }
    fits
}

/// Formats a time as decimal seconds. Before 1970 the fraction is omitted, because `mkfs.erofs` 1.8 adds it where it should
/// subtract it.
fn decimal(time: Time) -> String {
    match time {
        Time { seconds, nanoseconds } if seconds >= 0 && nanoseconds > 0 => format!("{seconds}.{nanoseconds:09}"),
        Time { seconds, .. } => seconds.to_string(),
    }
}

/// Writes an extended header (POSIX.1-2024, pax).
fn extended(records: &[(Vec<u8>, Vec<u8>)], out: &mut dyn Write) -> io::Result<()> {
    let mut data = Vec::new();
    for (keyword, value) in records {
        // The length counts its own digits.
        let rest = keyword.len().saturating_add(value.len()).saturating_add(3);
        let with_digits = |len: usize| rest.saturating_add(len.to_string().len());
        let mut len = with_digits(rest);
        while len != with_digits(len) {
            len = with_digits(len);
        }
        data.extend_from_slice(format!("{len} ").as_bytes());
        data.extend_from_slice(keyword);
        data.push(b'=');
        data.extend_from_slice(value);
        data.push(b'\n');
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    set_bytes(&mut header, 0..100, b"././@PaxHeader");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
    header.set_size(size);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(&data)?;
    pad(size, out)
}

fn copy(from: &mut impl Read, size: u64, out: &mut dyn Write, progress: &dyn Fn(u64)) -> io::Result<()> {
    let mut buf = vec![0; usize::try_from(size.min(CHUNK)).unwrap_or_default()];
    let mut left = size;
    while left > 0 {
        let wanted = left.min(CHUNK);
        let Some(chunk) = usize::try_from(wanted).ok().and_then(|wanted| buf.get_mut(..wanted)) else { break };
        from.read_exact(chunk)?;
        out.write_all(chunk)?;
        left = left.saturating_sub(wanted);
        progress(wanted);
    }
    pad(size, out)
}

/// Writes zeros up to a whole block.
fn pad(size: u64, out: &mut dyn Write) -> io::Result<()> {
    let len = usize::try_from(size.wrapping_neg() % 512).unwrap_or_default();
    out.write_all([0; 512].get(..len).unwrap_or_default())
}
