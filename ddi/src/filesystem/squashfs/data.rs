//! Content of files and symbolic links in squashfs.

use super::metadata::table_entry;
use super::{Inode, Squashfs};
use crate::bytes::{u32_at, u64_at};
use crate::filesystem::format::Places;
use crate::filesystem::meter::Meter;
use crate::filesystem::{EntryKind, FilesystemError};

/// Flag in the size of a block that is not compressed (`SQUASHFS_COMPRESSED_BIT_BLOCK`).
const STORED: u32 = 1 << 24;

/// Number of block sizes that are read at once.
const SIZES: usize = 512;

/// Reads the first `len` bytes of a file or of the target of a symbolic link.
pub(super) fn content(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    len: usize,
) -> Result<Vec<u8>, FilesystemError> {
    let corrupt = || FilesystemError::corrupt("content of an inode", inode.reference);
    if inode.kind == EntryKind::Symlink {
        let mut target = vec![0; len];
        inode.rest(squashfs, meter)?.fill(&mut target)?;
        return Ok(target);
    }
    let block_size = usize::try_from(squashfs.block_size).map_err(|_| corrupt())?;
    // If a file has a fragment, it has the bytes after the last whole block.
    let blocks = match inode.fragment {
        Some(_) => inode.size.checked_div(squashfs.block_size).ok_or_else(corrupt)?,
        None => inode.size.div_ceil(squashfs.block_size),
    };
    let mut content = Vec::new();
    let mut sizes = inode.rest(squashfs, meter)?;
    let mut at = inode.start;
    let mut done = 0_u64;
    while done < blocks && content.len() < len {
        let batch = usize::try_from(blocks.saturating_sub(done)).unwrap_or(SIZES).min(SIZES);
        let mut words = [0_u8; SIZES * 4];
        let words = words.get_mut(..batch.saturating_mul(4)).ok_or_else(corrupt)?;
        sizes.fill(words)?;
        for word in words.chunks_exact(4) {
            let wanted = len.saturating_sub(content.len()).min(block_size);
            if wanted == 0 {
                break;
            }
            let word = u32_at(word, 0).ok_or_else(corrupt)?;
            content.extend(block(squashfs, meter, at, word, wanted)?);
            at = at.saturating_add(u64::from(word & !STORED));
        }
        done = done.saturating_add(u64::try_from(batch).map_err(|_| corrupt())?);
    }
    if content.len() < len {
        let number = inode.fragment.filter(|number| *number < squashfs.fragment_count).ok_or_else(corrupt)?;
        let entry = table_entry::<16>(meter, squashfs.codec, squashfs.fragments, number)?;
        let (Some(at), Some(word)) = (u64_at(&entry, 0), u32_at(&entry, 8)) else { return Err(corrupt()) };
        let begin = usize::try_from(inode.offset).map_err(|_| corrupt())?;
        let end = begin.checked_add(len.saturating_sub(content.len())).ok_or_else(corrupt)?;
        if end > block_size {
            return Err(corrupt());
        }
        let fragment = block(squashfs, meter, at, word, end)?;
        content.extend_from_slice(fragment.get(begin..end).ok_or_else(corrupt)?);
    }
    Ok(content)
}

/// Shows where the blocks and the fragment of a file are.
pub(super) fn places(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    inode: &Inode,
    see: &mut Places<'_>,
) -> Result<(), FilesystemError> {
    let corrupt = || FilesystemError::corrupt("content of an inode", inode.reference);
    let tail = inode.size.checked_rem(squashfs.block_size).ok_or_else(corrupt)?;
    let blocks = match inode.fragment {
        Some(_) => inode.size.saturating_sub(tail).checked_div(squashfs.block_size).ok_or_else(corrupt)?,
        None => inode.size.div_ceil(squashfs.block_size),
    };
    let mut sizes = inode.rest(squashfs, meter)?;
    let mut at = inode.start;
    for _ in 0..blocks {
        let size = u64::from(u32::from_le_bytes(sizes.take::<4>()?) & !STORED);
        if size > squashfs.block_size {
            return Err(corrupt());
        }
        see(at..at.saturating_add(size));
        at = at.saturating_add(size);
    }
    let Some(number) = inode.fragment.filter(|_| tail > 0) else { return Ok(()) };
    if number >= squashfs.fragment_count {
        return Err(corrupt());
    }
    let entry = table_entry::<16>(meter, squashfs.codec, squashfs.fragments, number)?;
    let (Some(at), Some(word)) = (u64_at(&entry, 0), u32_at(&entry, 8)) else { return Err(corrupt()) };
    if word & STORED == 0 {
        // All that it is compressed with is needed.
        see(at..at.saturating_add(u64::from(word)));
    } else {
        let start = at.saturating_add(u64::from(inode.offset));
        see(start..start.saturating_add(tail));
    }
    Ok(())
}

/// Reads the first `wanted` bytes of a block. `word` has its size and the compression flag.
fn block(
    squashfs: &Squashfs,
    meter: &Meter<'_>,
    at: u64,
    word: u32,
    wanted: usize,
) -> Result<Vec<u8>, FilesystemError> {
    let corrupt = || FilesystemError::corrupt("block of data", at);
    if word == 0 {
        meter.charge(wanted)?;
        return Ok(vec![0; wanted]);
    }
    let size = u64::from(word & !STORED);
    if size == 0 || size > squashfs.block_size {
        return Err(corrupt());
    }
    let mut data = meter.data(at, usize::try_from(size).map_err(|_| corrupt())?, "block of data")?;
    if word & STORED == 0 {
        data = squashfs.codec.decode(meter, &data, wanted, at)?;
    }
    if data.len() < wanted {
        return Err(corrupt());
    }
    data.truncate(wanted);
    Ok(data)
}
