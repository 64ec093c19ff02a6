//! What `sextant install` has to do, found out before anything is done.

use super::esp_options::listing;
use super::machine::class_of;
use crate::durable;
use crate::esp::{Entry, Esp, Extra, Item, change};
use crate::image::{Class, extension_name};
use crate::reason::printable;
use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// What FAT has no names for (Microsoft, "FAT File System Specification" 1.03, long names).
const NOT_ON_FAT: &str = "\"*/:<>?\\|";

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// It is written; there was none of its name.
    Installed,
    /// It is written in place of one with other content.
    Replaced,
    /// It is there, and was disabled.
    Enabled,
    /// It is there.
    Unchanged,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Replaced => "replaced",
            Self::Enabled => "enabled",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One file for one entry.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    #[serde(serialize_with = "name_of")]
    pub(super) entry: Entry,
    pub(super) directory: String,
    pub(super) file: String,
    pub(super) class: Class,
    pub(super) action: Action,
    pub(super) size: u64,
    /// The disabled file of this name that goes away.
    pub(super) removes: Option<String>,
    #[serde(skip)]
    pub(super) source: PathBuf,
    /// The disabled file of this name that becomes the enabled one.
    #[serde(skip)]
    enables: Option<Item>,
    #[serde(skip)]
    place: Option<PathBuf>,
}

fn name_of<S: Serializer>(entry: &Entry, serializer: S) -> Result<S::Ok, S::Error> {
    entry.name.serialize(serializer)
}

impl Planned {
    /// Whether bytes are written.
    pub(super) fn writes(&self) -> bool {
        matches!(self.action, Action::Installed | Action::Replaced)
    }

    /// Whether anything is different afterwards.
    pub(super) fn changes(&self) -> bool {
        self.action != Action::Unchanged || self.removes.is_some()
    }

    /// A sentence for what is being done to it.
    pub(super) fn doing(&self, what: &str) -> String {
        format!("{what} {} for {}", self.file, printable(&self.entry.name))
    }

    /// What is left to do when the file itself is in its place.
    pub(super) fn follow_up(&self) -> std::io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        if let Some(disabled) = &self.enables {
            change::rename(place, &disabled.file_now(), &disabled.file)?;
        }
        self.removes.as_ref().map_or(Ok(()), |file| change::remove(place, file))
    }
}

/// All that has to be done.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) planned: Vec<Planned>,
    /// What can't be cleaned up, as sentences.
    pub(super) left_alone: Vec<String>,
    /// Temporary files that an interrupted run left, whichever entry it was for: place, name, size.
    leftovers: Vec<(PathBuf, String, u64)>,
    new_directories: u64,
}

impl Job {
    /// Compares what is asked for with what is there.
    pub(super) fn plan(esp: &Esp, entries: &[Entry], images: &[PathBuf]) -> Result<Self> {
        let mut job = Self { planned: Vec::new(), left_alone: Vec::new(), leftovers: Vec::new(), new_directories: 0 };
        for (index, image) in images.iter().enumerate() {
            let twice = |other: &&PathBuf| {
                let (one, other) = (image.file_name().unwrap_or_default(), other.file_name().unwrap_or_default());
                one.eq_ignore_ascii_case(other)
            };
            if let Some(other) = images.iter().take(index).find(twice) {
                bail!("installing {}: {} has the same name", image.display(), other.display());
            }
        }
        for entry in Entry::by_uki(esp.entries().with_context(|| listing(esp))?) {
            job.note_leftovers(&esp.extra(&entry).with_context(|| listing(esp))?)?;
        }
        for entry in entries {
            let extra = esp.extra(entry).with_context(|| listing(esp))?;
            job.new_directories += u64::from(extra.place().is_none());
            for image in images {
                let planned = plan(entry, &extra, image)
                    .with_context(|| format!("installing {} for {}", image.display(), printable(&entry.name)))?;
                job.planned.push(planned);
            }
        }
        Ok(job)
    }

