//! `sextant-agent adopt`: judging what systemd would find besides what was staged.
//!
//! Where extensions are staged others put theirs: immucore links what lies on a disk, `kairos-agent sysext enable --now`
//! does so at run time, an administrator may. systemd refuses the whole merge for one that it can't verify, and of two with
//! one name takes either. So each is judged as what the firmware's stub left is. A good one gives way to our own mount of the
//! file that was verified; any other is taken out. Where something can't be taken out the run fails, and each unit that merges
//! has this run before it, and doesn't merge then.
//!
//! A dry run goes the same way, and changes nothing: no file, no mount, no device of the kernel.

use super::environment::Environment;
use super::lock;
use super::options::Options;
use super::preparation::Preparation;
use super::run::{Looked, Place, PlaceKind, Records, Run, look};
use super::withdrawal;
use crate::merge;
use crate::policy::{Directory, Verify};
use crate::reason::Reason;
use crate::report::{Adoption, Event, Image, Offered, Report, Run as AgentRun, TakenBack, Verb, Word};
use crate::root::Root;
use crate::stage::{self, Withdrawn, faults, recheck, withdraw_images};
use crate::stamp::Stamp;
use crate::state::{HostImage, Judgement, PATH, Source, StagedExtension, State};
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::text::{Message, Text};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::time::Instant;

/// Names that are looked at before the directory is listed again.
const AT_ONCE: usize = 1024;
/// Names that a dry run looks at.
const AT_MOST: usize = 1 << 16;
/// Why an extension is taken back whose file on a disk isn't what it was.
const OTHER_FILE: &str = "the file that it was adopted from was replaced or changed";
/// The same where that file is gone, as its owner wanted.
const REMOVED: &str = "the file that it was adopted from was removed";

/// Verifies what others have put where extensions are staged, and stages the good ones.
///
/// # Errors
/// What kept the agent from judging, or from taking out what isn't good. Nothing may be merged then.
pub fn adopt(environment: &Environment, options: &Options) -> Result<()> {
    let (started, begun) = (Instant::now(), AgentRun::begin(Verb::Adopt));
    let root = environment.root();
    let _lock = lock::exclusive(root)?;
    let mut state = read_state(root)?;
    if let Err(error) = environment.sweep() {
        Event::Failed.emit(format_args!("cleaning up after an interrupted run: {error:#}"));
    }
    let withdrawn = recheck(root, &|class, name| state.is_left(class, name))?;
    withdrawal::note(&mut state, &withdrawn);
    let changed = changed(root, &state);
    for extension in &changed {
        let image = [(extension.class, extension.name.as_str())];
        if is_removed(root, extension) {
            withdrawal::note_removed(&mut state, &withdraw_images(root, &image, REMOVED)?);
        } else {
            withdrawal::note(&mut state, &withdraw_images(root, &image, OTHER_FILE)?);
        }
    }
    let report = Report::read(root).map(Option::unwrap_or_default);
    let mut report = report.unwrap_or_else(|error| {
        Event::ReportIncomplete.emit(format_args!("reading the report of this boot: {error}"));
        Report::default()
    });
    report.note_run(begun);
    let records = Records::new(root, &mut report, &mut state);
    run(environment, options, started, records, changed, &mut Adoption::default())
}

/// Says what [`adopt`] would do, and changes nothing.
///
/// # Errors
/// What would keep the agent from judging.
pub fn preview(environment: &Environment, options: &Options) -> Result<Adoption> {
    let started = Instant::now();
    let root = environment.root();
    let mut state = read_state(root)?;
    let mut withdrawn = faults(root, &|class, name| state.is_left(class, name))?;
    mark_all(&mut state, &withdrawn);
    let changed = changed(root, &state);
    let replaced: Vec<Withdrawn> = changed
        .iter()
        .map(|extension| Withdrawn {
            file: format!("{}.raw", extension.name).into(),
            class: extension.class,
            cause: if is_removed(root, extension) { REMOVED } else { OTHER_FILE },
        })
        .collect();
    mark_all(&mut state, &replaced);
    withdrawn.extend(replaced);
    let mut report = Report::default();
    let mut adoption = Adoption { withdrawn: taken_back(&withdrawn), ..Adoption::default() };
    let records = Records::new(root, &mut report, &mut state).of_dry_run();
    run(environment, options, started, records, changed, &mut adoption)?;
    (adoption.images, adoption.omitted) = (report.images, report.omitted);
    offer(root, &state, &mut adoption);
    Ok(adoption)
}

fn read_state(root: &Root) -> Result<State> {
    State::read(root)?.with_context(|| format!("nothing was verified in this boot: {PATH} does not exist"))
}

fn mark_all(state: &mut State, withdrawn: &[Withdrawn]) {
    for image in withdrawn {
        withdrawal::mark(state, image, false);
    }
}

fn taken_back(withdrawn: &[Withdrawn]) -> Vec<TakenBack> {
    let name = |image: &Withdrawn| {
        let file = image.file.to_string_lossy();
        Text::new(file.strip_suffix(".raw").unwrap_or(&file))
    };
    let taken = |image: &Withdrawn| TakenBack { class: image.class, name: name(image), cause: image.cause.into() };
    withdrawn.iter().map(taken).collect()
}

