//! `sextant-agent adopt`: judging what systemd would find besides what was staged.
//!
//! Where extensions are staged others put theirs: immucore links what lies on a disk, `kairos-agent sysext enable --now`
//! does so at run time, an administrator may. systemd refuses the whole merge for one that it can't verify, and of two with
//! one name takes either. So each is judged as what the firmware's stub left is. A good one gives way to our own mount of the
//! file that was verified; any other is taken out. What can't be taken out keeps the gate shut.

use super::environment::Environment;
use super::lock;
use super::preparation::Preparation;
use super::run::{Looked, Place, PlaceKind, Records, Run, look};
use super::stage::Options;
use super::withdrawal;
use crate::image::Class;
use crate::merge;
use crate::policy::{Directory, Verify};
use crate::reason::Reason;
use crate::report::{Event, Image, Report, Word};
use crate::root::Root;
use crate::stage::{self, recheck, withdraw_images};
use crate::stamp::Stamp;
use crate::state::{HostImage, Judgement, PATH, Source, StagedExtension, State};
use crate::text::{Message, Text};
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::time::Instant;

/// Names that are looked at before the directory is listed again.
const AT_ONCE: usize = 1024;
/// Why an extension is taken back whose file on a disk isn't what it was.
const OTHER_FILE: &str = "the file that it was adopted from was replaced or changed";
/// The same where that file is gone, as its owner wanted.
const REMOVED: &str = "the file that it was adopted from was removed";

/// Verifies what others have put where extensions are staged, and stages the good ones.
///
/// # Errors
/// What kept the agent from judging, or from taking out what isn't good. The gate is shut then.
pub fn adopt(environment: &Environment, options: &Options) -> Result<()> {
    let started = Instant::now();
    let root = environment.root();
    let _lock = lock::exclusive(root)?;
    let outcome = run(environment, options, started);
    if outcome.is_err() {
        // What couldn't be judged may still be there, and systemd would take it, or refuse everything for its sake.
        let _ = merge::close(root);
    }
    outcome
}

fn run(environment: &Environment, options: &Options, started: Instant) -> Result<()> {
    let root = environment.root();
    let mut state =
        State::read(root)?.with_context(|| format!("nothing was verified in this boot: there is no {PATH}"))?;
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(format_args!("removing what the agent left when it was stopped: {error:#}"));
    }
    let mut moved = withdraw_changed(root, &mut state)?;
    state.host.clear();
    let mut preparation = Preparation::again(environment, &state);
    let is_clean = |class: &Class| stage::foreign(root, *class, 1).is_ok_and(|found| found.is_empty());
    let has_sources = preparation.policy.directories_for(&preparation.entry).next().is_some();
    if moved.is_empty() && !has_sources && Class::ALL.iter().all(is_clean) && !has_images(root) {
        return state.write(root);
    }
    let mut report = match Report::read(root) {
        Ok(report) => report.unwrap_or_default(),
        Err(error) => {
            Event::ReportIncomplete.emit(format_args!("reading the report of this boot: {error}"));
            Report::default()
        }
    };
    let mut records = Records::new(root, &mut report, &mut state);
    if let Some(error) = preparation.failure.take() {
        // All of them are refused for this, and taken out, so the merge can go on with what was staged.
        Event::Failed.emit(format_args!("{error:#}"));
    }
    look(environment, options, &preparation, started, &mut records, |run, records| {
        for (class, source) in moved.drain(..) {
            let verify = preparation.policy.verify_at(source.as_str(), &preparation.entry);
            again(run, records, root, class, &source, verify);
        }
        for class in Class::ALL {
            if let Err(error) = all(run, records, root, class, &preparation) {
                records.fail(error);
            }
        }
        for directory in preparation.policy.directories_for(&preparation.entry) {
            source(run, records, root, directory);
        }
        for class in Class::ALL {
            for directory in merge::host_directories(class) {
                host(run, records, root, class, directory, preparation.policy.quarantine);
            }
        }
    });
    records.write_report();
    let written = records.state.write(root);
    records.finish().and(written)
}

