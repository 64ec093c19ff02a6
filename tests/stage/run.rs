//! A run as a whole: staging, report, what is left behind, exit statuses.

use super::{confext, report, vendor};
use nix::unistd::{Gid, Uid, chown};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::ddi::{good, good_image, with_tree};
use support::efi::{self, Firmware};
use support::keys::{self, Authority};
use support::machine::Machine;
use support::trees::Tree;

#[test]
fn good_images_of_both_classes_are_staged_byte_for_byte_and_read_only() {
    let image = good_image("k3s", vendor());
    let machine = Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &image)
        .sysext("tool_1.2.SYSEXT.RAW", &with_tree("tool_1.2", &Tree::sysext("tool"), vendor()).render().bytes)
        .confext("net.confext.raw", &confext("net"));
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(machine.staged_names(), ["k3s", "tool_1.2"]);
    assert_eq!(machine.staged_confexts(), ["net"]);
    let staged = machine.path("run/extensions/k3s.raw");
    assert_eq!(fs::read(&staged).unwrap(), image);
    assert_eq!(fs::metadata(&staged).unwrap().mode() & 0o7777, 0o444);
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    assert_eq!(fs::read(machine.path("run/verity.d/db-1.crt")).unwrap(), vendor().pem());
    assert_eq!(machine.left_in_extra(), ["k3s.sysext.raw", "tool_1.2.SYSEXT.RAW"], "good images stay where they are");
    assert_eq!(fs::read_dir(machine.path("run/sextant/staging")).unwrap().count(), 0);
}

#[test]
fn the_report_says_everything_that_its_schema_promises() {
    let blueprint = good("k3s", vendor());
    let machine = Machine::new()
        .firmware(
            &Firmware::enforcing()
                .pk(&efi::certificates(&[keys::ec("Owner")]))
                .db(&efi::certificates(&[vendor(), vendor()]))
                .entry("active.conf")
                .stub("\\EFI\\kairos\\active+3.efi"),
        )
        .sysext("k3s.sysext.raw", &blueprint.render().bytes)
        .sysext("junk.sysext.raw", b"junk");
    let outcome = machine.stage();
    let report = &outcome.report;
    assert_eq!(report["version"], 1);
    let firmware = json!({"secure_boot": "enforcing", "entry": "active", "uki": "EFI/kairos/active+3.efi"});
    assert_eq!(report["firmware"], firmware);
    assert_eq!(report["agent_version"], env!("CARGO_PKG_VERSION"));
    assert!(report["duration_usec"].as_u64().unwrap() > 0);
    assert_eq!(report["merge"], Value::Null);
    assert_eq!(report["error"], Value::Null);
    let anchor = |source: &str, name: &str, authority: &Authority| {
        json!({
            "source": source, "subject": format!("CN={name}"), "sha256": authority.fingerprint(),
            "file": format!("{source}-1.crt"), "not_after": authority.not_after(),
        })
    };
    let owner = keys::ec("Owner");
    assert_eq!(report["trust"], json!([anchor("PK", "Owner", owner), anchor("db", "Vendor", vendor())]));
    assert_eq!(
        report["ignored_certificates"],
        json!([{"source": "db", "sha256": vendor().fingerprint(), "reason": "the same certificate as db-1.crt"}])
    );
    let mut row = outcome.row("k3s.sysext.raw").clone();
    let times = ["verify_usec", "stage_usec"].map(|field| row[field].take().as_u64().unwrap());
    assert!(times[0] > 0, "verifying takes time");
    row["phases"].take();
    assert_eq!(
        row,
        json!({
            "file": "k3s.sysext.raw", "directory": "/.extra/sysext",
            "esp_path": "EFI/kairos/active.efi.extra.d/k3s.sysext.raw", "name": "k3s", "class": "sysext", "verdict": "staged", "reason": null,
            "detail": null, "warnings": [], "root_hash": blueprint.root_hash.to_string(),
            "signer": {
                "source": "db", "trusted": true, "subject": "CN=Vendor", "serial": vendor().serial(),
                "sha256": vendor().fingerprint(), "not_after": vendor().not_after(),
            },
            "size": blueprint.render().bytes.len(),
            "coverage": {"verify": "full", "bytes_checked": blueprint.render().bytes.len(), "bytes": blueprint.render().bytes.len()},
            "verify_usec": null, "stage_usec": null, "phases": null,
        })
    );
    let junk = outcome.row("junk.sysext.raw");
    assert_eq!((&junk["verdict"], &junk["reason"]), (&json!("rejected"), &json!("bad-gpt")));
    assert_eq!(junk["detail"], "no GUID partition table");
    assert_eq!((&junk["name"], &junk["signer"], &junk["root_hash"]), (&json!("junk"), &Value::Null, &Value::Null));
    assert!(
        outcome.stderr.contains("rejected junk.sysext.raw: no GUID partition table (bad-gpt)"),
        "{}",
        outcome.stderr
    );
}

