//! Tables for people, 80 columns where the contents allow it.

use super::Image;
use crate::reason::Reason;
use ddi::bytes::boolean;
use ddi::text::Message;
use std::collections::BTreeSet;
use std::env;
use std::fmt::Display;

/// Columns of a console.
pub const WIDTH: usize = 80;

/// Whether and how to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Use ANSI colours.
    pub colour: bool,
}

impl Style {
    /// Returns the style that the environment asks for, where text is shown on a terminal or elsewhere.
    #[must_use]
    pub fn of_environment(is_terminal: bool) -> Self {
        Self::new(&|name| env::var(name).ok(), is_terminal)
    }

    /// Never coloured against `$NO_COLOR` (no-color.org), else as `$SYSTEMD_COLORS` says (`systemctl(1)`), else on a terminal
    /// that isn't dumb.
    fn new(variable: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> Self {
        let is_unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match variable("SYSTEMD_COLORS").as_deref() {
            None | Some("") => is_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
            Some(auto) if auto.starts_with("auto") => is_terminal,
            // "16", "256" and "24bit" are how many there may be; these colours are among the first eight.
            Some(value) => boolean(value.as_bytes()).unwrap_or(true),
        };
        Self { colour: colour && !is_unwanted }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_environment_and_never_go_against_no_color() {
        let coloured = |variables: &[(&str, &str)], is_terminal| {
            let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
            Style::new(&find, is_terminal).colour
        };
        assert!(coloured(&[("TERM", "xterm")], true) && !coloured(&[("TERM", "xterm")], false));
        assert!(!coloured(&[("TERM", "dumb")], true) && coloured(&[("NO_COLOR", "")], true));
        for (value, on_terminal, in_pipe) in [
            ("1", true, true),
            ("256", true, true),
            ("24bit", true, true),
            ("auto-16", true, false),
            ("no", false, false),
        ] {
            assert_eq!(coloured(&[("SYSTEMD_COLORS", value)], true), on_terminal, "{value}");
            assert_eq!(coloured(&[("SYSTEMD_COLORS", value)], false), in_pipe, "{value}");
            assert!(!coloured(&[("SYSTEMD_COLORS", value), ("NO_COLOR", "1")], true), "{value}");
        }
    }
}
