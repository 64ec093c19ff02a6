//! What is copied over the root of an image of Kairos (docs/kairos.md).

use crate::install::files;
use crate::installed::{Installed, repository};
use crate::stages::Stages;
use crate::trees::Tree;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An image that has what is installed for Kairos, and otherwise what the agent needs to be there.
fn image(installed: &Installed) -> PathBuf {
    let root = installed.scratch("image");
    let tree = installed.path().join("usr/lib/sextant/kairos");
    let copied = Command::new("cp").arg("-a").arg(tree.join(".")).arg(&root).status().unwrap();
    assert!(copied.success(), "as docs/initrd.md has it");
    fs::create_dir_all(root.join("run")).unwrap();
    symlink("/usr/bin/immucore", root.join("init")).unwrap();
    root
}

/// Runs a verb of the agent on an image: whether it succeeded, and what it said.
fn agent(root: &Path, verb: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-under-test"));
    let output = command.arg(verb).arg("--root").arg(root).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn gate(root: &Path) -> bool {
    root.join("run/sextant/merge").exists()
}

pub(crate) fn the_tree_is_all_that_an_image_needs() {
    let installed = Installed::new();
    let root = image(&installed);
    for verb in ["stage", "adopt", "merge", "adopt", "merge"] {
        let (succeeded, said) = agent(&root, verb);
        assert!(succeeded, "{verb}: {said}");
    }
    assert!(gate(&root));
    assert!(!root.join("run/systemd").exists(), "{:?}", files(&root.join("run")));
}

/// Paths in backquotes, with the alternatives in braces spelled out.
fn named(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in page.split('`').skip(1).step_by(2).filter(|word| word.starts_with('/')) {
        match word.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?))) {
            Some((start, (words, end))) => found.extend(words.split(',').map(|word| format!("{start}{word}{end}"))),
            None => found.push(word.to_owned()),
        }
    }
    found
}

pub(crate) fn the_page_says_what_is_copied_and_how() {
    let page = fs::read_to_string(repository().join("docs/kairos.md")).unwrap();
    let installed = Installed::new();
    let named = named(&page);
    for file in files(&installed.path().join("usr/lib/sextant/kairos")) {
        let file = format!("/{file}");
        let is_named = |path: &String| *path == file || path.ends_with('/') && file.starts_with(path.as_str());
        assert!(named.iter().any(is_named), "{file} isn't on the page");
    }
    let first = page.split("```dockerfile\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap().0;
    assert_eq!(first, "FROM YOUR-KAIROS-IMAGE\nCOPY kairos/ /\n");
    assert!(page.contains("`make install-kairos DESTDIR=kairos`"));
    // What the second way leaves is what the first one does.
    let alone = installed.scratch("kairos");
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", "install-kairos"]).current_dir(repository());
    make.arg(format!("DIST={}", installed.path().parent().unwrap().join("dist").display()));
    make.arg(format!("DESTDIR={}", alone.display())).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    assert!(make.status().unwrap().success());
    let mut diff = Command::new("diff");
    diff.arg("--recursive").arg("--no-dereference").arg(&alone);
    assert!(diff.arg(installed.path().join("usr/lib/sextant/kairos")).status().unwrap().success());
}

pub(crate) fn an_image_that_lacks_a_file_merges_nothing() {
    let installed = Installed::new();
    let root = image(&installed);
    assert!(agent(&root, "stage").0 && agent(&root, "merge").0);
    for file in files(&root.join("usr/lib/systemd")) {
        let path = root.join("usr/lib/systemd").join(&file);
        let away = root.join("away");
        fs::rename(&path, &away).unwrap();
        let (succeeded, said) = agent(&root, "merge");
        assert!(!succeeded && said.contains(&format!("/usr/lib/systemd/{file}")), "{file}: {said}");
        assert_eq!(said.lines().count(), 1, "{file}: {said}");
        assert!(!gate(&root) && !root.join("run/systemd").exists(), "{file}");
        fs::rename(&away, &path).unwrap();
        assert!(agent(&root, "merge").0 && gate(&root), "{file}");
    }
}

/// The directories that immucore has yip read, in their order; and the stages of a boot in theirs (immucore 0.20.4).
pub(crate) fn yip_calls_the_agent_in_the_stages_of_a_boot() {
    let Some(stages) = Stages::new() else { return };
    let oem = "mkdir -p /run/system/oem /run/oem\ncp /usr/lib/sextant/kairos/system/oem/* /run/system/oem\n";
    for (stage, called) in [
        ("rootfs.before", "sextant-agent stage\n"),
        ("rootfs", ""),
        ("rootfs.after", ""),
        ("initramfs.before", "sextant-agent adopt\n"),
        ("initramfs", ""),
        ("initramfs.after", "sextant-agent merge\n"),
        ("boot", ""),
        ("after-install", ""),
    ] {
        assert_eq!(stages.run(oem, stage, "/run/system/oem /run/oem"), (called.to_owned(), true), "{stage}");
    }
}

/// Why nothing is written to `/run/systemd/system` there, and why the policy of systemd-sysext beside it does no harm.
pub(crate) fn a_directory_below_run_tells_systemctl_that_systemd_runs() {
    let script = r#"
        mount -t tmpfs tmpfs /etc/systemd
        mkdir /etc/systemd/system
        printf '[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/some.service
        for directory in sysext.conf.d system; do
            mkdir -p "/run/systemd/$directory"
            for verb in enable disable; do
                systemctl "$verb" some.service >/dev/null 2>&1 && result=done || result=failed
                echo "$directory $verb $result"
            done
        done
    "#;
    let expected =
        "sysext.conf.d enable done\nsysext.conf.d disable done\nsystem enable failed\nsystem disable failed\n";
    let installed = Installed::new();
    for tree in Tree::all() {
        assert_eq!(tree.succeed(&installed, script, &[]), expected, "{}", tree.suite);
    }
}
