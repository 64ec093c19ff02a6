//! Where on the EFI system partition a file came from.

use super::Image;
use crate::firmware::entry::{GLOBAL_EXTRA_DIRECTORY, extra_directory};
use ddi::Class;
use ddi::text::Text;

impl Image {
    /// Notes which file of the EFI system partition it is, if systemd-stub brought it. `uki` is what the firmware says was booted.
    pub fn set_esp_path(&mut self, uki: Option<&Text>) {
        // Of either class: systemd-stub before 256 puts configuration extensions among the system extensions.
        let of_class = |class: Class| {
            let [beside, global] = class.source_directories();
            match &self.directory {
                Some(directory) if *directory == *beside => uki.map(|uki| extra_directory(uki.as_str())),
                Some(directory) if *directory == *global => Some(GLOBAL_EXTRA_DIRECTORY.to_owned()),
                _ => None,
            }
        };
        let directory = Class::ALL.into_iter().find_map(of_class);
        self.esp_path = directory.map(|directory| Text::new(format_args!("{directory}/{}", self.file)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn only_what_the_stub_brought_has_a_path_on_the_partition() {
        let uki = Text::new("EFI/kairos/active+3.efi");
        let path = |class, directory: &str, uki: Option<&Text>| {
            let mut image = Image::new(OsStr::new("k3s.sysext.raw"), class);
            image.directory = Some(directory.into());
            image.set_esp_path(uki);
            image.esp_path.map(|path| path.to_string())
        };
        let beside = Some("EFI/kairos/active.efi.extra.d/k3s.sysext.raw".to_owned());
        let global = Some("loader/extensions/k3s.sysext.raw".to_owned());
        assert_eq!(path(Class::Sysext, "/.extra/sysext", Some(&uki)), beside);
        assert_eq!(path(Class::Confext, "/.extra/confext", Some(&uki)), beside);
        assert_eq!(path(Class::Confext, "/.extra/sysext", Some(&uki)), beside);
        assert_eq!(path(Class::Sysext, "/.extra/sysext", None), None);
        for uki in [Some(&uki), None] {
            assert_eq!(path(Class::Sysext, "/.extra/global_sysext", uki), global);
            assert_eq!(path(Class::Sysext, "/var/lib/extensions", uki), None);
        }
    }
}
