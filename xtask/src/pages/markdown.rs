//! Markdown, as far as `docs/` uses it, as the body of a manual page.

use super::roff;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::fmt::Write as _;

/// The body of a page. The heading of the document is left out: the page has its own.
pub(crate) fn to_roff(markdown: &str) -> String {
    let mut writer = Writer::default();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        writer.event(event);
    }
    writer.page
}

#[derive(Default)]
struct Writer {
    page: String,
    /// The paragraph, heading, cell or block that is being read.
    pending: String,
    /// Numbers of the lists around, `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Headings of the table's columns, and the cells of the row so far.
    columns: Vec<String>,
    cells: Vec<String>,
    verbatim: bool,
    /// A list item has begun, whose first paragraph must not begin a new one.
    item: bool,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.verbatim => self.pending.push_str(&text),
            Event::Text(text) => self.pending.push_str(&roff::text(&text)),
            Event::Code(text) => {
                let _ = write!(self.pending, "\\fB{}\\fR", roff::text(&text));
            }
            Event::SoftBreak | Event::HardBreak => self.pending.push(' '),
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Emphasis => self.pending.push_str("\\fI"),
            Tag::Strong => self.pending.push_str("\\fB"),
            Tag::CodeBlock(_) => self.verbatim = true,
            Tag::List(first) => self.lists.push(*first),
            Tag::Item => {
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}.", *number - 1)
                    }
                    _ => "\\(bu".to_owned(),
                };
                let _ = writeln!(self.page, ".IP {mark} 3");
                self.item = true;
            }
            Tag::Table(_) => self.columns.clear(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis | TagEnd::Strong => self.pending.push_str("\\fR"),
            TagEnd::Heading(HeadingLevel::H1) => {
                self.pending.clear();
                self.page.push_str(".SH DESCRIPTION\n");
            }
            TagEnd::Heading(HeadingLevel::H2) => {
                let heading = self.take().to_uppercase();
                let _ = writeln!(self.page, ".SH {heading}");
            }
            TagEnd::Heading(_) => {
                let heading = self.take();
                let _ = writeln!(self.page, ".SS {heading}");
            }
            TagEnd::Paragraph => {
                let begin = if std::mem::take(&mut self.item) { "" } else { ".PP\n" };
                let text = self.take();
                let _ = writeln!(self.page, "{begin}{text}");
            }
            TagEnd::Item => {
                // An item of a tight list has no paragraph of its own.
                self.item = false;
                let text = self.take();
                if !text.is_empty() {
                    let _ = writeln!(self.page, "{text}");
                }
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.page.push_str(".PP\n");
            }
            TagEnd::CodeBlock => {
                self.verbatim = false;
                let lines = std::mem::take(&mut self.pending);
                self.page.push_str(&roff::verbatim(&lines));
            }
            TagEnd::TableCell => {
                let cell = self.take();
                self.cells.push(cell);
            }
            TagEnd::TableHead => self.columns = std::mem::take(&mut self.cells),
            TagEnd::TableRow => self.row(),
            _ => {}
        }
    }

    /// A row as a paragraph with a tag: no terminal is as wide as our tables.
    fn row(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        let last = cells.len().saturating_sub(1);
        for (at, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let _ = match at {
                0 => writeln!(self.page, ".TP\n{cell}"),
                _ if at == last => writeln!(self.page, "{cell}"),
                _ => writeln!(self.page, "{column}: {cell}\n.br"),
            };
        }
    }

    /// What was read, as a line.
    fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.pending);
        let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{guard}{}", text.trim())
    }
}
