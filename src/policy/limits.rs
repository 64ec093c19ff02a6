//! Limits on number and size of images, so that no set of files can exhaust the machine.

use super::{Hierarchies, HostHierarchies};
use crate::reason::{Reason, Refusal};
use ddi::Class;
use std::collections::BTreeSet;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of staged images.
    pub images: usize,
    /// Maximum size of a file in bytes.
    pub image_size: u64,
    /// Maximum total size of all staged images in bytes.
    pub total_size: u64,
    /// Maximum memory in bytes for images that are staged by copy. The free space of `/run` is a limit in any case.
    pub memory: u64,
    /// Minimum free space in bytes that copies leave in `/run`.
    pub keep_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { images: 256, image_size: 8 * GIB, total_size: 16 * GIB, memory: 8 * GIB, keep_free: 4 * MIB }
    }
}

/// Maximum length in bytes of the options of `mount(2)`: a page without the NUL at its end (Linux 6.12,
/// `fs/namespace.c`, `copy_mount_options`). Longer text is cut off without an error.
const MOUNT_OPTIONS: usize = 4095;
/// Length in bytes reserved for systemd's other options, such as the directory for changes (systemd 257,
/// `src/sysext/sysext.c`, `mount_overlayfs`).
const OTHER_OPTIONS: usize = 255;
/// Assumed minimum length in bytes of the longest hierarchy if none is configured. Kairos has /usr/local/include.
const USUAL_HIERARCHY: usize = 20;

/// Computes the length of the options with which systemd mounts all extensions of a class over one hierarchy. Each
/// extension is a layer (`lowerdir=/run/systemd/sysext/meta/usr:/run/systemd/sysext/extensions/NAME/usr:…:/usr`).
#[derive(Debug, Clone, Copy)]
pub struct Overlay {
    hierarchy: usize,
    directory: usize,
}

impl Overlay {
    /// Makes it for `class`, with the configured hierarchies, else with systemd's defaults and those of the host's
    /// units.
    #[must_use]
    pub fn of(class: Class, hierarchies: &Hierarchies, host: &HostHierarchies) -> Self {
        let longest = hierarchies.paths(class).map(str::len).max().unwrap_or_default();
        let hierarchy = if hierarchies.of(class).is_some() {
            longest
        } else {
            host.paths(class).map(str::len).max().unwrap_or_default().max(longest).max(USUAL_HIERARCHY)
        };
        Self { hierarchy, directory: "/run/systemd/".len().saturating_add(class.as_str().len()) }
    }

    /// Returns the assumed maximum length of a hierarchy in bytes.
    #[must_use]
    pub fn hierarchy(self) -> usize {
        self.hierarchy
    }

    /// Returns whether one mount can have all these extensions as layers.
    pub fn takes<'n>(self, names: impl Iterator<Item = &'n str>) -> bool {
        self.needs(names) <= MOUNT_OPTIONS
    }

    /// Returns the length of the mount options in bytes.
    fn needs<'n>(self, names: impl Iterator<Item = &'n str>) -> usize {
        names.map(|name| self.layer(name.len())).fold(self.empty(), usize::saturating_add)
    }

    /// Returns the length without any extension.
    fn empty(self) -> usize {
        let paths = self.hierarchy.saturating_mul(2).saturating_add(self.directory);
        OTHER_OPTIONS.saturating_add("lowerdir=/meta:".len()).saturating_add(paths)
    }

    /// Returns the length that an extension adds.
    fn layer(self, name: usize) -> usize {
        let path = self.directory.saturating_add(name).saturating_add(self.hierarchy);
        path.saturating_add("/extensions/:".len())
    }
}

/// The number and sizes of staged images. Rejected images do not count, so that junk files cannot exhaust the limits.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    images: usize,
    total_size: u64,
    /// For each class, the names of the layers: the host's own extensions and the staged ones. Of several extensions
    /// with one name systemd merges one.
    layers: [BTreeSet<String>; 2],
}

impl Tally {
    /// Checks whether a file of `size` bytes is still within the limits.
    ///
    /// # Errors
    /// [`Reason::TooMany`] or [`Reason::TooLarge`] if it is not.
    pub fn admit(&self, size: u64, limits: &Limits) -> Result<(), Refusal> {
        if self.images >= limits.images {
            let detail = format_args!("{} images are staged; limits.images is {}", self.images, limits.images);
            return Err(Refusal::new(Reason::TooMany, detail));
        }
        let bounds = [
            ("image is", "image_size", limits.image_size, size),
            ("images are", "total_size", limits.total_size, self.total_size.saturating_add(size)),
        ];
        match bounds.into_iter().find(|(_, _, limit, needed)| needed > limit) {
            None => Ok(()),
            Some((what, key, limit, needed)) => {
                let detail = format_args!("{what} {needed} bytes; limits.{key} is {limit}");
                Err(Refusal::new(Reason::TooLarge, detail))
            }
        }
    }

    /// Counts an extension of the host itself.
    pub fn add_host(&mut self, class: Class, name: String) {
        self.layers_mut(class).insert(name);
    }

    /// Checks whether systemd can still merge an extension of this name with the staged ones and those of the host.
    ///
    /// # Errors
    /// [`Reason::TooMany`] if it cannot.
    pub fn admit_layer(&self, class: Class, name: &str, overlay: Overlay) -> Result<(), Refusal> {
        let layers = self.layers(class);
        let added = (!layers.contains(name)).then_some(name);
        let needed = overlay.needs(layers.iter().map(String::as_str).chain(added));
        if needed <= MOUNT_OPTIONS {
            return Ok(());
        }
        let detail = format_args!(
            "{} extensions of this class are staged or on the host; with another whose name has {} bytes, systemd would \
             need {needed} bytes of mount options; the kernel accepts {MOUNT_OPTIONS}",
            layers.len(),
            name.len()
        );
        Err(Refusal::new(Reason::TooMany, detail))
    }

