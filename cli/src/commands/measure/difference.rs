//! Looks for the files that make the difference between prediction and measurement.

use super::{Opened, Prediction, measure_chosen};
use crate::esp;
use crate::measure::{Place, Values, pcr_13};
use anyhow::Result;
use ddi::io::ReadAt;
use ddi::text::Text;
use std::rc::Rc;

/// Bytes that are measured at most.
const MOST_BYTES: u64 = 64 << 30;
/// Sets of files that are tried at most.
const MOST_ATTEMPTS: usize = 4096;
/// Files that differ at most.
const MOST_CHANGES: usize = 3;

/// What was measured.
pub(super) enum Target<'t> {
    /// Value of PCR 13.
    Pcr13(&'t Values),
    /// Digests of the event of a place; `None` if there is no event.
    Place(&'t Place, Option<&'t Values>),
}

impl Target<'_> {
    fn includes(&self, place: &Place) -> bool {
        match self {
            Self::Pcr13(_) => place.pcr() == sextant::measure::SYSEXTS,
            // Not the whole place: which files an old systemd-stub puts there is no matter of the log.
            Self::Place(wanted, _) => wanted.directory == place.directory,
        }
    }
}

/// A file that was measured and isn't there, or the other way round.
#[derive(Clone, Copy)]
struct Change<'p> {
    file: &'p Opened,
    is_added: bool,
}

/// A search for sets of files, with a bound on the work.
pub(super) struct Search<'p> {
    prediction: &'p Prediction,
    bytes_left: u64,
    attempts_left: usize,
}

type Files<'p> = Vec<(&'static Place, Vec<&'p Opened>)>;

impl<'p> Search<'p> {
    pub(super) fn new(prediction: &'p Prediction) -> Self {
        Self { prediction, bytes_left: MOST_BYTES, attempts_left: MOST_ATTEMPTS }
    }

    /// Returns the smallest difference that explains what was measured, as a part of a sentence; `None` if none was found.
    pub(super) fn find(&mut self, target: &Target<'_>) -> Result<Option<Text>> {
        let places: Vec<_> =
            self.prediction.places.iter().filter(|(place, _)| target.includes(place)).cloned().collect();
        let without: Files<'p> = places.iter().map(|(place, _)| (*place, Vec::new())).collect();
        if self.explains(target, without)? == Some(true) {
            return Ok(Some(match target {
                Target::Pcr13(_) => Text::new("no extension was measured at all"),
                Target::Place(place, _) => Text::new(format_args!("no file of /{} was measured", place.directory)),
            }));
        }
        let all = |place: &'static Place| self.files(place, &[]);
        let beside =
            places.iter().map(|(place, _)| (*place, if place.global.is_some() { Vec::new() } else { all(place) }));
        let beside: Files<'p> = beside.collect();
        if matches!(target, Target::Pcr13(_)) && self.explains(target, beside)? == Some(true) {
            return Ok(Some(Text::new(format_args!("those in {} were not measured", esp::GLOBAL))));
        }
        let changes = self.changes(&places);
        for count in 1..=MOST_CHANGES.min(changes.len()) {
            let mut chosen: Vec<usize> = (0..count).collect();
            loop {
                let attempt: Vec<Change<'p>> = chosen.iter().filter_map(|index| changes.get(*index)).copied().collect();
                let files = places.iter().map(|(place, _)| (*place, self.files(place, &attempt))).collect();
                match self.explains(target, files)? {
                    Some(true) => return Ok(Some(sentence(&attempt))),
                    Some(false) => {}
                    None => return Ok(None),
                }
                if !next(&mut chosen, changes.len()) {
                    break;
                }
            }
        }
        Ok(None)
    }

