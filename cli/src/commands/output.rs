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
    Style { colour: wants_colour(&|name| env::var(name).ok(), is_terminal()) }
}

/// Whether to colour: never against `$NO_COLOR` (no-color.org), else as `$SYSTEMD_COLORS` says (`systemctl(1)`), else on a
/// terminal that isn't dumb.
fn wants_colour(variable: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> bool {
    if variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return false;
    }
    match variable("SYSTEMD_COLORS").as_deref() {
        None | Some("") => is_terminal && variable("TERM").is_none_or(|term| term != "dumb"),
        Some(auto) if auto.starts_with("auto") => is_terminal,
        // "16", "256" and "24bit" are how many there may be; these colours are among the first eight.
        Some(value) => parse_boolean(value).unwrap_or(true),
    }
}

/// A boolean as systemd reads it (systemd 257, `src/basic/parse-util.c`, `parse_boolean`).
pub(super) fn parse_boolean(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is_one_of(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
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
    fn colours_follow_the_environment_and_never_go_against_no_color() {
        let coloured = |variables: &[(&str, &str)], is_terminal| {
            let find = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
            wants_colour(&find, is_terminal)
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