/// Takes back what isn't what was verified any more. Returns the paths of files on a disk that are to be looked at again.
fn withdraw_changed(root: &Root, state: &mut State) -> Result<Vec<(Class, Text)>> {
    let mut withdrawn = recheck(root, &|class, name| state.is_left(class, name))?;
    let is_gone = |extension: &StagedExtension| {
        extension.source.as_ref().is_some_and(|source| {
            !root.metadata(source.path.as_str()).is_ok_and(|found| Text::new(Stamp::from(&found)) == source.stamp)
        })
    };
    let is_there =
        |extension: &&StagedExtension| !withdrawn.iter().any(|image| extension.is_staged_as(image.class, &image.file));
    let gone: Vec<_> = state.left().filter(is_there).filter(|it| is_gone(it)).cloned().collect();
    let (removed, changed): (Vec<_>, Vec<_>) = gone.iter().partition(|extension| is_removed(root, extension));
    let images =
        |of: &[&'_ StagedExtension]| -> Vec<_> { of.iter().map(|it| (it.class, it.name.to_string())).collect() };
    let withdraw = |images: Vec<(Class, String)>, cause| {
        let images: Vec<_> = images.iter().map(|(class, name)| (*class, name.as_str())).collect();
        withdraw_images(root, &images, cause)
    };
    withdrawn.extend(withdraw(images(&changed), OTHER_FILE)?);
    withdrawal::note(state, &withdrawn);
    withdrawal::note_removed(state, &withdraw(images(&removed), REMOVED)?);
    Ok(gone.into_iter().filter_map(|extension| Some((extension.class, extension.source?.path))).collect())
}

/// Whether the file that an extension was adopted from is gone.
fn is_removed(root: &Root, extension: &StagedExtension) -> bool {
    let found = |source: &Source| root.metadata(source.path.as_str());
    extension.source.as_ref().is_some_and(|source| {
        matches!(found(source), Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    })
}

/// Looks once more at a file that an extension was adopted from. That it is gone is what its owner wanted.
fn again(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, class: Class, path: &Text, verify: Verify) {
    let Some((directory, file)) = path.as_str().rsplit_once('/') else { return };
    if root.metadata(path.as_str()).is_err() {
        return;
    }
    let place = Place { directory, file: OsStr::new(file), class, kind: PlaceKind::Anybody, verify };
    let Looked { image, stamp } = run.process(place, None, &|| Ok(()));
    let source = stamp.map(|stamp| Source { path: path.clone(), stamp });
    records.add(image, source, None);
}

/// Looks at everything in the directory in which extensions of `class` are staged, until nothing but ours is left.
fn all(
    run: &mut Run<'_>,
    records: &mut Records<'_>,
    root: &Root,
    class: Class,
    preparation: &Preparation,
) -> Result<()> {
    let directory = class.staging_directory();
    loop {
        let files = stage::foreign(root, class, AT_ONCE).with_context(|| format!("listing {directory}"))?;
        if files.is_empty() {
            return Ok(());
        }
        for (number, file) in files.iter().enumerate() {
            let next = files.get(number.saturating_add(1)).map(|next| found(class, next));
            one(run, records, root, class, file, next, preparation)?;
        }
    }
}

/// Kairos links configuration extensions where systemd-sysext looks, which passes them over: the name says what it is.
fn found(directory: Class, file: &OsStr) -> Place<'_> {
    let named = file.to_str().and_then(Class::of_file_name).map(|(class, _)| class);
    Place {
        directory: directory.staging_directory(),
        file,
        class: named.unwrap_or(directory),
        kind: PlaceKind::Anybody,
        verify: Verify::Full,
    }
}

fn one(
    run: &mut Run<'_>,
    records: &mut Records<'_>,
    root: &Root,
    directory: Class,
    file: &OsString,
    next: Option<Place<'_>>,
    preparation: &Preparation,
) -> Result<()> {
    let place = found(directory, file);
    let take_out = || stage::take_out(root, directory, file);
    let Some(path) = stage::link_target(root, directory, file) else {
        return file_itself(run, records, root, directory, place);
    };
    // A link into a directory of the configuration is verified as that says.
    let place = Place { verify: preparation.policy.verify_at(path.as_str(), &preparation.entry), ..place };
    let Looked { mut image, stamp } = run.process(place, next, &|| take_out().map(drop));
    if image.is_good() {
        records.add(image, stamp.map(|stamp| Source { path, stamp }), None);
        return Ok(());
    }
    if let Err(error) = take_out() {
        let warning = format!("it can't be taken out of {}: {error:#}", directory.staging_directory());
        image.warn(Message::new(&warning));
        records.add(image, None, None);
        bail!("{}: {warning}", Text::from_os(file));
    }
    if !is_twin(records.state, &image) {
        records.add(image, None, None);
    }
    Ok(())
}

/// What is no link is moved before it is looked at: a file that is moved afterwards has another time of change than the one that was
/// verified.
fn file_itself(
    run: &mut Run<'_>,
    records: &mut Records<'_>,
    root: &Root,
    directory: Class,
    place: Place<'_>,
) -> Result<()> {
    let moved = match stage::take_out(root, directory, place.file) {
        Ok(moved) => moved,
        Err(error) => {
            let file = Text::from_os(place.file);
            bail!("{file} can't be taken out of {}: {error:#}", directory.staging_directory());
        }
    };
    let Looked { mut image, .. } = run.process(Place { directory: &moved, ..place }, None, &|| Ok(()));
    image.directory = Some(directory.staging_directory().into());
    if !is_twin(records.state, &image) {
        records.add(image, None, None);
    }
    Ok(())
}

/// Looks at the extensions in a directory on a disk. They stay where they are, good or bad.
fn source(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, directory: &Directory) {
    let (directory, verify) = (directory.directory.as_str(), directory.verify);
    let files = match root.list_some(directory, AT_ONCE) {
        Ok(files) => files.unwrap_or_default(),
        Err(error) => {
            Event::Failed.emit(format_args!("listing {directory}: {error}"));
            return;
        }
    };
    if files.len() >= AT_ONCE {
        Event::Failed.emit(format_args!("listing {directory}: only the first {AT_ONCE} files are looked at"));
    }
    // Other files are passed over, and so are extensions that were disabled by a suffix.
    let place = |file: &OsString| Class::of_file_name(file.to_str()?).map(|(class, _)| class);
    for file in &files {
        let Some(class) = place(file) else { continue };
        let path = Text::new(format_args!("{directory}/{}", Text::from_os(file)));
        let is_it = |extension: &StagedExtension| extension.source.as_ref().is_some_and(|source| source.path == path);
        if records.state.left().any(is_it) {
            continue;
        }
        let place = Place { directory, file, class, kind: PlaceKind::Anybody, verify };
        let Looked { image, stamp } = run.process(place, None, &|| Ok(()));
        if image.is_good() {
            records.add(image, stamp.map(|stamp| Source { path, stamp }), None);
        } else if !is_twin(records.state, &image) {
            records.replace(image);
        }
    }
}

/// Whether a rejected file is another name of what is staged. That is no fault, and isn't told.
fn is_twin(state: &State, image: &Image) -> bool {
    let is_it = |it: &StagedExtension| image.is(it.class, it.name.as_str()) && it.root_hash == image.root_hash;
    let is_twin = |reason: &Word<Reason>| *reason == Reason::DuplicateName || *reason == Reason::DuplicateImage;
    state.left().any(is_it) && image.root_hash.is_some() && image.reason.as_ref().is_some_and(is_twin)
}

/// Whether the host has images of its own.
fn has_images(root: &Root) -> bool {
    let is_used =
        |directory: &&str| merge::host_images(root, directory, AT_ONCE).is_ok_and(|images| !images.is_empty());
    Class::ALL.iter().any(|class| merge::host_directories(*class).iter().any(is_used))
}

/// Looks at images in a directory of the host. systemd looks there itself, so all that can be done about one that it will
/// refuse, and all others for its sake, is to name it, or to rename it.
fn host(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, class: Class, directory: &str, quarantine: bool) {
    let files = match merge::host_images(root, directory, AT_ONCE) {
        Ok(files) => files,
        Err(error) => {
            Event::Failed.emit(format_args!("listing {directory}: {error}"));
            return;
        }
    };
    // Links to nothing and to devices such as /dev/null aren't images to systemd (`image_discover`, as in `merge::host_directories`).
    let is_image = |file: &OsString| match file.to_str().map(|file| root.metadata(&format!("{directory}/{file}"))) {
        Some(Ok(found)) => found.is_file() || found.file_type().is_block_device(),
        Some(Err(error)) => error.kind() != ErrorKind::NotFound,
        None => true,
    };
    for file in files.into_iter().filter(is_image) {
        let kind = PlaceKind::Anybody;
        let mut image = run.judge(Place { directory, file: &file, class, kind, verify: Verify::Full });
        if image.is_good() {
            note(records, directory, image, Judgement::Good);
            continue;
        }
        let cause = Message::new(format_args!(
            "{} ({})",
            image.detail.as_ref().map_or("", Message::as_str),
            image.reason.as_ref().map_or("", Word::as_str)
        ));
        // Those systemd passes over (systemd 254 to 262, `src/sysext/sysext.c`, `validate_version`), and nobody else pays.
        let is_passed_over =
            |reason: &Word<Reason>| *reason == Reason::IncompatibleHost || *reason == Reason::WrongScope;
        if image.reason.as_ref().is_some_and(is_passed_over) {
            note(records, directory, image, Judgement::PassedOver(cause));
            continue;
        }
        let mut is_left = true;
        let advice = if quarantine {
            match stage::reject_on_host(root, directory, &file) {
                Ok(name) => {
                    is_left = false;
                    Message::new(format_args!("it was renamed to {directory}/{}", Text::from_os(&name)))
                }
                Err(error) => Message::new(format_args!("it keeps out all extensions, for {error:#}")),
            }
        } else {
            Message::new(format_args!(
                "systemd may refuse all extensions for its sake: remove it from {directory}, have it signed, or set \
                 merge.quarantine"
            ))
        };
        image.warn(advice);
        if is_left {
            note(records, directory, image.clone(), Judgement::Bad(cause));
        }
        records.replace(image);
    }
}

/// Notes for `confirm` what was decided about an image of the host's own.
fn note(records: &mut Records<'_>, directory: &str, image: Image, judgement: Judgement) {
    let Image { class, name, file, root_hash, .. } = image;
    let path = Text::new(format_args!("{directory}/{file}"));
    let name = name.unwrap_or_else(|| file.clone());
    records.state.host.push(HostImage { class, name, path, root_hash, judgement });
}