/// The times of a row or a run, in which none is before the one before it.
fn times(value: &Value) -> Vec<u64> {
    let times: Vec<u64> = ["begin_usec", "end_usec"].iter().map(|field| value[field].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{value}");
    times
}

/// The phases of a row, and their times one after the other.
fn phases(phases: &Value) -> (Vec<&str>, Vec<u64>) {
    let phases = phases.as_array().unwrap();
    (phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect(), phases.iter().flat_map(times).collect())
}

#[test]
fn runs_and_phases_have_times_on_the_clock_of_the_boot() {
    let before = sextant::clock::now();
    let machine = Machine::trusting(&[vendor()])
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("junk.sysext.raw", b"junk")
        .sysext("k 3 s.txt", b"");
    let outcome = machine.stage();
    let (good, spans) = phases(&outcome.row("good.sysext.raw")["phases"]);
    assert_eq!(good, ["read", "hash", "stage"], "no kernel facility is used in a tree");
    assert!(spans.is_sorted(), "{spans:?}");
    assert_eq!(phases(&outcome.row("junk.sysext.raw")["phases"]).0, ["read"]);
    assert_eq!(outcome.row("k 3 s.txt")["phases"], json!([]));
    let runs = outcome.report["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &runs[0]["command"]), (1, &json!("stage")));
    let run = times(&runs[0]);
    assert!(before <= run[0] && run[0] <= spans[0] && *spans.last().unwrap() <= run[1], "{run:?} {spans:?}");
    assert!(run[1] <= sextant::clock::now());

    for _ in 0..2 {
        assert!(machine.agent("merge").status().unwrap().success());
        let report = report(&machine);
        let commands: Vec<_> = report["runs"].as_array().unwrap().iter().map(|run| &run["command"]).collect();
        assert_eq!(commands, ["stage", "merge"]);
        assert_eq!(times(&report["runs"][0]), run);
        assert!(run[1] <= times(&report["runs"][1])[0]);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_the_others_are_staged() {
    let machine = Machine::trusting(&[vendor()])
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("secret.sysext.raw", &good_image("secret", vendor()));
    let secret = machine.path(".extra/sysext/secret.sysext.raw");
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).unwrap();
    let outcome = machine.outcome(stage_unprivileged(&machine, &secret));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.verdict("secret.sysext.raw"), ("rejected", "unreadable"));
    assert_eq!(machine.staged_names(), ["good"]);
}

/// `sextant-agent stage` for a user to whom permissions mean something, and who doesn't own what is at `secret`.
pub(crate) fn stage_unprivileged(machine: &Machine, secret: &Path) -> Command {
    let command = machine.agent("stage");
    if !Uid::effective().is_root() {
        return command;
    }
    // Permissions mean nothing to root, so another user runs the agent, from where it can be reached.
    let nobody = 65534;
    let copy = machine.path("agent");
    fs::copy(command.get_program(), &copy).unwrap();
    fs::set_permissions(machine.root(), Permissions::from_mode(0o755)).unwrap();
    give_away(machine.root(), nobody);
    chown(secret, Some(Uid::from_raw(0)), Some(Gid::from_raw(0))).unwrap();
    let mut as_nobody = Command::new(copy);
    as_nobody.args(command.get_args()).uid(nobody).gid(nobody);
    as_nobody
}

fn give_away(path: &Path, uid: u32) {
    chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid))).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), uid);
        }
    }
}

