//! Words of the report that belong to a fixed vocabulary.

use crate::firmware::SecureBoot;
use crate::policy::Verify;
use crate::reason::Reason;
use crate::trust::Source;
use ddi::text::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A fixed set of words.
pub trait Vocabulary: Copy + PartialEq + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The word that reports use for it.
    fn word(self) -> &'static str;
}

/// A word of a vocabulary, or one that another version of sextant wrote and this one doesn't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word<T> {
    /// A word that this version knows.
    Known(T),
    /// Any other; it is kept as it is.
    Other(Text),
}

impl<T: Vocabulary> Word<T> {
    /// The value, if this version knows the word.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Other(_) => None,
        }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.word(),
            Self::Other(text) => text.as_str(),
        }
    }
}

impl<T> From<T> for Word<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: PartialEq> PartialEq<T> for Word<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(value) if value == other)
    }
}

impl<T: Vocabulary> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Vocabulary> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Vocabulary> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let known = T::ALL.iter().copied().find(|value| text == value.word());
        Ok(known.map_or(Self::Other(text), Self::Known))
    }
}

impl Vocabulary for Reason {
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.token()
    }
}

impl Vocabulary for Verify {
    const ALL: &'static [Self] = &[Self::Full, Self::OnRead];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Vocabulary for SecureBoot {
    const ALL: &'static [Self] = &[Self::Enforcing, Self::SetupMode, Self::Disabled, Self::Unavailable];

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Vocabulary for Source {
    const ALL: &'static [Self] = &[Self::Pk, Self::Kek, Self::Db, Self::Sealed, Self::File];

    fn word(self) -> &'static str {
        self.as_str()
    }
}
