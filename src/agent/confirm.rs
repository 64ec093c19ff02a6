//! `sextant-agent confirm`: on the host, once systemd has merged.

use super::environment::Environment;
use super::lock;
use crate::image::Class;
use crate::merge::{self, Attached};
use crate::report::{self, Event, Image, MERGE_NAMES, Merge, Report};
use crate::root::Root;
use crate::state::{PATH, StagedExtension, State};
use crate::text::Text;
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Compares what was staged with what is merged, and completes the report. A difference is logged; it isn't a failure of
/// the agent.
///
/// # Errors
/// What kept it from comparing. Where no `stage` has run in this boot, nothing is changed.
pub fn confirm(environment: &Environment) -> Result<()> {
    let root = environment.root();
    let nothing = || format!("sextant has staged nothing in this boot: there is no {PATH}");
    if matches!(root.metadata(PATH), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        bail!(nothing());
    }
    let _lock = lock::exclusive(root)?;
    let state = State::read(root)?.with_context(nothing)?;
    let mounts = environment.mounts()?;
    let mut outcome = Merge { requested: state.requested, confirmed: true, ..Merge::default() };
    let attached = Attached::read(root);
    let mut unexpected = 0_usize;
    for class in Class::ALL {
        let staged = state.staged.iter().filter(|extension| extension.class == class);
        let hiding = merge::hiding(root, class)?;
        let others = others(&state, &attached, class);
        let hiding: BTreeSet<Text> = hiding.into_iter().chain(others.keys().cloned()).collect();
        let names = staged.clone().map(|extension| &extension.name);
        let comparison = merge::compare(names, &merge::merged(root, class, &mounts)?, &hiding);
        for name in &comparison.missing {
            let withdrawn = staged.clone().find(|extension| extension.name == *name);
            let withdrawn = withdrawn.and_then(|extension| extension.withdrawn.as_ref());
            let text = format!("{name} ({class}) was staged and is not merged");
            match withdrawn {
                Some(cause) => Event::NotMerged.emit_about(
                    name,
                    format_args!(
                        "{name} ({class}) was withdrawn in the initrd and is not merged: {cause} \
                         (journalctl -b -t sextant-agent)"
                    ),
                ),
                None if others.contains_key(name) => Event::NotMerged.emit_about(
                    name,
                    format_args!("{text}: {} was merged under its name", others.get(name).map_or("", Text::as_str)),
                ),
                None if hiding.contains(name) => Event::NotMerged.emit_about(
                    name,
                    format_args!("{text}: /etc/extensions has another of this name, which systemd prefers"),
                ),
                None => Event::NotMerged
                    .emit_about(name, format_args!("{text}: see the journal of systemd-{class}.service")),
            }
        }
        let is_hosts = |name: &Text| !hiding.contains(name) && state.host.contains(&(class, name.clone()));
        let unmeant: Vec<Text> = comparison.unexpected.into_iter().filter(|name| !is_hosts(name)).collect();
        for name in &unmeant {
            unexpected = unexpected.saturating_add(1);
            if unexpected <= MERGE_NAMES {
                let text = format_args!("{name} ({class}) is merged and was not staged");
                Event::UnexpectedlyMerged.emit_about(name, text);
            }
        }
        outcome.merged.extend(comparison.merged);
        outcome.missing.extend(comparison.missing);
        outcome.unexpected.extend(unmeant);
    }
    if unexpected > MERGE_NAMES {
        let more = unexpected.saturating_sub(MERGE_NAMES);
        Event::UnexpectedlyMerged.emit(format_args!("and {more} more are merged and were not staged"));
        outcome.unexpected.truncate(MERGE_NAMES);
    }
    let total = outcome.merged.len().saturating_add(outcome.missing.len());
    let names: Vec<&str> = outcome.merged.iter().map(Text::as_str).collect();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    Event::Merged.emit(format_args!("{} of {total} staged extensions merged{names}", outcome.merged.len()));
    complete(root, &state, outcome);
    Ok(())
}

/// The staged extensions of `class` under whose name another file is attached, and that file.
fn others(state: &State, attached: &Attached, class: Class) -> BTreeMap<Text, Text> {
    let staged = state.left().filter(|extension| extension.class == class);
    let other = |name: &Text| Some((name.clone(), Text::new(attached.other_file(class, name)?)));
    staged.filter_map(|extension| other(&extension.name)).collect()
}

/// Fills in what became of the merge in the report, where there is one. Nothing depends on it.
pub(super) fn complete(root: &Root, state: &State, merge: Merge) {
    let completed = Report::read(root).map_err(anyhow::Error::from).and_then(|report| {
        let mut report = report.context("file not found")?;
        mark_withdrawn(&state.staged, &mut report);
        report.merge = Some(Merge { rest: report.merge.take().unwrap_or_default().rest, ..merge });
        report::write(root, &report)
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
        };
        let mut report = Report { images: vec![row("a"), row("b")], ..Report::default() };
        mark_withdrawn(&[staged("a", None), staged("b", Some("it was changed"))], &mut report);
        assert_eq!(report.images[0].verdict, Verdict::Staged);
        assert_eq!(report.images[1].verdict, Verdict::Withdrawn);
    }
}