#[test]
fn an_old_run_leaves_nothing_that_a_new_one_would_not_put_there() {
    let machine = Machine::trusting(&[vendor()])
        .sysext("tool.sysext.raw", &good_image("tool", vendor()))
        .file("run/sextant/staging/image", b"half a copy of a killed agent")
        .file("run/verity.d/db-7.crt", b"a certificate of an earlier run");
    machine.stage();
    // Held open, so that its inode number can't be given to the new file.
    let old = fs::File::open(machine.path("run/extensions/tool.raw")).unwrap();
    let outcome = machine.stage();
    assert_eq!(outcome.verdict("tool.sysext.raw"), ("staged", ""), "a second run finds the same");
    assert_eq!(machine.staged_names(), ["tool"]);
    let new = fs::metadata(machine.path("run/extensions/tool.raw")).unwrap().ino();
    assert_ne!(new, old.metadata().unwrap().ino(), "replaced whole");
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    assert_eq!(fs::read_dir(machine.path("run/sextant/staging")).unwrap().count(), 0);
}

#[test]
fn a_machine_without_images_boots_as_if_there_were_none() {
    let machine = Machine::trusting(&[vendor()]);
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0));
    assert_eq!(outcome.rows().len(), 0);
    assert_eq!(machine.exported_certificates(), ["db-1.crt"]);
    let bare = Machine::trusting(&[vendor()]).with(|root| fs::remove_dir_all(root.join(".extra")).unwrap());
    assert_eq!(bare.stage().status, Some(0));
}