/// Goes through all places. `changed` are extensions that were taken back because their file on a disk is another one now.
fn run(
    environment: &Environment,
    options: &Options,
    started: Instant,
    mut records: Records<'_>,
    mut changed: Vec<StagedExtension>,
    adoption: &mut Adoption,
) -> Result<()> {
    let root = environment.root();
    records.state.host.clear();
    let mut preparation = Preparation::again(environment, records.state);
    let is_clean = |class: &Class| stage::foreign(root, *class, 1).is_ok_and(|found| found.is_empty());
    let has_sources = preparation.policy.directories_for(&preparation.entry).next().is_some();
    if !changed.is_empty() || has_sources || !Class::ALL.iter().all(is_clean) || has_images(root) {
        if let Some(error) = preparation.failure.take() {
            // All of them are refused for this, and taken out, so the merge can go on with what was staged.
            Event::Failed.emit(format_args!("{error:#}"));
        }
        look(environment, options, &preparation, started, &mut records, |run, records| {
            for extension in changed.drain(..) {
                let path = extension.source.as_ref().map_or("", |source| source.path.as_str());
                let verify = preparation.policy.verify_at(path, &preparation.entry);
                again(run, records, root, extension, verify);
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
                    let place = Host { class, directory, quarantine: preparation.policy.quarantine };
                    host(run, records, root, place, adoption);
                }
            }
        });
        records.end_run();
        records.write_report();
    }
    let written = records.write_state();
    records.finish().and(written)
}

/// Extensions that are still staged as they were verified, though their file on a disk was removed, replaced or changed.
fn changed(root: &Root, state: &State) -> Vec<StagedExtension> {
    let is_same = |source: &Source| {
        root.metadata(source.path.as_str()).is_ok_and(|found| Text::new(Stamp::from(&found)) == source.stamp)
    };
    let is_changed = |extension: &&StagedExtension| extension.source.as_ref().is_some_and(|source| !is_same(source));
    state.left().filter(is_changed).cloned().collect()
}

/// Says what systemd would find after this run: what is staged, verified images of the host's own (which are there already), and
/// the host's directories. Of one name only one counts, which for system extensions is the one in `/etc/extensions`.
fn offer(root: &Root, state: &State, adoption: &mut Adoption) {
    let of_host = std::mem::take(&mut adoption.offered);
    for class in Class::ALL {
        let hiding = merge::hiding(root, class).unwrap_or_default();
        let is_mask = |name: &Text| hiding.get(name).is_some_and(|hidden| hidden.is_mask);
        let is_hidden = |name: &Text, path: &str| hiding.contains_key(name) && !path.starts_with("/etc/");
        let trees = merge::plain_directories(root, class).into_iter().filter(|(name, _)| !is_mask(name));
        let trees =
            trees.map(|(name, path)| Offered { class, name, file: Text::new(path), root_hash: None, signer: None });
        let staged = state.left().filter(|extension| extension.class == class).map(|extension| Offered {
            class,
            name: extension.name.clone(),
            file: extension.source.as_ref().map_or_else(|| extension.file.clone(), |source| source.path.clone()),
            root_hash: extension.root_hash.clone(),
            signer: extension.signer.clone(),
        });
        let images = of_host.iter().filter(|offered| offered.class == class).cloned();
        let (first, rest): (Vec<_>, Vec<_>) =
            trees.chain(images).partition(|offered| offered.file.as_str().starts_with("/etc/"));
        for offered in first.into_iter().chain(staged).chain(rest) {
            let is_there = adoption.offered.iter().any(|it| (it.class, &it.name) == (class, &offered.name));
            if !is_there && !is_hidden(&offered.name, offered.file.as_str()) {
                adoption.offered.push(offered);
            }
        }
    }
}

