//! A manual page, and what has to be escaped in one (`groff_man(7)`).

use std::fmt::Write as _;

/// A page being written.
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) section: u8,
    pub(crate) text: String,
}

impl Page {
    /// A page with its title and its NAME section. There is no date in it, so that it comes out the same every day.
    pub(crate) fn new(name: &str, section: u8, purpose: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!(
            ".TH \"{}\" \"{section}\" \"\" \"sextant {version}\" \"Sextant\"\n.SH NAME\n{} \\- {}\n",
            name.to_uppercase(),
            line(name),
            line(purpose)
        );
        Self { name: name.to_owned(), section, text }
    }

    pub(crate) fn file(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// Ends the page with what else to read, such as `sextant(1)`.
    pub(crate) fn see_also(&mut self, pages: &[&str]) {
        let _ = writeln!(self.text, ".SH SEE ALSO\n{}", line(&pages.join(", ")));
    }
}

/// Text that may stand anywhere in a line: a backslash would begin an escape, a plain `-` may become a hyphen that nobody
/// can type.
pub(crate) fn text(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line of its own, which must not look like a request.
pub(crate) fn line(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}", text(line))
}

/// Lines that keep their breaks and blanks.
pub(crate) fn verbatim(lines: &str) -> String {
    let lines: Vec<_> = lines.lines().map(line).collect();
    // Less than running text is indented, so that lines of 76 columns fit a terminal.
    format!(".PP\n.in -3n\n.EX\n{}\n.EE\n.in\n", lines.join("\n"))
}

/// Maximum length of a line of running text in the source, which `mandoc -T lint` checks.
const WIDTH: usize = 80;

/// A page in the form that formatters and `mandoc -T lint` expect: ASCII, short lines, no paragraph that is empty.
pub(crate) fn finished(page: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut is_verbatim = false;
    for line in page.lines().map(|line| ascii(line.trim_end())) {
        // What `clap_mangen` writes before possible values.
        let is_break = |line: &str| line == ".br" || line.is_empty();
        match lines.last_mut() {
            Some(last) if !is_verbatim && is_break(&line) && (is_break(last) || last == ".sp") => {
                ".sp".clone_into(last);
                continue;
            }
            Some(last) if last.starts_with(".SH") && line == ".PP" => continue,
            Some(last) if last == ".PP" && begins_paragraph(&line) => *last = String::new(),
            _ => {}
        }
        if lines.last().is_some_and(String::is_empty) && !is_verbatim {
            lines.pop();
        }
        match line.as_str() {
            ".EX" => is_verbatim = true,
            ".EE" => is_verbatim = false,
            _ => {}
        }
        if is_verbatim || line.starts_with('.') {
            lines.push(line);
        } else {
            fold(&line, &mut lines);
        }
    }
    while lines.last().is_some_and(|line| line == ".PP" || line.is_empty()) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

fn begins_paragraph(line: &str) -> bool {
    [".PP", ".TP", ".IP", ".SH", ".SS"].iter().any(|request| line.starts_with(request))
}

/// Other characters as escapes of `groff_char(7)`, which need no encoding.
fn ascii(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let _ = write!(out, "\\[u{:04X}]", u32::from(character));
        }
    }
    out
}

/// Breaks a line at blanks; what follows must not look like a request.
fn fold(text: &str, lines: &mut Vec<String>) {
    let mut current = String::new();
    for word in text.split(' ') {
        if !current.is_empty() && current.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::take(&mut current));
            if word.starts_with(['.', '\'']) {
                current.push_str("\\&");
            }
        } else if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
}