#[test]
fn exit_statuses_are_those_documented() {
    let agent = || Command::new(env!("CARGO_BIN_EXE_agent-under-test"));
    let status = |command: &mut Command| command.output().unwrap().status.code();
    assert_eq!(status(&mut agent()), Some(2));
    assert_eq!(status(agent().arg("stagger")), Some(2));
    assert_eq!(status(agent().args(["stage", "--nonsense"])), Some(2));
    assert_eq!(status(agent().args(["stage", "--root", "/nowhere"])), Some(1));
    assert_eq!(status(agent().arg("--help")), Some(0));
    let help = agent().args(["stage", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("Exit status:"), "{help}");
    // A place where no report can be written is a failure too.
    let machine = Machine::trusting(&[vendor()]).with(|root| {
        fs::remove_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run"), "").unwrap();
    });
    assert_eq!(machine.stage().status, Some(1));
}

#[test]
fn a_run_that_trusts_less_takes_back_what_an_earlier_one_staged() {
    let machine = || {
        let machine = Machine::trusting(&[vendor()])
            .sysext("tool.sysext.raw", &good_image("tool", vendor()))
            .confext("net.confext.raw", &confext("net"))
            .file("run/extensions/somebody-else.raw", b"not ours");
        machine.stage();
        assert_eq!(machine.staged_names(), ["somebody-else", "tool"]);
        machine
    };
    for (what, machine) in [
        ("Secure Boot off", machine().firmware(&Firmware::disabled().db(&efi::certificates(&[vendor()])))),
        ("a broken configuration", machine().config("nonsense\n")),
        ("another signer", machine().firmware(&Firmware::enforcing().db(&efi::certificates(&[keys::ec("Other")])))),
    ] {
        machine.stage();
        assert_eq!(machine.staged_names(), ["somebody-else"], "{what}");
        assert!(machine.staged_confexts().is_empty(), "{what}");
        assert_ne!(fs::read(machine.path("run/verity.d/db-1.crt")).ok(), Some(vendor().pem()), "{what}");
    }
}

#[test]
fn nothing_leaves_the_tree_through_links() {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path();
    fs::write(outside.join("outside.sysext.raw"), good_image("outside", vendor())).unwrap();
    let machine = Machine::trusting(&[vendor()]).with(|root| {
        for directory in [".extra/sysext", "run"] {
            fs::remove_dir_all(root.join(directory)).unwrap();
            std::os::unix::fs::symlink(outside, root.join(directory)).unwrap();
        }
    });
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(1), "there is no place for a report\n{}", outcome.stderr);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 1, "nothing was written or moved");

    // A link that leads to a directory of the tree is as good as the directory.
    let machine =
        Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &good_image("tool", vendor())).with(|root| {
            fs::rename(root.join("run"), root.join("var-run")).unwrap();
            std::os::unix::fs::symlink("/var-run", root.join("run")).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(machine.path("var-run/extensions/tool.raw").is_file());
}

#[test]
fn rejected_files_of_one_name_are_all_kept() {
    let machine = Machine::trusting(&[vendor()]);
    for content in ["first", "second"] {
        fs::write(machine.path(".extra/sysext/junk.sysext.raw"), content).unwrap();
        machine.stage();
    }
    let kept = |name: &str| fs::read_to_string(machine.path(".extra/rejected/sysext").join(name)).unwrap();
    assert_eq!((kept("junk.sysext.raw"), kept("junk.sysext.raw.1")), ("first".to_owned(), "second".to_owned()));
}

#[test]
fn every_reason_is_explained_in_the_documentation_in_its_order() {
    let read = |page: &str| fs::read_to_string(support::repository().join("docs").join(page)).unwrap();
    let text = read("reasons.md");
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let tokens: Vec<_> = sextant::reason::Reason::ALL.iter().map(|reason| reason.token()).collect();
    assert_eq!(rows, tokens);
    // The page for people in a hurry groups them.
    let text = read("operations.md");
    let table = text.split("### Every reason, in a line").nth(1).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let in_a_line: Vec<_> = cells
        .flat_map(|cell| {
            cell.split('`').filter(|word| word.contains('-') || *word == "unreadable" || *word == "corrupt")
        })
        .collect();
    let missing: Vec<_> = tokens.iter().filter(|token| !in_a_line.contains(token)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

#[test]
fn metrics_are_written_if_the_configuration_asks_for_them() {
    let path = "run/sextant/metrics/sextant.prom";
    let machine = || Machine::trusting(&[vendor()]).sysext("a.sysext.raw", &good_image("a", vendor()));
    let silent = machine();
    silent.stage();
    assert!(!silent.path(path).exists());
    let machine = machine().config("metrics: true\n");
    machine.stage();
    let read = || fs::read_to_string(machine.path(path)).unwrap();
    assert!(read().contains("sextant_images{state=\"staged\"} 1\n"), "{}", read());
    assert_eq!(fs::metadata(machine.path(path)).unwrap().permissions().mode() & 0o7777, 0o644);
    fs::create_dir_all(machine.path("usr/.systemd-sysext")).unwrap();
    fs::write(machine.path("usr/.systemd-sysext/extensions"), "a\n").unwrap();
    for (verb, confirmed) in [("merge", 0), ("confirm", 1)] {
        assert!(machine.agent(verb).status().unwrap().success());
        assert!(read().contains(&format!("\nsextant_merge_confirmed {confirmed}\n")), "{verb}: {}", read());
    }
    assert!(read().contains("sextant_health{state=\"well\"} 1\n"), "{}", read());
    // Other programs see a whole file under this name, or none.
    let names: Vec<_> = fs::read_dir(machine.path("run/sextant/metrics")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // Nothing is written through what others put there, and nothing else depends on it.
    fs::remove_dir_all(machine.path("run/sextant/metrics")).unwrap();
    fs::write(machine.path("run/sextant/metrics"), b"").unwrap();
    let output = machine.agent("confirm").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("sextant.prom"), "{output:?}");
}
