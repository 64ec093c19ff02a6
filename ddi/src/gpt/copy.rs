//! Detection of incomplete copies by the sizes of table and file.

use super::GptError;
use crate::io::ReadAt;

/// Zeros that are looked for at the end of a file that has no backup header, in bytes: a file system that lost power has
/// them where the last clusters were never written.
const MAX_ZEROS: u64 = 64 << 20;

/// Bytes that are looked at together.
const PIECE: u64 = 128 << 10;

/// Compares the length of the file with that of the disk that the primary header describes.
pub(super) fn check_length(found: u64, alternate_lba: u64, sector_size: u32) -> Result<(), GptError> {
    let described = alternate_lba.saturating_add(1).saturating_mul(u64::from(sector_size));
    match found.cmp(&described) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(GptError::Incomplete { described, found, alternate_lba, sector_size }),
        std::cmp::Ordering::Greater => Err(GptError::Followed { described, found, alternate_lba, sector_size }),
    }
}

/// Tells a file of the right length whose end was never written. `last` is its last sector, with the number `lba`.
pub(super) fn check_end(file: &dyn ReadAt, last: &[u8], lba: u64) -> Result<(), GptError> {
    if last.iter().any(|byte| *byte != 0) {
        return Ok(());
    }
    let found = file.len();
    let limit = found.saturating_sub(MAX_ZEROS);
    let mut end = found;
    let mut piece = Vec::new();
    while end > limit {
        let start = end.saturating_sub(PIECE).max(limit);
        piece.resize(usize::try_from(end.saturating_sub(start)).unwrap_or_default(), 0);
        file.read_exact_at(&mut piece, start).map_err(|cause| GptError::Io { offset: start, cause })?;
        if let Some(position) = piece.iter().rposition(|byte| *byte != 0) {
            let used = u64::try_from(position).unwrap_or_default().saturating_add(1);
            let zeros = found.saturating_sub(start.saturating_add(used));
            return Err(GptError::ZeroEnd { zeros, is_more: false, found, lba });
        }
        end = start;
    }
    Err(GptError::ZeroEnd { zeros: found.saturating_sub(limit), is_more: limit > 0, found, lba })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_are_counted_as_far_as_they_are_looked_at() {
        /// Zeros behind one byte that isn't.
        struct Sparse(u64, u64);
        impl ReadAt for Sparse {
            fn len(&self) -> u64 {
                self.1
            }
            fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
                buf.fill(0);
                let at = self.0.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = at.and_then(|at| buf.get_mut(at)) {
                    *byte = 1;
                }
                Ok(())
            }
        }
        let told = |used: u64, len: u64| match check_end(&Sparse(used - 1, len), &[0; 512], 7) {
            Err(GptError::ZeroEnd { zeros, is_more, .. }) => (zeros, is_more),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(1, 2), (1, false));
        assert_eq!(told(5, 700_000), (699_995, false));
        assert_eq!(told(1 << 20, (1 << 20) + MAX_ZEROS), (MAX_ZEROS, true));
        assert_eq!(told(1 << 20, (1 << 20) + MAX_ZEROS - 1), (MAX_ZEROS - 1, false));
        // A file of many gigabytes costs no more.
        assert_eq!(told(1 << 20, 1 << 62), (MAX_ZEROS, true));
        assert!(check_end(&Sparse(0, 1024), &[1], 1).is_ok());
    }
}
