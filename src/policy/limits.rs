//! Bounds on how many and how large, so that no set of files can exhaust the machine.

use crate::reason::{Reason, Refusal};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most images that are staged.
    pub images: usize,
    /// Largest file, in bytes.
    pub image_size: u64,
    /// All staged images together, in bytes.
    pub total_size: u64,
    /// Memory that staging by copy may take, in bytes; the free space of `/run` bounds it in any case.
    pub memory: u64,
    /// Free space that copies leave in `/run`, in bytes.
    pub keep_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { images: 256, image_size: 8 * GIB, total_size: 16 * GIB, memory: 8 * GIB, keep_free: 4 * MIB }
    }
}

/// What has been staged so far. Rejected images don't count: nobody shall keep a good image out by
/// putting many bad ones beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    images: usize,
    total_size: u64,
}

impl Tally {
    /// Whether a file of `size` bytes still fits.
    ///
    /// # Errors
    /// [`Reason::TooMany`] or [`Reason::TooLarge`]
    pub fn admit(&self, size: u64, limits: &Limits) -> Result<(), Refusal> {
        if self.images >= limits.images {
            let detail = format_args!("{} images have been staged, which is the limit", limits.images);
            return Err(Refusal::new(Reason::TooMany, detail));
        }
        let bounds = [
            ("one file", limits.image_size, size),
            ("all images together", limits.total_size, self.total_size.saturating_add(size)),
        ];
        match bounds.into_iter().find(|(_, limit, needed)| needed > limit) {
            None => Ok(()),
            Some((what, limit, _)) => {
                let detail = format_args!("{size} bytes are too many where {what} may have {limit}");
                Err(Refusal::new(Reason::TooLarge, detail))
            }
        }
    }

    /// Counts a staged image.
    pub fn add(&mut self, size: u64) {
        *self = Self { images: self.images.saturating_add(1), total_size: self.total_size.saturating_add(size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_staged_counts() {
        let limits = Limits { images: 2, image_size: 10, total_size: 15, ..Limits::default() };
        let mut tally = Tally::default();
        let reason = |tally: &Tally, size| tally.admit(size, &limits).map_err(|refusal| refusal.reason());
        assert_eq!(reason(&tally, 11), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, 10), Ok(()));
        assert_eq!(reason(&tally, 10), Ok(()), "asking costs nothing");
        tally.add(10);
        assert_eq!(reason(&tally, 6), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, u64::MAX), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, 5), Ok(()));
        tally.add(5);
        assert_eq!(reason(&tally, 0), Err(Reason::TooMany));
    }
}
