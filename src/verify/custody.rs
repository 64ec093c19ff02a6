//! Custody: the verified bytes must be the bytes that are used.
//!
//! A file could change between verification and use. So a [`Custody`] takes the bytes first, and its [`Holding`] is
//! what is verified. The type of a holding determines how the bytes are held: a file that is only examined in place
//! ([`Examined`]) cannot be staged.

use super::Candidate;
use super::contents::Held;
use crate::reason::Refusal;
use crate::stamp::Stamp;
use ddi::io::{FileSource, ReadAt};
use ddi::text::Message;
use ddi::{Class, ExtensionName};
use std::convert::Infallible;

/// The bytes that are being verified. `W` is the way in which they are held.
#[derive(Debug)]
pub struct Holding<W> {
    /// The original file or its copy, with the stamp from before its first byte was verified.
    file: Candidate,
    way: W,
    is_copy: bool,
    remark: Option<Message>,
}

/// The bytes are not held, but examined in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined;

impl Holding<Examined> {
    /// Verifies a file in place.
    #[must_use]
    pub fn in_place(candidate: Candidate) -> Self {
        Self::of(candidate, Examined)
    }
}

impl<W> Holding<W> {
    /// Verifies a file in place, and holds it by `way`.
    pub(crate) fn of(candidate: Candidate, way: W) -> Self {
        Self { file: candidate, way, is_copy: false, remark: None }
    }

    /// Verifies a copy of the candidate's file. `stamp` was taken when the copy was complete.
    pub(crate) fn copied(candidate: Candidate, source: FileSource, stamp: Stamp, way: W) -> Self {
        Self { file: candidate.replaced(source, stamp), way, is_copy: true, remark: None }
    }

    /// Adds a warning about the way in which the bytes are held.
    pub(crate) fn with_remark(self, remark: Message) -> Self {
        Self { remark: Some(remark), ..self }
    }

    /// Returns the warning about the way in which the bytes are held.
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

    /// Maps the way in which the bytes are held.
    pub(crate) fn map<M>(self, see: impl FnOnce(W) -> M) -> Holding<M> {
        let Self { file, way, is_copy, remark } = self;
        Holding { file, way: see(way), is_copy, remark }
    }

    /// Converts the way in which the bytes are held.
    ///
    /// # Errors
    /// The unchanged holding if `convert` refuses.
    pub(super) fn converted<M>(self, convert: impl FnOnce(W) -> Result<M, W>) -> Result<Holding<M>, Box<Self>> {
        let Self { file, way, is_copy, remark } = self;
        match convert(way) {
            Ok(way) => Ok(Holding { file, way, is_copy, remark }),
            Err(way) => Err(Box::new(Self { file, way, is_copy, remark })),
        }
    }

    /// Returns the way, the file that was verified, and its stamp.
    pub(crate) fn into_parts(self) -> (W, FileSource, Stamp) {
        let stamp = self.file.stamp();
        (self.way, self.file.into_source(), stamp)
    }
}

impl<W> Held for Holding<W> {
    fn bytes(&self) -> &dyn ReadAt {
        self.source()
    }
}

/// The error of a custody that could not take the bytes.
#[derive(Debug)]
pub struct Shortage {
    /// The bytes in place. They are verified all the same, so that the report names a worse fault if there is one.
    pub(super) holding: Holding<Examined>,
    /// The refusal, if there is no worse fault.
    pub(super) refusal: Refusal,
}

impl Shortage {
    /// Makes the error for `candidate` with its refusal.
    pub(crate) fn new(candidate: Candidate, refusal: Refusal) -> Self {
        Self { holding: Holding::in_place(candidate), refusal }
    }
}

/// A way of preventing changes to verified bytes.
pub trait Custody {
    /// The way in which bytes are held.
    type Way;
    /// The way in which they are held for dm-verity to verify on reading: a mount of the file, which cannot be copied.
    type Mount;

    /// Takes the candidate's bytes.
    ///
    /// # Errors
    /// [`Shortage`] if they cannot be taken.
    fn take(&self, candidate: Candidate) -> Result<Holding<Self::Way>, Box<Shortage>>;

    /// Converts a way that is a mount.
    ///
    /// # Errors
    /// `way` itself if it is not a mount.
    fn only_mount(&self, way: Self::Way) -> Result<Self::Mount, Self::Way>;
}

/// Custody for verification only. Its images cannot be staged.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPlaceCustody;

impl Custody for InPlaceCustody {
    type Way = Examined;
    type Mount = Infallible;

    fn take(&self, candidate: Candidate) -> Result<Holding<Examined>, Box<Shortage>> {
        Ok(Holding::in_place(candidate))
    }

    fn only_mount(&self, way: Examined) -> Result<Infallible, Examined> {
        Err(way)
    }
}
