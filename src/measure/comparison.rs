//! Compares predicted events with those of an event log.

use super::bank::Values;
use super::event_log::{Entry, EventLog};
use super::place::{PLACES, Place};
use super::{KERNEL_CONFIG, SYSEXTS};
use ddi::text::Text;
use serde::Serialize;

/// An event that was predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Directory of a [`Place`].
    pub directory: &'static str,
    /// Digests in the banks in which it was predicted.
    pub digests: Values,
}

/// Result of comparing one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchedState {
    /// It was predicted and is in the log.
    AsPredicted,
    /// It has other digests than predicted.
    Differs,
    /// It was predicted and is not in the log.
    NotLogged,
    /// It is in the log and was not predicted.
    NotPredicted,
    /// Log and prediction have no bank in common.
    NotComparable,
}

/// An event that was predicted, is in the log, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// 12 or 13.
    pub pcr: u32,
    /// Directory in the initrd, without a leading slash; `None` for an event of PCR 13 that is not about extensions.
    pub directory: Option<&'static str>,
    /// Description in the log.
    pub description: Option<Text>,
    /// Result.
    pub state: MatchedState,
    /// Predicted digests.
    pub predicted: Option<Values>,
    /// Digests in the log.
    pub logged: Option<Values>,
}

impl Matched {
    /// Returns a sentence about an event that is not as predicted.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let what = match (self.directory, &self.description) {
            (Some(directory), _) => format!("/{directory}"),
            (None, Some(description)) => format!("an event \"{description}\" in PCR {}", self.pcr),
            (None, None) => format!("an event without description in PCR {}", self.pcr),
        };
        Some(match self.state {
            MatchedState::AsPredicted => return None,
            MatchedState::Differs => format!("{what} was measured with other files"),
            MatchedState::NotLogged => format!("{what} was not measured"),
            MatchedState::NotPredicted => format!("{what} was measured and is not predicted"),
            MatchedState::NotComparable => format!("{what} was measured in other banks than predicted"),
        })
    }
}

/// Compares all events of extensions, in the order of [`PLACES`], and lists every other event of PCR 13. Other events of PCR 12
/// are those of the command line, credentials and more.
#[must_use]
pub fn compare(expected: &[Expected], log: &EventLog) -> Vec<Matched> {
    let mut all = Vec::new();
    for place in &PLACES {
        let is_it = |entry: &&Entry| describes(place, entry);
        let mut logged = log.of(place.pcr()).filter(is_it);
        let predicted = expected.iter().find(|event| event.directory == place.directory);
        if let Some(predicted) = predicted {
            all.push(matched(place, Some(&predicted.digests), logged.next()));
        }
        all.extend(logged.map(|entry| matched(place, None, Some(entry))));
    }
    let is_other = |entry: &&Entry| !PLACES.iter().any(|place| describes(place, entry));
    all.extend(log.of(SYSEXTS).filter(is_other).map(|entry| Matched {
        pcr: SYSEXTS,
        directory: None,
        description: entry.description.clone(),
        state: MatchedState::NotPredicted,
        predicted: None,
        logged: Some(entry.digests.clone()),
    }));
    debug_assert!(all.iter().all(|it| [SYSEXTS, KERNEL_CONFIG].contains(&it.pcr)));
    all
}

fn describes(place: &Place, entry: &Entry) -> bool {
    entry.pcr == place.pcr() && entry.description.as_ref().is_some_and(|text| *text == *place.description)
}

fn matched(place: &Place, predicted: Option<&Values>, logged: Option<&Entry>) -> Matched {
    let state = match (predicted, logged) {
        (Some(predicted), Some(logged)) => match predicted.agrees(&logged.digests) {
            Some(true) => MatchedState::AsPredicted,
            Some(false) => MatchedState::Differs,
            None => MatchedState::NotComparable,
        },
        (Some(_), None) => MatchedState::NotLogged,
        (None, _) => MatchedState::NotPredicted,
    };
    Matched {
        pcr: place.pcr(),
        directory: Some(place.directory),
        description: logged.and_then(|entry| entry.description.clone()),
        state,
        predicted: predicted.cloned(),
        logged: logged.map(|entry| entry.digests.clone()),
    }
}
