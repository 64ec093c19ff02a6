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
    /// Show the report FILE [default: /run/sextant/report.json]
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    report: Option<PathBuf>,
    /// Operate on the tree at DIR [default: the machine]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Show the evidence behind each verdict: root hash, certificate of the signer, what was verified, time of each phase
    #[arg(short, long)]
    verbose: bool,
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
    let origin = Origin::new(arguments.report.as_deref(), arguments.root.as_deref())?;
    let mut report = origin.read(Report::read_file)?;
    for name in origin.update(&mut report) {
        warn(gone(&name));
    }
    let text = if arguments.json {
        json_visible(&serde_json::to_string_pretty(&report).context("encoding the report")?) + "\n"
    } else if arguments.prometheus {
        metrics(&report, origin.surroundings())
    } else {
        status::text(&report, style(), arguments.verbose)
    };
    print(&text).context("writing the status")?;
    Ok(report)
}

/// What was being done when no report could be shown.
fn reading(path: &Path) -> String {
    format!("reading the report {} (it is missing if sextant-agent did not run in this boot)", path.display())
}

/// That an extension isn't merged any more.
#[must_use]
pub fn gone(name: &Text) -> Message {
    Message::new(format_args!(
        "{name} was merged in this boot and is not merged any more (soft reboot or manual unmerge)"
    ))
}

/// Where a report comes from.
#[derive(Debug)]
pub enum Origin {
    /// A file from elsewhere.
    File(PathBuf),
    /// The boot of a machine, or of a tree that looks like one; with the path of the tree.
    Boot(Root, Option<PathBuf>),
}

impl Origin {
    /// The report in `file`, else that of the tree at `root`, else that of the machine.
    ///
    /// # Errors
    /// Where `root` can't be opened.
    pub fn new(file: Option<&Path>, root: Option<&Path>) -> Result<Self> {
        if let Some(file) = file.filter(|file| *file != Path::new(PATH)) {
            return Ok(Self::File(file.to_owned()));
        }
        let path = root.unwrap_or(Path::new("/"));
        let opened = Root::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self::Boot(opened, root.map(Path::to_owned)))
    }

    /// Reads the report. Links in a tree lead to places in it. `read_file` reads a file from elsewhere.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn read<E>(&self, read_file: impl FnOnce(&Path) -> Result<Report, E>) -> Result<Report>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match self {
            Self::File(file) => read_file(file).with_context(|| reading(file)),
            Self::Boot(root, path) => {
                let shown = path.as_deref().unwrap_or(Path::new("/")).join(PATH.trim_start_matches('/'));
                let absent = || io::Error::from(ErrorKind::NotFound);
                let found = Report::read(root).with_context(|| reading(&shown))?;
                found.ok_or_else(absent).with_context(|| reading(&shown))
            }
        }
    }

    /// Brings the report up to date, and returns the names of extensions that aren't merged any more.
    pub fn update(&self, report: &mut Report) -> Vec<Text> {
        match self {
            Self::File(_) => Vec::new(),
            Self::Boot(root, _) => update(report, root),
        }
    }

    /// What metrics tell of the machine besides the report.
    #[must_use]
    pub fn surroundings(&self) -> Surroundings {
        match self {
            Self::File(_) => Surroundings::default(),
            Self::Boot(_, None) => surroundings(esp::find),
            Self::Boot(_, Some(path)) => surroundings(|| esp::find_below(path)),
        }
    }

    /// Whether it tells of this boot of this machine.
    #[must_use]
    pub fn is_this_boot(&self) -> bool {
        matches!(self, Self::Boot(root, _) if root.is_machine())
    }
}

/// Brings the report of a boot up to date: what it was completed with can be over.
fn update(report: &mut Report, root: &Root) -> Vec<Text> {
    if root.is_machine() {
        // `confirm` may have been there before the TPM's driver.
        report.measurement = Some(measurement::complete(root, report.measurement.take()));
    }
    // What is mounted below a tree is not what its system has mounted.
    let mounts = if root.is_machine() { std::fs::read_to_string(merge::MOUNTS) } else { Ok(String::new()) };
    let Ok(mounts) = mounts else { return Vec::new() };
    let gone =
        |class| merge::merged(root, class, &mounts).map(|merged| report.update(class, &merged)).unwrap_or_default();
    Class::ALL.into_iter().flat_map(gone).collect()
}

/// What metrics tell of a machine besides the report. `find` finds the EFI system partition.
pub(super) fn surroundings(find: impl FnOnce() -> Result<PathBuf, esp::LocateError>) -> Surroundings {
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
