//! `sextant-agent confirm`: on the host, once systemd has merged.

mod causes;
mod required;

use self::causes::{Cause, Causes, Missing};
use super::environment::Environment;
use super::lock;
use super::measurement;
use super::metrics;
use crate::kernel::FileIdentity;
use crate::merge::{self, Attached, Evidence, Found, Hidden, Known, Origin};
use crate::report::{
    self, Event, Image, MERGE_NAMES, MERGE_ROWS, Merge, MergedExtension, NotMerged, Report, Run, Verb,
};
use crate::root::Root;
use crate::state::{HostImage, Judgement, PATH, StagedExtension, State};
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::text::Text;
use serde_json::Map;
use std::collections::BTreeMap;
use std::io;

/// Compares what was staged with what is merged, and completes the report. A difference is logged; it isn't a failure of
/// the agent.
///
/// Returns whether all extensions are merged that the configuration requires.
///
/// # Errors
/// What kept it from comparing. Where no `stage` has run in this boot, nothing is changed.
pub fn confirm(environment: &Environment) -> Result<bool> {
    let (root, begun) = (environment.root(), Run::begin(Verb::Confirm));
    let nothing = || format!("nothing was staged in this boot: {PATH} does not exist");
    if matches!(root.metadata(PATH), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        bail!(nothing());
    }
    let _lock = lock::exclusive(root)?;
    // Until this run has seen it.
    merge::fulfil(root, false)?;
    let state = State::read(root)?.with_context(nothing)?;
    let mounts = environment.mounts()?;
    let attached = Attached::read(root, &*environment.devices());
    // What an earlier call found, where this is another one.
    let report = Report::read(root).ok().flatten();
    let before = report.as_ref().and_then(|report| report.merge.clone()).unwrap_or_default();
    let mut outcome = Merge { requested: state.requested, confirmed: true, ..Merge::default() };
    let mut unexpected = 0_usize;
    let mut verified = Vec::new();
    for class in Class::ALL {
        let of_host = OfHost::read(root, class)?;
        let found = find(root, &state, &attached, &mounts, &of_host)?;
        let causes = Causes::new(environment, &state, &before, &of_host, &found);
        for extension in &found {
            tell_unexpected(&state, class, extension, &mut unexpected, &mut outcome);
        }
        causes.tell_refusal();
        for extension in state.latest().filter(|extension| extension.class == class) {
            let is_it = |found: &&Found| found.name == extension.name;
            let merged = found.iter().find(is_it);
            let name = extension.name.clone();
            if merged.is_some_and(|found| found.origin == Origin::Staged) {
                outcome.merged.push(name);
                continue;
            }
            outcome.missing.push(name.clone());
            let cause = causes.of_staged(root, extension, merged);
            let file = staged_path(class, &name);
            tell_missing(class, Missing { name, file, staged: true, cause }, &mut outcome);
        }
        for missing in causes.of_others(root, &found) {
            tell_missing(class, missing, &mut outcome);
        }
        let is_verified = |found: &&Found| matches!(found.origin, Origin::Staged | Origin::Host);
        verified.extend(found.iter().filter(is_verified).map(|found| (class, found.name.clone())));
        outcome.extensions.extend(found.into_iter().map(|found| row(root, &attached, class, found)));
    }
    if unexpected > MERGE_NAMES {
        let more = unexpected.saturating_sub(MERGE_NAMES);
        Event::UnexpectedlyMerged.emit(format_args!("{more} more extensions are merged and were not staged"));
    }
    outcome.extensions.truncate(MERGE_ROWS);
    let total = outcome.merged.len().saturating_add(outcome.missing.len());
    let names: Vec<&str> = outcome.merged.iter().map(Text::as_str).collect();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    let left_out = outcome.not_merged.iter().filter(|row| row.staged && row.meant).count();
    let left_out = if left_out == 0 { String::new() } else { format!("; {left_out} left out by an administrator") };
    Event::Merged.emit(format_args!("{} of {total} staged extensions merged{names}{left_out}", outcome.merged.len()));
    let compared = required::compare(environment, &verified, report.as_ref(), &mut outcome);
    let is_fulfilled = compared.is_ok() && outcome.required_missing.is_empty();
    complete(root, &state, outcome, begun);
    compared?;
    if is_fulfilled && merge::is_required(root) {
        merge::fulfil(root, true)?;
    }
    Ok(is_fulfilled)
}

/// What the host has of one class besides images, as systemd finds it.
#[derive(Debug)]
struct OfHost {
    class: Class,
    /// What is found before what is staged, by name.
    hidden: BTreeMap<Text, Hidden>,
    /// Directories, by name.
    directories: BTreeMap<Text, String>,
}

impl OfHost {
    fn read(root: &Root, class: Class) -> Result<Self> {
        Ok(Self { class, hidden: merge::hiding(root, class)?, directories: merge::plain_directories(root, class) })
    }
}

/// What is merged of a class, by identity.
fn find(root: &Root, state: &State, attached: &Attached, mounts: &str, of_host: &OfHost) -> Result<Vec<Found>> {
    let class = of_host.class;
    let good: Vec<&HostImage> = state.host.iter().filter(|image| image.judgement == Judgement::Good).collect();
    let staged = state.left().filter(|extension| extension.class == class);
    let host = good.iter().filter(|image| image.class == class);
    let hashes = state.left().map(|it| &it.root_hash).chain(good.iter().map(|it| &it.root_hash));
    let evidence = Evidence {
        class,
        staged: staged.map(|it| Known { name: &it.name, root_hash: it.root_hash.as_ref() }).collect(),
        host: host.map(|it| Known { name: &it.name, root_hash: it.root_hash.as_ref() }).collect(),
        elsewhere: hashes.flatten().collect(),
        attached,
        notes: &merge::notes(root, class, mounts),
        hidden: &of_host.hidden,
        directories: &of_host.directories,
    };
    Ok(evidence.identify(&merge::merged(root, class, mounts)?))
}

