//! Bounds on the size of the report, so that junk beside an image cannot make it grow.

use super::schema::{Image, Omitted, Report};
use super::word::{Vocabulary, Word};
use crate::reason::Reason;
use ddi::text::{Message, Text};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

/// Largest report that is written, in bytes.
pub const MAX_LEN: usize = 4 << 20;
/// Most rows of rejected files.
pub const REJECTED_ROWS: usize = 1000;
/// Most bytes that the rows of rejected files take together, without indentation.
const REJECTED_BYTES: usize = 3 << 19;
/// Most rows of trust anchors, and of ignored certificates.
pub const CERTIFICATE_ROWS: usize = 500;
/// Most bytes that either of these takes, without indentation.
const CERTIFICATE_BYTES: usize = 1 << 18;
/// Most names in each list of [`super::Merge`].
pub const MERGE_NAMES: usize = 500;
/// Most rows of each table of [`super::Merge`].
pub const MERGE_ROWS: usize = 200;
/// Most warnings of one image.
const WARNINGS: usize = 8;
/// Most bytes of all warnings of one image.
const WARNING_BYTES: usize = 2 * Message::LIMIT;

impl Report {
    /// Adds a row, unless it is one of too many that tell of rejected files: those are counted by reason. Returns the row
    /// if there is one.
    pub fn add(&mut self, image: Image) -> Option<&Image> {
        if !image.is_good() {
            // Once a row was left out none follows: those that are there are the first.
            let is_full = self.rejected.0 >= REJECTED_ROWS || self.omitted.as_ref().is_some_and(|it| it.total > 0);
            let bytes = if is_full { 0 } else { self.rejected.1.saturating_add(len(&image)) };
            if is_full || bytes > REJECTED_BYTES {
                self.omit(&image);
                return None;
            }
            self.rejected = (self.rejected.0.saturating_add(1), bytes);
        }
        self.images.push(image);
        self.images.last()
    }

    fn omit(&mut self, image: &Image) {
        let omitted = self.omitted.get_or_insert_default();
        omitted.total = omitted.total.saturating_add(1);
        let reason = image.reason.as_ref().map_or("unknown", Word::as_str);
        let count = omitted.by_reason.entry(Text::new(reason)).or_default();
        *count = count.saturating_add(1);
    }

    /// Files that were rejected for `reason`, with and without a row.
    #[must_use]
    pub fn rejected_for(&self, reason: Reason) -> u64 {
        let rows = self.images.iter().filter(|image| image.reason() == Some(reason)).count();
        let omitted = self.omitted.as_ref().and_then(|omitted| omitted.by_reason.get(&Text::new(reason)));
        count(rows).saturating_add(omitted.copied().unwrap_or_default())
    }

    /// All files that were found, with and without a row.
    #[must_use]
    pub fn found(&self) -> u64 {
        count(self.images.len()).saturating_add(self.omitted.as_ref().map_or(0, |omitted| omitted.total))
    }

    /// All trust anchors, with and without a row.
    #[must_use]
    pub fn anchors(&self) -> u64 {
        count(self.trust.len()).saturating_add(self.omitted.as_ref().map_or(0, |omitted| omitted.trust))
    }

    pub(super) fn bound_certificates(&mut self) {
        let trust = cut(&mut self.trust);
        let ignored = cut(&mut self.ignored_certificates);
        if trust > 0 || ignored > 0 {
            let omitted = self.omitted.get_or_insert_default();
            (omitted.trust, omitted.ignored_certificates) = (trust, ignored);
        }
    }

    /// The report as text, never longer than [`MAX_LEN`]: what is longer all the same, such as one with long members that
    /// this version doesn't know, loses the rows of rejected files, then those members.
    ///
    /// # Errors
    /// Where it can't be encoded.
    pub(super) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let encode = |report: &Self| -> serde_json::Result<Vec<u8>> {
            let mut text = serde_json::to_vec_pretty(report)?;
            text.push(b'\n');
            Ok(text)
        };
        let text = encode(self)?;
        if text.len() <= MAX_LEN {
            return Ok(text);
        }
        let mut smaller = self.clone();
        smaller.rest.clear();
        let (kept, rejected): (Vec<_>, Vec<_>) = smaller.images.drain(..).partition(Image::is_staged);
        smaller.images = kept;
        for image in &rejected {
            smaller.omit(image);
        }
        for image in &mut smaller.images {
            image.rest.clear();
        }
        let text = encode(&smaller)?;
        if text.len() <= MAX_LEN {
            return Ok(text);
        }
        Err(serde::ser::Error::custom(format_args!("it has {} bytes; the limit is {MAX_LEN}", text.len())))
    }

    /// Summary line: how many images were staged, and the reasons for the rejected ones.
    #[must_use]
    pub fn summary(&self) -> Message {
        let good = self.images.iter().filter(|image| image.is_good()).count();
        let mut reasons: BTreeSet<Reason> = self.images.iter().filter_map(Image::reason).collect();
        let omitted = self.omitted.iter().flat_map(|omitted| omitted.by_reason.keys());
        reasons.extend(omitted.filter_map(|token| Reason::ALL.iter().find(|reason| *token == reason.word())));
        super::table::summarize(count(good), self.found(), "staged", reasons)
    }
}

impl Image {
    /// Adds a warning, unless there are so many that the row would become long.
    pub fn warn(&mut self, warning: Message) {
        let bytes: usize = self.warnings.iter().map(|warning| warning.as_str().len()).sum();
        if self.warnings.len() + 1 < WARNINGS && bytes + warning.as_str().len() <= WARNING_BYTES {
            self.warnings.push(warning);
        } else if self.warnings.len() < WARNINGS {
            self.warnings.push("there are more warnings".into());
        }
    }

    /// Whether it was staged, whatever became of it afterwards.
    fn is_staged(&self) -> bool {
        self.is_good() || self.verdict == super::Verdict::Withdrawn
    }
}

/// `61,000 more rejected: bad-name 60,998, bad-gpt 2`
impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} more rejected", grouped(self.total))?;
        let mut reasons: Vec<_> = self.by_reason.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (index, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{}{reason} {}", if index == 0 { ": " } else { ", " }, grouped(*count))?;
        }
        Ok(())
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        let _ = out.write_char(digit);
    }
    out
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Bytes of a row.
fn len(row: &impl Serialize) -> usize {
    serde_json::to_vec(row).map_or(0, |text| text.len())
}

/// Cuts a list of certificates to its bounds, and returns how many rows that cost.
fn cut<T: Serialize>(rows: &mut Vec<T>) -> u64 {
    let mut bytes = 0_usize;
    let fits = |row: &&T| {
        bytes = bytes.saturating_add(len(row));
        bytes <= CERTIFICATE_BYTES
    };
    let kept = rows.iter().take(CERTIFICATE_ROWS).take_while(fits).count();
    let omitted = rows.len() - kept;
    rows.truncate(kept);
    count(omitted)
}
