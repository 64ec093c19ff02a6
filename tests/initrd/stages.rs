//! The files for yip, run by the real one.

use crate::installed::Installed;
use crate::support::toolbox::yip;
use crate::trees::Tree;
use std::fs;

/// A machine with our files where an image has them, on which both programs only write down how they were called.
pub(crate) struct Stages {
    tree: Tree,
    installed: Installed,
    yip: String,
}

impl Stages {
    pub(crate) fn new() -> Option<Self> {
        let yip = yip()?.to_str().unwrap().to_owned();
        let installed = Installed::new();
        for (program, name) in [("usr/lib/sextant/sextant-agent", "sextant-agent"), ("usr/bin/sextant", "sextant")] {
            installed.add(program, &format!("#!/bin/sh\necho {name} \"$@\" >>/run/called\n"));
        }
        Some(Self { tree: Tree::trixie()?, installed, yip })
    }

    /// What was called while yip ran a stage over directories that `prepare` makes below /run, and whether it succeeded.
    pub(crate) fn run(&self, prepare: &str, stage: &str, directories: &str) -> (String, bool) {
        let script = format!(
            "touch /run/called\n{prepare}\nstatus=0\n{} -s {stage} {directories} >&2 || status=$?\ncat /run/called\necho status $status",
            self.inside()
        );
        let output = self.tree.succeed(&self.installed, &script, &[]);
        let (called, status) = output.rsplit_once("status ").unwrap();
        (called.to_owned(), status.trim() == "0")
    }

    /// A copy of it where the tree sees it, wherever it lies.
    fn inside(&self) -> String {
        let copy = self.installed.scratch("yip").join("yip");
        if !copy.exists() {
            fs::copy(&self.yip, &copy).unwrap();
        }
        copy.to_str().unwrap().to_owned()
    }
}

const OEM: &str = "mkdir -p /run/system/oem /run/oem\ncp /usr/lib/sextant/yip/* /run/system/oem\n";
const BROKEN: &str = "name: broken\nstages:\n  initramfs.after: [\n";

pub(crate) fn yip_runs_the_shipped_files_in_their_stages_only() {
    let Some(stages) = Stages::new() else { return };
    let after = stages.run(OEM, "initramfs.after", "/run/system/oem /run/oem");
    assert_eq!(after, ("sextant-agent merge\n".to_owned(), true));
    for stage in ["initramfs.before", "initramfs", "rootfs", "boot"] {
        assert_eq!(stages.run(OEM, stage, "/run/system/oem /run/oem"), (String::new(), true), "{stage}");
    }
}

pub(crate) fn what_is_on_the_medium_is_installed_onto_the_new_esp_and_without_both_nothing_is_done() {
    let Some(stages) = Stages::new() else { return };
    let run = |prepare: &str| stages.run(&format!("{OEM}\n{prepare}"), "after-install", "/run/system/oem");
    let expected = "sextant install /run/initramfs/live --esp /run/cos/efi --entry active --entry passive\n";
    assert_eq!(run("mkdir -p /run/initramfs/live /run/cos/efi/EFI/kairos"), (expected.to_owned(), true));
    for incomplete in ["", "mkdir -p /run/initramfs/live", "mkdir -p /run/cos/efi/EFI/kairos"] {
        assert_eq!(run(incomplete), (String::new(), true), "{incomplete}");
    }
}

/// Why docs/initrd.md says where the file has to lie.
pub(crate) fn a_broken_file_takes_those_of_its_directory_with_it_and_no_others() {
    let Some(stages) = Stages::new() else { return };
    for (directory, called) in [("system/oem", ""), ("oem", "sextant-agent merge\n")] {
        let prepare = format!("{OEM}cat >/run/{directory}/10-broken.yaml <<'END'\n{BROKEN}END");
        let found = stages.run(&prepare, "initramfs.after", "/run/system/oem /run/oem");
        assert_eq!(found, (called.to_owned(), false), "broken in {directory}");
    }
}

/// Why it says that no file can be sure to be last.
pub(crate) fn the_last_file_is_not_the_last_to_run() {
    let Some(stages) = Stages::new() else { return };
    let file = |name: &str, stage: &str, command: &str| {
        let text = format!("name: {name}\nstages:\n  {stage}:\n    - commands: ['{command}']\n");
        format!("cat >/run/system/oem/{name}.yaml <<'END'\n{text}END\n")
    };
    let oem = "mkdir -p /run/system/oem\ncp /usr/lib/sextant/yip/zz-sextant-merge.yaml /run/system/oem\n";
    let slow = file("10-slow", "initramfs.after", "sleep 2; echo slow >>/run/called");
    let (called, _) = stages.run(&format!("{oem}{slow}"), "initramfs.after", "/run/system/oem");
    assert_eq!(called, "slow\nsextant-agent merge\n", "beside nothing else they keep their order");
    let other = file("20-other", "boot", "true");
    let (called, _) = stages.run(&format!("{oem}{slow}{other}"), "initramfs.after", "/run/system/oem");
    assert_eq!(called, "sextant-agent merge\nslow\n", "a file between them parts them");
}