/// The path of a staged extension.
fn staged_path(class: Class, name: &Text) -> Text {
    Text::new(format_args!("{}/{name}.raw", class.staging_directory()))
}

/// The report's row about what is merged. A staged file that was opened through our mount has no path for the kernel.
fn row(root: &Root, attached: &Attached, class: Class, found: Found) -> MergedExtension {
    let Found { name, origin, root_hash, file } = found;
    let is_staged_file = || {
        let path = staged_path(class, &name);
        let device = attached.verity().iter().find(|device| Some(&device.root_hash) == root_hash.as_ref())?;
        let there = FileIdentity::from(&root.metadata(path.as_str()).ok()?);
        (attached.identity(device) == Some(there)).then_some(path)
    };
    let file = file.or_else(is_staged_file);
    MergedExtension { class, name, origin: origin.as_str().into(), root_hash, file, rest: Map::new() }
}

/// Tells of an extension that is merged and was neither staged nor verified on the host.
fn tell_unexpected(state: &State, class: Class, found: &Found, count: &mut usize, outcome: &mut Merge) {
    let Found { name, origin, root_hash, file } = found;
    if matches!(origin, Origin::Staged | Origin::Host) {
        return;
    }
    *count = count.saturating_add(1);
    if *count > MERGE_NAMES {
        return;
    }
    outcome.unexpected.push(name.clone());
    let file = file.as_ref().map_or("", Text::as_str);
    if *origin == Origin::Directory && !state.is_left(class, name.as_str()) {
        let text = format_args!("{name} ({class}) is merged from the directory {file}, which no signature covers");
        return Event::DirectoryMerged.emit_about(name, text);
    }
    let from = if file.is_empty() { String::new() } else { format!(", from {file}") };
    let root_hash = root_hash.as_ref().map(|root_hash| format!(", root hash {root_hash}")).unwrap_or_default();
    let text = format_args!("{name} ({class}) is merged and was not staged{from}{root_hash}");
    Event::UnexpectedlyMerged.emit_about(name, text);
}

/// Tells of an extension that is there and not merged.
fn tell_missing(class: Class, missing: Missing, outcome: &mut Merge) {
    let Missing { name, file, staged, cause } = missing;
    let event = if cause.meant { Event::LeftOut } else { Event::NotMerged };
    let what = if staged { "was staged and is not merged".to_owned() } else { format!("in {file} is not merged") };
    if !cause.is_told {
        event.emit_about(&name, format_args!("{name} ({class}) {what}: {}", cause.text));
    }
    let Cause { text: cause, meant, .. } = cause;
    if outcome.not_merged.len() < MERGE_ROWS {
        outcome.not_merged.push(NotMerged { class, name, file, staged, cause, meant, rest: Map::new() });
    }
}

/// Fills in what became of the merge in the report, where there is one, and that `begun` ends here. Nothing depends on it.
pub(super) fn complete(root: &Root, state: &State, merge: Merge, begun: Run) {
    let completed = Report::read(root).map_err(anyhow::Error::from).and_then(|report| {
        let mut report = report.context("file not found")?;
        mark_withdrawn(&state.staged, &mut report);
        let is_host = merge.confirmed;
        report.merge = Some(Merge { rest: report.merge.take().unwrap_or_default().rest, ..merge });
        report.note_run(begun.ended());
        // In the initrd the driver of the TPM may be missing.
        if is_host {
            report.measurement = Some(measurement::complete(root, report.measurement.take()));
        }
        let written = report::write(root, &report);
        metrics::refresh(root, &report);
        written
    });
    if let Err(error) = completed {
        Event::ReportIncomplete.emit(format_args!("completing {}: {error:#}", report::PATH));
    }
}

/// Notes in the rows of a report what was taken back.
fn mark_withdrawn(staged: &[StagedExtension], report: &mut Report) {
    for extension in staged {
        let Some(cause) = &extension.withdrawn else { continue };
        let is_it = |image: &&mut Image| image.is_good() && image.is(extension.class, extension.name.as_str());
        if let Some(image) = report.images.iter_mut().find(is_it) {
            image.withdraw(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;
    use std::ffi::OsStr;

    #[test]
    fn only_what_was_taken_back_is_marked() {
        let row = |name: &str| {
            let mut image = Image::new(OsStr::new(name), Class::Sysext);
            image.name = Some(name.into());
            image.set_verdict(Ok(Verdict::Staged));
            image
        };
        let staged = |name: &str, withdrawn: Option<&str>| StagedExtension {
            class: Class::Sysext,
            name: name.into(),
            file: name.into(),
            root_hash: None,
            signer: None,
            source: None,
            withdrawn: withdrawn.map(Into::into),
            is_removed: false,
        };
        let mut report = Report { images: vec![row("a"), row("b")], ..Report::default() };
        mark_withdrawn(&[staged("a", None), staged("b", Some("it was changed"))], &mut report);
        assert_eq!(report.images[0].verdict, Verdict::Staged);
        assert_eq!(report.images[1].verdict, Verdict::Withdrawn);
    }
}
