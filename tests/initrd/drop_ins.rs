//! The drop-ins for systemd's own units, beside those units in several versions.

use crate::installed::{Installed, repository};
use crate::trees::Tree;
use std::fs;
use support::harness::left_out;

/// Every unit of systemd that merges extensions by itself.
pub(crate) const EXTENDED: &[&str] = &[
    "systemd-sysext.service",
    "systemd-confext.service",
    "systemd-sysext-initrd.service",
    "systemd-confext-initrd.service",
    "systemd-sysext-sysroot.service",
    "systemd-confext-sysroot.service",
    "systemd-sysext@.service",
    "systemd-sysupdate-notify-sysext@.service",
];

/// `root=signed+absent:usr=signed+absent`, and nothing weaker.
const POLICY: &str = "--image-policy=root=signed+absent:usr=signed+absent";

/// Values of `key` in a unit file, in order.
fn values<'text>(text: &'text str, key: &str) -> Vec<&'text str> {
    let prefix = format!("{key}=");
    text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::trim).collect()
}

fn drop_in(unit: &str) -> String {
    fs::read_to_string(repository().join("systemd-units").join(format!("{unit}.d/zz-sextant.conf"))).unwrap()
}

/// Settings with which a unit can run a program to merge.
const RUNS: [&str; 5] = ["ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecReloadPost"];

pub(crate) fn whatever_systemd_runs_to_merge_runs_with_the_strict_policy() {
    for tree in Tree::all() {
        let mut seen = 0;
        for unit in EXTENDED {
            let Ok(stock) = fs::read_to_string(tree.file("usr/lib/systemd/system").join(unit)) else { continue };
            seen += 1;
            let ours = drop_in(unit);
            for key in RUNS.iter().filter(|key| !values(&stock, key).is_empty()) {
                let commands: Vec<_> = values(&ours, key).into_iter().filter(|command| *command != ADOPT).collect();
                let [reset, command] = commands[..] else { panic!("{} {unit}: {key}", tree.suite) };
                assert_eq!(reset, "", "{} {unit}: {key} isn't reset", tree.suite);
                let of_stock = values(&stock, key);
                let [of_stock] = of_stock[..] else { panic!("{} {unit}: {of_stock:?}", tree.suite) };
                // `merge` is what 252 has; `refresh` is the same where nothing is merged yet.
                let expected = format!("{} {POLICY}", of_stock.replace(" merge", " refresh"));
                assert_eq!(command, expected, "{} {unit}: {key}", tree.suite);
            }
        }
        assert!(seen > 0, "{}", tree.suite);
    }
}

/// Where it merges, whichever of them it is; and the file is there by then, for whoever is ordered after the agent.
pub(crate) fn whatever_systemd_runs_to_merge_is_told_where() {
    for unit in EXTENDED {
        let ours = drop_in(unit);
        let classes: &[&str] = match unit {
            unit if unit.contains('@') => &["sysext", "confext"],
            unit if unit.contains("confext") => &["confext"],
            _ => &["sysext"],
        };
        let files: Vec<_> = classes.iter().map(|class| format!("-/run/sextant/{class}.env")).collect();
        assert_eq!(values(&ours, "EnvironmentFile"), files, "{unit}");
        assert_eq!(values(&ours, "Environment"), Vec::<&str>::new(), "{unit}: it would override the distribution's");
        let in_initrd = unit.contains("-initrd") || unit.contains("-sysroot");
        let after = values(&ours, "After");
        assert_eq!(after.contains(&"sextant-stage.service"), in_initrd, "{unit}: {after:?}");
    }
}

/// A version that has one more would merge past us.
pub(crate) fn no_unit_of_systemd_that_merges_is_forgotten() {
    for tree in Tree::all() {
        let units = fs::read_dir(tree.file("usr/lib/systemd/system")).unwrap();
        for path in units.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            // Without a verb it does what it is asked by a socket.
            let merges = RUNS.iter().flat_map(|key| values(&text, key)).any(|command| {
                let program = command.split_whitespace().next().unwrap_or_default();
                ["systemd-sysext", "systemd-confext"].iter().any(|name| program.ends_with(name))
                    && !["unmerge", "list", "status"]
                        .iter()
                        .any(|verb| command.split_whitespace().any(|it| it == *verb))
            });
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!merges || EXTENDED.contains(&name), "{}: {name}", tree.suite);
        }
    }
}

