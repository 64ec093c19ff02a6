//! What the host's systemd is told: its units, our drop-ins for them, and the image policy.

use super::link;
use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Where the host's systemd finds its units, the drop-ins and the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// In `/run/systemd`, where the agent writes them. systemd is PID 1 of the initrd.
    Runtime,
    /// In `/usr/lib/systemd` of the image, where they have to be. systemd isn't running yet, and `/run/systemd/system` is
    /// the sign that it is (`sd_booted(3)`): `systemctl enable`, `disable` and `mask` would fail from then on.
    Image,
}

/// What systemd reads at run time, before what an image holds.
const RUNTIME: &str = "/run/systemd";
/// Where systemd's own files are, and those of an image.
const VENDOR: &str = "/usr/lib/systemd";
/// Directories whose files hide those of the same name in [`VENDOR`] (systemd.unit(5), sysext.conf(5)).
const BEFORE_VENDOR: [&str; 3] = ["/etc/systemd", RUNTIME, "/usr/local/lib/systemd"];

/// Number of [`FILES`] that have units wait for the gate: all that merge on the host.
const GUARDS: usize = 4;
/// A file in one of these directories: its directory there, its name, its content. Those about the gate come first.
const FILES: [(&str, &str, &str); 8] = [
    (
        "system/systemd-sysext.service.d",
        DROP_IN,
        include_str!("../../systemd-units/systemd-sysext.service.d/zz-sextant.conf"),
    ),
    (
        "system/systemd-confext.service.d",
        DROP_IN,
        include_str!("../../systemd-units/systemd-confext.service.d/zz-sextant.conf"),
    ),
    (
        "system/systemd-sysext@.service.d",
        DROP_IN,
        include_str!("../../systemd-units/systemd-sysext@.service.d/zz-sextant.conf"),
    ),
    (
        "system/systemd-sysupdate-notify-sysext@.service.d",
        DROP_IN,
        include_str!("../../systemd-units/systemd-sysupdate-notify-sysext@.service.d/zz-sextant.conf"),
    ),
    ("sysext.conf.d", DROP_IN, include_str!("../../systemd-units/sysext.conf.d/zz-sextant.conf")),
    ("confext.conf.d", DROP_IN, include_str!("../../systemd-units/confext.conf.d/zz-sextant.conf")),
    ("system", CONFIRM, include_str!("../../systemd-units/sextant-confirm.service")),
    ("system", REQUIRED, include_str!("../../systemd-units/sextant-required.target")),
];

/// The units that stage and merge extensions, ours and systemd's, in initrd and host.
pub const UNITS: [&str; 10] = [
    "sextant-stage.service",
    "sextant-gate.service",
    "sextant-merge.service",
    "sextant-confirm.service",
    "systemd-sysext.service",
    "systemd-confext.service",
    "systemd-sysext-initrd.service",
    "systemd-confext-initrd.service",
    "systemd-sysext-sysroot.service",
    "systemd-confext-sysroot.service",
];

const DROP_IN: &str = "zz-sextant.conf";
/// The unit that compares what is merged with what was staged.
pub const CONFIRM: &str = "sextant-confirm.service";
/// The unit that fails while a required extension is missing.
const REQUIRED: &str = "sextant-required.target";
/// The target of early boot, which systemd's own units are meant to be wanted by.
const WANTS: &str = "system/sysinit.target.wants";
/// What has to succeed before a boot is marked as good (systemd.special(7)).
const REQUIRES: &str = "system/boot-complete.target.requires";
/// The units that these want or require for our sake, each with the directory that enables it below `/usr/lib/systemd`.
pub const ENABLED: [(&str, &str); 4] =
    [(WANTS, "systemd-sysext.service"), (WANTS, "systemd-confext.service"), (WANTS, CONFIRM), (REQUIRES, REQUIRED)];

