//! The states of an EFI system partition while it is changed, as the next boot would measure them.

use crate::commands::measure::{Opened, measure_chosen, open_all};
use crate::esp::{self, Entry, Esp};
use crate::measure::{Place, is_taken, places, reads_global, stub_version};
use crate::policies::Variant;
use anyhow::{Context, Result};
use ddi::Class;
use ddi::io::FileSource;
use ddi::text::Text;
use std::fs::File;

/// Most steps of an entry of which each state between is measured: all files are read again for each.
const MAX_STEPS: usize = 16;

/// A change of one file, as systemd-stub sees it.
#[derive(Debug)]
pub(in crate::commands) struct Step {
    directory: String,
    file: String,
    /// What is there afterwards; `None` if there is nothing to load.
    content: Option<Opened>,
}

impl Step {
    /// A file gets this name, and replaces one of the same.
    pub(in crate::commands) fn put(directory: &str, file: &str, content: &File) -> Result<Self> {
        let content = content.try_clone().with_context(|| format!("opening {file} again"))?;
        let content = Some(Opened::of_file(file.to_owned(), content)?);
        Ok(Self { directory: directory.to_owned(), file: file.to_owned(), content })
    }

    /// A file of this name goes away.
    pub(in crate::commands) fn gone(directory: &str, file: &str) -> Self {
        Self { directory: directory.to_owned(), file: file.to_owned(), content: None }
    }
}

/// What boots of an entry measure.
pub(super) struct States {
    /// Before the first step.
    pub(super) now: Variant,
    /// After the last one.
    pub(super) last: Variant,
    /// Before, and after each other step.
    pub(super) others: Vec<Variant>,
}

/// The states of an entry; `None` if none of the steps concerns it.
pub(super) fn of(esp: &Esp, entry: &Entry, steps: &[Step]) -> Result<Option<States>> {
    let beside = entry.extra_directory();
    let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    let concerns = |step: &&Step| is(&step.directory, &beside) || is(&step.directory, esp::GLOBAL);
    let steps: Vec<&Step> = steps.iter().filter(concerns).collect();
    if steps.is_empty() {
        return Ok(None);
    }
    let stub = version_of_stub(esp, entry);
    let all = places(stub.as_deref().ok());
    let takes_global = stub.and_then(|version| takes_global(&version));
    let read = |directory: &str| -> Result<Vec<Opened>> {
        let taken = esp.taken(directory).with_context(|| format!("listing {directory}"))?;
        taken.as_ref().map_or_else(|| Ok(Vec::new()), |extra| open_all(extra, true))
    };
    let found = [read(&beside)?, read(esp::GLOBAL)?];
    let [mut own, mut global] = [&found[0], &found[1]].map(|files| files.iter().collect::<Vec<&Opened>>());
    let uses_global = !global.is_empty() || steps.iter().any(|step| is(&step.directory, esp::GLOBAL));
    let mut names = found[0].iter().map(Opened::name).chain(steps.iter().map(|step| step.file.as_str()));
    let uses_confexts = names.any(|name| is_taken(name, Class::Confext));
    let takes_global = match takes_global {
        Ok(takes_global) => takes_global,
        Err(error) if uses_global => return Err(error.context(format!("boots may or may not read {}", esp::GLOBAL))),
        Err(error) if uses_confexts => {
            return Err(error.context("PCR 13 may or may not cover configuration extensions"));
        }
        Err(_) => false,
    };
    let measure = |own: &[&Opened], global: &[&Opened]| -> Result<Variant> {
        let places = all.iter().filter(|place| place.global.is_none() || takes_global);
        let files =
            |place: &'static Place| (place, if place.global.is_some() { global.to_vec() } else { own.to_vec() });
        Ok(Variant::of(&measure_chosen(places.map(files))?))
    };
    let now = measure(&own, &global)?;
    let mut states = vec![now.clone()];
    for (number, step) in (1..).zip(&steps) {
        let files = if is(&step.directory, &beside) { &mut own } else { &mut global };
        // FAT knows no case.
        files.retain(|file| !is(file.name(), &step.file));
        files.extend(step.content.as_ref());
        if steps.len() <= MAX_STEPS || number == steps.len() {
            states.push(measure(&own, &global)?);
        }
    }
    if steps.len() > MAX_STEPS {
        crate::commands::warn(format_args!(
            "{} files change for boot entry {}: the policy admits the old and the new set, and none between them (up to \
             {MAX_STEPS} files it would)",
            steps.len(),
            Text::new(&entry.name)
        ));
    }
    let last = states.pop().context("no state")?;
    states.dedup();
    Ok(Some(States { now, last, others: states }))
}

/// The version of the stub of the entry.
fn version_of_stub(esp: &Esp, entry: &Entry) -> Result<String> {
    let uki = File::open(esp.path().join(entry.uki.trim_start_matches('/'))).and_then(FileSource::new);
    stub_version(&uki.context("opening the UKI")?).context("reading the version of systemd-stub")
}

/// Whether a stub of this version reads the directory for all entries.
fn takes_global(version: &str) -> Result<bool> {
    reads_global(version).with_context(|| format!("version of systemd-stub is {}", Text::new(version)))
}
