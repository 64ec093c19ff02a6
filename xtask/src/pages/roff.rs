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
    format!(".PP\n.RS 4\n.EX\n{}\n.EE\n.RE\n", lines.join("\n"))
}
