//! Boots in whose initrd the real yip runs the stages `initramfs.before`, `initramfs` and `initramfs.after`.
//!
//! All of them have what Kairos has: a persistent `/usr/local`, and hierarchies for systemd-sysext that leave it alone.

use super::{Scenario, vendor};
use crate::cpio::Archive;
use crate::guest::Guest::Systemd262;
use crate::images::Offer;
use crate::keys;
use crate::toolbox::{self, repository};
use crate::witness::Findings;
use serde_json::Value;
use std::fs;
use support::toolbox::yip_path;
use support::trees::Tree;

pub fn table() -> Vec<Scenario> {
    let scenario = |name, about| Scenario::new(name, about).offers(offers).obstacle(toolbox::no_yip);
    vec![
        scenario("stages", "yip runs the stages by a unit that is known, and takes its time at the end of the last")
            .sealed(|| stages().file("etc/sextant.yaml", limited()).unit("immucore.service", &known("immucore")))
            .check(|findings| {
                handed_over_after(findings, &["immucore.service"]);
                configured(findings);
            }),
        scenario("stages-in-trouble", "a step fails, a file is broken, and another stage runner is missing its yip")
            .on(Systemd262)
            .sealed(|| {
                // Units that nothing here enables: what they would be told is looked at.
                let dormant = ["systemd-sysext-sysroot.service", "systemd-confext-sysroot.service"];
                let archive = dormant.into_iter().fold(stages(), |archive, unit| {
                    let path = format!("usr/lib/systemd/system/{unit}");
                    let text = fs::read(toolbox::Tree::Forky.path().join(&path)).unwrap();
                    archive.file(&path, text)
                });
                archive
                    .file("etc/sextant.yaml", limited())
                    .file("oem/50-broken.yaml", "name: broken\nstages:\n  initramfs.after: [\n")
                    .file(
                        "oem/60-beside.yaml",
                        step("beside", "initramfs.after", "echo >/sysroot/usr/local/stage/beside"),
                    )
                    .file("system/oem/40-fails.yaml", step("fails", "initramfs.after", "exit 7"))
                    .unit("kairos-setup-initramfs.service", &known("kairos-setup-initramfs"))
                    .unit("elemental-setup-initramfs.service", &runner("/usr/bin/no-yip", ""))
            })
            .check(|findings| {
                handed_over_after(findings, &["kairos-setup-initramfs.service", "elemental-setup-initramfs.service"]);
                let failed = |unit: &str| findings.places(|entry| is_about(entry, FAILED, unit)).len();
                assert_eq!(failed("kairos-setup-initramfs.service"), 1, "yip minded neither");
                assert_eq!(steps(findings, "fails").len(), 1);
                assert_eq!(failed("elemental-setup-initramfs.service"), 1);
                assert!(!findings.directory.join("merged/usr/local/stage/beside").exists(), "the file is not broken");
                configured(findings);
            })
            .of_matrix(),
        scenario(
            "stages-by-file",
            "no unit that is known, the shipped file calls early; the unit and another call follow",
        )
        .sealed(|| {
            let shipped = fs::read(repository().join("systemd-units/yip/zz-sextant-merge.yaml")).unwrap();
            stages()
                .file("system/oem/zz-sextant-merge.yaml", shipped)
                .file("system/oem/10-slow.yaml", step("slow", "initramfs.after", &until_open()))
                .file("system/oem/20-parts-them.yaml", step("parts-them", "boot", "true"))
                .file("system/oem/99-sysext.yaml", DISTRIBUTION)
                .unit("site-stages.service", &runner(YIP, "After=sextant-stage.service\nBefore=initrd.target"))
                .unit("site-late.service", &late())
        })
        .check(by_file)
        .of_matrix(),
    ]
}

const YIP: &str = "/usr/bin/yip";
/// `MESSAGE_ID`s of systemd (`systemd/sd-messages.h`): a unit is being started, is started, has failed to.
const STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";
const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";
const FAILED: &str = "be02cf6855d2428ba40df7e9d022f03d";
/// Ours.
const MERGE_REQUESTED: &str = "27c9e4a15d8f4b60b3f1086ed5a7924c";

/// Writes down at its end how the gate was then. It takes far longer than what would otherwise be waited for, so that who
/// doesn't wait for it finds it at work.
const SLOW: &str =
    "sleep 5; if [ -e /run/sextant/merge ]; then echo open; else echo closed; fi >/sysroot/usr/local/stage/gate";
/// Most seconds of the guest that a step waits for the gate to open: with the others waiting for it, it never would.
const PATIENCE: u32 = 60;