/// Returns the files that an image has to have where systemd is not PID 1 of the initrd: each by its path below
/// `/usr/lib/systemd`, and its content.
pub fn image_files() -> impl Iterator<Item = (String, &'static str)> {
    FILES.iter().map(|(directory, name, content)| (format!("{directory}/{name}"), *content))
}

/// What to do about an image that lacks something.
const REMEDY: &str = "copy the tree that belongs to this agent over the root of the image";
/// Most bytes that are read of a file that should be one of [`FILES`].
const MAX_FILE: u64 = 64 * 1024;

/// Has the host's units wait for the gate, whatever becomes of the agent from now on. `boot-complete.target` gets what it
/// requires as well, so that a boot of which an extension is required isn't good by itself.
///
/// In an image that has the files nothing is written; `provide` looks at them.
///
/// # Errors
/// The first file that can't be written.
pub(super) fn guard(root: &Root, units: Units) -> Result<()> {
    if units == Units::Image {
        return Ok(());
    }
    let required = FILES.iter().filter(|(_, name, _)| *name == REQUIRED);
    for file in FILES.iter().take(GUARDS).chain(required) {
        write_file(root, file)?;
    }
    link(root, &format!("{RUNTIME}/{REQUIRES}"), REQUIRED, &format!("../{REQUIRED}"))
        .with_context(|| format!("enabling {REQUIRED}"))
}

/// Gives the host's systemd the drop-ins, policy first, and enables the units.
///
/// # Errors
/// The first file that can't be written; with [`Units::Image`] the first that isn't there as it should be. Nothing is
/// written then.
pub(super) fn provide(root: &Root, units: Units) -> Result<()> {
    match units {
        Units::Runtime => write(root),
        Units::Image => check(root),
    }
}

fn write(root: &Root) -> Result<()> {
    for file in &FILES {
        write_file(root, file)?;
    }
    for (directory, name) in ENABLED {
        let is_ours = FILES.iter().any(|(_, file, _)| *file == name);
        let target = if is_ours { format!("../{name}") } else { format!("{VENDOR}/system/{name}") };
        link(root, &format!("{RUNTIME}/{directory}"), name, &target).with_context(|| format!("enabling {name}"))?;
    }
    Ok(())
}

fn write_file(root: &Root, (directory, name, text): &(&str, &str, &str)) -> Result<()> {
    let directory = format!("{RUNTIME}/{directory}");
    let written =
        root.make_directory(&directory).and_then(|path| durable::write(&path.join(name), text.as_bytes(), 0o644));
    written.with_context(|| format!("writing {directory}/{name}"))
}

