//! The timeline of a boot: when the agent did what with each image, and what systemd did meanwhile.
//!
//! [`Timeline`] is worked out from a report and [`Neighbours`], times of systemd; [`Timeline::svg`] draws it. A report may come from another
//! machine, so neither its times nor its names are believed: times are saturated, names escaped, rows bounded.

mod journal;
mod machine;
mod scale;
mod svg;
mod units;

pub use journal::parse as parse_journal;
pub use machine::{Neighbours, ask};
pub use units::{Boot, Unit};

use ddi::text::Text;
use scale::duration;
use sextant::clock::Span;
use sextant::report::{Image, PhaseTime, Report, Run, Verb};
use sextant::verify::Phase;
use std::fmt::Write;

/// Rows of units.
const UNITS: usize = 60;
/// Rows of the images of a run. What is beyond is added up in one more.
const IMAGES: usize = 60;
/// Runs, of which a report has one for each command.
const RUNS: usize = 4;
/// Phases of an image.
const PHASES: usize = 16;
/// How long after the first run something still belongs to the boot, in microseconds, where systemd does not say when the boot
/// was finished. What is later (`sextant refresh` has the agent run again) would leave no room for the boot.
const BOOT: u64 = 600_000_000;

/// What a picture shows.
#[derive(Debug)]
pub struct Timeline<'a> {
    /// The entry that was booted, and the state of Secure Boot
    subtitle: String,
    /// When systemd came to which part of the boot
    boot: Boot,
    /// From the start of the kernel to the end of the boot
    span: Span,
    units: &'a [Unit],
    more_units: usize,
    runs: Vec<RunRow<'a>>,
}

/// A run of the agent, with the images that it had to do with.
#[derive(Debug)]
struct RunRow<'a> {
    command: &'a str,
    span: Span,
    /// Whether it came to its end
    is_over: bool,
    images: Vec<&'a Image>,
    /// Images without a row of their own
    rest: Vec<&'a Image>,
}

/// What a phase is called, in the report and for people.
const WORDS: [(Phase, &str, &str); 4] = [
    (Phase::Read, "read", "reading and signature"),
    (Phase::Hash, "hash", "hashing"),
    (Phase::Activate, "activate", "trial activation"),
    (Phase::Stage, "stage", "staging"),
];

impl<'a> Timeline<'a> {
    /// Puts together what happened. `None` if the report has no times, as those of older agents.
    #[must_use]
    pub fn of(report: &'a Report, neighbours: &'a Neighbours) -> Option<Self> {
        let Neighbours { boot, units, .. } = neighbours;
        let mut runs: Vec<RunRow<'a>> = report.runs.iter().take(RUNS).map(|run| row(run, &report.images)).collect();
        runs.sort_by_key(|run| run.span.begin);
        let shown = units.get(..UNITS).unwrap_or(units.as_slice());
        let limit = boot.finished.unwrap_or(0).max(runs.first()?.span.end.saturating_add(BOOT));
        let spans = runs.iter().map(|run| run.span).chain(shown.iter().map(|unit| unit.starting));
        let end = spans.filter(|span| span.begin <= limit).map(|span| span.end).chain(boot.finished).max()?;
        let firmware = report.firmware.as_ref();
        let entry = firmware.and_then(|firmware| firmware.entry.as_ref()).map_or("unknown", Text::as_str);
        let secure_boot = firmware.map_or("unknown", |firmware| firmware.secure_boot.as_str());
        Some(Self {
            subtitle: format!("Boot entry {entry}, Secure Boot {secure_boot}"),
            boot: *boot,
            span: Span { begin: 0, end },
            units: shown,
            more_units: units.len().saturating_sub(shown.len()),
            runs,
        })
    }

    /// The picture as a sentence for each row, for those who don't see it.
    fn description(&self) -> String {
        let mut text = format!("{}.", self.subtitle);
        for run in &self.runs {
            let (begin, end) = (duration(run.span.begin), duration(run.span.end));
            let _ = if run.is_over {
                write!(text, " sextant-agent {} ran from {begin} to {end} after the start of the kernel.", run.command)
            } else {
                write!(text, " sextant-agent {} began at {begin} and was stopped.", run.command)
            };
            for image in &run.images {
                let _ = write!(text, " {}: {}.", name(image), spent(std::slice::from_ref(image)));
            }
            if !run.rest.is_empty() {
                let _ = write!(text, " {} more images: {}.", run.rest.len(), spent(&run.rest));
            }
        }
        for unit in self.units {
            let _ = write!(text, " {} started at {}.", unit.name, duration(unit.starting.begin));
        }
        text
    }
}

/// A run, with those images that went through their first phase while it ran.
fn row<'a>(run: &'a Run, images: &'a [Image]) -> RunRow<'a> {
    let first = |image: &Image| image.phases.first().map(|phase| phase.begin_usec);
    let until = run.end_usec.unwrap_or(u64::MAX);
    let is_inside = |time: u64| run.begin_usec <= time && time <= until;
    let mut all: Vec<&Image> = if matches!(run.command.known(), Some(Verb::Stage | Verb::Adopt)) {
        images.iter().collect()
    } else {
        Vec::new()
    };
    all.retain(|image| first(image).is_some_and(is_inside));
    let last = all.iter().flat_map(|image| phases(image)).map(|phase| phase.end_usec).max();
    let end = run.end_usec.or(last).unwrap_or(run.begin_usec).max(run.begin_usec);
    let rest = all.split_off(all.len().min(IMAGES));
    RunRow {
        command: run.command.as_str(),
        span: Span { begin: run.begin_usec, end },
        is_over: run.end_usec.is_some(),
        images: all,
        rest,
    }
}

fn phases(image: &Image) -> impl Iterator<Item = &PhaseTime> {
    image.phases.iter().take(PHASES)
}

fn span(phase: &PhaseTime) -> Span {
    Span { begin: phase.begin_usec, end: phase.end_usec.max(phase.begin_usec) }
}

fn length(span: Span) -> u64 {
    span.end.saturating_sub(span.begin)
}

/// What an image is called.
fn name(image: &Image) -> &Text {
    image.name.as_ref().unwrap_or(&image.file)
}

/// How long these images took, by phase.
fn spent(images: &[&Image]) -> String {
    let of = |phase: Phase| -> u64 {
        let times = images.iter().flat_map(|image| phases(image)).filter(|time| time.phase == phase);
        times.fold(0, |sum, time| length(span(time)).saturating_add(sum))
    };
    let words: Vec<String> = WORDS
        .iter()
        .map(|(phase, _, word)| (of(*phase), word))
        .filter(|(time, _)| *time > 0)
        .map(|(time, word)| format!("{word} {}", duration(time)))
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests;