/// Where Kairos has extensions merged (kairos-init, `pkg/bundled/cloudconfigs/99_sysext.yaml`).
const HIERARCHIES: &str = "/usr/local/bin:/usr/local/sbin:/usr/local/include:/usr/local/lib:/usr/local/share:/usr/local/src:\
    /usr/bin:/usr/share:/usr/lib:/usr/include:/usr/src:/usr/sbin";

/// What Kairos has yip write at the end of its initrd: the hierarchies, and a policy that takes what isn't signed by us.
const DISTRIBUTION: &str = r#"name: sysext
stages:
  initramfs:
    - files:
        - path: /sysroot/etc/systemd/system/systemd-sysext.service.d/kairos-uki.conf
          permissions: 0644
          content: |
            [Service]
            ExecStart=
            ExecStart=systemd-sysext refresh --image-policy="root=verity+signed+absent:usr=verity+signed+absent"
            ExecReload=
            ExecReload=systemd-sysext refresh --image-policy="root=verity+signed+absent:usr=verity+signed+absent"
            Environment="SYSTEMD_SYSEXT_HIERARCHIES=/usr/local/bin:/usr/local/sbin:/usr/local/include:/usr/local/lib:/usr/local/share:/usr/local/src:/usr/bin:/usr/share:/usr/lib:/usr/include:/usr/src:/usr/sbin"
"#;

/// One that has something for a persistent directory too, and one that hasn't.
fn offers() -> Vec<Offer> {
    let tree = Tree::sysext("tool").file("usr/local/bin/tool", b"from the extension\n");
    vec![Offer::with_tree("tool", &tree, keys::db(), "db"), Offer::sysext("by-vendor", keys::vendor(), "sealed")]
}

fn limited() -> String {
    format!("merge:\n  hierarchies: [{}]\n", HIERARCHIES.replace(':', ", "))
}

/// yip; something in each of its directories and stages; and the last step of the last file, which takes long.
fn stages() -> Archive {
    let directories = "bin sbin include lib share src stage";
    let mounts = format!(
        "mount -t tmpfs tmpfs /sysroot/usr/local && cd /sysroot/usr/local && mkdir {directories} && echo kept >lib/kept"
    );
    vendor()
        .program("usr/bin/yip", fs::read(yip_path()).unwrap())
        .file("system/oem/00-mount.yaml", step("mount", "initramfs.before", &mounts))
        .file("system/oem/30-main.yaml", step("main", "initramfs", "echo >/sysroot/usr/local/stage/main"))
        .file("oem/30-after.yaml", step("after", "initramfs.after", "echo >/sysroot/usr/local/stage/after"))
        .file("usr/local/cloud-config/zz-last.yaml", step("last", "initramfs.after", SLOW))
}

/// A step that ends when the gate is open, and writes down whether it is.
fn until_open() -> String {
    format!(
        "n=0; until [ -e /run/sextant/merge ] || [ $n = {PATIENCE} ]; do sleep 1; n=$((n+1)); done; \
         if [ -e /run/sextant/merge ]; then echo open; else echo closed; fi >/sysroot/usr/local/stage/slow"
    )
}

fn step(name: &str, stage: &str, command: &str) -> String {
    format!("name: {name}\nstages:\n  {stage}:\n    - name: step\n      commands:\n        - |\n          {command}\n")
}

/// The unit of a stage runner that sextant-merge.service knows. Nothing else in the initrd waits for it.
fn known(name: &str) -> String {
    let list = fs::read_to_string(repository().join("systemd-units/sextant-merge.service.d/10-stage-runners.conf"));
    assert!(list.unwrap().contains(&format!("{name}.service")));
    runner(YIP, "")
}

/// A unit that runs all three stages, whatever becomes of the first two.
fn runner(yip: &str, order: &str) -> String {
    let stage =
        |prefix: &str, stage: &str| format!("{prefix}{yip} -s {stage} /system/oem /oem /usr/local/cloud-config");
    oneshot(order, &[stage("-", "initramfs.before"), stage("-", "initramfs"), stage("", "initramfs.after")])
}

/// A unit that runs the last stage of the shipped file once more, at the very end.
fn late() -> String {
    let order = "After=sextant-merge.service\nBefore=initrd-cleanup.service";
    oneshot(order, &[format!("{YIP} -s initramfs.after /system/oem/zz-sextant-merge.yaml")])
}

fn oneshot(order: &str, commands: &[String]) -> String {
    format!(
        "[Unit]\nDescription=Run Stages\nDefaultDependencies=no\nAfter=sysroot.mount initrd-root-fs.target\n{order}\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironment=PATH=/usr/bin:/usr/sbin\nExecStart={}\n",
        commands.join("\nExecStart=")
    )
}

fn is_about(entry: &Value, message_id: &str, unit: &str) -> bool {
    entry["MESSAGE_ID"] == message_id && entry["UNIT"] == unit
}