/// Checks that the image has all of it, as this agent knows it, and that nothing takes its place.
fn check(root: &Root) -> Result<()> {
    for (directory, name, content) in FILES {
        let path = format!("{VENDOR}/{directory}/{name}");
        let found = root.read(&path, MAX_FILE).with_context(|| format!("reading {path}"))?;
        match found {
            None => bail!("this image has no {path}: {REMEDY}"),
            Some(found) if found != content.as_bytes() => bail!("{path} is not the file of this agent: {REMEDY}"),
            Some(_) => {}
        }
        for other in BEFORE_VENDOR {
            let other = format!("{other}/{directory}/{name}");
            if root.has_name(&other) {
                bail!("{other} hides {path}: remove it");
            }
        }
    }
    for (wants, name) in ENABLED {
        let path = format!("{VENDOR}/{wants}/{name}");
        let directory = root.directory(&format!("{VENDOR}/{wants}")).with_context(|| format!("reading {path}"))?;
        let target = directory.and_then(|directory| fs::read_link(directory.join(name)).ok());
        let is_unit = |target: &Path| {
            target.file_name() == Some(OsStr::new(name))
                && matches!(target.parent().and_then(Path::to_str), Some(".." | "/usr/lib/systemd/system"))
        };
        if !target.as_deref().is_some_and(is_unit) {
            bail!("this image does not enable {name} by a link {path} to the unit: {REMEDY}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    /// The value of the last assignments of `key` since it was last reset.
    fn assigned<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
        let mut values = Vec::new();
        for value in unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')) {
            if value.is_empty() {
                values = vec!["(reset)"];
            } else {
                values.push(value);
            }
        }
        values
    }

    const POLICY: &str = "root=signed+absent:usr=signed+absent";

    #[test]
    fn both_merges_get_the_strict_policy_and_the_gate() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        provide(&root, Units::Runtime).unwrap();
        provide(&root, Units::Runtime).unwrap();
        let read = |path: &str| fs::read_to_string(dir.path().join("run/systemd").join(path)).unwrap();
        for (class, section) in [("sysext", "[SysExt]"), ("confext", "[ConfExt]")] {
            let text = read(&format!("system/systemd-{class}.service.d/zz-sextant.conf"));
            let command = format!("systemd-{class} refresh --image-policy={POLICY}");
            assert_eq!(assigned(&text, "ExecStart"), ["(reset)", command.as_str()]);
            let adopt = "/run/sextant/sextant-agent adopt";
            assert_eq!(assigned(&text, "ExecStartPre"), [adopt]);
            assert_eq!(assigned(&text, "ExecReload"), ["(reset)", adopt, command.as_str()]);
            assert_eq!(assigned(&text, "ConditionPathExists"), [super::super::GATE, "|/run/sextant/sources"]);
            assert_eq!(assigned(&text, "EnvironmentFile"), [format!("-/run/sextant/{class}.env")]);
            let wanted = format!("run/systemd/system/sysinit.target.wants/systemd-{class}.service");
            let target = fs::read_link(dir.path().join(wanted)).unwrap();
            assert_eq!(target, Path::new(&format!("/usr/lib/systemd/system/systemd-{class}.service")));
            let text = read(&format!("{class}.conf.d/zz-sextant.conf"));
            assert_eq!(assigned(&text, "ImagePolicy"), [POLICY]);
            assert_eq!(text.lines().filter(|line| line.starts_with('[')).collect::<Vec<_>>(), [section]);
        }
        for unit in ["systemd-sysext@", "systemd-sysupdate-notify-sysext@"] {
            let text = read(&format!("system/{unit}.service.d/zz-sextant.conf"));
            let command = format!("-systemd-sysext --image-policy={POLICY}");
            assert_eq!(assigned(&text, "ExecStart"), ["(reset)", command.as_str()]);
            assert_eq!(assigned(&text, "ConditionPathExists"), [super::super::GATE]);
        }
        let wanted = read("system/sysinit.target.wants/sextant-confirm.service");
        assert!(wanted.contains("ExecStart=/run/sextant/sextant-agent confirm\n"));
        let required = read("system/boot-complete.target.requires/sextant-required.target");
        assert_eq!(assigned(&required, "ConditionPathExists"), [super::super::REQUIRED]);
        assert_eq!(assigned(&required, "AssertPathExists"), [super::super::FULFILLED]);
    }

    #[test]
    fn the_gate_is_closed_for_every_unit_that_merges_on_the_host_and_nothing_is_enabled() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        guard(&root, Units::Runtime).unwrap();
        let system = dir.path().join("run/systemd/system");
        for unit in ["systemd-sysext", "systemd-confext", "systemd-sysext@", "systemd-sysupdate-notify-sysext@"] {
            let text = fs::read_to_string(system.join(format!("{unit}.service.d/zz-sextant.conf"))).unwrap();
            assert!(assigned(&text, "ConditionPathExists").contains(&super::super::GATE), "{unit}: {text}");
        }
        assert!(system.join("boot-complete.target.requires/sextant-required.target").is_file());
        assert!(!system.join("sysinit.target.wants").exists() && !system.join(CONFIRM).exists());

        let image = tempfile::tempdir().unwrap();
        guard(&Root::open(image.path()).unwrap(), Units::Image).unwrap();
        assert!(!image.path().join("run").exists(), "immucore's initrd isn't systemd's");
    }

    /// An image in which everything is as it should be.
    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let vendor = dir.path().join("usr/lib/systemd");
        for (directory, name, content) in FILES {
            fs::create_dir_all(vendor.join(directory)).unwrap();
            fs::write(vendor.join(directory).join(name), content).unwrap();
        }
        for (directory, name) in ENABLED {
            fs::create_dir_all(vendor.join(directory)).unwrap();
            symlink(format!("../{name}"), vendor.join(directory).join(name)).unwrap();
        }
        dir
    }

    fn verdict(dir: &tempfile::TempDir) -> Result<(), String> {
        let root = Root::open(dir.path()).unwrap();
        let checked = provide(&root, Units::Image).map_err(|error| format!("{error:#}"));
        assert!(!dir.path().join("run").exists(), "something was written");
        checked
    }

    #[test]
    fn an_image_that_has_all_of_it_is_left_alone() {
        let dir = image();
        assert_eq!(verdict(&dir), Ok(()));
        // However the image came to its links, systemd's own among them.
        let link = dir.path().join("usr/lib/systemd/system/sysinit.target.wants/systemd-sysext.service");
        fs::remove_file(&link).unwrap();
        symlink("/usr/lib/systemd/system/systemd-sysext.service", &link).unwrap();
        assert_eq!(verdict(&dir), Ok(()));
        // An image on which /usr/lib/systemd is elsewhere, as long as it is inside.
        fs::rename(dir.path().join("usr/lib/systemd"), dir.path().join("elsewhere")).unwrap();
        symlink("/elsewhere", dir.path().join("usr/lib/systemd")).unwrap();
        assert_eq!(verdict(&dir), Ok(()));
    }

    #[test]
    fn an_image_that_lacks_any_of_it_is_refused() {
        for (directory, name, content) in FILES {
            let path = format!("/usr/lib/systemd/{directory}/{name}");
            let place = |dir: &tempfile::TempDir| dir.path().join(&path[1..]);
            let refused = |dir: &tempfile::TempDir, expected: &str| {
                let found = verdict(dir).unwrap_err();
                assert!(found.contains(expected) && found.contains(&path), "{found}");
            };
            let dir = image();
            fs::remove_file(place(&dir)).unwrap();
            refused(&dir, "this image has no /usr");
            symlink("/nowhere", place(&dir)).unwrap();
            refused(&dir, "this image has no /usr");
            fs::remove_file(place(&dir)).unwrap();
            fs::create_dir(place(&dir)).unwrap();
            refused(&dir, "not a regular file");
            let dir = image();
            fs::write(place(&dir), format!("{content}#\n")).unwrap();
            refused(&dir, "is not the file of this agent");
            fs::write(place(&dir), vec![b'#'; 70_000]).unwrap();
            refused(&dir, "reading /usr");
            for other in ["etc/systemd", "usr/local/lib/systemd"] {
                let dir = image();
                let hiding = dir.path().join(other).join(directory);
                fs::create_dir_all(&hiding).unwrap();
                symlink("/dev/null", hiding.join(name)).unwrap();
                refused(&dir, &format!("/{other}/{directory}/{name} hides "));
            }
        }
        for (directory, name) in ENABLED {
            let dir = image();
            let link = dir.path().join("usr/lib/systemd").join(directory).join(name);
            fs::remove_file(&link).unwrap();
            let expected = format!("this image does not enable {name} by a link");
            assert!(verdict(&dir).unwrap_err().contains(&expected), "{name}");
            for target in ["/dev/null", "../another.service", &format!("/elsewhere/{name}")] {
                symlink(target, &link).unwrap();
                assert!(verdict(&dir).unwrap_err().contains(&expected), "{name} {target}");
                fs::remove_file(&link).unwrap();
            }
        }
        assert!(verdict(&tempfile::tempdir().unwrap()).is_err());
    }
}