/// A triggering condition (`=|`) is one of several alternatives: beside `|/run/extensions` it would not be a gate.
pub(crate) fn the_gate_is_no_alternative() {
    for unit in EXTENDED {
        let gate = if unit.contains("-initrd") { "/run/sextant/report.json" } else { "/run/sextant/merge" };
        let ours = drop_in(unit);
        let (alternatives, conditions): (Vec<_>, Vec<_>) =
            values(&ours, "ConditionPathExists").into_iter().partition(|path| path.starts_with('|'));
        assert_eq!(conditions, [gate], "{unit}");
        // Directories on disks are one more reason to start, and none to pass the gate.
        assert!(alternatives.is_empty() || alternatives == ["|/run/sextant/sources"], "{unit}");
        let lines = ours.lines().filter(|line| line.starts_with("Condition")).count();
        assert_eq!(lines, 1 + alternatives.len(), "{unit}");
    }
    assert_eq!(sextant::merge::GATE, "/run/sextant/merge");
}

/// systemd sorts drop-ins by name, whatever directory they are in, and the last one wins. These are of Kairos, which writes
/// them to `/etc` at the end of its `initramfs` stage, with policies that take unsigned images.
pub(crate) fn our_drop_ins_have_the_last_word() {
    for unit in EXTENDED {
        let directory = repository().join(format!("systemd-units/{unit}.d"));
        let ours: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(ours, ["zz-sextant.conf"], "{unit}");
        for other in ["kairos.conf", "kairos-uki.conf", "99_policy.conf", "override.conf"] {
            assert!(ours[0].to_str().unwrap() > other, "{unit}: {other} is applied after ours");
        }
    }
}

/// What judges whatever others have put beside what is staged.
const ADOPT: &str = "/run/sextant/sextant-agent adopt";

/// On the host, before each merge, and so that the merge doesn't happen without it: a `-` would forgive a failure.
pub(crate) fn nothing_is_merged_on_the_host_that_was_not_judged() {
    for unit in EXTENDED {
        let ours = drop_in(unit);
        let in_initrd = unit.contains("-initrd") || unit.contains("-sysroot");
        let expected: &[&str] = if in_initrd { &[] } else { &[ADOPT] };
        assert_eq!(values(&ours, "ExecStartPre"), expected, "{unit}");
        let reload = values(&ours, "ExecReload");
        if !in_initrd && !reload.is_empty() {
            assert_eq!(reload[..2], ["", ADOPT], "{unit}");
            assert_eq!(reload.len(), 3, "{unit}");
        }
    }
    for file in ["systemd-sysext@.service", "systemd-sysupdate-notify-sysext@.service"] {
        assert_eq!(values(&drop_in(file), "TimeoutStartSec"), ["5min"], "{file}: it takes as long as there are images");
    }
}

/// systemd's own units unmerge when they are stopped, for a restart too.
pub(crate) fn a_restart_takes_nothing_down() {
    for tree in Tree::all() {
        for unit in EXTENDED {
            let Ok(stock) = fs::read_to_string(tree.file("usr/lib/systemd/system").join(unit)) else { continue };
            let (stock, ours) = (values(&stock, "ExecStop"), drop_in(unit));
            let class = if unit.contains("confext") { "confext" } else { "sysext" };
            if unit.contains("-initrd") || unit.contains("-sysroot") || stock.is_empty() {
                assert_eq!(values(&ours, "ExecStop"), Vec::<&str>::new(), "{} {unit}", tree.suite);
                continue;
            }
            assert!(stock.iter().all(|command| command.ends_with(&format!("systemd-{class} unmerge"))), "{stock:?}");
            let expected = format!("/run/sextant/sextant-agent unmerge {class}");
            assert_eq!(values(&ours, "ExecStop"), ["", &expected], "{} {unit}", tree.suite);
        }
    }
}

