//! Everything that the tool writes to a terminal or a pipe goes through here.
//!
//! Most of what is shown was written by others: names on a partition, members of an image, words of a registry. What is
//! made of [`Text`](ddi::text::Text) and [`Message`] is harmless already; here all else is made so too. Of control
//! characters only line ends and the colours of [`Style`] get through. (`println!` and the streams themselves are refused
//! by clippy in this crate: see `src/lib.rs`.)

use ddi::text::{Message, is_invisible};
use serde::Serialize;
use sextant::report::table::Style;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// What follows an escape character in the colours of [`Style`] and of clap.
const COLOURS: [&str; 8] = ["[0m", "[1m", "[2m", "[4m", "[31m", "[32m", "[33m", "[36m"];

/// Columns of a console.
pub(super) const WIDTH: usize = 80;

/// Writes text for people to standard output; a reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(&mut stdout().lock(), &visible(text))
}

/// Writes a document for programs to standard output. Characters that can't be seen are written as JSON's escapes, so
/// that a program reads them as they are and a terminal shows them.
pub(super) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    let mut out = String::with_capacity(text.len().saturating_add(1));
    for character in text.chars() {
        // Outside of strings there is no other than the line end.
        if character != '\n' && is_invisible(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}")?;
            }
        } else {
            out.push(character);
        }
    }
    out.push('\n');
    write(&mut stdout().lock(), &out)
}

/// Writes a sentence to standard error, as one line.
pub(super) fn warn(sentence: impl Display) {
    let sentence = Message::new(sentence);
    // Where nothing can be written nothing can be told.
    let _ = write(&mut stderr().lock(), &format!("sextant: {sentence}\n"));
}

/// Writes what clap says about the command line, with its exit status.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    let text = visible(&error.render().to_string());
    if error.use_stderr() {
        let _ = write(&mut stderr().lock(), &text);
        return ExitCode::from(2);
    }
    match write(&mut stdout().lock(), &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Breaks a text between words; a word that is longer than a line has one of its own.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_inclusive(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.trim_end().chars().count() <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Colour only for people: on a terminal, and not where `NO_COLOR` asks for none (no-color.org).
pub(super) fn style() -> Style {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Style { colour: stdout().is_terminal() && !unwanted }
}

/// Whether a person can see what moves.
pub(super) fn is_watched() -> bool {
    stderr().is_terminal()
}

#[expect(clippy::disallowed_methods, reason = "the one place that writes there")]
fn stdout() -> io::Stdout {
    io::stdout()
}

#[expect(clippy::disallowed_methods, reason = "the one place that writes there")]
fn stderr() -> io::Stderr {
    io::stderr()
}

fn write(stream: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// `text` with characters that can't be seen escaped, but for line ends and colours.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let colour = || COLOURS.iter().find(|colour| rest.as_str().starts_with(**colour));
        match (character, if character == '\u{1b}' { colour() } else { None }) {
            ('\u{1b}', Some(colour)) => {
                out.push(character);
                out.push_str(colour);
                rest = rest.as_str().get(colour.len()..).unwrap_or_default().chars();
            }
            ('\n', _) => out.push(character),
            (character, _) if is_invisible(character) => out.extend(character.escape_default()),
            (character, _) => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_ends_and_our_colours_get_through() {
        let style = Style { colour: true };
        let painted = format!("{}\n", style.paint("31", "red"));
        assert_eq!(visible(&painted), painted);
        let shown = "\\u{1b}[2Jx\\u{1b}]0;y\\u{7}\\u{9b}\\u{202e}\\r\\t";
        assert_eq!(visible("\u{1b}[2Jx\u{1b}]0;y\u{7}\u{9b}\u{202e}\r\t"), shown);
        assert_eq!(visible("\u{1b}[8mhidden\u{1b}"), "\\u{1b}[8mhidden\\u{1b}");
    }
}
