//! The units as systemd reads them.

use crate::image::unpacked;
use crate::installed::{Installed, repository};
use crate::trees::Tree;
use std::fs;
use std::path::{Path, PathBuf};

/// Has `units` and all that they pull in looked at in a root directory: an unknown setting or a cycle in the order is a
/// complaint.
pub(crate) fn complaints(tree: &Tree, installed: &Installed, root: &Path, units: &[&str]) -> String {
    let script = r#"
        root=$1
        shift
        systemd-analyze verify --man=no --root="$root" "$@" 2>&1 || echo "exit status $?"
    "#;
    let mut arguments = vec![root.to_str().unwrap()];
    arguments.extend(units);
    tree.succeed(installed, script, &arguments)
}

pub(crate) const IN_AN_INITRD: &[&str] = &[
    "initrd.target",
    "sysinit.target",
    "initrd-switch-root.target",
    "sextant-stage.service",
    "sextant-gate.service",
    "sextant-merge.service",
];

pub(crate) fn systemd_has_nothing_to_say_about_an_initrd() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel", "--modules", "sextant dracut-systemd"]);
        assert_eq!(complaints(&tree, &installed, &root, IN_AN_INITRD), "", "{}", tree.suite);

        // Whether it would say something if there were something to say.
        let unit = root.join("usr/lib/systemd/system/sextant-stage.service");
        let text = fs::read_to_string(&unit).unwrap();
        fs::write(&unit, text.replace("\n[Service]\n", "\nAfter=sextant-merge.service\n[Service]\nNonsense=1\n"))
            .unwrap();
        let found = complaints(&tree, &installed, &root, IN_AN_INITRD);
        assert!(found.contains("Nonsense") && found.contains("cycle"), "{}: {found}", tree.suite);
    }
}

/// A whole system rather than an initrd: with all units of systemd, of which an initrd may have more than dracut puts
/// there, and with what ours start.
fn system(tree: &Tree, installed: &Installed) -> PathBuf {
    let root = installed.scratch(tree.suite);
    let script = r#"
        mkdir -p "$1/usr/lib/dracut" "$1/usr/bin" "$1/etc" "$1/run"
        cp -a /usr/lib/systemd "$1/usr/lib"
        cp -a /usr/lib/dracut/modules.d "$1/usr/lib/dracut"
        cp -a /usr/lib/sextant/initrd/. "$1"
        cp -a /usr/bin/systemd-* /usr/bin/systemctl "$1/usr/bin"
        install -D -t "$1/usr/lib/sextant" /usr/lib/sextant/sextant-agent
        install -D -t "$1/run/sextant" /usr/lib/sextant/sextant-agent
        ln -s usr/bin usr/lib "$1"
        cp "${@:2}" "$1/usr/lib/systemd/system"
        install -D /usr/bin/true "$1/usr/bin/sextant"
        mkdir "$1/usr/lib/systemd/system/boot-complete.target.requires"
        ln -s ../sextant-required.target "$1/usr/lib/systemd/system/boot-complete.target.requires"
    "#;
    let ours = ["sextant-confirm.service", "sextant-required.target", "sextant-pcrlock.service"]
        .map(|unit| repository().join("systemd-units").join(unit));
    let [confirm, required, pcrlock] = ours.each_ref().map(|path| path.to_str().unwrap());
    tree.succeed(installed, script, &[root.to_str().unwrap(), confirm, required, pcrlock]);
    root
}

pub(crate) fn systemd_has_nothing_to_say_about_the_drop_ins() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = system(&tree, &installed);
        let mut units = vec!["sextant-stage.service", "sextant-merge.service", "sextant-confirm.service"];
        units.extend(["sextant-required.target", "boot-complete.target", "sextant-pcrlock.service"]);
        let present = |unit: &&str| tree.file("usr/lib/systemd/system").join(unit).is_file();
        units.extend(super::drop_ins::EXTENDED.iter().filter(|unit| present(unit)));
        assert!(units.len() > 5, "{}: {units:?}", tree.suite);
        assert_eq!(complaints(&tree, &installed, &root, &units), "", "{}", tree.suite);
    }
}

/// systemd complains about a command that isn't there, if it is the one that counts: so it says which drop-in won.
pub(crate) fn a_distribution_cannot_bring_back_another_policy() {
    const MERGE: &[&str] = &["systemd-sysext.service"];
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = system(&tree, &installed);
        let theirs = root.join("etc/systemd/system/systemd-sysext.service.d");
        fs::create_dir_all(&theirs).unwrap();
        let text = "[Service]\nExecStart=\nExecStart=/their/policy\nExecReload=\nExecReload=/their/policy\n";
        fs::write(theirs.join("kairos-uki.conf"), text).unwrap();
        assert_eq!(complaints(&tree, &installed, &root, MERGE), "", "{}", tree.suite);
        fs::rename(theirs.join("kairos-uki.conf"), theirs.join("zzz.conf")).unwrap();
        let found = complaints(&tree, &installed, &root, MERGE);
        assert!(found.contains("/their/policy"), "{}: {found}", tree.suite);
    }
}

/// What is exposed at most, in tenths, as `systemd-analyze security` counts it. What mounts can't be shut in; what
/// only reads can. It counts settings of units only: the filter of `stage` and `merge` is in the agent
/// (`src/confine/agent_filter_tests.rs`).
const EXPOSURE: [(&str, &str); 4] = [
    ("sextant-stage.service", "74"),
    ("sextant-merge.service", "74"),
    ("sextant-confirm.service", "17"),
    ("sextant-pcrlock.service", "11"),
];

pub(crate) fn the_units_are_shut_in_as_far_as_they_can_be() {
    let installed = Installed::new();
    for tree in Tree::all() {
        for (unit, threshold) in EXPOSURE {
            let path = repository().join("systemd-units").join(unit);
            let script = r#"systemd-analyze security --offline=yes --no-pager --threshold="$2" "$1""#;
            tree.succeed(&installed, script, &[path.to_str().unwrap(), threshold]);
        }
    }
}

/// A mount namespace would hide from PID 1 what the agent mounts.
pub(crate) fn what_mounts_has_no_mount_namespace() {
    let harmless = ["ProtectProc", "PrivateMounts"];
    for unit in ["sextant-stage.service", "sextant-merge.service"] {
        let text = fs::read_to_string(repository().join("systemd-units").join(unit)).unwrap();
        assert!(!harmless.iter().any(|setting| text.contains(&format!("\n{setting}="))), "{unit}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let setting = line.split('=').next().unwrap_or_default();
            let hides = ["Private", "Protect", "Bind", "Inaccessible", "ReadOnly", "ReadWrite", "Root", "Temporary"];
            assert!(!hides.iter().any(|prefix| setting.starts_with(prefix)), "{unit}: {line}");
        }
    }
}