/// Kairos' drop-ins for these two units set JobRunningTimeoutSec=5 and TimeoutStartSec=10.
pub(crate) fn the_timeouts_of_others_are_reset() {
    for unit in ["systemd-sysext.service", "systemd-confext.service"] {
        let ours = drop_in(unit);
        assert_eq!(values(&ours, "JobTimeoutSec"), ["infinity"], "{unit}");
        assert_eq!(values(&ours, "JobRunningTimeoutSec"), ["infinity"], "{unit}");
        assert_eq!(values(&ours, "TimeoutStartSec"), ["5min"], "{unit}: nothing else ends a merge that hangs");
    }
}

/// Merges an unsigned image, with our files for systemd-sysext and systemd-confext below `$1` and without, and says what systemd said.
const UNSIGNED: &str = r#"
    try() {
        status=0
        said=$("$@" 2>&1) || status=$?
        systemd-sysext unmerge >/dev/null 2>&1 || true
        echo "$status $(tr '\n' ' ' <<<"$said")"
    }
    mkdir -p /run/tree/usr/lib/extension-release.d /run/extensions /run/systemd
    echo ID=_any >/run/tree/usr/lib/extension-release.d/extension-release.unsigned
    mkfs.erofs --quiet /run/extensions/unsigned.raw /run/tree >/dev/null 2>&1 || true
    try systemd-sysext refresh
    cp -a "$1/sysext.conf.d" "$1/confext.conf.d" /run/systemd
    try systemd-sysext refresh
    try systemd-confext refresh
"#;

/// systemd before 259 doesn't read the files.
pub(crate) fn a_call_by_hand_has_the_strict_policy_too() {
    let installed = Installed::new();
    let units = repository().join("systemd-units");
    for tree in Tree::all().into_iter().filter(|tree| tree.suite == "forky") {
        let output = tree.succeed(&installed, UNSIGNED, &[units.to_str().unwrap()]);
        let [without, with, confext] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
        if !without.starts_with("0 ") {
            return left_out(&format!("{}: no image is merged here: {without}", tree.suite));
        }
        assert!(with.starts_with("1 ") && with.contains("Image does not match image policy"), "{with}");
        // Neither section nor key is one that it ignores.
        assert!(confext.starts_with("0 ") && !confext.contains("gnor"), "{confext}");
        assert!(!with.contains("gnor"), "{with}");
    }
}

/// The copies for the host are made from the files that the initrd has.
pub(crate) fn the_host_gets_the_drop_ins_of_the_initrd() {
    let text = fs::read_to_string(repository().join("systemd-units/sextant.tmpfiles.conf")).unwrap();
    let (copies, links): (Vec<Vec<_>>, Vec<Vec<_>>) = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .partition(|line: &Vec<&str>| line[0] == "C");
    let units = EXTENDED.iter().filter(|unit| !unit.contains("-initrd") && !unit.contains("-sysroot"));
    let stage = fs::read_to_string(repository().join("systemd-units/sextant-stage.service")).unwrap();
    let sources: Vec<_> = copies.iter().map(|line| line[6]).collect();
    assert_eq!(values(&stage, "AssertPathExists"), sources, "systemd-tmpfiles doesn't mind if they are missing");
    let [target] = &copies[units.clone().count()..] else { panic!("{copies:?}") };
    let required = "systemd/system/sextant-required.target";
    assert_eq!((target[1], target[6]), (&*format!("/run/{required}"), &*format!("/usr/lib/{required}")));
    let [link] = &links[..] else { panic!("{links:?}") };
    let expected = [
        "L",
        "/run/systemd/system/boot-complete.target.requires/sextant-required.target",
        "../sextant-required.target",
    ];
    assert_eq!([link[0], link[1], link[6]], expected);
    for (unit, line) in units.zip(&copies) {
        let file = format!("systemd/system/{unit}.d/zz-sextant.conf");
        assert_eq!((line[1], line[6]), (&*format!("/run/{file}"), &*format!("/usr/lib/{file}")));
    }
}
