//! When things happened, on the clock of the boot ([`crate::clock`]).

use super::word::{Vocabulary, Word};
use crate::clock::{Span, now};
use crate::verify::{Phase, Phases};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most phases of an image, and most runs, that are kept: more than are ever written.
pub(super) const MOST: usize = 16;

/// A command of the agent that has a part in the merge of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `sextant-agent stage`
    Stage,
    /// `sextant-agent adopt`
    Adopt,
    /// `sextant-agent merge`
    Merge,
    /// `sextant-agent confirm`
    Confirm,
}

impl Vocabulary for Verb {
    const ALL: &'static [Self] = &[Self::Stage, Self::Adopt, Self::Merge, Self::Confirm];

    fn word(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Adopt => "adopt",
            Self::Merge => "merge",
            Self::Confirm => "confirm",
        }
    }
}

impl Vocabulary for Phase {
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

/// A run of the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// `stage`, `adopt`, `merge` or `confirm`.
    pub command: Word<Verb>,
    /// When it began, in microseconds.
    pub begin_usec: u64,
    /// When it wrote the report for the last time, in microseconds; `null` if it was stopped before that.
    pub end_usec: Option<u64>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Run {
    /// A run that begins now.
    #[must_use]
    pub fn begin(command: Verb) -> Self {
        Self { command: command.into(), begin_usec: now(), end_usec: None, rest: Map::new() }
    }

    /// The same run, which is over.
    #[must_use]
    pub fn ended(self) -> Self {
        Self { end_usec: Some(now().max(self.begin_usec)), ..self }
    }
}

/// A part of the way of an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PhaseTime {
    /// `read`, `hash`, `activate` or `stage`.
    pub phase: Word<Phase>,
    /// When it began, in microseconds.
    pub begin_usec: u64,
    /// When it ended, in microseconds.
    pub end_usec: u64,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl PhaseTime {
    /// The rows about these phases.
    pub(super) fn rows(phases: &Phases) -> Vec<Self> {
        let row = |(phase, Span { begin, end }): (Phase, Span)| Self {
            phase: phase.into(),
            begin_usec: begin,
            end_usec: end,
            rest: Map::new(),
        };
        phases.iter().take(MOST).map(row).collect()
    }
}
