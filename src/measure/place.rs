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
}

/// All places, in the order in which they are measured.
pub const PLACES: [Place; 4] = [
    Place { class: Class::Sysext, global: None, directory: ".extra/sysext", description: "System extension initrd" },
    Place {
        class: Class::Sysext,
        global: Some(GLOBAL),
        directory: ".extra/global_sysext",
        description: "Global system extension initrd",
    },
    Place {
        class: Class::Confext,
        global: None,
        directory: ".extra/confext",
        description: "Configuration extension initrd",
    },
    Place {
        class: Class::Confext,
        global: Some(GLOBAL),
        directory: ".extra/global_confext",
        description: "Global configuration extension initrd",
    },
];

impl Place {
    /// Returns the PCR that the place is measured into.
    #[must_use]
    pub const fn pcr(&self) -> u32 {
        pcr_of(self.class)
    }

    /// Returns what systemd-stub loads of `members`, in its order. It compares UTF-16 units; for ASCII these order like bytes.
    pub(super) fn chosen<'m, 'a>(&self, members: &'m [Member<'a>]) -> Vec<&'m Member<'a>> {
        let mut chosen: Vec<_> = members.iter().filter(|member| is_taken(member.name, self.class)).collect();
        chosen.sort_by_key(|member| member.name);
        chosen
    }
}

/// Longest name that systemd-stub loads, in characters.
const MAX_NAME: usize = 255;

/// Returns whether systemd-stub loads a regular file of this name as an extension of `class`.
#[must_use]
pub fn is_taken(name: &str, class: Class) -> bool {
    let fits = strip_suffix_ignore_case(name, ".raw").is_some()
        && Class::of_file_name(name).map_or(Class::Sysext, |(class, _)| class) == class;
    fits && !name.starts_with('.') && name.is_ascii() && name.len() <= MAX_NAME
}
