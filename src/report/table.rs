//! Tables for people, 80 columns where the contents allow it.

use super::Image;
use crate::reason::Reason;
use std::fmt::Write;

/// Whether and how to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
}

impl Style {
    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One line a file, with reason and detail below what was rejected.
#[must_use]
pub fn images(images: &[Image], style: Style) -> String {
    let width = images.iter().map(|image| image.file.chars().count()).max().unwrap_or(0).max(4);
    let mut out = format!("{:<width$}  {:<8}  {}\n", "FILE", "VERDICT", "SIGNER OR REASON");
    for image in images {
        let (word, colour) = match image.is_good() {
            true if image.warnings.is_empty() => (verdict(image), "32"),
            true => (verdict(image), "33"),
            false => (verdict(image), "31"),
        };
        let last = match (&image.reason, &image.signer) {
            (Some(reason), _) => reason.token().to_owned(),
            (None, Some(signer)) => format!("{} ({})", signer.subject, signer.source),
            (None, None) => String::new(),
        };
        let padding = " ".repeat(width.saturating_sub(image.file.chars().count()));
        let verdict = style.paint(colour, &format!("{word:<8}"));
        let _ = writeln!(out, "{}{padding}  {verdict}  {last}", image.file);
        for line in image.detail.iter().cloned().chain(image.warnings.iter().map(|text| format!("warning: {text}"))) {
            let _ = writeln!(out, "{:width$}  {}", "", style.paint("2", &line));
        }
    }
    out
}

fn verdict(image: &Image) -> &'static str {
    match image.verdict {
        super::Verdict::Staged => "staged",
        super::Verdict::Accepted => "accepted",
        super::Verdict::Rejected => "rejected",
    }
}

/// The summary below a table.
#[must_use]
pub fn summary(images: &[Image]) -> String {
    let good = images.iter().filter(|image| image.is_good()).count();
    let mut reasons: Vec<Reason> = images.iter().filter_map(|image| image.reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let rejected = images.len() - good;
    if rejected == 0 {
        return format!("{good} of {} good", images.len());
    }
    let reasons: Vec<_> = reasons.into_iter().map(Reason::token).collect();
    format!("{good} of {} good, {rejected} rejected: {}", images.len(), reasons.join(", "))
}
