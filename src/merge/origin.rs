//! From which file an extension was merged.
//!
//! systemd notes the names of what it merged, and a name says nothing: of two files with one name it takes either. But it attaches
//! each image to a loop device (systemd 254 to 262, `src/shared/loop-util.c`), which stays for as long as the image is merged,
//! and the kernel says what is behind it (`/sys/block/loopN/loop/backing_file`; Linux 6.12, `drivers/block/loop.c`).
//!
//! A file that was opened through a mount of ours has been seen as `/` there, so its absence proves nothing: only another path of the
//! same name does.

use super::image_name;
use crate::image::Class;
use crate::root::Root;
use crate::text::Text;

const DEVICES: &str = "/sys/block";
/// Most devices that are looked at. What is behind others isn't known.
const MAX_DEVICES: usize = 4096;
/// Longest path that is read, in bytes, and the end of its line.
const MAX_PATH: u64 = 4097;

/// What the kernel puts behind the path of a deleted file (Linux 6.12, `fs/d_path.c`).
const DELETED: &str = " (deleted)";

/// The files behind the loop devices of this machine.
#[derive(Debug, Clone, Default)]
pub struct Attached(Vec<String>);

impl Attached {
    /// Asks the kernel. What it doesn't say is left out.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let devices = root.list_some(DEVICES, MAX_DEVICES).ok().flatten().unwrap_or_default();
        let loops = devices.iter().filter_map(|device| device.to_str()).filter(|device| device.starts_with("loop"));
        let backing =
            |device: &str| root.read(&format!("{DEVICES}/{device}/loop/backing_file"), MAX_PATH).ok().flatten();
        let path = |text: Vec<u8>| {
            let text = String::from_utf8(text).ok()?;
            let path = text.trim_end_matches('\n');
            // What the initrd held is deleted with it, and goes on behind our mount.
            Some(path.strip_suffix(DELETED).unwrap_or(path).to_owned())
        };
        Self(loops.filter_map(backing).filter_map(path).collect())
    }

    /// The file of another place that `name`, which was staged, was merged from; `None` where that is the staged file, or can't
    /// be told.
    #[must_use]
    pub fn other_file(&self, class: Class, name: &Text) -> Option<&str> {
        let staged = format!("{}/{name}.raw", class.staging_directory());
        if self.0.contains(&staged) {
            return None;
        }
        let has_name =
            |path: &&str| path.rsplit_once('/').is_some_and(|(_, file)| image_name(class, file) == name.as_str());
        self.0.iter().map(String::as_str).find(has_name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn what_was_merged_is_told_by_the_file_behind_the_device() {
        let dir = tempfile::tempdir().unwrap();
        let attach = |device: &str, file: &str| {
            let directory = dir.path().join("sys/block").join(device).join("loop");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("backing_file"), format!("{file}\n")).unwrap();
        };
        let root = Root::open(dir.path()).unwrap();
        let other = |name: &str| Attached::read(&root).other_file(Class::Sysext, &name.into()).map(str::to_owned);
        assert_eq!(other("app"), None);
        attach("loop0", "/run/extensions/app.raw (deleted)");
        attach("loop5", "/elsewhere/app.raw");
        attach("loop1", "/usr/local/.state/extensions/k3s.sysext.raw");
        attach("loop2", "/var/lib/images/k3s.confext.raw");
        fs::create_dir_all(dir.path().join("sys/block/loop3")).unwrap();
        fs::create_dir_all(dir.path().join("sys/block/vda/loop")).unwrap();
        assert_eq!(other("app"), None);
        assert_eq!(other("k3s").as_deref(), Some("/usr/local/.state/extensions/k3s.sysext.raw"));
        assert_eq!(other("unheard-of"), None);
        // The staged file counts, whatever else is attached under its name.
        attach("loop4", "/run/extensions/k3s.raw");
        assert_eq!(other("k3s"), None);
    }
}
