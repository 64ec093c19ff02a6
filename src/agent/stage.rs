//! `sextant-agent stage`: everything between the firmware and `/run/extensions`.

use super::environment::Environment;
use super::lock;
use super::measurement;
use super::metrics;
use super::options::Options;
use super::preparation::Preparation;
use super::run::{Place, PlaceKind, Records, Run, look};
use crate::merge;
use crate::policy::Verify;
use crate::reason::{Reason, Refusal};
use crate::report::{self, Event, Image, Report, Verb};
use crate::root::Root;
use crate::stage::{free_copies, quarantine, withdraw};
use crate::state::State;
use anyhow::{Context, Result, anyhow};
use ddi::Class;
use ddi::text::{Message, Text};
use std::ffi::{OsStr, OsString};
use std::time::Instant;

/// What the report says while the agent is at work, and for good if it is killed.
const UNFINISHED: &str = "the agent was stopped before all files were processed";
/// Verifies all images and stages the good ones. Once the lock is held, a report is written in any case in which that is
/// possible.
///
/// # Errors
/// What kept the agent from doing its job; rejected images are no error. Without the lock nothing is done: what another
/// run has staged, and its report, stay as they are.
pub fn stage(environment: &Environment, options: &Options) -> Result<()> {
    let (started, begun) = (Instant::now(), report::Run::begin(Verb::Stage));
    let root = environment.root();
    merge::guard(root, environment.units()).context("closing the gate")?;
    let _lock = lock::exclusive(root)?;
    let before = Report::read(root).ok().flatten().and_then(|report| report.measurement);
    let mut report = Report {
        error: Some(UNFINISHED.into()),
        measurement: before,
        agent_version: Some(env!("CARGO_PKG_VERSION").into()),
        runs: vec![begun.clone()],
        ..Report::default()
    };
    let mut state = State::new(UNFINISHED);
    let outcome = run(environment, options, &mut report, &mut state, started);
    report.error = outcome.as_ref().err().map(|error| Message::new(format_args!("{error:#}")));
    report.duration_usec = Some(report::usec(started.elapsed()));
    state.error.clone_from(&report.error);
    // Each is of use without the other.
    let remembered = state.write(root);
    report.note_run(begun.ended());
    let written = report::write(root, &report);
    metrics::refresh(root, &report);
    if let Some(omitted) = report.omitted.as_ref().filter(|omitted| omitted.total > 0) {
        Event::Omitted.emit(format_args!("and {omitted}"));
    }
    if outcome.is_ok() {
        let (summary, anchors) = (report.summary(), report.anchors());
        let milliseconds = started.elapsed().as_millis();
        let anchors = report::count(anchors, "trust anchor");
        // Nothing else deletes them there, as the deletion of an initrd would.
        let freed = if environment.units() == merge::Units::Image { free_copies(root) } else { 0 };
        let freed = if freed > 0 { format!("; {freed} bytes of unused copies freed") } else { String::new() };
        Event::Summary.emit(format_args!("{summary}; {anchors}, {milliseconds} ms{freed}"));
    }
    outcome.and(remembered).and(written)
}

fn run(
    environment: &Environment,
    options: &Options,
    report: &mut Report,
    state: &mut State,
    started: Instant,
) -> Result<()> {
    let root = environment.root();
    // Until `merge` has looked at what this run stages, nothing of it may be merged, and nothing of an earlier run.
    let withdrawn = merge::close(root).and_then(|()| state.write(root)).and_then(|()| withdraw(root));
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(format_args!("cleaning up after an earlier run: {error:#}"));
    }
    let mut preparation = Preparation::new(environment, options, report);
    state.anchors = preparation.trust.anchors().iter().map(|it| Text::new(it.certificate().fingerprint())).collect();
    let mut records = Records::new(root, report, state);
    if let Some(error) = preparation.failure.take() {
        records.fail(error);
    }
    if let Err(error) = withdrawn {
        preparation.gate.get_or_insert_with(|| Refusal::new(Reason::NotStaged, format_args!("{error:#}")));
        records.fail(error);
    }
    if preparation.policy.measurement {
        let before = records.report.measurement.take();
        records.report.measurement = Some(measurement::predict(root, preparation.policy.limits, before));
    }
    records.write_report();
    let mut sources = Vec::new();
    for class in Class::ALL {
        for directory in class.source_directories() {
            match root.list(directory) {
                Ok(files) => sources.push((class, directory, files.unwrap_or_default())),
                Err(error) => records.fail(anyhow!(error).context(format!("listing {directory}"))),
            }
        }
    }
    if sources.iter().any(|(_, _, files)| !files.is_empty()) {
        look(environment, options, &preparation, started, &mut records, |run, records| {
            for (class, directory, files) in &sources {
                each(run, records, root, *class, directory, files);
            }
        });
    }
    let unstaged = records.report.rejected_for(Reason::NotStaged);
    if unstaged > 0 {
        records.fail(anyhow!("staging {unstaged} images failed"));
    }
    records.finish()
}

/// Looks at all files of one directory.
fn each(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, class: Class, directory: &str, files: &[OsString]) {
    let kind = PlaceKind::Stub;
    let verify = Verify::Full;
    let place = |number: usize| {
        let file = files.get(number)?;
        // systemd-stub before 256 puts configuration extensions among the system extensions.
        let named = file.to_str().and_then(Class::of_file_name).map(|(named, _)| named);
        let class = named.filter(|_| class == Class::Sysext).unwrap_or(class);
        Some(Place { directory, file, class, kind, verify })
    };
    for (number, file) in files.iter().enumerate() {
        let Some(here) = place(number) else { continue };
        let mut image = run.process(here, place(number.saturating_add(1)), &|| Ok(())).image;
        image.set_esp_path(records.report.firmware.as_ref().and_then(|firmware| firmware.uki.as_ref()));
        let left = if image.is_good() { None } else { take_away(root, directory, file, &mut image) };
        records.add(image, None, left);
    }
}

/// Moves a rejected file out of systemd's way. Where that fails the row gets a warning, which is returned for an event.
fn take_away(root: &Root, directory: &str, file: &OsStr, image: &mut Image) -> Option<Message> {
    let error = quarantine(root, directory, file).err()?;
    let warning = Message::new(format_args!("still in {directory}, where systemd may find it: {error:#}"));
    image.warn(warning.clone());
    Some(Message::new(format_args!("{}: {warning}", image.file)))
}