    fn note_leftovers(&mut self, extra: &Extra) -> Result<()> {
        let Some(place) = extra.place() else { return Ok(()) };
        for leftover in &extra.leftovers {
            let Some(file) = durable::final_name(leftover) else { continue };
            let context = || format!("looking at {}/{leftover}", extra.directory);
            match change::check_twins(extra, file).with_context(context)? {
                Ok(()) => {
                    let size = place.join(leftover).metadata().with_context(context)?.len();
                    self.leftovers.push((place.to_owned(), leftover.clone(), size));
                }
                Err(twin) => self.left_alone.push(printable(&format!("{}/{leftover}: {twin}", extra.directory))),
            }
        }
        Ok(())
    }

    /// Bytes to be written.
    pub(super) fn bytes(&self) -> u64 {
        self.planned.iter().filter(|planned| planned.writes()).map(|planned| planned.size).sum()
    }

    /// Whether it can be done as a whole.
    pub(super) fn admit(&self, esp: &Esp) -> Result<()> {
        let space = esp.space().with_context(|| format!("asking what is free on {}", esp.path().display()))?;
        let writes = || self.planned.iter().filter(|planned| planned.writes());
        if let Some(planned) = writes().find(|planned| !space.can_hold(planned.size)) {
            bail!("{}: {} bytes are more than a file on FAT may have", planned.doing("installing"), planned.size);
        }
        let given_back: u64 = self.leftovers.iter().map(|(_, _, size)| *size).sum();
        let (needed, free) =
            (space.needed(writes().map(|planned| planned.size), self.new_directories), space.free + given_back);
        if writes().next().is_some() && needed > free {
            bail!(
                "installing nothing: {} are needed on {} and {} are free (`sextant list` tells what is there, \
                 `sextant remove` takes it away)",
                super::size(needed),
                esp.path().display(),
                super::size(free)
            );
        }
        Ok(())
    }

    /// Removes what an interrupted run left.
    pub(super) fn clean_up(&self) -> Result<()> {
        for (place, leftover, _) in &self.leftovers {
            change::remove(place, leftover).with_context(|| format!("removing {}", place.join(leftover).display()))?;
        }
        Ok(())
    }
}

/// What has to be done with one image for one entry.
fn plan(entry: &Entry, extra: &Extra, image: &Path) -> Result<Planned> {
    let class = class_of(image);
    let metadata = image.metadata()?;
    if !metadata.is_file() {
        bail!("it is no regular file");
    }
    let file = image.file_name().and_then(|name| name.to_str()).context("its name is not UTF-8")?.to_owned();
    extension_name(file.as_ref(), class)?;
    if let Some(character) = file.chars().find(|it| !it.is_ascii_graphic() || NOT_ON_FAT.contains(*it)) {
        bail!("{character:?} in its name is nothing that systemd-stub takes from a FAT file system");
    }
    let is_it = |item: &&Item| item.file.eq_ignore_ascii_case(&file);
    if let Some(other) = extra.items.iter().filter(is_it).find(|item| item.file != file) {
        bail!("{} is there, whose name differs in nothing but case: remove it first", other.file_now());
    }
    let there = |enabled: bool| extra.items.iter().filter(is_it).find(|item| item.enabled == enabled);
    let (enabled, disabled) = (there(true), there(false));
    let same = |item: &Item| -> Result<bool> {
        let place = extra.place().context("the directory is gone")?;
        Ok(change::same_content(image, &place.join(item.file_now()))?)
    };
    let action = match (enabled, disabled) {
        (Some(item), _) if same(item)? => Action::Unchanged,
        (Some(_), _) => Action::Replaced,
        (None, Some(item)) if same(item)? => Action::Enabled,
        (None, _) => Action::Installed,
    };
    if action != Action::Unchanged || disabled.is_some() {
        change::check_twins(extra, &file)??;
    }
    Ok(Planned {
        entry: entry.clone(),
        directory: extra.directory.clone(),
        file,
        class,
        action,
        size: metadata.len(),
        source: image.to_owned(),
        removes: disabled.filter(|_| action != Action::Enabled).map(Item::file_now),
        enables: disabled.filter(|_| action == Action::Enabled).cloned(),
        place: extra.place().map(Path::to_owned),
    })
}
