//! Meaning and remedy of each reason.
//!
//! The only source is `docs/reasons.md`: the journal, `sextant explain` and sextant-reasons(7) quote it.

use crate::reason::Reason;

const PAGE: &str = include_str!("../docs/reasons.md");

/// The manual page with all reasons, in the form of `DOCUMENTATION=` of a journal entry (systemd.journal-fields(7)).
pub const MANUAL: &str = "man:sextant-reasons(7)";

/// The row of one reason in `docs/reasons.md`, as plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The rule that was broken, and its purpose.
    pub meaning: String,
    /// Actions for the operator of a machine or the maker of the image.
    pub remedy: String,
}

impl Explanation {
    /// Returns the explanation of `reason`. A test ensures that every reason has a row.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        let row = PAGE.lines().find_map(|line| {
            line.strip_prefix("| `")?.strip_prefix(reason.token())?.strip_prefix("` | ")?.trim_end().strip_suffix(" |")
        });
        let (meaning, remedy) = row.and_then(|row| row.split_once(" | ")).unwrap_or_default();
        Self { meaning: plain(meaning), remedy: plain(remedy) }
    }

    /// Returns the first sentence of the meaning.
    #[must_use]
    pub fn summary(&self) -> &str {
        let end = self.meaning.find(". ").and_then(|end| end.checked_add(1)).unwrap_or(self.meaning.len());
        self.meaning.get(..end).unwrap_or(&self.meaning)
    }
}

/// Removes the markup from a table cell: code, emphasis, and links, whose text is kept.
fn plain(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut is_code = false;
    let mut rest = cell;
    while let Some(character) = rest.chars().next() {
        let mut next = rest.get(character.len_utf8()..).unwrap_or_default();
        match character {
            '`' => is_code = !is_code,
            '*' | '[' if !is_code => {}
            ']' if !is_code && next.starts_with('(') => {
                next = next.split_once(')').map_or("", |(_, behind)| behind);
            }
            _ => out.push(character),
        }
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_and_a_remedy_without_marks() {
        for &reason in Reason::ALL {
            let explanation = Explanation::of(reason);
            for text in [&explanation.meaning, &explanation.remedy] {
                assert!(text.ends_with('.') || text.ends_with(')'), "{reason}: {text:?}");
                assert!(!text.contains("](") && !text.contains(" | "), "{reason}: {text}");
            }
            assert!(explanation.summary().len() <= explanation.meaning.len() && explanation.summary().ends_with('.'));
        }
    }

    #[test]
    fn marks_go_and_what_they_mark_stays() {
        let cell = "the *copy* of `*.raw`, see [the page](page.md#a-b) and [x]";
        assert_eq!(plain(cell), "the copy of *.raw, see the page and x]");
        assert_eq!(plain("`,:\\'\"`"), ",:\\'\"");
    }
}