    /// Counts a staged image.
    pub fn add(&mut self, size: u64, class: Class, name: &str) {
        self.images = self.images.saturating_add(1);
        self.total_size = self.total_size.saturating_add(size);
        self.layers_mut(class).insert(name.to_owned());
    }

    const fn layers(&self, class: Class) -> &BTreeSet<String> {
        let [sysext, confext] = &self.layers;
        match class {
            Class::Sysext => sysext,
            Class::Confext => confext,
        }
    }

    const fn layers_mut(&mut self, class: Class) -> &mut BTreeSet<String> {
        let [sysext, confext] = &mut self.layers;
        match class {
            Class::Sysext => sysext,
            Class::Confext => confext,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Builds the mount options of systemd.
    fn options(class: Class, hierarchy: &str, names: &[String]) -> String {
        let layers = names.iter().map(|name| format!("/run/systemd/{}/extensions/{name}{hierarchy}:", class.as_str()));
        format!("lowerdir=/run/systemd/{}/meta{hierarchy}:{}{hierarchy}", class.as_str(), layers.collect::<String>())
    }

    #[test]
    fn no_more_layers_are_staged_than_one_mount_can_have() {
        let long = "/usr/local/include";
        let configured = Hierarchies { sysext: Some(format!("/usr/bin:{long}").parse().unwrap()), confext: None };
        for (class, hierarchies, hierarchy) in [
            (Class::Sysext, &configured, long),
            (Class::Sysext, &Hierarchies::default(), "/usr/20-bytes-or-fewer"),
            (Class::Confext, &configured, "/etc/20-bytes-or-fewer"),
        ] {
            let hierarchy = &hierarchy[..hierarchy.len().min(USUAL_HIERARCHY)];
            let overlay = Overlay::of(class, hierarchies, &HostHierarchies::default());
            let mut tally = Tally::default();
            let mut names: Vec<String> = Vec::new();
            let refused = loop {
                let name = format!("{}{}", "n".repeat(names.len() * 3), names.len());
                if let Err(refusal) = tally.admit_layer(class, &name, overlay) {
                    names.push(name);
                    break refusal;
                }
                // Extensions of the host take as much space as staged ones.
                if names.len().is_multiple_of(2) {
                    tally.add(1, class, &name);
                } else {
                    tally.add_host(class, name.clone());
                }
                names.push(name);
            };
            assert_eq!(refused.reason(), Reason::TooMany);
            let room = MOUNT_OPTIONS - OTHER_OPTIONS;
            assert!(options(class, hierarchy, &names).len() > room, "{class:?}: too early");
            assert!(options(class, hierarchy, &names[..names.len() - 1]).len() <= room, "{class:?}: too late");
            assert!(names.len() > 20, "{class:?}: {}", names.len());
            // The other class has its own mount.
            let other = if class == Class::Sysext { Class::Confext } else { Class::Sysext };
            assert_eq!(tally.admit_layer(other, "name", overlay), Ok(()));
            // An extension of the host with the same name is the same layer.
            assert_eq!(tally.admit_layer(class, &names[0], overlay), Ok(()));
            let all = names.iter().map(String::as_str);
            assert!(!overlay.takes(all.clone()) && overlay.takes(all.take(names.len() - 1)));
        }
    }

    #[test]
    fn the_longest_hierarchy_of_the_host_counts_where_none_is_configured() {
        let mut host = HostHierarchies::default();
        host.add(Class::Sysext, "/usr/local/share/extensions");
        let none = Hierarchies::default();
        let configured = Hierarchies { sysext: Some("/usr".parse().unwrap()), confext: None };
        assert_eq!(Overlay::of(Class::Sysext, &none, &host).hierarchy(), 27);
        assert_eq!(Overlay::of(Class::Sysext, &configured, &host).hierarchy(), 4);
        assert_eq!(Overlay::of(Class::Confext, &none, &host).hierarchy(), USUAL_HIERARCHY);
    }

    /// As docs/configuration.md has them.
    #[test]
    fn the_defaults_leave_room_for_any_machine_that_boots() {
        let expected = Limits {
            images: 256,
            image_size: 8_589_934_592,
            total_size: 17_179_869_184,
            memory: 8_589_934_592,
            keep_free: 4_194_304,
        };
        assert_eq!(Limits::default(), expected);
    }

    #[test]
    fn only_what_was_staged_counts() {
        let limits = Limits { images: 2, image_size: 10, total_size: 15, ..Limits::default() };
        let mut tally = Tally::default();
        let reason = |tally: &Tally, size| tally.admit(size, &limits).map_err(|refusal| refusal.reason());
        assert_eq!(reason(&tally, 11), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, 10), Ok(()));
        assert_eq!(reason(&tally, 10), Ok(()), "asking costs nothing");
        tally.add(10, Class::Sysext, "a");
        assert_eq!(reason(&tally, 6), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, u64::MAX), Err(Reason::TooLarge));
        assert_eq!(reason(&tally, 5), Ok(()));
        tally.add(5, Class::Confext, "b");
        assert_eq!(reason(&tally, 0), Err(Reason::TooMany));
    }
}
