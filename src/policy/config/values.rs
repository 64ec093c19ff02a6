//! Values of the configuration as people write them.

use crate::policy::HierarchyList;
use crate::size::{SizeError, parse_size};
use crate::trust::Source;
use ddi::verity::RootHash;
use serde::Deserialize;
use serde::de::{self, Deserializer};

#[derive(Debug)]
pub(super) struct SourceName(pub(super) Source);

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Source::CONFIGURABLE
            .into_iter()
            .find(|source| source.as_str() == text)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not one of PK, KEK, db, sealed")))
    }
}

#[derive(Debug)]
pub(super) struct RootHashText(pub(super) RootHash);

impl<'de> Deserialize<'de> for RootHashText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RootHash::from_hex(&text.to_ascii_lowercase()).map(Self).map_err(de::Error::custom)
    }
}

#[derive(Debug)]
pub(super) struct Paths(pub(super) HierarchyList);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HierarchyList::new(Vec::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

/// A number of bytes, as an integer or in the form of [`parse_size`].
#[derive(Debug)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        match NumberOrText::deserialize(deserializer).map_err(|_| de::Error::custom(SizeError))? {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => parse_size(&text).map(Self).map_err(de::Error::custom),
        }
    }
}
