//! What a refresh changes: sets of merged extensions, and the difference between two of them.

use super::table::{Layout, Table, painted, plain};
use anyhow::{Context, Result};
use ddi::Class;
use ddi::text::{Message, Text};
use serde::Serialize;
use sextant::explanation::Explanation;
use sextant::kernel::KernelDevices;
use sextant::merge;
use sextant::report::{Adoption, Image, Offered, Omitted, Report};
use sextant::root::Root;
use std::collections::BTreeSet;
use std::fmt::{Display, Write};

/// The device-mapper devices of a tree.
const DEVICES: &str = "/sys/block";
/// Most devices that are looked at.
const MAX_DEVICES: usize = 4096;
/// Longest name of a device that is read, in bytes, and the end of its line.
const MAX_NAME: u64 = 129;
/// What systemd puts behind the root hash to name a device. A tree has nothing else to tell.
const VERITY: &str = "-verity";

/// What is merged at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Merged {
    names: BTreeSet<(Class, Text)>,
    /// Root hashes of all verity devices.
    root_hashes: BTreeSet<Text>,
}

impl Merged {
    /// Asks the system.
    pub(super) fn read(root: &Root) -> Result<Self> {
        let mounts = if root.is_machine() {
            std::fs::read_to_string(merge::MOUNTS).with_context(|| format!("reading {}", merge::MOUNTS))?
        } else {
            String::new()
        };
        let mut names = BTreeSet::new();
        for class in Class::ALL {
            names.extend(merge::merged(root, class, &mounts)?.into_iter().map(|name| (class, name)));
        }
        if root.is_machine() {
            let attached = merge::Attached::read(root, &KernelDevices::open());
            let root_hashes = attached.verity().iter().map(|device| device.root_hash.clone()).collect();
            return Ok(Self { names, root_hashes });
        }
        let devices = root.list_some(DEVICES, MAX_DEVICES).ok().flatten().unwrap_or_default();
        let devices = devices.iter().filter_map(|device| device.to_str()).filter(|device| device.starts_with("dm-"));
        let root_hash = |device: &str| {
            let name = root.read(&format!("{DEVICES}/{device}/dm/name"), MAX_NAME).ok()??;
            Some(Text::new(String::from_utf8(name).ok()?.trim_end().strip_suffix(VERITY)?))
        };
        Ok(Self { names, root_hashes: devices.filter_map(root_hash).collect() })
    }

    /// What would be merged after a refresh that goes well.
    pub(super) fn after(&self, preview: &Adoption) -> Self {
        let of_offered = preview.offered.iter().filter_map(|offered| offered.root_hash.clone());
        Self {
            names: preview.offered.iter().map(|offered| (offered.class, offered.name.clone())).collect(),
            root_hashes: self.root_hashes.iter().cloned().chain(of_offered).collect(),
        }
    }

    /// Whether anything of `class` is merged.
    pub(super) fn has(&self, class: Class) -> bool {
        self.names.iter().any(|(of, _)| *of == class)
    }

    /// Images of the host for whose sake systemd would refuse everything. One that is merged it has taken.
    pub(super) fn blocking<'a>(&'a self, preview: &'a Adoption) -> impl Iterator<Item = &'a Text> {
        let is_merged = |path: &Text| {
            let image = preview.images.iter().find(|image| image.path() == *path);
            let name = image.and_then(|image| Some((image.class, image.name.clone()?)));
            name.is_some_and(|name| self.names.contains(&name))
        };
        preview.blocking.iter().filter(move |path| !is_merged(path))
    }

    /// What is merged, for the end of a sentence.
    pub(super) fn stay(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|(_, name)| name.as_str()).collect();
        if names.is_empty() { "nothing is merged".to_owned() } else { format!("still merged: {}", names.join(", ")) }
    }
}

/// What became of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Removed,
    Replaced,
    Unchanged,
    /// It was verified, and isn't merged.
    Missing,
    Refused,
}

impl Change {
    const ALL: [Self; 6] = [Self::Added, Self::Removed, Self::Replaced, Self::Unchanged, Self::Missing, Self::Refused];

    const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Added | Self::Replaced => "32",
            Self::Removed => "33",
            Self::Unchanged => "2",
            Self::Missing | Self::Refused => "31",
        }
    }
}

/// One extension, or one file that is none.
#[derive(Debug, Serialize)]
struct Row {
    class: Class,
    /// `null` where the file's name gives none.
    name: Option<Text>,
    change: Change,
    /// The path of its file, as far as it is known.
    file: Option<Text>,
    root_hash: Option<Text>,
    signer: Option<Message>,
    /// Token, if it was refused.
    reason: Option<Text>,
    detail: Option<Message>,
    /// What to do about the reason.
    remedy: Option<Message>,
    warnings: Vec<Message>,
}

impl Row {
    fn refused(image: &Image) -> Self {
        Self {
            class: image.class,
            name: image.name.clone(),
            change: Change::Refused,
            file: Some(image.path()),
            root_hash: image.root_hash.clone(),
            signer: image.trusted_signer().map(Message::new),
            reason: image.reason.as_ref().map(Text::new),
            detail: image.detail.clone(),
            remedy: image.reason().map(|reason| Message::new(Explanation::of(reason).remedy)),
            warnings: image.warnings.clone(),
        }
    }
}

/// What a refresh changed, or would change.
#[derive(Debug, Serialize)]
pub(super) struct Changes {
    version: u32,
    dry_run: bool,
    /// Classes whose units were reloaded.
    refreshed: Vec<Class>,
    extensions: Vec<Row>,
    /// Refused files without a row.
    omitted: Option<Omitted>,
    error: Option<Message>,
}

