//! What the agent does on a machine that isn't in its initrd: nothing, and it says so.

use crate::namespace::{mounts, with_empty_run};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::harness::ignore;

fn agent(arguments: &[&str]) -> Output {
    let agent = env!("CARGO_BIN_EXE_agent-under-test");
    Command::new(agent).args(arguments).stdin(Stdio::null()).env_remove("JOURNAL_STREAM").output().unwrap()
}

/// Everything below a directory that can be listed, with its size.
fn all_below(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let metadata = entry.metadata().unwrap();
            found.push((entry.path(), metadata.len()));
            if metadata.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A machine on which an extension is waiting, as far as that can be had without touching the one that the test runs on.
fn on_a_host(test: impl FnOnce() + Send + 'static) {
    if Path::new("/etc/initrd-release").exists() {
        ignore("this machine says that it is an initrd");
    }
    with_empty_run(test);
}

/// Both verbs refuse, with one sentence, and change nothing; whatever the root directory is called.
pub(crate) fn a_host_is_left_alone_under_every_name() {
    on_a_host(|| {
        // Never a bind mount in a temporary directory: deleting that would delete what is mounted there.
        let link = Path::new("/run/link");
        symlink("/", link).unwrap();
        let link = link.to_str().unwrap();
        let before = (all_below(Path::new("/run")), mounts());
        for verb in ["stage", "merge"] {
            for root in [None, Some("/"), Some("/."), Some("//"), Some("/usr/.."), Some(link)] {
                let root = root.map_or(vec![], |root| vec!["--root", root]);
                let output = agent(&[&[verb], &root[..]].concat());
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{verb} {root:?}: {said}");
                assert_eq!(said.lines().count(), 1, "{verb} {root:?}: {said}");
                assert!(said.starts_with("sextant-agent: this is not an initrd"), "{verb} {root:?}: {said}");
                assert!((all_below(Path::new("/run")), mounts()) == before, "{verb} {root:?} changed the machine");
            }
        }
    });
}

/// The machine under a second name by a bind mount, and a tree whose `/run` is the machine's. Both are mounted in the
/// namespace's own `/run`, which is never deleted: deleting would go through such a mount.
pub(crate) fn a_bind_mount_of_the_machine_is_the_machine() {
    on_a_host(|| {
        let bind = |from: &str, to: &str| {
            fs::create_dir_all(to).unwrap();
            mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        };
        bind("/", "/run/bound");
        bind("/run", "/run/tree/run");
        let names = || {
            let mut names: Vec<_> = fs::read_dir("/run").unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = (names(), mounts());
        for verb in ["stage", "merge"] {
            for (root, expected) in [
                ("/run/bound", "sextant-agent: this is not an initrd"),
                ("/run/tree", "sextant-agent: /run/tree/run is this machine's own /run"),
            ] {
                let output = agent(&[verb, "--root", root]);
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{verb} {root}: {said}");
                assert!(said.starts_with(expected), "{verb} {root}: {said}");
                assert!((names(), mounts()) == before, "{verb} {root} changed the machine");
            }
        }
    });
}

/// `confirm` belongs on the host. Where there was no sextant in the initrd it says so, and changes nothing.
pub(crate) fn there_is_nothing_to_confirm_on_a_host_without_sextant() {
    on_a_host(|| {
        let output = agent(&["confirm"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let expected = "sextant-agent: nothing was staged in this boot: /run/sextant/state.json does not exist\n";
        assert_eq!(said, expected);
        assert_eq!(all_below(Path::new("/run")), []);
    });
}

/// Where there was, it compares, and tells what it found on the terminal too.
pub(crate) fn a_host_is_confirmed() {
    on_a_host(|| {
        fs::create_dir("/run/sextant").unwrap();
        let report = r#"{"version": 1, "firmware": null, "trust": [], "ignored_certificates": [], "merge": null,
            "error": null, "images": [{"file": "sextant-test.sysext.raw", "directory": null, "name": "sextant-test",
            "class": "sysext", "verdict": "staged", "reason": null, "detail": null, "warnings": [], "root_hash": null,
            "signer": null, "size": null, "verify_usec": 1, "stage_usec": 1}]}"#;
        fs::write("/run/sextant/report.json", report).unwrap();
        let state = r#"{"version": 1, "error": null, "requested": true, "staged": [{"class": "sysext",
            "name": "sextant-test", "file": "sextant-test.sysext.raw", "root_hash": null, "signer": null,
            "withdrawn": null}]}"#;
        fs::write("/run/sextant/state.json", state).unwrap();
        let output = agent(&["confirm"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = fs::read_to_string("/run/sextant/report.json").unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["merge"]["missing"], serde_json::json!(["sextant-test"]), "{report}");
        if Command::new("script").arg("--version").output().is_err() {
            ignore("script (util-linux), which makes a terminal, is not installed");
        }
        let command = format!("{} confirm", env!("CARGO_BIN_EXE_agent-under-test"));
        let output =
            Command::new("script").args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("sextant-test (sysext) was staged and is not merged"), "{said}");
        assert!(said.contains("0 of 1 staged extensions merged"), "{said}");
    });
}
