//! Custody: the verified bytes must be the bytes that are used.
//!
//! A file could change between verification and use. So a [`Custody`] takes the bytes first, and its [`HeldImage`] is
//! what is verified. The type of a held image determines how the bytes are held: a file that is only examined in place
//! ([`Examined`]) cannot be staged.

use super::Candidate;
use super::contents::Held;
use crate::reason::Refusal;
use crate::stamp::Stamp;
use ddi::io::{FileSource, ReadAt};
use ddi::text::Message;
use ddi::{Class, ExtensionName};
use std::convert::Infallible;

/// The bytes that are being verified. `B` is the backing, the way in which they are held.
#[derive(Debug)]
pub struct HeldImage<B> {
    /// The original file or its copy, with the stamp from before its first byte was verified.
    file: Candidate,
    backing: B,
    is_copy: bool,
    remark: Option<Message>,
}

/// The bytes are not held, but examined in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined;

impl HeldImage<Examined> {
    /// Verifies a file in place.
    #[must_use]
    pub fn in_place(candidate: Candidate) -> Self {
        Self::of(candidate, Examined)
    }
}

impl<B> HeldImage<B> {
    /// Verifies a file in place, and holds it by `backing`.
    pub(crate) fn of(candidate: Candidate, backing: B) -> Self {
        Self { file: candidate, backing, is_copy: false, remark: None }
    }

    /// Verifies a copy of the candidate's file. `stamp` was taken when the copy was complete.
    pub(crate) fn copied(candidate: Candidate, source: FileSource, stamp: Stamp, backing: B) -> Self {
        Self { file: candidate.replaced(source, stamp), backing, is_copy: true, remark: None }
    }

    /// Adds a warning about the backing.
    pub(crate) fn with_remark(self, remark: Message) -> Self {
        Self { remark: Some(remark), ..self }
    }

    /// Returns the warning about the backing.
    #[must_use]
    pub fn remark(&self) -> Option<&Message> {
        self.remark.as_ref()
    }

    /// Checks that the original file or its copy still has the stamp from before verification.
    ///
    /// # Errors
    /// [`Reason::Unreadable`](crate::reason::Reason::Unreadable) if the stamp differs or cannot be taken.
    pub fn check_unchanged(&self) -> Result<(), Refusal> {
        self.file.stamp().check(self.source().file())
    }

    /// Returns the extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        self.file.name()
    }

    /// Returns the class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.file.class()
    }

    /// Returns the bytes.
    #[must_use]
    pub fn source(&self) -> &FileSource {
        self.file.source()
    }

    /// Returns whether the bytes are a private copy.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// Maps the backing.
    pub(crate) fn map<M>(self, see: impl FnOnce(B) -> M) -> HeldImage<M> {
        let Self { file, backing, is_copy, remark } = self;
        HeldImage { file, backing: see(backing), is_copy, remark }
    }

    /// Converts the backing.
    ///
    /// # Errors
    /// The unchanged image if `convert` refuses.
    pub(super) fn converted<M>(self, convert: impl FnOnce(B) -> Result<M, B>) -> Result<HeldImage<M>, Box<Self>> {
        let Self { file, backing, is_copy, remark } = self;
        match convert(backing) {
            Ok(backing) => Ok(HeldImage { file, backing, is_copy, remark }),
            Err(backing) => Err(Box::new(Self { file, backing, is_copy, remark })),
        }
    }

    /// Returns the backing, the file that was verified, and its stamp.
    pub(crate) fn into_parts(self) -> (B, FileSource, Stamp) {
        let stamp = self.file.stamp();
        (self.backing, self.file.into_source(), stamp)
    }
}

impl<B> Held for HeldImage<B> {
    fn bytes(&self) -> &dyn ReadAt {
        self.source()
    }
}

/// The error of a custody that could not take the bytes.
#[derive(Debug)]
pub struct Shortage {
    /// The bytes in place. They are verified all the same, so that the report names a worse fault if there is one.
    pub(super) holding: HeldImage<Examined>,
    /// The refusal, if there is no worse fault.
    pub(super) refusal: Refusal,
}

impl Shortage {
    /// Makes the error for `candidate` with its refusal.
    pub(crate) fn new(candidate: Candidate, refusal: Refusal) -> Self {
        Self { holding: HeldImage::in_place(candidate), refusal }
    }
}

/// A way of preventing changes to verified bytes.
pub trait Custody {
    /// The backing: the way in which bytes are held.
    type Backing;
    /// The backing for dm-verity to verify on reading: a mount of the file, which cannot be copied.
    type Mount;

    /// Takes the candidate's bytes.
    ///
    /// # Errors
    /// [`Shortage`] if they cannot be taken.
    fn take(&self, candidate: Candidate) -> Result<HeldImage<Self::Backing>, Box<Shortage>>;

    /// Converts a backing that is a mount.
    ///
    /// # Errors
    /// `backing` itself if it is not a mount.
    fn only_mount(&self, backing: Self::Backing) -> Result<Self::Mount, Self::Backing>;
}

/// Custody for verification only. Its images cannot be staged.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPlaceCustody;

impl Custody for InPlaceCustody {
    type Backing = Examined;
    type Mount = Infallible;

    fn take(&self, candidate: Candidate) -> Result<HeldImage<Examined>, Box<Shortage>> {
        Ok(HeldImage::in_place(candidate))
    }

    fn only_mount(&self, backing: Examined) -> Result<Infallible, Examined> {
        Err(backing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_holding_says_how_its_bytes_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let [original, copy] = ["a.sysext.raw", "copy"].map(|name| dir.path().join(name));
        fs::write(&original, "1234").unwrap();
        fs::write(&copy, "5678").unwrap();
        let open = || Candidate::open(&original, Class::Sysext).unwrap();
        let in_place = HeldImage::in_place(open());
        assert!(!in_place.is_copy() && in_place.remark().is_none());
        assert_eq!(in_place.check_unchanged(), Ok(()));
        let remarked = in_place.with_remark("a remark".into());
        assert_eq!(remarked.remark().unwrap(), "a remark");
        fs::write(&original, "123").unwrap();
        assert!(remarked.check_unchanged().is_err(), "a write is noticed");

        let file = fs::File::open(&copy).unwrap();
        let stamp = Stamp::of(&file).unwrap();
        let copied = HeldImage::copied(open(), FileSource::new(file).unwrap(), stamp, Examined);
        assert!(copied.is_copy());
        assert_eq!((copied.name().as_str(), copied.class()), ("a", Class::Sysext));
        assert_eq!(copied.check_unchanged(), Ok(()), "it is the copy that counts");
        let mut bytes = [0; 4];
        copied.bytes().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"5678");
        let (way, _, found) = copied.into_parts();
        assert_eq!((way, found), (Examined, stamp));
    }
}