    /// All changes to the files of some places. A file that is in several of them is there once.
    fn changes(&self, places: &[(&'static Place, Rc<[Opened]>)]) -> Vec<Change<'p>> {
        let mut changes: Vec<Change<'p>> = Vec::new();
        let mut add = |file: &'p Opened, is_added| {
            let is_of_place = |(place, _): &(&Place, _)| place.takes(&file.name);
            if places.iter().any(is_of_place) && !changes.iter().any(|known| std::ptr::eq(known.file, file)) {
                changes.push(Change { file, is_added });
            }
        };
        let included = |place: &Place| places.iter().any(|(wanted, _)| *wanted == place);
        for (_, files) in self.prediction.places.iter().filter(|(place, _)| included(place)) {
            files.iter().for_each(|file| add(file, false));
        }
        self.prediction.candidates.iter().for_each(|file| add(file, true));
        changes
    }

    /// The files of a place after `changes`. Files are added to the first place of their class that is beside the UKI.
    fn files(&self, place: &'static Place, changes: &[Change<'p>]) -> Vec<&'p Opened> {
        let of_place = self.prediction.places.iter().find(|(it, _)| *it == place);
        let is_gone = |file: &Opened| changes.iter().any(|it| !it.is_added && std::ptr::eq(it.file, file));
        let files = of_place.into_iter().flat_map(|(_, files)| files.iter()).filter(|file| !is_gone(file));
        let added = changes.iter().filter(|it| it.is_added && place.global.is_none()).map(|it| it.file);
        files.chain(added).collect()
    }

    /// Measures `files`; `None` once the bound is reached.
    fn explains(&mut self, target: &Target<'_>, files: Files<'p>) -> Result<Option<bool>> {
        let is_possible = files.iter().all(|(_, files)| are_distinct(files));
        if !is_possible {
            return Ok(Some(false));
        }
        let len = |files: &Vec<&Opened>| files.iter().map(|file| file.source.len()).fold(0, u64::saturating_add);
        let bytes = files.iter().map(|(_, files)| len(files)).fold(0, u64::saturating_add);
        let left = (self.bytes_left.checked_sub(bytes), self.attempts_left.checked_sub(1));
        let (Some(bytes_left), Some(attempts_left)) = left else { return Ok(None) };
        (self.bytes_left, self.attempts_left) = (bytes_left, attempts_left);
        let events = measure_chosen(files.into_iter())?;
        Ok(Some(match target {
            Target::Pcr13(tpm) => Values::from(&pcr_13(&events)?).lead_to(tpm) == Some(true),
            Target::Place(_, logged) => match (events.first(), logged) {
                (None, None) => true,
                (Some(event), Some(logged)) => Values::from(&event.digests).agrees(logged) == Some(true),
                _ => false,
            },
        }))
    }
}

/// Whether no two files have one name. FAT knows no case.
fn are_distinct(files: &[&Opened]) -> bool {
    let mut names: Vec<String> = files.iter().map(|file| file.name.to_ascii_lowercase()).collect();
    names.sort();
    names.windows(2).all(|pair| pair.first() != pair.last())
}

/// Moves on to the next combination of ascending numbers below `end`, in lexical order.
fn next(chosen: &mut [usize], end: usize) -> bool {
    let len = chosen.len();
    for place in (0..len).rev() {
        let is_movable = |number: usize| number.saturating_add(len).saturating_sub(place) < end;
        if chosen.get(place).copied().is_some_and(is_movable) {
            let first = chosen.get(place).copied().unwrap_or(0).saturating_add(1);
            for (number, value) in chosen.iter_mut().skip(place).enumerate() {
                *value = first.saturating_add(number);
            }
            return true;
        }
    }
    false
}

fn sentence(changes: &[Change<'_>]) -> Text {
    let list = |is_added: bool| -> Vec<String> {
        let chosen = changes.iter().filter(|it| it.is_added == is_added).map(|it| it.file);
        chosen.map(|file| format!("{}{}", Text::new(&file.name), file.note)).collect()
    };
    let was = |files: &[String]| if files.len() == 1 { "was" } else { "were" };
    let (added, gone) = (list(true), list(false));
    let (with, without) = (added.join(" and "), gone.join(" and "));
    match (added.is_empty(), gone.is_empty()) {
        (false, true) => Text::new(format_args!("{with} {} measured too", was(&added))),
        (true, _) => Text::new(format_args!("{without} {} not measured", was(&gone))),
        (false, false) => Text::new(format_args!("{with} {} measured, and {without} {} not", was(&added), was(&gone))),
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn all_combinations_are_visited_once() {
        let mut chosen = vec![0, 1];
        let mut all = vec![chosen.clone()];
        while next(&mut chosen, 4) {
            all.push(chosen.clone());
        }
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert!(!next(&mut [0, 1], 2));
    }
}
