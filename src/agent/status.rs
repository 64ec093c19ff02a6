//! `sextant-agent status`, and what the tool's `status` shares with it.

use super::measurement;
use crate::esp::{self, Space};
use crate::merge;
use crate::report::table::Style;
use crate::report::{PATH, Report, Surroundings, metrics, status};
use crate::root::Root;
use anyhow::{Context, Result};
use clap::Args;
use ddi::Class;
use ddi::text::{Message, Text, json_visible};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Show the report FILE
    #[arg(long, value_name = "FILE", default_value = PATH)]
    report: PathBuf,
    /// Output the report as JSON
    #[arg(long)]
    json: bool,
    /// Output metrics for the textfile collector of Prometheus
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
}

/// Shows the report. Everything goes to standard output, and nothing to the journal.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match show(arguments) {
        Ok(report) => ExitCode::from(report.health().exit_status()),
        Err(error) => {
            warn(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn show(arguments: &Arguments) -> Result<Report> {
    let path = &arguments.report;
    let mut report = Report::read_file(path).with_context(|| reading(path))?;
    let is_current = path == Path::new(PATH);
    if is_current {
        for name in update(&mut report) {
            warn(gone(&name));
        }
    }
    let text = if arguments.json {
        json_visible(&serde_json::to_string_pretty(&report).context("encoding the report")?) + "\n"
    } else if arguments.prometheus {
        metrics(&report, if is_current { surroundings(esp::find) } else { Surroundings::default() })
    } else {
        status::text(&report, style())
    };
    print(&text).context("writing the status")?;
    Ok(report)
}

/// What was being done when no report could be shown.
#[must_use]
pub fn reading(path: &Path) -> String {
    format!("reading the report {} (it is missing if sextant-agent did not run in this boot)", path.display())
}

/// That an extension isn't merged any more.
#[must_use]
pub fn gone(name: &Text) -> Message {
    Message::new(format_args!(
        "{name} was merged in this boot and is not merged any more (soft reboot or manual unmerge)"
    ))
}

/// Brings the report of this boot up to date: it tells of the boot, and what it was completed with can be over. Returns the names
/// of extensions that aren't merged any more.
pub fn update(report: &mut Report) -> Vec<Text> {
    let Ok(root) = Root::open(Path::new("/")) else { return Vec::new() };
    // `confirm` may have been there before the TPM's driver.
    report.measurement = Some(measurement::complete(&root, report.measurement.take()));
    let Ok(mounts) = std::fs::read_to_string(merge::MOUNTS) else { return Vec::new() };
    let gone =
        |class| merge::merged(&root, class, &mounts).map(|merged| report.update(class, &merged)).unwrap_or_default();
    Class::ALL.into_iter().flat_map(gone).collect()
}

/// What metrics tell of this machine besides the report. `find` finds the EFI system partition.
pub fn surroundings(find: impl FnOnce() -> Result<PathBuf, esp::LocateError>) -> Surroundings {
    Surroundings { esp: find().ok().and_then(|path| Space::of(&path).ok()) }
}

#[expect(clippy::disallowed_methods, reason = "it is only asked what it is")]
fn style() -> Style {
    Style::of_environment(io::stdout().is_terminal())
}

/// A reader that has seen enough is no error. All text of reports is [`Text`] or [`Message`].
#[expect(clippy::disallowed_methods, reason = "what is written here is bounded and escaped")]
fn print(text: &str) -> io::Result<()> {
    let mut stream = io::stdout().lock();
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[expect(clippy::disallowed_methods, reason = "what is written here is bounded and escaped")]
fn warn(sentence: impl std::fmt::Display) {
    // Where nothing can be written nothing can be told.
    let _ = writeln!(io::stderr().lock(), "sextant-agent: {}", Message::new(sentence));
}