/// Whether the file that an extension was adopted from is gone.
fn is_removed(root: &Root, extension: &StagedExtension) -> bool {
    let found = |source: &Source| root.metadata(source.path.as_str());
    extension.source.as_ref().is_some_and(|source| {
        matches!(found(source), Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    })
}

/// Looks once more at a file that an extension was adopted from. That it is gone is what its owner wanted.
fn again(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, extension: StagedExtension, verify: Verify) {
    let Some(path) = extension.source.map(|source| source.path) else { return };
    let Some((directory, file)) = path.as_str().rsplit_once('/') else { return };
    if root.metadata(path.as_str()).is_err() {
        return;
    }
    let place = Place { directory, file: OsStr::new(file), class: extension.class, kind: PlaceKind::Anybody, verify };
    let Looked { image, stamp } = run.process(place, None, &|| Ok(()));
    let source = stamp.map(|stamp| Source { path: path.clone(), stamp });
    records.add(image, source, None);
}

/// Looks at everything in the directory in which extensions of `class` are staged, until nothing but ours is left. A dry run looks
/// once.
fn all(
    run: &mut Run<'_>,
    records: &mut Records<'_>,
    root: &Root,
    class: Class,
    preparation: &Preparation,
) -> Result<()> {
    let directory = class.staging_directory();
    let limit = if records.dry { AT_MOST } else { AT_ONCE };
    loop {
        let files = stage::foreign(root, class, limit).with_context(|| format!("listing {directory}"))?;
        for (number, file) in files.iter().enumerate() {
            let next = files.get(number.saturating_add(1)).map(|next| found(class, next));
            one(run, records, root, class, file, next, preparation)?;
        }
        if files.is_empty() || records.dry {
            return Ok(());
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
    let dry = records.dry;
    let take_out = || if dry { Ok(()) } else { stage::take_out(root, directory, file).map(drop) };
    let Some(path) = stage::link_target(root, directory, file) else {
        return file_itself(run, records, root, directory, place);
    };
    // A link into a directory of the configuration is verified as that says.
    let place = Place { verify: preparation.policy.verify_at(path.as_str(), &preparation.entry), ..place };
    let Looked { mut image, stamp } = run.process(place, next, &take_out);
    if image.is_good() {
        records.add(image, stamp.map(|stamp| Source { path, stamp }), None);
        return Ok(());
    }
    if let Err(error) = take_out() {
        let warning = format!("moving it out of {}: {error:#}", directory.staging_directory());
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
    let moved = if records.dry {
        place.directory.to_owned()
    } else {
        stage::take_out(root, directory, place.file)
            .with_context(|| format!("moving {} out of {}", Text::from_os(place.file), directory.staging_directory()))?
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
        Event::Failed.emit(format_args!("listing {directory}: only the first {AT_ONCE} files are processed"));
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

/// A directory of the host.
#[derive(Clone, Copy)]
struct Host<'p> {
    class: Class,
    directory: &'p str,
    /// Whether bad images are renamed.
    quarantine: bool,
}

/// Looks at images in a directory of the host. systemd looks there itself, so all that can be done about one that it will
/// refuse, and all others for its sake, is to name it, or to rename it.
fn host(run: &mut Run<'_>, records: &mut Records<'_>, root: &Root, place: Host<'_>, adoption: &mut Adoption) {
    let Host { class, directory, quarantine } = place;
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
        let path = image.path();
        if image.is_good() {
            if let Some(name) = image.name.clone() {
                let (root_hash, signer) = (image.root_hash.clone(), image.trusted_signer().map(Message::new));
                adoption.offered.push(Offered { class, name, file: path, root_hash, signer });
            }
            note(records, image, Judgement::Good);
            continue;
        }
        let cause = Message::new(format_args!(
            "{} ({})",
            image.detail.as_ref().map_or("", Message::as_str),
            image.reason.as_ref().map_or("", Word::as_str)
        ));
        // Those systemd passes over (systemd 254 to 262, `src/sysext/sysext.c`, `validate_version`); other images are not affected.
        let is_passed_over =
            |reason: &Word<Reason>| *reason == Reason::IncompatibleHost || *reason == Reason::WrongScope;
        if image.reason.as_ref().is_some_and(is_passed_over) {
            note(records, image, Judgement::PassedOver(cause));
            continue;
        }
        // systemd does not have these rules: it merges the image, and other images are not affected.
        let is_excluded = |reason: &Word<Reason>| *reason == Reason::TooOld || *reason == Reason::RevokedImage;
        let is_excluded = image.reason.as_ref().is_some_and(is_excluded);
        let effect = if is_excluded { "systemd merges it" } else { "it blocks all extensions" };
        let mut is_left = true;
        let advice = match (quarantine, records.dry) {
            (true, true) => Message::new(format_args!("{effect}, so it would be renamed (merge.quarantine)")),
            (true, false) => match stage::reject_on_host(root, directory, &file) {
                Ok(name) => {
                    is_left = false;
                    Message::new(format_args!("it was renamed to {directory}/{}", Text::from_os(&name)))
                }
                Err(error) => Message::new(format_args!("{effect}: {error:#}")),
            },
            (false, _) if is_excluded => {
                let text =
                    format_args!("systemd merges it all the same: remove it from {directory}, or set merge.quarantine");
                Message::new(text)
            }
            (false, _) => {
                adoption.blocking.push(path);
                Message::new(format_args!(
                    "systemd may refuse all extensions because of it: remove it from {directory}, sign it, or set \
                     merge.quarantine"
                ))
            }
        };
        image.warn(advice);
        if is_left {
            let judgement = if is_excluded { Judgement::Excluded(cause) } else { Judgement::Bad(cause) };
            note(records, image.clone(), judgement);
        }
        records.replace(image);
    }
}

/// Notes for `confirm` what was decided about an image of the host's own.
fn note(records: &mut Records<'_>, image: Image, judgement: Judgement) {
    let path = image.path();
    let Image { class, name, file, root_hash, .. } = image;
    let name = name.unwrap_or_else(|| file.clone());
    records.state.host.push(HostImage { class, name, path, root_hash, judgement });
}
