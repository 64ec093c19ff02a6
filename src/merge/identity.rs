//! What each merged extension is, told by root hash rather than by name.

use super::confirm::{Hidden, Note};
use super::origin::{Attached, VerityDevice, has_name};
use ddi::Class;
use ddi::text::Text;
use std::collections::{BTreeMap, BTreeSet};

/// From what an extension was merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// What was staged.
    Staged,
    /// An image of the host's own that was verified.
    Host,
    /// A directory of the host's own, which no signature covers.
    Directory,
    /// Anything else.
    Other,
}

impl Origin {
    /// The report's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Host => "host",
            Self::Directory => "directory",
            Self::Other => "other",
        }
    }
}

/// An extension that may be merged.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Its name.
    pub name: &'k Text,
    /// The root hash that was verified.
    pub root_hash: Option<&'k Text>,
}

/// Everything about one class that tells what is merged.
#[derive(Debug)]
pub struct Evidence<'e> {
    /// What it extends.
    pub class: Class,
    /// What was staged, and not withdrawn.
    pub staged: Vec<Known<'e>>,
    /// Images of the host's own that were verified.
    pub host: Vec<Known<'e>>,
    /// Root hashes of other classes, which have devices as well.
    pub elsewhere: Vec<&'e Text>,
    /// Devices.
    pub attached: &'e Attached,
    /// What systemd noted of what it merged.
    pub notes: &'e BTreeMap<Text, Note>,
    /// What it finds before what is staged.
    pub hidden: &'e BTreeMap<Text, Hidden>,
    /// Directories of the host that it takes for extensions, by name.
    pub directories: &'e BTreeMap<Text, String>,
}

/// A merged extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: Text,
    /// From what it was merged.
    pub origin: Origin,
    /// The root hash that its bytes are checked against, as the kernel or systemd says it.
    pub root_hash: Option<Text>,
    /// The file or directory.
    pub file: Option<Text>,
}

impl Evidence<'_> {
    /// Returns what is merged under each of `names`.
    #[must_use]
    pub fn identify(&self, names: &BTreeSet<Text>) -> Vec<Found> {
        names.iter().map(|name| self.one(name)).collect()
    }

    fn one(&self, name: &Text) -> Found {
        let found = |origin, root_hash: Option<&Text>, file: Option<Text>| Found {
            name: name.clone(),
            origin,
            root_hash: root_hash.cloned(),
            file,
        };
        if let Some(note) = self.notes.get(name) {
            let origin = match &note.root_hash {
                Some(root_hash) if self.contradicts(root_hash) => Origin::Other,
                Some(root_hash) => self.origin(name, root_hash),
                None if self.directory(name).is_some() => Origin::Directory,
                None => Origin::Other,
            };
            return found(origin, note.root_hash.as_ref(), Some(note.path.clone()));
        }
        if let Some(hidden) = self.hidden.get(name).filter(|hidden| hidden.is_directory) {
            return found(Origin::Directory, None, Some(Text::new(&hidden.path)));
        }
        let is_hidden = self.hidden.contains_key(name);
        let of =
            |list: &[Known<'_>]| list.iter().find(|known| known.name == name).map(|known| known.root_hash.cloned());
        let staged = of(&self.staged).filter(|_| !is_hidden);
        let host = of(&self.host);
        if !self.attached.knows_root_hashes() {
            return match self.attached.other_file(self.class, name) {
                Some(file) if staged.is_some() => found(Origin::Other, None, Some(Text::new(file))),
                _ if staged.is_some() => found(Origin::Staged, None, None),
                _ if host.is_some() => found(Origin::Host, None, None),
                _ => self.unknown(name),
            };
        }
        if let Some(rival) = self.rival(name) {
            return found(Origin::Other, Some(&rival.root_hash), self.file(rival));
        }
        for (origin, known) in [(Origin::Staged, staged), (Origin::Host, host)] {
            if let Some(device) = known.flatten().and_then(|root_hash| self.device(&root_hash)) {
                return found(origin, Some(&device.root_hash), self.file(device));
            }
        }
        self.unknown(name)
    }

    /// What has this name and is neither staged nor an image of the host's that was verified.
    fn unknown(&self, name: &Text) -> Found {
        let (origin, file, stranger) = match self.directory(name) {
            Some(path) => (Origin::Directory, Some(Text::new(path)), None),
            None => (Origin::Other, self.attached.other_file(self.class, name).map(Text::new), self.stranger()),
        };
        let file = file.or_else(|| self.file(stranger?));
        Found { name: name.clone(), origin, root_hash: stranger.map(|it| it.root_hash.clone()), file }
    }

    fn directory(&self, name: &Text) -> Option<&str> {
        self.directories.get(name).map(String::as_str)
    }

    /// Whose root hash it is, of those that may have `name`.
    fn origin(&self, name: &Text, root_hash: &Text) -> Origin {
        let has = |list: &[Known<'_>]| list.iter().any(|it| it.name == name && it.root_hash == Some(root_hash));
        if has(&self.staged) {
            Origin::Staged
        } else if has(&self.host) {
            Origin::Host
        } else {
            Origin::Other
        }
    }

    /// Whether the kernel has no device with a root hash that systemd noted.
    fn contradicts(&self, root_hash: &Text) -> bool {
        self.attached.knows_root_hashes() && self.device(root_hash).is_none()
    }

    fn device(&self, root_hash: &Text) -> Option<&VerityDevice> {
        self.attached.verity().iter().find(|device| device.root_hash == *root_hash)
    }

    /// Devices with a root hash that was verified for no extension. Other services have some too (`RootImage=`).
    fn strangers(&self) -> impl Iterator<Item = &VerityDevice> {
        let is_known = |device: &VerityDevice| {
            let known = self.staged.iter().chain(&self.host).filter_map(|known| known.root_hash);
            known.chain(self.elsewhere.iter().copied()).any(|root_hash| device.root_hash == *root_hash)
        };
        self.attached.verity().iter().filter(move |device| !is_known(device))
    }

    /// The one with a file that systemd takes for `name`.
    fn rival(&self, name: &Text) -> Option<&VerityDevice> {
        self.strangers().find(|device| self.attached.path(device).is_some_and(|path| has_name(self.class, path, name)))
    }

    /// The only one whose file says no name.
    fn stranger(&self) -> Option<&VerityDevice> {
        let mut unnamed = self.strangers().filter(|device| self.attached.path(device).is_none_or(|path| path == "/"));
        unnamed.next().filter(|_| unnamed.next().is_none())
    }

    fn file(&self, device: &VerityDevice) -> Option<Text> {
        self.attached.path(device).filter(|path| *path != "/").map(Text::new)
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
