//! The files for yip, run by the real one.

use crate::installed::Installed;
use crate::trees::Tree;
use std::fs;
use support::toolbox::yip;

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

/// Stage files as people write them, and the named steps of the stage `boot` that yip finds in them; `None` where it refuses
/// the file. The first words say what is odd about it.
const FOUND: [(&str, &str, Option<&[&str]>); 43] = [
    ("nothing", "", Some(&[])),
    ("a merge key", "a: &a {name: s}\nstages:\n  boot:\n  - <<: *a\n", Some(&["s"])),
    ("a merge key that is overridden", "a: &a {name: s}\nstages:\n  boot:\n  - <<: *a\n    name: t\n", Some(&["t"])),
    ("the same in another order", "a: &a {name: s}\nstages:\n  boot:\n  - name: t\n    <<: *a\n", Some(&["t"])),
    ("a list to merge", "a: &a {name: s}\nb: &b {name: t}\nstages:\n  boot:\n  - <<: [*a, *b]\n", Some(&["s"])),
    ("stages that are merged", "a: &a {boot: [{name: s}]}\nstages:\n  <<: *a\n", Some(&["s"])),
    ("text to merge", "stages:\n  boot:\n  - <<: x\n", None),
    ("a merge key twice", "a: &a {name: s}\nstages:\n  boot:\n  - <<: *a\n    <<: *a\n", None),
    ("two documents", "stages:\n  boot: [{name: s}]\n---\nstages:\n  boot: [{name: t}]\n", Some(&["s"])),
    ("a second document that is broken", "stages:\n  boot: [{name: s}]\n---\n[\n", Some(&["s"])),
    ("a first document with nothing in it", "---\n---\nstages:\n  boot: [{name: s}]\n", Some(&[])),
    ("marks around the document", "---\nstages:\n  boot: [{name: s}]\n...\n", Some(&["s"])),
    ("a key twice", "stages:\n  boot:\n  - {name: s, commands: [a], commands: [b]}\n", None),
    ("a stage twice", "stages:\n  boot: [{name: s}]\n  boot: [{name: t}]\n", None),
    ("the stages twice", "stages:\n  boot: [{name: s}]\nstages:\n  boot: [{name: t}]\n", None),
    ("an unknown key twice", "x: 1\nx: 2\nstages:\n  boot: [{name: s}]\n", None),
    ("a key twice where nobody looks", "x: {y: 1, y: 2}\nstages:\n  boot: [{name: s}]\n", Some(&["s"])),
    ("an unknown key", "stages:\n  boot: [{name: s, nonsense: {a: b}}]\n", Some(&["s"])),
    ("a key in capitals", "Stages:\n  boot: [{name: s}]\n", Some(&[])),
    ("a number as name", "stages:\n  boot: [{name: 5}]\n", Some(&["5"])),
    ("a word of YAML as name", "stages:\n  boot: [{name: yes}]\n", Some(&["yes"])),
    ("a list as name", "stages:\n  boot: [{name: [a]}]\n", None),
    ("a template as name", "stages:\n  boot:\n  - name: {{ .Values.x }}\n", None),
    ("a list as document", "- stages\n", None),
    ("text as document", "just text\n", None),
    ("stages that are none", "stages:\n", Some(&[])),
    ("stages as list", "stages: []\n", None),
    ("a stage that is none", "stages:\n  boot:\n", Some(&[])),
    ("a stage as mapping", "stages:\n  boot: {name: s}\n", None),
    ("a step that is none", "stages:\n  boot:\n  -\n  - name: s\n", Some(&["s"])),
    ("a step as text", "stages:\n  boot: [x]\n", None),
    ("commands that are none", "stages:\n  boot: [{name: s, commands: }]\n", Some(&["s"])),
    ("commands as text", "stages:\n  boot: [{name: s, commands: ls}]\n", None),
    ("files as mapping", "stages:\n  boot: [{name: s, files: {path: /x}}]\n", None),
    ("users of a step as list", "stages:\n  boot: [{name: s, users: [{name: a}]}]\n", None),
    ("an anchor that is not there", "stages:\n  boot: [*a]\n", None),
    ("ends of lines of another system", "stages:\r\n  boot:\r\n  - name: s\r\n", Some(&["s"])),
    ("users of cloud-init", "#cloud-config\nusers: [{name: a}]\nstages:\n  boot: [{name: s}]\n", Some(&["s"])),
    ("the default user of cloud-init", "#cloud-config\nusers: [default, {name: a}]\n", None),
    ("users of cloud-init as mapping", "#cloud-config\nusers: {a: {}}\n", None),
    ("users without the first line", "users: a\nruncmd: ls\nstages:\n  boot: [{name: s}]\n", Some(&["s"])),
    ("a command of cloud-init as list", "#cloud-config\nruncmd: [[touch, /x]]\n", None),
    ("commands of cloud-init as text", "#cloud-config\nruncmd: ls\n", None),
];

/// mudler/yip's own reports of such files come down to what yaml.v3 does (go-yaml/yaml#670, duplicate keys).
pub(crate) fn stage_files_are_read_as_yip_reads_them() {
    let Some(yip) = yip() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("f.yaml");
    for (kind, text, expected) in FOUND {
        fs::write(&path, text).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&yip);
            command.args(arguments).arg("f.yaml").current_dir(scratch.path()).output().unwrap()
        };
        // Nothing is run: no file has such a stage, and the other call only shows what would be.
        let is_refused = !run(&["-s", "of-no-file"]).status.success();
        assert_eq!(is_refused, expected.is_none(), "yip: {kind}");
        let ours = sextant_cli::plan::parse(&"f.yaml".into(), text);
        let ours = ours.ok().filter(|file| file.refused.is_none());
        assert_eq!(ours.is_none(), expected.is_none(), "plan: {kind}");
        let (Some(ours), Some(expected)) = (ours, expected) else { continue };
        let shown = run(&["-a", "-s", "boot"]);
        let shown = String::from_utf8_lossy(&shown.stderr).into_owned() + &String::from_utf8_lossy(&shown.stdout);
        let theirs = expected.iter().filter(|name| shown.contains(&format!("<f.yaml.{name}>"))).count();
        assert_eq!(theirs, expected.len(), "yip: {kind}: {shown}");
        let steps = ours.steps.iter().filter(|step| step.stage == "boot");
        let names: Vec<_> = steps.filter_map(|step| step.name.as_deref()).collect();
        assert_eq!(names, *expected, "plan: {kind}");
    }
}
