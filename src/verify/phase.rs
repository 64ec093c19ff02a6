//! What the time of a verification went into. It is told to people, and nothing depends on it.

use crate::clock::{Span, now};

/// A part of the way of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its partition table and signature were read and judged, and its bytes taken into custody: copied where they have to be.
    Read,
    /// Its contents were read and hashed, and its file system looked into.
    Hash,
    /// The kernel activated it on trial.
    Activate,
    /// It was put where systemd finds it.
    Stage,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: &'static [Self] = &[Self::Read, Self::Hash, Self::Activate, Self::Stage];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Hash => "hash",
            Self::Activate => "activate",
            Self::Stage => "stage",
        }
    }
}

/// When an image went through which phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phases(Vec<(Phase, Span)>);

impl Phases {
    /// Does `work`, and notes when that was, however it ended.
    pub fn measure<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let begin = now();
        let result = work();
        self.0.push((phase, Span::since(begin)));
        result
    }

    /// The phases in the order in which they ended.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Span)> + '_ {
        self.0.iter().copied()
    }
}
