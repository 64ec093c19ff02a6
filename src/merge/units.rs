//! What the host's systemd is told: in `/run/systemd/system`, which it reads from the start.

use super::link;
use crate::durable;
use crate::root::Root;
use anyhow::{Context, Result};

const DIRECTORY: &str = "/run/systemd/system";
/// The target of early boot, which systemd's own units are meant to be wanted by.
const WANTS: &str = "/run/systemd/system/sysinit.target.wants";
/// Where the host has systemd's units.
const VENDOR: &str = "/usr/lib/systemd/system";

/// A file below [`DIRECTORY`]: its directory, its name, its content.
const FILES: [(&str, &str, &str); 5] = [
    (
        "/run/systemd/system/systemd-sysext.service.d",
        "zz-sextant.conf",
        include_str!("../../systemd-units/systemd-sysext.service.d/zz-sextant.conf"),
    ),
    (
        "/run/systemd/system/systemd-confext.service.d",
        "zz-sextant.conf",
        include_str!("../../systemd-units/systemd-confext.service.d/zz-sextant.conf"),
    ),
    (
        "/run/systemd/system/systemd-sysext@.service.d",
        "zz-sextant.conf",
        include_str!("../../systemd-units/systemd-sysext@.service.d/zz-sextant.conf"),
    ),
    (
        "/run/systemd/system/systemd-sysupdate-notify-sysext@.service.d",
        "zz-sextant.conf",
        include_str!("../../systemd-units/systemd-sysupdate-notify-sysext@.service.d/zz-sextant.conf"),
    ),
    (DIRECTORY, CONFIRM, include_str!("../../systemd-units/sextant-confirm.service")),
];

const CONFIRM: &str = "sextant-confirm.service";

/// Writes the drop-ins, policy first, and enables the units for the host.
pub(super) fn install(root: &Root) -> Result<()> {
    for (directory, name, content) in FILES {
        let context = || format!("writing {directory}/{name}");
        let directory = root.make_directory(directory).with_context(context)?;
        durable::write(&directory.join(name), content.as_bytes(), 0o644).with_context(context)?;
    }
    let context = |name: &str| format!("enabling {name}");
    for name in ["systemd-sysext.service", "systemd-confext.service"] {
        link(root, WANTS, name, &format!("{VENDOR}/{name}")).with_context(|| context(name))?;
    }
    link(root, WANTS, CONFIRM, &format!("../{CONFIRM}")).with_context(|| context(CONFIRM))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::path::Path;

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

    #[test]
    fn both_merges_get_the_strict_policy_and_the_gate() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        install(&root).unwrap();
        install(&root).unwrap();
        for class in ["sysext", "confext"] {
            let path = format!("run/systemd/system/systemd-{class}.service.d/zz-sextant.conf");
            let text = fs::read_to_string(dir.path().join(path)).unwrap();
            let command = format!("systemd-{class} refresh --image-policy=root=signed+absent:usr=signed+absent");
            assert_eq!(assigned(&text, "ExecStart"), ["(reset)", command.as_str()]);
            assert_eq!(assigned(&text, "ExecReload"), ["(reset)", command.as_str()]);
            assert_eq!(assigned(&text, "ConditionPathExists"), [super::super::GATE]);
            assert_eq!(assigned(&text, "EnvironmentFile"), [format!("-/run/sextant/{class}.env")]);
            let wanted = dir.path().join(format!("run/systemd/system/sysinit.target.wants/systemd-{class}.service"));
            let target = fs::read_link(wanted).unwrap();
            assert_eq!(target, Path::new(&format!("/usr/lib/systemd/system/systemd-{class}.service")));
        }
        for unit in ["systemd-sysext@", "systemd-sysupdate-notify-sysext@"] {
            let path = dir.path().join(format!("run/systemd/system/{unit}.service.d/zz-sextant.conf"));
            let text = fs::read_to_string(path).unwrap();
            let command = "-systemd-sysext --image-policy=root=signed+absent:usr=signed+absent";
            assert_eq!(assigned(&text, "ExecStart"), ["(reset)", command]);
            assert_eq!(assigned(&text, "ConditionPathExists"), [super::super::GATE]);
        }
        let wanted = dir.path().join("run/systemd/system/sysinit.target.wants/sextant-confirm.service");
        assert!(fs::read_to_string(wanted).unwrap().contains("ExecStart=/run/sextant/sextant-agent confirm\n"));
    }
}
