//! Tables for people: aligned columns, and no wider than the terminal where the words permit it.

use super::output::wrap;
use sextant::report::table::Style;
use std::fmt::{Display, Write as _};

/// Spaces between two columns.
const GAP: usize = 2;
/// Narrowest last column, in characters: if less is left, its text goes below the row.
const LEAST: usize = 24;
/// Narrowest column of names, in characters: longer names have a line of their own.
const NARROWEST: usize = 12;
/// Indentation of text below a row.
const BELOW: usize = 4;

/// A table. The cells of the last column are running text, those of the others are names and numbers.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    headings: [&'static str; COLUMNS],
    /// The column with the longest names, which is the first to shrink.
    flexible: usize,
    rows: Vec<Row<COLUMNS>>,
}

#[derive(Debug)]
struct Row<const COLUMNS: usize> {
    cells: [Cell; COLUMNS],
    /// Paragraphs below the row, with their colours.
    below: Vec<Cell>,
}

/// A text and the code of its colour, empty for none.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    colour: &'static str,
}

/// A cell without a colour.
pub(super) fn plain(text: impl Display) -> Cell {
    Cell { text: text.to_string(), colour: "" }
}

/// A cell in the colour of an escape sequence.
pub(super) fn painted(colour: &'static str, text: impl Display) -> Cell {
    Cell { text: text.to_string(), colour }
}

impl Cell {
    fn len(&self) -> usize {
        self.text.chars().count()
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour.is_empty() { text.to_owned() } else { style.paint(self.colour, text) }
    }
}

/// How tables are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) style: Style,
    /// Columns of the terminal; `None` where there is none, and lines may have any length.
    pub(super) width: Option<usize>,
    /// Whether headings and summary lines are printed.
    pub(super) legend: bool,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// An empty table. `flexible` is the index of the column whose long cells get a line of their own.
    pub(super) fn new(headings: [&'static str; COLUMNS], flexible: usize) -> Self {
        Self { headings, flexible, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: [Cell; COLUMNS]) {
        self.rows.push(Row { cells, below: Vec::new() });
    }

    /// Adds a paragraph below the last row.
    pub(super) fn below(&mut self, text: Cell) {
        if let Some(row) = self.rows.last_mut() {
            row.below.push(text);
        }
    }

    /// The lines of the table; no headings without rows.
    pub(super) fn render(&self, layout: Layout) -> String {
        let mut out = String::new();
        if self.rows.is_empty() {
            return out;
        }
        let widths = self.widths(layout);
        if layout.legend {
            self.line(&mut out, &self.headings.map(plain), &widths, layout);
        }
        for row in &self.rows {
            self.line(&mut out, &row.cells, &widths, layout);
            for text in &row.below {
                let width = layout.width.unwrap_or(super::output::WIDTH);
                for line in wrap(&text.text, width.saturating_sub(BELOW)) {
                    let _ = writeln!(out, "{:BELOW$}{}", "", text.paint(layout.style, &line));
                }
            }
        }
        out
    }

    /// The widths of the columns, of which the last has none.
    fn widths(&self, layout: Layout) -> [usize; COLUMNS] {
        let mut widths = [0; COLUMNS];
        for (column, (width, heading)) in widths.iter_mut().zip(self.headings).enumerate() {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(column)).map(Cell::len);
            let least = if layout.legend { heading.len() } else { 0 };
            *width = if column + 1 == COLUMNS { 0 } else { cells.max().unwrap_or(0).max(least) };
        }
        if let Some(most) = layout.width {
            let last = self.rows.iter().filter_map(|row| row.cells.last()).map(Cell::len).max().unwrap_or(0);
            let others: usize = widths.iter().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP);
            let excess = (others + last.min(LEAST)).saturating_sub(most);
            if let Some(width) = widths.get_mut(self.flexible) {
                *width = width.saturating_sub(excess).max(NARROWEST.min(*width));
            }
        }
        widths
    }

    fn line(&self, out: &mut String, cells: &[Cell; COLUMNS], widths: &[usize; COLUMNS], layout: Layout) {
        let mut line = String::new();
        // Characters that can be seen: colours take no room.
        let mut at = 0;
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if column + 1 == COLUMNS {
                Self::last(out, line, at, cell, layout);
                return;
            }
            let padding = width.saturating_sub(cell.len());
            let _ = write!(line, "{}{:padding$}{:GAP$}", cell.paint(layout.style, &cell.text), "", "");
            at += width + GAP;
            if cell.len() > *width && column == self.flexible {
                let _ = writeln!(out, "{}", line.trim_end());
                line = " ".repeat(at);
            }
        }
    }

    /// Ends a line with its last cell, whose text goes on below where it is too long.
    fn last(out: &mut String, line: String, at: usize, cell: &Cell, layout: Layout) {
        let room = layout.width.map(|width| width.saturating_sub(at));
        let fits = room.is_none_or(|room| cell.len() <= room);
        if fits {
            let _ = writeln!(out, "{}", format!("{line}{}", cell.paint(layout.style, &cell.text)).trim_end());
            return;
        }
        let (indent, room, mut line) = match room {
            Some(room) if room >= LEAST => (at, room, line),
            _ => {
                let _ = writeln!(out, "{}", line.trim_end());
                let width = layout.width.unwrap_or(super::output::WIDTH);
                (BELOW, width.saturating_sub(BELOW), " ".repeat(BELOW))
            }
        };
        for text in wrap(&cell.text, room) {
            let _ = writeln!(out, "{line}{}", cell.paint(layout.style, &text));
            line = " ".repeat(indent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<4> {
        let mut table = Table::new(["ENTRY", "FILE", "STATE", "REASON"], 1);
        let long = "a_very_long_name_of_an_extension_that_somebody_chose-1.2.3.sysext.raw";
        table.row([plain("active"), plain("k3s.sysext.raw"), painted("32", "merged"), plain("")]);
        table.row([
            plain("passive"),
            plain(long),
            painted("31", "rejected"),
            plain("signer \"CN=A B C\" is not trusted"),
        ]);
        table.below(painted("2", "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"));
        table
    }

    fn layout(width: Option<usize>, legend: bool) -> Layout {
        Layout { style: Style { colour: false }, width, legend }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_unless_a_word_is() {
        for width in [40, 60, 80, 100, 132] {
            let text = table().render(layout(Some(width), true));
            for line in text.lines().filter(|line| line.chars().count() > width) {
                assert_eq!(line.split_whitespace().filter(|word| word.len() > 30).count(), 1, "{width}: {text}");
                assert!(line.split_whitespace().count() <= 2, "{width}: {text}");
            }
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&text), words(&table().render(layout(None, true))), "every word is there, whole");
        }
    }

    #[test]
    fn cells_align_and_the_legend_can_be_left_out() {
        let mut table = Table::new(["NAME", "SIZE"], 0);
        table.row([plain("k3s"), plain("1 MiB")]);
        table.row([painted("31", "tailscale"), plain("12 MiB")]);
        assert_eq!(table.render(layout(None, true)), "NAME       SIZE\nk3s        1 MiB\ntailscale  12 MiB\n");
        assert_eq!(table.render(layout(None, false)), "k3s        1 MiB\ntailscale  12 MiB\n");
        let coloured = Layout { style: Style { colour: true }, ..layout(Some(80), false) };
        assert_eq!(table.render(coloured), "k3s        1 MiB\n\u{1b}[31mtailscale\u{1b}[0m  12 MiB\n");
        assert_eq!(Table::<1>::new(["NAME"], 0).render(layout(None, true)), "");
    }
}
