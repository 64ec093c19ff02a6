//! Boots in which something happens to the agent.

use super::{Outcome, Scenario, vendor};
use crate::cpio::Archive;
use crate::guest::Guest::{Systemd252, Systemd254, Systemd262};
use crate::images::Offer;
use crate::keys;
use crate::witness::Findings;
use support::trees::Tree;

const MIB: usize = 1 << 20;

pub fn table() -> Vec<Scenario> {
    let killed = || {
        Scenario::new("killed", "the agent is killed when it has staged one of three")
            .sealed(|| vendor().file(KILLER_UNIT, KILLER).symlink(KILLER_WANTED, "../killer.service"))
            .offers(|| {
                vec![
                    Offer::sysext("a-first", keys::db(), "db"),
                    Offer::large("b-second", 100 * MIB, keys::db(), "db").unseen(),
                    Offer::sysext("c-third", keys::db(), "db").unseen(),
                ]
            })
            .check(was_killed)
    };
    let no_agent = || {
        Scenario::new("no-agent", "the agent is missing from the initrd")
            .sealed(|| vendor().symlink("usr/lib/sextant/sextant-agent", "/nowhere"))
            .offers(|| vec![Offer::sysext("by-db", keys::db(), "db").unseen()])
            .outcome(Outcome::Closed)
            .check(|findings| assert!(findings.report().is_none()))
    };
    vec![
        killed(),
        killed().on(Systemd254).of_matrix(),
        no_agent(),
        no_agent().on(Systemd254).of_matrix(),
        Scenario::new("too-old", "the host's systemd knows no image policy")
            .on(Systemd252)
            .offers(|| vec![Offer::sysext("by-db", keys::db(), "db")])
            .outcome(Outcome::Closed)
            .check(nothing_merged_without_a_policy)
            .of_matrix(),
        Scenario::new(
            "no-merge",
            "all is staged and nothing opens the gate; the host has a signed image and somebody who asks",
        )
        .on(Systemd262)
        .sealed(|| {
            host(&["cp /.extra/sysext/by-db.sysext.raw /sysroot/var/lib/extensions/by-db.raw"], ASK)
                .symlink("etc/systemd/system/sextant-merge.service", "/dev/null")
        })
        .offers(|| vec![Offer::sysext("by-db", keys::db(), "db")])
        .outcome(Outcome::Closed)
        .check(nothing_got_past_the_gate),
        Scenario::new(
            "asked",
            "an unsigned image comes to the host, and somebody asks to merge it, when all is merged",
        )
        .on(Systemd262)
        .sealed(|| {
            host(&["cp /usr/lib/unsigned.raw /sysroot/var/unsigned.raw"], ASK_LATE)
                .file("usr/lib/unsigned.raw", Tree::sysext("unsigned").squashfs().to_vec())
        })
        .offers(|| vec![Offer::sysext("by-db", keys::db(), "db")])
        .check(who_asked_was_heard)
        .of_matrix(),
        Scenario::new("no-journal", "journald can't be reached while the agent verifies")
            .sealed(no_journal)
            .offers(|| {
                vec![
                    Offer::sysext("by-kek", keys::kek(), "KEK"),
                    Offer::sysext("by-stranger", keys::stranger(), "db").rejected("unknown-signer"),
                ]
            })
            .outcome(Outcome::JudgedInKernelLog)
            .of_matrix(),
        Scenario::new("again", "the agent stages a second time")
            .sealed(again)
            .offers(|| vec![Offer::sysext("by-db", keys::db(), "db"), Offer::confext("conf", keys::pk(), "PK")])
            .outcome(Outcome::JudgedTwice)
            .of_matrix(),
    ]
}

const KILLER_UNIT: &str = "usr/lib/systemd/system/killer.service";
const KILLER_WANTED: &str = "usr/lib/systemd/system/initrd.target.wants/killer.service";
const KILLER: &str = r#"
[Unit]
DefaultDependencies=no
Before=sextant-merge.service
[Service]
Type=exec
ExecStart=/bin/bash -c 'until { read -rd "" report </run/sextant/report.json; [[ $report == *staged* ]]; }; do :; done 2>/dev/null; \
  read -r agent </sys/fs/cgroup/system.slice/sextant-stage.service/cgroup.procs; kill -KILL "$agent"; echo "killed $agent"'
"#;

