//! Bounds on how many and how large, so that no set of files can exhaust the machine.

use crate::reason::{Reason, Refusal};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most files that are looked into.
    pub images: usize,
    /// Largest file, in bytes.
    pub image_size: u64,
    /// All files together, in bytes.
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

/// What has been let in so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    images: usize,
    total_size: u64,
}

impl Tally {
    /// Counts a file of `size` bytes in, if the limits allow it.
    ///
    /// A file that is refused doesn't count: however large it is, those after it have their chance.
    ///
    /// # Errors
    /// [`Reason::TooMany`] or [`Reason::TooLarge`]
    pub fn admit(&mut self, size: u64, limits: &Limits) -> Result<(), Refusal> {
        if self.images >= limits.images {
            let detail = format_args!("{} files are the limit", limits.images);
            return Err(Refusal::new(Reason::TooMany, detail));
        }
        let too_large = |what: &str, limit: u64| {
            Refusal::new(Reason::TooLarge, format_args!("{size} bytes, where {what} is limited to {limit}"))
        };
        if size > limits.image_size {
            return Err(too_large("one file", limits.image_size));
        }
        let total = self.total_size.saturating_add(size);
        if total > limits.total_size {
            let left = limits.total_size.saturating_sub(self.total_size);
            return Err(too_large("what is left of the total", left));
        }
        *self = Self { images: self.images + 1, total_size: total };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_refused_file_takes_nothing_from_those_after_it() {
        let limits = Limits { images: 2, image_size: 10, total_size: 15, ..Limits::default() };
        let mut tally = Tally::default();
        let reason = |result: Result<(), Refusal>| result.map_err(|refusal| refusal.reason());
        assert_eq!(reason(tally.admit(11, &limits)), Err(Reason::TooLarge));
        assert_eq!(reason(tally.admit(10, &limits)), Ok(()));
        assert_eq!(reason(tally.admit(6, &limits)), Err(Reason::TooLarge));
        assert_eq!(reason(tally.admit(u64::MAX, &limits)), Err(Reason::TooLarge));
        assert_eq!(reason(tally.admit(5, &limits)), Ok(()));
        assert_eq!(reason(tally.admit(0, &limits)), Err(Reason::TooMany));
    }
}
