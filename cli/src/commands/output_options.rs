//! Options that select what is printed, and how; those of systemd's tools.

use super::output::JsonMode;
use super::table::Layout;
use super::{output, pager};
use anyhow::Result;
use clap::Args;
use serde::Serialize;

/// `--json` and `-q`, for commands without a table.
#[derive(Debug, Args)]
pub(super) struct JsonOptions {
    /// Output JSON. MODE is pretty (default), short (one line) or off
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "pretty",
        help_heading = "Output"
    )]
    json: Option<JsonMode>,
    /// Same as --json=pretty on a terminal, --json=short otherwise
    #[arg(short = 'j', conflicts_with = "json", help_heading = "Output")]
    short_json: bool,
    /// Print errors and warnings only
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

/// Options of commands with a table.
#[derive(Debug, Args)]
pub(super) struct OutputOptions {
    #[command(flatten)]
    document: JsonOptions,
    /// Print tables without headings and summary lines
    #[arg(long, help_heading = "Output")]
    no_legend: bool,
    /// Do not pipe long output into a pager
    #[arg(long, help_heading = "Output")]
    no_pager: bool,
}

impl JsonOptions {
    /// The form in which a document is wanted; `None` where text is.
    fn mode(&self) -> Option<JsonMode> {
        let of_terminal = || if output::is_terminal() { JsonMode::Pretty } else { JsonMode::Short };
        let mode = if self.short_json { Some(of_terminal()) } else { self.json };
        mode.filter(|mode| *mode != JsonMode::Off)
    }

    /// Prints a document if JSON is asked for, else text, unless nothing is to be printed.
    pub(super) fn show<D: Serialize>(
        &self,
        document: impl FnOnce() -> Result<D>,
        text: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        match self.mode() {
            Some(mode) => output::json(&document()?, mode),
            None if self.quiet => Ok(()),
            None => output::print(&text()?),
        }
    }
}

impl OutputOptions {
    /// Whether a document is printed in place of text.
    pub(super) fn is_json(&self) -> bool {
        self.document.mode().is_some()
    }

    /// How tables are printed.
    pub(super) fn layout(&self) -> Layout {
        Layout { style: output::style(), width: output::width(), legend: !self.no_legend }
    }

    /// As [`JsonOptions::show`]; text that is longer than the terminal goes through a pager.
    pub(super) fn show<D: Serialize>(
        &self,
        document: impl FnOnce() -> Result<D>,
        text: impl FnOnce() -> Result<String>,
    ) -> Result<()> {
        self.document.show(document, || {
            let text = text()?;
            let is_shown = !self.no_pager && pager::show(&output::visible(&text));
            Ok(if is_shown { String::new() } else { text })
        })
    }
}
