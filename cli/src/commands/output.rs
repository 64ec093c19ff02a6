//! Everything that the tool writes to a terminal or a pipe goes through here.
//!
//! Most of what is shown was written by others: names on a partition, members of an image, words of a registry. What is
//! made of [`Text`](ddi::text::Text) and [`Message`] is harmless already; here all else is made so too. Of control
//! characters only line ends and the colours of [`Style`] get through. (`println!` and the streams themselves are refused
//! by clippy in this crate: see `src/lib.rs`.)

use clap::ValueEnum;
use ddi::text::{Message, is_invisible, json_visible};
use serde::Serialize;
use sextant::report::table::Style;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// What follows an escape character in the colours of [`Style`] and of clap.
const COLOURS: [&str; 8] = ["[0m", "[1m", "[2m", "[4m", "[31m", "[32m", "[33m", "[36m"];

pub(super) use sextant::report::table::{WIDTH, wrap};
/// Fewest columns that a table is laid out for.
const LEAST_WIDTH: usize = 40;

/// Form of a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum JsonMode {
    /// Indented, for people
    Pretty,
    /// On one line
    Short,
    /// No JSON
    Off,
}

/// Writes text for people to standard output; a reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    write(&mut stdout().lock(), &visible(text))
}

/// Writes a document for programs to standard output. Characters that can't be seen are written as JSON's escapes, so
/// that a program reads them as they are and a terminal shows them.
pub(super) fn json(document: &impl Serialize, mode: JsonMode) -> anyhow::Result<()> {
    let text = match mode {
        JsonMode::Short => serde_json::to_string(document)?,
        JsonMode::Pretty | JsonMode::Off => serde_json::to_string_pretty(document)?,
    };
    let mut out = json_visible(&text);
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

/// Colours as the environment asks for them, on a terminal.
pub(super) fn style() -> Style {
    Style::of_environment(is_terminal())
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// Columns and rows of the terminal that standard output is; `$COLUMNS` and `$LINES` count more, as in systemd's tools.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let (terminal_size::Width(columns), terminal_size::Height(rows)) = terminal_size::terminal_size_of(stdout())?;
    let rows = number("LINES").unwrap_or_else(|| rows.into());
    Some((width().unwrap_or_else(|| columns.into()), rows))
}

/// Columns that a table may have; `None` for any number.
pub(super) fn width() -> Option<usize> {
    let of_terminal = || Some(usize::from(terminal_size::terminal_size_of(stdout())?.0.0));
    number("COLUMNS").or_else(of_terminal).map(|width| width.max(LEAST_WIDTH))
}

fn number(variable: &str) -> Option<usize> {
    env::var(variable).ok()?.parse().ok().filter(|number| *number > 0)
}

/// Set by `--quiet`.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on no progress is shown.
pub(super) fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Whether progress is shown: to a person, on a terminal that can move its cursor.
pub(super) fn is_watched() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    stderr().is_terminal() && !is_dumb && !IS_QUIET.load(Ordering::Relaxed)
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
pub(super) fn visible(text: &str) -> String {
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
