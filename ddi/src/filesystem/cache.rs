//! Metadata that was read last.
//!
//! Each question about a file system begins at its root and passes through the same few inodes and directories, so without this
//! an image of three files is read, and where it is compressed decompressed, a hundred times over.

use std::cell::RefCell;
use std::rc::Rc;

/// Pieces of each kind that are kept, of at most 8 KiB.
const KEPT: usize = 16;

/// A metadata block of squashfs.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// What is in it, decompressed.
    pub(super) content: Rc<[u8]>,
    /// Where the next one begins.
    pub(super) next: u64,
}

/// What is kept of one file system.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Stretches of the image, by their offset.
    pub(super) windows: Recent<Rc<[u8]>>,
    /// Decompressed blocks, by their offset.
    pub(super) blocks: Recent<Block>,
}

/// The values that were asked for last, by offset.
#[derive(Debug)]
pub(super) struct Recent<T>(RefCell<Vec<(u64, T)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

impl<T: Clone> Recent<T> {
    /// The value at `offset`, by `read` where it isn't kept. What can't be read isn't kept.
    pub(super) fn get<E>(&self, offset: u64, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let kept = self.take(offset);
        let value = kept.map_or_else(read, Ok)?;
        let mut values = self.0.borrow_mut();
        values.truncate(KEPT.saturating_sub(1));
        values.insert(0, (offset, value.clone()));
        Ok(value)
    }

    fn take(&self, offset: u64) -> Option<T> {
        let mut values = self.0.borrow_mut();
        let place = values.iter().position(|(at, _)| *at == offset)?;
        Some(values.remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn what_was_read_last_is_kept_and_the_rest_is_read_again() {
        let recent = Recent::default();
        let reads = RefCell::new(Vec::new());
        let get = |offset: u64| {
            let Ok(value) = recent.get(offset, || {
                reads.borrow_mut().push(offset);
                Ok::<u64, Infallible>(offset * 2)
            });
            assert_eq!(value, offset * 2);
        };
        (0..16).for_each(get);
        get(0);
        assert_eq!(reads.borrow().len(), 16);
        // 1 is the one that was asked for the longest time ago.
        get(16);
        get(0);
        get(1);
        assert_eq!(reads.borrow()[16..], [16, 1]);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let recent = Recent::default();
        assert_eq!(recent.get(7, || Err::<u64, _>("gone")), Err("gone"));
        assert_eq!(recent.get(7, || Ok::<_, &str>(8)), Ok(8));
    }
}
