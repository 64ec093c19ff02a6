//! The verdict on made-up evidence: what a witness didn't write down never passes. These need no machine.

use crate::verdict::judge_closed;
use crate::witness::Findings;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use tempfile::TempDir;

/// All of them, by name.
pub fn tests() -> Vec<(&'static str, fn())> {
    vec![
        ("evidence::a_closed_gate_passes", a_closed_gate_passes),
        ("evidence::only_252_has_no_confexts", only_252_has_no_confexts),
        ("evidence::what_is_missing_does_not", what_is_missing_does_not),
        ("evidence::what_tells_nothing_does_not", what_tells_nothing_does_not),
        ("evidence::what_is_merged_does_not", what_is_merged_does_not),
        ("evidence::names_are_read_from_both_versions", names_are_read_from_both_versions),
    ]
}

/// `systemd-sysext status --json=short` of 257 and of 262 with nothing merged, and of each for a confext.
const STATUS: [[&str; 2]; 2] = [
    [
        r#"[{"hierarchy":"/opt","extensions":"none","since":null},{"hierarchy":"/usr","extensions":"none","since":null}]"#,
        r#"[{"hierarchy":"/etc","extensions":"none","since":null}]"#,
    ],
    [
        r#"[{"hierarchy":"/opt","extensions":[],"since":null},{"hierarchy":"/usr","extensions":[],"since":null}]"#,
        r#"[{"hierarchy":"/etc","extensions":[],"since":null}]"#,
    ],
];
const COMMAND: &str = "{ path=/usr/bin/systemd-sysext ; argv[]=systemd-sysext refresh \
    --image-policy=root=signed+absent:usr=signed+absent ; ignore_errors=no }";
const ADOPT: &str = "{ path=/run/sextant/sextant-agent ; argv[]=/run/sextant/sextant-agent adopt ; ignore_errors=no }";
const MOUNTS: &str = "/dev/vdb / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n";

/// What the witness leaves of a boot in which nothing was merged.
fn closed([sysext, confext]: [&str; 2]) -> (TempDir, Findings) {
    let unit = |class: &str| {
        format!(
            "Id=systemd-{class}.service\nDropInPaths=/run/systemd/system/systemd-{class}.service.d/zz-sextant.conf\n\
             ExecStart={COMMAND}\nExecReload={ADOPT}\nExecReload={COMMAND}\n"
        )
    };
    let units = format!("{}\n{}", unit("sysext"), unit("confext"));
    let directory = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("sysext.json", sysext),
        ("status/sysext.json", "0\n"),
        ("confext.json", confext),
        ("status/confext.json", "0\n"),
        ("units", &units),
        ("status/units", "0\n"),
        ("systemd", "systemd 257 (257.13)\n"),
        ("merged/usr/lib/os-release", "ID=debian\n"),
        ("initrd/block", "vda\nvdb\n"),
        ("initrd/loops", ""),
        ("initrd/dm", ""),
        ("initrd/mounts", MOUNTS),
        ("block", "loop0\nvda\nvdb\n"),
        ("loops", ""),
        ("dm", ""),
        ("mounts", MOUNTS),
        ("listing", "/run:\n.\n..\nsystemd\n"),
    ] {
        write(directory.path(), file, text);
    }
    let findings = Findings { directory: directory.path().to_owned() };
    (directory, findings)
}

fn write(directory: &Path, file: &str, text: &str) {
    let path = directory.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Whether the verdict is bad once `change` has been made to good evidence.
fn fails(change: impl Fn(&Path)) -> bool {
    let (directory, findings) = closed(STATUS[0]);
    change(directory.path());
    catch_unwind(move || judge_closed(&findings)).is_err()
}

fn a_closed_gate_passes() {
    for status in STATUS {
        let (_directory, findings) = closed(status);
        judge_closed(&findings);
    }
}

fn only_252_has_no_confexts() {
    for (version, passes) in [("252", true), ("254", false), ("257", false)] {
        let without = |directory: &Path| {
            write(directory, "systemd", &format!("systemd {version} ({version}.1)\n"));
            write(directory, "status/confext.json", "127\n");
            write(directory, "confext.json", "");
        };
        assert_eq!(fails(without), !passes, "{version}");
    }
}

fn what_is_missing_does_not() {
    for file in [
        "sysext.json",
        "status/sysext.json",
        "confext.json",
        "status/confext.json",
        "units",
        "status/units",
        "systemd",
        "merged/usr/lib/os-release",
        "initrd/block",
        "initrd/loops",
        "initrd/dm",
        "initrd/mounts",
        "block",
        "loops",
        "dm",
        "mounts",
        "listing",
    ] {
        assert!(fails(|directory| fs::remove_file(directory.join(file)).unwrap()), "without {file}");
    }
}

fn what_tells_nothing_does_not() {
    for file in ["sysext.json", "confext.json", "units", "initrd/block", "block", "initrd/mounts", "mounts", "listing"]
    {
        assert!(fails(|directory| write(directory, file, "")), "with an empty {file}");
    }
    for file in ["status/sysext.json", "status/confext.json", "status/units"] {
        assert!(fails(|directory| write(directory, file, "1\n")), "{file}");
    }
    for text in ["null", "{}", "[]", "[1]", r#"[{"hierarchy":"/usr"}]"#, r#"[{"extensions":[]}]"#, "No extensions"] {
        assert!(fails(|directory| write(directory, "sysext.json", text)), "{text}");
    }
}

fn what_is_merged_does_not() {
    for (file, text) in [
        ("sysext.json", r#"[{"hierarchy":"/usr","extensions":["x"],"since":1}]"#),
        ("merged/usr/share/x/hello.txt", "hello from x\n"),
        ("merged/etc/x/hello.conf", "hello from x\n"),
        ("loops", "/run/extensions/x.raw\n"),
        ("initrd/dm", "x-verity\n"),
    ] {
        assert!(fails(|directory| write(directory, file, text)), "{file}");
    }
}

fn names_are_read_from_both_versions() {
    for none in [r#""none""#, "[]"] {
        let (directory, findings) = closed(STATUS[0]);
        let text = format!(
            r#"[{{"hierarchy":"/opt","extensions":{none}}},{{"hierarchy":"/usr","extensions":["b","a"]}},
                {{"hierarchy":"/usr/local","extensions":["b"]}}]"#
        );
        write(directory.path(), "sysext.json", &text);
        assert_eq!(findings.merged("sysext"), ["a", "b"]);
    }
}