fn was_killed(findings: &Findings) {
    let killed = |entry: &serde_json::Value| {
        entry["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.starts_with("sextant-stage.service: Main process exited, code=killed"))
    };
    assert!(findings.journal().iter().any(killed), "the agent wasn't killed");
}

/// In the initrd, before any unit of systemd's that merges what the host has: does something to the host, and leaves it a
/// unit that asks the socket to merge.
fn host(commands: &[&str], ask: &str) -> Archive {
    let wants = "/sysroot/etc/systemd/system/witness.target.wants";
    let commands = [
        &[&*format!("mkdir -p /sysroot/var/lib/extensions {wants}")],
        commands,
        &[
            "cp /usr/lib/ask.service /sysroot/etc/systemd/system/",
            &format!("cp --no-dereference /usr/lib/wants/ask.service {wants}/"),
        ],
    ];
    let unit = format!(
        "[Unit]\nDefaultDependencies=no\nAfter=sysroot.mount sextant-stage.service\n\
         Before=systemd-sysext-sysroot.service initrd-cleanup.service\n[Service]\nType=oneshot\nExecStart={}\n",
        commands.concat().join("\nExecStart=")
    );
    vendor()
        .unit("host.service", &unit)
        .file("usr/lib/ask.service", ask)
        .symlink("usr/lib/wants/ask.service", "../ask.service")
}

/// On the host.
const ASK: &str = "\
[Unit]
Wants=systemd-sysext.socket
After=systemd-sysext.socket
Before=witness.service
[Service]
Type=oneshot
ExecStart=systemctl start systemd-sysext.service
ExecStart=-varlinkctl call --timeout=60 /run/systemd/io.systemd.sysext io.systemd.sysext.Refresh {}
";

/// On the host, when all has been merged.
const ASK_LATE: &str = "\
[Unit]
Wants=systemd-sysext.socket
After=systemd-sysext.socket sextant-confirm.service
Before=witness.service
[Service]
Type=oneshot
ExecStart=cp /var/unsigned.raw /var/lib/extensions/unsigned.raw
ExecStart=-varlinkctl call --timeout=60 /run/systemd/io.systemd.sysext io.systemd.sysext.Refresh {}
";

/// With the gate open it starts, and goes by the policy: what was merged still is, and nothing else.
fn who_asked_was_heard(findings: &Findings) {
    let is_start = |entry: &serde_json::Value| {
        let message = entry["MESSAGE"].as_str().unwrap_or_default();
        message.starts_with("Started systemd-sysext@")
    };
    assert_eq!(findings.places(is_start).len(), 1, "nobody was asked");
    // And the agent was asked before it, which can only name what lies there.
    let report = findings.report().unwrap();
    let rows = report["images"].as_array().unwrap();
    let unsigned = rows.iter().find(|row| row["directory"] == "/var/lib/extensions").unwrap();
    assert_eq!((&unsigned["verdict"], &unsigned["file"]), (&"rejected".into(), &"unsigned.raw".into()), "{unsigned}");
}

fn nothing_got_past_the_gate(findings: &Findings) {
    let report = findings.report().unwrap();
    assert_eq!(report["images"][0]["verdict"], "staged", "{report}");
    // Each of them had something to merge, and was kept from it by the gate and nothing else.
    for unit in ["systemd-sysext-sysroot.service", "systemd-sysext.service", "systemd-sysext@"] {
        let is_skipped = |entry: &serde_json::Value| {
            let message = entry["MESSAGE"].as_str().unwrap_or_default();
            message.starts_with(unit) && message.contains("ConditionPathExists=/run/sextant/merge")
        };
        assert!(!findings.places(is_skipped).is_empty(), "{unit} wasn't kept from merging");
    }
}

/// Images are staged and the gate is open, but `systemd-sysext` fails, and the agent says why.
fn nothing_merged_without_a_policy(findings: &Findings) {
    let report = findings.report().unwrap();
    assert_eq!(report["images"][0]["verdict"], "staged", "{report}");
    let merge = &report["merge"];
    assert_eq!((&merge["requested"], &merge["missing"]), (&true.into(), &["by-db"][..].into()), "{merge}");
    assert_eq!(findings.property("systemd-sysext.service", "Result"), "exit-code");
    let cause = "systemd 252 has no image policies, so it fails and merges nothing: 254 or newer is needed";
    assert_eq!(merge["not_merged"][0]["cause"], cause, "{merge}");
    let text = format!("by-db (sysext) was staged and is not merged: {cause}");
    let said = findings.said();
    assert!(said.iter().any(|entry| entry["MESSAGE"] == text.as_str()), "{said:?}");
}

fn no_journal() -> Archive {
    let socket = "/run/systemd/journal/socket";
    vendor().file(
        "etc/systemd/system/sextant-stage.service.d/no-journal.conf",
        format!("[Service]\nExecStartPre=mv {socket} {socket}.away\nExecStartPost=mv {socket}.away {socket}\n"),
    )
}

fn again() -> Archive {
    vendor().file(
        "etc/systemd/system/sextant-stage.service.d/again.conf",
        "[Service]\nExecStartPost=/usr/lib/sextant/sextant-agent stage\n",
    )
}