impl Changes {
    pub(super) const fn new(dry_run: bool) -> Self {
        Self { version: 1, dry_run, refreshed: Vec::new(), extensions: Vec::new(), omitted: None, error: None }
    }

    /// Notes that a unit was reloaded.
    pub(super) fn refreshed(&mut self, class: Class) {
        self.refreshed.push(class);
    }

    pub(super) fn has_refreshed(&self) -> bool {
        !self.refreshed.is_empty()
    }

    /// Notes what went wrong.
    pub(super) fn fail(&mut self, error: impl Display) {
        self.error = Some(Message::new(error));
    }

    pub(super) const fn error(&self) -> Option<&Message> {
        self.error.as_ref()
    }

    /// Whether everything that was found is merged, or would be.
    pub(super) fn is_well(&self) -> bool {
        let is_well = |row: &Row| !matches!(row.change, Change::Missing | Change::Refused);
        self.error.is_none() && self.omitted.is_none() && self.extensions.iter().all(is_well)
    }

    /// Fills in the rows. `report` is what the agent has decided since.
    pub(super) fn compare(&mut self, before: &Merged, after: &Merged, preview: &Adoption, report: Option<&Report>) {
        let offered = preview.offered.iter().map(|offered| (offered.class, offered.name.clone()));
        let all: BTreeSet<_> = before.names.iter().chain(&after.names).cloned().chain(offered).collect();
        for (class, name) in all {
            let offered = preview.offered.iter().find(|offered| offered.class == class && offered.name == name);
            let key = (class, name);
            let Some((change, detail)) = change(before, after, offered, &key) else { continue };
            let (class, name) = key;
            let is_it = |image: &&Image| !image.is_good() && image.is(class, name.as_str());
            let refused =
                report.filter(|_| change == Change::Missing).and_then(|it| it.images.iter().rev().find(is_it));
            if let Some(image) = refused {
                self.extensions.push(Row::refused(image));
                continue;
            }
            let withdrawn = preview.withdrawn.iter().find(|taken| taken.class == class && taken.name == name);
            let cause = withdrawn.filter(|_| change == Change::Removed).map(|taken| taken.cause.clone());
            self.extensions.push(Row {
                class,
                change,
                file: offered.map(|offered| offered.file.clone()),
                root_hash: offered.and_then(|offered| offered.root_hash.clone()),
                signer: offered.and_then(|offered| offered.signer.clone()),
                reason: None,
                detail: detail.map(Message::from).or(cause),
                remedy: None,
                warnings: Vec::new(),
                name: Some(name),
            });
        }
        self.extensions.extend(preview.images.iter().filter(|image| !image.is_good()).map(Row::refused));
        self.omitted.clone_from(&preview.omitted);
    }

    pub(super) fn text(&self, layout: Layout) -> String {
        let shown = |row: &Row| row.name.clone().or_else(|| row.file.clone()).unwrap_or_default();
        let mut table = Table::new(["EXTENSION", "CLASS", "CHANGE", "SIGNER OR REASON"], 0);
        for row in &self.extensions {
            let reason = row.reason.as_ref().map(Message::new);
            let last = reason.or_else(|| row.signer.clone()).unwrap_or_default();
            let change = painted(row.change.colour(), row.change.word());
            table.row([plain(shown(row)), plain(row.class), change, plain(last)]);
            if row.change == Change::Refused
                && let Some(file) = &row.file
            {
                table.below(painted("2", file));
            }
            if let Some(detail) = &row.detail {
                table.below(painted("2", detail));
            }
            for warning in &row.warnings {
                table.below(painted("2", format!("warning: {warning}")));
            }
            if let Some(remedy) = &row.remedy {
                table.below(painted("2", format!("remedy: {remedy}")));
            }
        }
        let mut out = table.render(layout);
        if let Some(omitted) = self.omitted.as_ref().filter(|omitted| omitted.total > 0) {
            let _ = writeln!(out, "and {omitted}");
        }
        let count = |change: Change| self.extensions.iter().filter(|row| row.change == change).count();
        let counts =
            Change::ALL.into_iter().map(|change| (count(change), change.word())).filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(count, word)| format!("{count} {word}")).collect();
        let counts = if counts.is_empty() { "no extensions".to_owned() } else { counts.join(", ") };
        let dry = if self.dry_run { "dry run, nothing was changed: " } else { "" };
        if layout.legend {
            let _ = writeln!(out, "{dry}{counts}");
        }
        out
    }
}

/// What became of one extension, and what has to be said about it; `None` for one of the host's that is merged neither before
/// nor after.
fn change(
    before: &Merged,
    after: &Merged,
    offered: Option<&Offered>,
    key: &(Class, Text),
) -> Option<(Change, Option<&'static str>)> {
    let root_hash = offered.and_then(|offered| offered.root_hash.as_ref());
    Some(match (before.names.contains(key), after.names.contains(key)) {
        (false, false) => {
            root_hash?;
            (Change::Missing, None)
        }
        (true, false) if root_hash.is_some() => (Change::Missing, Some("it was merged before")),
        (true, false) => (Change::Removed, None),
        (false, true) => (Change::Added, None),
        (true, true) => match root_hash {
            // Where no device tells which build is merged, the name has to do.
            Some(hash) if !before.root_hashes.is_empty() && !before.root_hashes.contains(hash) => {
                if after.root_hashes.contains(hash) {
                    (Change::Replaced, None)
                } else {
                    (Change::Missing, Some("another build is still merged"))
                }
            }
            _ => (Change::Unchanged, None),
        },
    })
}
