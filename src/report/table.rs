//! Tables for people, 80 columns where the contents allow it.

use super::Image;
use crate::reason::Reason;
use ddi::text::Message;
use std::collections::BTreeSet;
use std::fmt::{Display, Write};

/// Columns of a console.
pub const WIDTH: usize = 80;
/// Widest column of names, in characters; longer names push what is behind them to the right.
pub const MAX_WIDTH: usize = 60;

/// Whether and how to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
}

impl Style {
    /// `text` in the colour of this escape sequence, where there are colours.
    pub fn paint(self, code: &str, text: &(impl Display + ?Sized)) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

/// Breaks a text between words; a word that is longer than a line has one of its own.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_inclusive(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.trim_end().chars().count() <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// One line for each file, with detail and warnings below it.
#[must_use]
pub fn images(images: &[Image], style: Style) -> String {
    let chars = |image: &Image| image.file.as_str().chars().count();
    let width = images.iter().map(chars).max().unwrap_or(0).clamp(4, MAX_WIDTH);
    let mut out = format!("{:<width$}  {:<8}  {}\n", "FILE", "VERDICT", "SIGNER OR REASON");
    for image in images {
        let colour = match image.is_good() {
            true if image.warnings.is_empty() => "32",
            true => "33",
            false => "31",
        };
        let last = match (&image.reason, image.trusted_signer()) {
            (Some(reason), _) => Message::new(reason),
            (None, Some(signer)) => Message::new(signer),
            (None, None) => Message::default(),
        };
        let verdict = style.paint(colour, &format!("{:<8}", image.verdict));
        let _ = writeln!(out, "{:<width$}  {verdict}  {last}", image.file);
        if let Some(detail) = &image.detail {
            let _ = writeln!(out, "{:width$}  {}", "", style.paint("2", detail));
        }
        for warning in &image.warnings {
            let _ = writeln!(out, "{:width$}  {}", "", style.paint("2", &format!("warning: {warning}")));
        }
    }
    out
}

/// Summary line below a table of verified images.
#[must_use]
pub fn summary(images: &[Image]) -> Message {
    let good = images.iter().filter(|image| image.is_good()).count();
    let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
    summarize(count(good), count(images.len()), "accepted", images.iter().filter_map(Image::reason).collect())
}

pub(super) fn summarize(good: u64, found: u64, verdict: &str, reasons: BTreeSet<Reason>) -> Message {
    let rejected = found.saturating_sub(good);
    let images = if found == 1 { "image" } else { "images" };
    if rejected == 0 {
        return Message::new(format_args!("{good} of {found} {images} {verdict}"));
    }
    let reasons: Vec<_> = reasons.into_iter().map(Reason::token).collect();
    Message::new(format_args!("{good} of {found} {images} {verdict}, {rejected} rejected: {}", reasons.join(", ")))
}
