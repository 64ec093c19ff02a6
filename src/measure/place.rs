//! Rules of systemd-stub: which files it loads from where, and how it describes that in the event log.

use super::archive::Member;
use super::pcr_of;
use ddi::Class;
use ddi::bytes::strip_suffix_ignore_case;

/// The directory of extensions for all boot entries, which systemd-stub reads since systemd 258 (systemd-stub(7)).
pub const GLOBAL: &str = "/loader/extensions";

/// A directory of extensions of one class on the partition, and its counterpart in the initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Class of the extensions.
    pub class: Class,
    /// Directory on the partition for all boot entries; `None` for that of the UKI.
    pub global: Option<&'static str>,
    /// Directory in the initrd, without a leading slash.
    pub directory: &'static str,
    /// Description of its event in the event log (systemd 257 and 262, `src/boot/stub.c`).
    pub description: &'static str,
    /// Whether extensions of the other class come there too.
    pub both_classes: bool,
}

/// The first systemd-stub that tells configuration extensions from system extensions (systemd 256, `NEWS`).
pub const CONFEXTS_SINCE: u32 = 256;

/// All places, in the order in which they are measured.
pub const PLACES: [Place; 4] = [
    Place {
        class: Class::Sysext,
        global: None,
        directory: ".extra/sysext",
        description: "System extension initrd",
        both_classes: false,
    },
    Place {
        class: Class::Sysext,
        global: Some(GLOBAL),
        directory: ".extra/global_sysext",
        description: "Global system extension initrd",
        both_classes: false,
    },
    Place {
        class: Class::Confext,
        global: None,
        directory: ".extra/confext",
        description: "Configuration extension initrd",
        both_classes: false,
    },
    Place {
        class: Class::Confext,
        global: Some(GLOBAL),
        directory: ".extra/global_confext",
        description: "Global configuration extension initrd",
        both_classes: false,
    },
];

/// The place of a systemd-stub before [`CONFEXTS_SINCE`]: it takes every `*.raw` beside the UKI for a system extension.
pub const OLD_PLACES: [Place; 1] = [PLACES[0].of_both_classes()];

impl Place {
    /// Returns the same place with extensions of both classes: in an initrd, whatever is there was put there by its systemd-stub.
    #[must_use]
    pub const fn of_both_classes(self) -> Self {
        Self { both_classes: true, ..self }
    }

    /// Returns whether systemd-stub loads a regular file of this name into this place.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let class = class_of(name);
        class.is_some_and(|class| self.both_classes || class == self.class)
    }

    /// Returns the PCR that the place is measured into.
    #[must_use]
    pub const fn pcr(&self) -> u32 {
        pcr_of(self.class)
    }

    /// Returns what systemd-stub loads of `members`, in its order. It compares UTF-16 units; for ASCII these order like bytes.
    pub(super) fn chosen<'m, 'a>(&self, members: &'m [Member<'a>]) -> Vec<&'m Member<'a>> {
        let mut chosen: Vec<_> = members.iter().filter(|member| self.takes(member.name)).collect();
        chosen.sort_by_key(|member| member.name);
        chosen
    }
}

/// Longest name that systemd-stub loads, in characters.
const MAX_NAME: usize = 255;

/// Returns the class as which systemd-stub loads a regular file of this name; `None` if it doesn't load it.
fn class_of(name: &str) -> Option<Class> {
    let is_image = strip_suffix_ignore_case(name, ".raw").is_some();
    let fits = is_image && !name.starts_with('.') && name.is_ascii() && name.len() <= MAX_NAME;
    fits.then(|| Class::of_file_name(name).map_or(Class::Sysext, |(class, _)| class))
}

/// Returns whether systemd-stub loads a regular file of this name as an extension of `class`.
#[must_use]
pub fn is_taken(name: &str, class: Class) -> bool {
    class_of(name) == Some(class)
}
