//! Custody: the bytes that are verified must be the bytes that are used.
//!
//! A file that is verified and then used could be changed in between. So a [`Custody`] takes the bytes first, and its
//! [`Holding`] is what is verified. The type of a holding says how the bytes are held. A file that is only examined where it
//! lies ([`Examined`]) can't be staged.

use super::Candidate;
use super::contents::Held;
use crate::reason::Refusal;
use crate::stamp::Stamp;
use ddi::io::{FileSource, ReadAt};
use ddi::text::Message;
use ddi::{Class, ExtensionName};
use std::convert::Infallible;

/// The bytes that are being verified, and `W`, the way in which they are held.
#[derive(Debug)]
pub struct Holding<W> {
    /// The file that was found, or the copy of it, with the stamp of before its first byte was verified.
    file: Candidate,
    way: W,
    is_copy: bool,
    remark: Option<Message>,
}

/// Nobody holds the bytes: they are examined where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Examined;

impl Holding<Examined> {
    /// Verifies the file where it is.
    #[must_use]
    pub fn in_place(candidate: Candidate) -> Self {
        Self::of(candidate, Examined)
    }
}

impl<W> Holding<W> {
    /// Verifies the file where it is, and holds it in a `way`.
    pub(crate) fn of(candidate: Candidate, way: W) -> Self {
        Self { file: candidate, way, is_copy: false, remark: None }
    }

    /// Verifies a copy of the candidate's file, which had this stamp when it was complete.
    pub(crate) fn copied(candidate: Candidate, source: FileSource, stamp: Stamp, way: W) -> Self {
        Self { file: candidate.replaced(source, stamp), way, is_copy: true, remark: None }
    }

    /// Notes what a person should know about how it is held.
    pub(crate) fn with_remark(self, remark: Message) -> Self {
        Self { remark: Some(remark), ..self }
    }

    /// What a person should know about how it is held.
    #[must_use]
    pub fn remark(&self) -> Option<&Message> {
        self.remark.as_ref()
    }

    /// Makes sure that the file, or the copy of it, has the stamp that it had before it was verified.
    ///
    /// # Errors
    /// [`Reason::Unreadable`](crate::reason::Reason::Unreadable)
    pub fn check_unchanged(&self) -> Result<(), Refusal> {
        self.file.stamp().check(self.source().file())
    }

    /// The extension's name.
    #[must_use]
    pub fn name(&self) -> &ExtensionName {
        self.file.name()
    }

    /// What it extends.
    #[must_use]
    pub fn class(&self) -> Class {
        self.file.class()
    }

    /// The bytes.
    #[must_use]
    pub fn source(&self) -> &FileSource {
        self.file.source()
    }

    /// Whether they are a copy of our own.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// The same, with its way seen as another.
    pub(crate) fn map<M>(self, see: impl FnOnce(W) -> M) -> Holding<M> {
        let Self { file, way, is_copy, remark } = self;
        Holding { file, way: see(way), is_copy, remark }
    }

    /// Holds it in another way.
    ///
    /// # Errors
    /// The holding as it was, where the way can't be changed.
    pub(super) fn converted<M>(self, convert: impl FnOnce(W) -> Result<M, W>) -> Result<Holding<M>, Box<Self>> {
        let Self { file, way, is_copy, remark } = self;
        match convert(way) {
            Ok(way) => Ok(Holding { file, way, is_copy, remark }),
            Err(way) => Err(Box::new(Self { file, way, is_copy, remark })),
        }
    }

    /// How it is held, the file that was verified, and the stamp that it had then.
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

/// Nobody could take the bytes.
#[derive(Debug)]
pub struct Shortage {
    /// They are examined all the same: an image with a worse fault deserves to be told so.
    pub(super) holding: Holding<Examined>,
    /// Why.
    pub(super) refusal: Refusal,
}

impl Shortage {
    /// `candidate` can't be taken, for this reason.
    pub(crate) fn new(candidate: Candidate, refusal: Refusal) -> Self {
        Self { holding: Holding::in_place(candidate), refusal }
    }
}

/// Makes sure that what is verified can't be changed by others.
pub trait Custody {
    /// How bytes are held.
    type Way;
    /// How they are held where dm-verity verifies data when it is read: by a mount of their file, so that nothing can be copied.
    type Mount;

    /// Takes the candidate's bytes.
    ///
    /// # Errors
    /// [`Shortage`]: why they can't be taken.
    fn take(&self, candidate: Candidate) -> Result<Holding<Self::Way>, Box<Shortage>>;

    /// Converts what is held by a mount.
    ///
    /// # Errors
    /// `way` itself, if it is another.
    fn only_mount(&self, way: Self::Way) -> Result<Self::Mount, Self::Way>;
}

/// For verifying without staging.
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