/// Where the journal says that what was staged was handed over: once.
fn handed_over(findings: &Findings) -> usize {
    let places = findings.places(|entry| entry["MESSAGE_ID"] == MERGE_REQUESTED);
    let [place] = places[..] else { panic!("handed over {} times", places.len()) };
    place
}

/// Where yip says that it comes to a step.
fn steps(findings: &Findings, name: &str) -> Vec<usize> {
    let text = format!("Processing stage step '{name}.");
    findings.places(|entry| entry["MESSAGE"].as_str().is_some_and(|message| message.contains(&text)))
}

/// Not before the last step has ended, nor before the units have, whatever became of them.
fn handed_over_after(findings: &Findings, units: &[&str]) {
    let merge = handed_over(findings);
    let last = steps(findings, "last");
    let [last] = last[..] else { panic!("the last step ran {} times", last.len()) };
    for name in ["mount", "main"] {
        let places = steps(findings, name);
        assert!(places.len() == 1 && places[0] < last, "{name}: {places:?}");
    }
    assert!(last < merge, "handed over before the last step had begun");
    assert_eq!(findings.text("merged/usr/local/stage/gate"), "closed\n", "when the last step ended");
    let of_yip = |entry: &Value| entry["SYSLOG_IDENTIFIER"] == "yip";
    let yip = findings.places(of_yip);
    assert!(yip.len() > 10 && yip.iter().all(|place| *place < merge), "yip: {yip:?}, handed over: {merge}");
    for unit in units {
        let ended = findings.places(|entry| is_about(entry, STARTED, unit) || is_about(entry, FAILED, unit));
        assert!(ended.len() == 1 && ended[0] < merge, "{unit} ended: {ended:?}, handed over: {merge}");
    }
    let starting = findings.places(|entry| is_about(entry, STARTING, "sextant-merge.service"));
    assert!(starting.len() == 1 && starting[0] > yip[yip.len() - 1], "{starting:?}");
}

/// The file calls while another step is at work; the unit calls, and the file once more; only the first has effect.
fn by_file(findings: &Findings) {
    let merge = handed_over(findings);
    let calls = steps(findings, "sextant-merge");
    let [first, second] = calls[..] else { panic!("the file called {} times", calls.len()) };
    let unit = |id: &'static str| {
        let places = findings.places(|entry| is_about(entry, id, "sextant-merge.service"));
        let [place] = places[..] else { panic!("sextant-merge.service: {places:?}") };
        place
    };
    let in_order = [first, merge, unit(STARTING), unit(STARTED), second];
    assert!(in_order.is_sorted(), "{in_order:?}");
    // It didn't wait for the others, of which one waited for it; what they did afterwards counts all the same.
    assert_eq!(findings.text("merged/usr/local/stage/slow"), "open\n", "when the step beside it ended");
    let said = findings.said();
    let failures = said.iter().filter(|entry| entry["PRIORITY"].as_str().is_some_and(|it| it < "4"));
    assert_eq!(failures.count(), 0, "{said:?}");

    // Nothing is configured, so it is for the distribution to say where; it is not for it to say what.
    let environment = findings.property("systemd-sysext.service", "Environment");
    assert_eq!(environment, format!("SYSTEMD_SYSEXT_HIERARCHIES={HIERARCHIES}"));
    local_is_writable(findings);
}

/// Where extensions are merged is what the configuration says, and every unit that merges is told.
fn configured(findings: &Findings) {
    let units = findings.text("initrd/units") + "\n" + &findings.text("units");
    let mut told = 0;
    for block in units.split("\n\n") {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(id), Some("loaded")) = (value("Id"), value("LoadState")) else { continue };
        let id = id.trim();
        for class in ["sysext", "confext"] {
            if id.starts_with(&format!("systemd-{class}")) {
                let files = value("EnvironmentFiles").unwrap_or_default();
                assert_eq!(files, format!("/run/sextant/{class}.env (ignore_errors=yes)"), "{id}");
                told += 1;
            }
        }
    }
    // On the host both; in an initrd of 262 two of each more.
    let version = findings.text("systemd");
    let expected = if version.contains("systemd 262") { 6 } else { 2 };
    assert!(told >= expected, "{told} units of {version}:\n{units}");
    local_is_writable(findings);
}

/// Files of extensions are seen, where they are nothing can be written, and everywhere else below /usr/local it can.
fn local_is_writable(findings: &Findings) {
    assert_eq!(findings.text("merged/usr/local/bin/tool"), "from the extension\n");
    let writable = findings.lines("writable");
    let expected =
        ["", "/include", "/lib", "/sbin", "/share", "/src", "/stage"].map(|name| format!("/usr/local{name}"));
    assert_eq!(writable, expected);
    assert!(findings.lines("mounts").iter().any(|line| line.starts_with("sysext /usr/local/bin overlay ")));
}
