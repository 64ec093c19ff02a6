//! A cache of the latest metadata.
//!
//! Each query begins at the root and passes the same few inodes and directories. Without the cache, an image of three
//! files would be read and decompressed a hundred times.

use std::cell::RefCell;
use std::rc::Rc;

/// Number of cached values of each kind, of at most 8 KiB each.
const KEPT: usize = 16;

/// A metadata block of squashfs.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The decompressed content.
    pub(super) content: Rc<[u8]>,
    /// Offset of the next block.
    pub(super) next: u64,
}

/// The cache of one file system.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Windows of the image, by offset.
    pub(super) windows: Recent<Rc<[u8]>>,
    /// Decompressed blocks, by offset.
    pub(super) blocks: Recent<Block>,
}

/// The values that were requested last, by offset.
#[derive(Debug)]
pub(super) struct Recent<T>(RefCell<Vec<(u64, T)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

impl<T: Clone> Recent<T> {
    /// Returns the value at `offset`, from the cache or by `read`. An error of `read` is not cached.
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
        // Offset 1 is the least recently requested one.
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
