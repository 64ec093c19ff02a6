//! Handing over to the host, and confirming.

use super::{confext, gate, report, run, vendor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::ddi::good_image;
use support::keys;
use support::machine::Machine;

fn has_policy(machine: &Machine, class: &str) -> bool {
    let path = machine.path(format!("run/systemd/system/systemd-{class}.service.d/zz-sextant.conf"));
    fs::read_to_string(path).is_ok_and(|text| text.contains("--image-policy=root=signed+absent:usr=signed+absent"))
}

fn good_machine() -> Machine {
    Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .sysext("junk.sysext.raw", b"junk")
        .confext("net.confext.raw", &confext("net"))
}

#[test]
fn the_gate_opens_once_policy_and_confirmation_are_in_place() {
    let machine = good_machine();
    machine.stage();
    assert!(!gate(&machine));
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(gate(&machine));
    assert!(has_policy(&machine, "sysext") && has_policy(&machine, "confext"));
    for unit in ["systemd-sysext", "systemd-confext", "sextant-confirm"] {
        let link = machine.path(format!("run/systemd/system/sysinit.target.wants/{unit}.service"));
        assert!(link.is_symlink(), "{unit}");
    }
    let expected = json!({"requested": true, "confirmed": false, "merged": [], "missing": [], "unexpected": [],
        "extensions": [], "not_merged": [], "required_missing": []});
    assert_eq!(outcome.report["merge"], expected);
    assert_eq!(outcome.report["images"].as_array().unwrap().len(), 3, "the rest of the report is kept");
    assert!(outcome.stderr.contains("2 extensions to be merged by the host: k3s, net"), "{}", outcome.stderr);
    let again = run(&machine, "merge");
    assert_eq!((again.status, again.stderr.as_str()), (Some(0), ""), "once has effect");
}

/// `sd_booted(3)`: that directory is the sign that systemd runs.
#[test]
fn staging_leaves_the_directory_of_systemd_alone_where_immucore_boots() {
    let machine = good_machine();
    symlink("/usr/bin/immucore", machine.path("init")).unwrap();
    machine.stage();
    assert_eq!(machine.staged_names(), ["k3s"]);
    assert!(!machine.path("run/systemd").exists());
}

#[test]
fn the_host_has_the_policy_and_the_gate_before_anything_is_read() {
    let machine = good_machine().config("no such key: 1\n");
    assert_eq!(machine.stage().status, Some(1));
    for class in ["sysext", "confext"] {
        assert!(has_policy(&machine, class), "{class}");
    }
    assert!(!gate(&machine));

    let machine = good_machine();
    fs::create_dir_all(machine.path("run")).unwrap();
    fs::write(machine.path("run/systemd"), "no directory").unwrap();
    let outcome = machine.stage();
    assert_eq!((outcome.status, machine.staged_names().len()), (Some(1), 0));
    assert!(outcome.stderr.starts_with("sextant-agent: closing the gate: writing "), "{}", outcome.stderr);
}

#[test]
fn without_a_state_the_policy_is_there_and_the_gate_stays_closed() {
    let other = br#"{"version": 2, "staged": [], "error": null, "requested": false}"#;
    for (what, machine) in [
        ("no state", good_machine()),
        ("junk", good_machine().file("run/sextant/state.json", b"{")),
        ("another version", good_machine().file("run/sextant/state.json", other)),
        ("stale gate", good_machine().file("run/sextant/merge", b"")),
    ] {
        let outcome = run(&machine, "merge");
        assert_eq!(outcome.status, Some(1), "{what}");
        assert!(!gate(&machine), "{what}");
        assert!(has_policy(&machine, "sysext") && has_policy(&machine, "confext"), "{what}");
        assert!(outcome.stderr.contains("state.json"), "{what}: {}", outcome.stderr);
    }
}

#[test]
fn a_stage_that_failed_as_a_whole_opens_nothing() {
    let machine = good_machine().config("limitz: 3\n");
    assert_eq!(machine.stage().status, Some(1));
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(1));
    assert!(!gate(&machine));
    assert!(outcome.stderr.contains("nothing was staged: reading /etc/sextant.yaml"), "{}", outcome.stderr);
}

#[test]
fn a_machine_without_images_or_with_bad_ones_only_boots_as_if_there_were_none() {
    for machine in [Machine::trusting(&[vendor()]), Machine::trusting(&[vendor()]).sysext("junk.sysext.raw", b"junk")] {
        assert_eq!(machine.stage().status, Some(0));
        let outcome = run(&machine, "merge");
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(gate(&machine));
        assert!(outcome.stderr.contains("no extensions to merge"), "{}", outcome.stderr);
    }
}

#[test]
fn staging_again_closes_the_gate_until_it_is_handed_over_again() {
    let machine = good_machine();
    machine.stage();
    run(&machine, "merge");
    assert!(gate(&machine));
    machine.stage();
    assert!(!gate(&machine));
    assert_eq!(run(&machine, "merge").status, Some(0));
    assert!(gate(&machine));
}

#[test]
fn a_staged_file_that_was_changed_is_taken_back_and_the_others_are_merged() {
    let machine = good_machine();
    machine.stage();
    let staged = machine.path("run/extensions/k3s.raw");
    let changed = fs::read(&staged).unwrap();
    fs::remove_file(&staged).unwrap();
    fs::write(&staged, changed).unwrap();
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(machine.staged_names().is_empty());
    assert_eq!(machine.staged_confexts(), ["net"]);
    let said = "k3s.raw (sysext) will not be merged: it was changed after it had been verified";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("1 extension to be merged by the host: net"), "{}", outcome.stderr);
    let row = outcome.row("k3s.sysext.raw");
    assert_eq!((&row["verdict"], &row["reason"]), (&json!("withdrawn"), &Value::Null));
    assert_eq!(row["detail"], "it was changed after it had been verified");

    // On the host it is missing, and the entry doesn't send anybody to systemd's journal.
    pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!(["k3s"]));
    assert_eq!(outcome.row("k3s.sysext.raw")["verdict"], "withdrawn");
    let said = "k3s (sysext) was staged and is not merged: it was withdrawn: it was changed after it had been verified \
                (journalctl -b -t sextant-agent)";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("systemd-sysext.service"), "{}", outcome.stderr);
}

/// The report is for people and programs; what is merged doesn't hang on it.
#[test]
fn whatever_happens_to_the_report_the_good_images_are_merged() {
    let long = format!("{{\"version\": 1, \"images\": \"{}\"}}", "x".repeat(100 << 20));
    for (what, content) in [("gone", None), ("damaged", Some("{")), ("bloated", Some(long.as_str()))] {
        let machine = good_machine();
        machine.stage();
        let report = machine.path("run/sextant/report.json");
        match content {
            Some(content) => fs::write(&report, content).unwrap(),
            None => fs::remove_file(&report).unwrap(),
        }
        let outcome = run(&machine, "merge");
        assert_eq!(outcome.status, Some(0), "{what}: {}", outcome.stderr);
        assert!(gate(&machine), "{what}");
        assert!(
            outcome.stderr.contains("2 extensions to be merged by the host: k3s, net"),
            "{what}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("completing /run/sextant/report.json: "), "{what}: {}", outcome.stderr);
        pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
        pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
        let outcome = run(&machine, "confirm");
        assert_eq!(outcome.status, Some(0), "{what}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("2 of 2 staged extensions merged: k3s, net"), "{what}: {}", outcome.stderr);
    }
}

/// A stage runner that calls it from a step goes on with further steps, and the unit comes after all of them.
#[test]
fn the_last_of_several_calls_counts_for_what_changed_in_between() {
    let machine = good_machine();
    machine.stage();
    run(&machine, "merge");

    let drop_in = machine.path("run/systemd/system/systemd-sysext.service.d/zz-sextant.conf");
    fs::write(&drop_in, "[Service]\nExecStart=\nExecStart=systemd-sysext refresh\n").unwrap();
    let outcome = run(&machine, "merge");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""), "nothing to tell");
    assert!(gate(&machine) && has_policy(&machine, "sysext"));

    let staged = machine.path("run/extensions/k3s.raw");
    let changed = fs::read(&staged).unwrap();
    fs::remove_file(&staged).unwrap();
    fs::write(&staged, changed).unwrap();
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(machine.staged_names().is_empty() && gate(&machine));
    assert!(outcome.stderr.contains("1 extension to be merged by the host: net"), "{}", outcome.stderr);

    fs::remove_file(machine.path("run/sextant/state.json")).unwrap();
    assert_eq!(run(&machine, "merge").status, Some(1));
    assert!(!gate(&machine), "what an earlier call opened is no excuse");
}

#[test]
fn a_call_that_came_too_early_is_made_good_by_a_later_one() {
    let machine = good_machine();
    assert_eq!(run(&machine, "merge").status, Some(1));
    machine.stage();
    assert!(!gate(&machine));
    assert_eq!(run(&machine, "merge").status, Some(0));
    assert!(gate(&machine));
}

/// What is being staged just then would look to it as if the agent had been stopped half-way.
#[test]
fn a_call_waits_for_the_agent_that_is_still_staging() {
    let machine = good_machine();
    machine.stage();
    let lock = fs::File::create(machine.path("run/sextant/lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting = machine.agent("merge").spawn().unwrap();
    // proc_locks(5)
    let pid = format!(" {} ", waiting.id());
    let is_blocked = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&pid))
    };
    let patience = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !is_blocked() {
        assert!(std::time::Instant::now() < patience, "it is not seen to wait");
        assert!(waiting.try_wait().unwrap().is_none(), "it didn't wait");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!gate(&machine));
    drop(lock);
    assert!(waiting.wait().unwrap().success() && gate(&machine));
}

#[test]
fn without_the_lock_nothing_is_done() {
    let machine = good_machine();
    machine.stage();
    run(&machine, "merge");
    let before = report(&machine);
    fs::remove_file(machine.path("run/sextant/lock")).unwrap();
    fs::create_dir(machine.path("run/sextant/lock")).unwrap();
    for verb in ["stage", "merge", "confirm"] {
        let outcome = run(&machine, verb);
        assert_eq!(outcome.status, Some(1), "{verb}");
        let said = "sextant-agent: opening /run/sextant/lock: ";
        assert!(outcome.stderr.starts_with(said) && outcome.stderr.lines().count() == 1, "{verb}: {}", outcome.stderr);
        assert_eq!(outcome.report, before, "{verb}");
        assert!(gate(&machine) && machine.staged_names() == ["k3s"], "{verb}");
    }
}

#[test]
fn where_to_merge_is_told_before_anything_is_staged() {
    let limited = "merge:\n  hierarchies: [/usr/local/bin, /usr/bin]\n";
    let environment = |machine: &Machine| fs::read_to_string(machine.path("run/sextant/sysext.env")).ok();
    let machine = good_machine().config(limited);
    machine.stage();
    let expected = "SYSTEMD_SYSEXT_HIERARCHIES=/usr/local/bin:/usr/bin\n";
    assert_eq!(environment(&machine).as_deref(), Some(expected));
    assert!(!machine.path("run/sextant/confext.env").exists());
    run(&machine, "merge");
    assert_eq!(environment(&machine).as_deref(), Some(expected));

    let machine = machine.config("merge:\n  hierarchies: [/usr/local/bin, /]\n");
    let outcome = machine.stage();
    assert_eq!((outcome.status, environment(&machine)), (Some(1), None));
    assert!(outcome.stderr.contains("line 2, merge.hierarchies"), "{}", outcome.stderr);

    // Where it can't be told, systemd would merge in places that were to be left alone.
    let in_the_way = "run/sextant/sysext.env/in-the-way";
    let machine = good_machine().config(limited).file(in_the_way, b"");
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(1), "{}", outcome.stderr);
    assert!(machine.staged_names().is_empty());
    assert_eq!(outcome.verdict("k3s.sysext.raw"), ("rejected", "not-staged"));
}

/// What systemd leaves in a hierarchy that it overlaid.
pub(super) fn pretend_merged(machine: &Machine, hierarchy: &str, file: &str, names: &str) {
    let path = machine.path(Path::new(hierarchy).join(file));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, names).unwrap();
}

#[test]
fn confirming_completes_the_report_and_names_every_difference() {
    let machine = good_machine().sysext("more.sysext.raw", &good_image("more", vendor()));
    machine.stage();
    run(&machine, "merge");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nstranger\n");
    pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let row = |class: &str, name: &str, origin: &str| json!({"class": class, "name": name, "origin": origin, "root_hash": null, "file": null});
    let missing = json!({"class": "sysext", "name": "more", "file": "/run/extensions/more.raw", "staged": true,
        "cause": "see the journal of systemd-sysext.service", "meant": false});
    assert_eq!(
        outcome.report["merge"],
        json!({"requested": true, "confirmed": true, "merged": ["k3s", "net"], "missing": ["more"],
            "unexpected": ["stranger"], "not_merged": [missing], "required_missing": [], "extensions": [row("sysext", "k3s", "staged"),
            row("sysext", "stranger", "other"), row("confext", "net", "staged")]})
    );
    assert!(outcome.stderr.contains("more (sysext) was staged and is not merged"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("stranger (sysext) is merged and was not staged"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("2 of 3 staged extensions merged: k3s, net"), "{}", outcome.stderr);
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nmore\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!([]));
    assert!(!outcome.stderr.contains("not"), "{}", outcome.stderr);
}

/// What a kernel shows of an image that systemd has merged: a loop device, and a verity device over it. In a tree its name has to
/// say the root hash.
fn pretend_attached(machine: &Machine, number: u8, file: &str, root_hash: &str) {
    let write = |path: String, text: &str| {
        let path = machine.path(Path::new("sys/block").join(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    };
    write(format!("loop{number}/loop/backing_file"), file);
    write(format!("dm-{number}/dm/name"), &format!("{root_hash}-verity"));
    write(format!("dm-{number}/dm/uuid"), &format!("CRYPT-VERITY-0123-{root_hash}-verity"));
    write(format!("dm-{number}/slaves/loop{number}p1/dev"), "259:0");
}

#[test]
fn what_is_merged_is_known_by_its_root_hash() {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    let staged = machine.stage();
    let root_hash = staged.row("k3s.sysext.raw")["root_hash"].as_str().unwrap().to_owned();
    run(&machine, "merge");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    pretend_attached(&machine, 0, "/", &root_hash);
    let outcome = run(&machine, "confirm");
    let merge = &outcome.report["merge"];
    assert_eq!((&merge["merged"], &merge["missing"]), (&json!(["k3s"]), &json!([])), "{}", outcome.stderr);
    assert_eq!(merge["extensions"][0]["root_hash"], json!(root_hash));

    // Under this name, and with every other sign of it, but other bytes.
    fs::remove_dir_all(machine.path("sys/block/dm-0")).unwrap();
    let other = "5b3c1f0de6a9f8f5a0c1d2e3f4a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7";
    pretend_attached(&machine, 0, "/", other);
    let outcome = run(&machine, "confirm");
    let merge = &outcome.report["merge"];
    assert_eq!((&merge["merged"], &merge["missing"]), (&json!([]), &json!(["k3s"])), "{merge}");
    assert_eq!(merge["extensions"][0]["origin"], "other", "{merge}");
    for said in [
        format!("k3s (sysext) is merged and was not staged, root hash {other}"),
        format!(
            "k3s (sysext) was staged and is not merged: another image, root hash {other}, was merged under its name"
        ),
        "0 of 1 staged extensions merged".to_owned(),
    ] {
        assert!(outcome.stderr.contains(&said), "{said}: {}", outcome.stderr);
    }

    // systemd notes it as well, from 262 on.
    let note = |path: &str, root_hash: &str| {
        json!({"extensions": {"k3s": {"path": path, "verityHash": root_hash}}}).to_string()
    };
    pretend_attached(&machine, 1, "/", &root_hash);
    pretend_merged(&machine, "usr", ".systemd-sysext/origin", &note("/etc/extensions/k3s.raw", other));
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!(["k3s"]), "{}", outcome.stderr);
    let said = format!("/etc/extensions/k3s.raw, root hash {other}, was merged under its name");
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    pretend_merged(&machine, "usr", ".systemd-sysext/origin", &note("/run/extensions/k3s.raw", &root_hash));
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], json!(["k3s"]), "{}", outcome.stderr);
    assert_eq!(outcome.report["merge"]["extensions"][0]["file"], "/run/extensions/k3s.raw");
}

/// What `confirm` says of "k3s", which isn't merged: the cause, and whether that is a fault.
fn cause(machine: &Machine) -> (String, bool) {
    let outcome = run(machine, "confirm");
    assert_eq!(outcome.report["merge"]["missing"], json!(["k3s"]), "{}", outcome.stderr);
    let row = &outcome.report["merge"]["not_merged"][0];
    let (cause, meant) = (row["cause"].as_str().unwrap(), row["meant"].as_bool().unwrap());
    assert!(
        outcome.stderr.contains(&format!("k3s (sysext) was staged and is not merged: {cause}")),
        "{}",
        outcome.stderr
    );
    (cause.to_owned(), !meant)
}

#[test]
fn what_an_administrator_turned_off_is_no_fault() {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    machine.stage();
    run(&machine, "merge");
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));

    // By an empty directory; a link to /dev/null is none to systemd.
    fs::create_dir_all(machine.path("etc/extensions/k3s")).unwrap();
    let masked = "it is masked by /etc/extensions/k3s, an empty directory";
    assert_eq!(cause(&machine), (masked.to_owned(), false));
    fs::remove_dir(machine.path("etc/extensions/k3s")).unwrap();
    symlink("/dev/null", machine.path("etc/extensions/k3s.raw")).unwrap();
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    let outcome = run(&machine, "confirm");
    assert_eq!(outcome.report["merge"]["merged"], json!(["k3s"]), "{}", outcome.stderr);
    fs::remove_file(machine.path("usr/.systemd-sysext/extensions")).unwrap();

    // By the kernel's command line, where systemd knows that.
    let machine = machine.file("proc/cmdline", b"quiet systemd.sysext=0\n");
    assert_eq!(cause(&machine), ("see the journal of systemd-sysext.service".to_owned(), true));
    let unit = b"[Unit]\nConditionKernelCommandLine=!systemd.sysext=0\n";
    let machine = machine.file("usr/lib/systemd/system/systemd-sysext.service", unit);
    let word = "systemd.sysext=0 on the kernel command line disables merging";
    assert_eq!(cause(&machine), (word.to_owned(), false));

    // By a mask of the unit.
    fs::create_dir_all(machine.path("etc/systemd/system")).unwrap();
    symlink("/dev/null", machine.path("etc/systemd/system/systemd-sysext.service")).unwrap();
    let mask = "its unit is masked by /etc/systemd/system/systemd-sysext.service";
    assert_eq!(cause(&machine), (mask.to_owned(), false));
    fs::remove_file(machine.path("etc/systemd/system/systemd-sysext.service")).unwrap();

    // The gate is the agent's.
    let machine = machine.file("proc/cmdline", b"quiet\n");
    fs::remove_file(machine.path("run/sextant/merge")).unwrap();
    let closed = "/run/sextant/merge does not exist, so nothing is merged";
    assert_eq!(cause(&machine), (closed.to_owned(), true));
}

#[test]
fn a_staged_file_that_is_gone_is_named() {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    machine.stage();
    run(&machine, "merge");
    fs::remove_file(machine.path("run/extensions/k3s.raw")).unwrap();
    assert_eq!(
        cause(&machine),
        ("/run/extensions/k3s.raw does not exist any more, as after a soft reboot".to_owned(), true)
    );
}

#[test]
fn what_is_there_and_not_merged_is_named_and_so_is_the_image_for_whose_sake() {
    let foreign = keys::rsa("Unknown");
    let machine = Machine::trusting(&[vendor()])
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .file("var/lib/extensions/bad.raw", &good_image("bad", foreign))
        .file("var/lib/extensions/mine.raw", &good_image("mine", vendor()));
    machine.stage();
    run(&machine, "adopt");
    run(&machine, "merge");
    let outcome = run(&machine, "confirm");
    let rows = outcome.report["merge"]["not_merged"].as_array().unwrap();
    let told: Vec<_> =
        rows.iter().map(|row| (row["file"].as_str().unwrap(), row["staged"].as_bool().unwrap())).collect();
    let expected = [
        ("/run/extensions/k3s.raw", true),
        ("/var/lib/extensions/bad.raw", false),
        ("/var/lib/extensions/mine.raw", false),
    ];
    assert_eq!(told, expected, "{}", outcome.stderr);
    let refused = "systemd refused all extensions because of /var/lib/extensions/bad.raw";
    assert_eq!((&rows[0]["cause"], &rows[2]["cause"]), (&json!(refused), &json!(refused)));
    for said in [
        "systemd merged no extension (sysext) because of /var/lib/extensions/bad.raw: signer ",
        "(unknown-signer). Remove it, ",
        "mine (sysext) in /var/lib/extensions/mine.raw is not merged: systemd refused all",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    // What came later wasn't judged.
    let machine = machine.file("run/extensions/late.raw", b"junk");
    let outcome = run(&machine, "confirm");
    let rows = outcome.report["merge"]["not_merged"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["file"] == "/run/extensions/late.raw"), "{rows:?}");

    // Where the others are merged, nothing was refused.
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nmine\n");
    let outcome = run(&machine, "confirm");
    assert!(!outcome.stderr.contains("because of"), "{}", outcome.stderr);
    assert_eq!(outcome.report["merge"]["extensions"][1]["origin"], "host", "{}", outcome.stderr);
}

#[test]
fn directories_that_are_merged_are_told_as_what_they_are() {
    let machine = good_machine();
    machine.stage();
    run(&machine, "merge");
    let machine =
        machine.file("var/lib/extensions/plain/usr/share/x", b"x").file("etc/extensions/k3s/usr/share/y", b"y");
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\nplain\n");
    pretend_merged(&machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(&machine, "confirm");
    for said in [
        "plain (sysext) is merged from the directory /var/lib/extensions/plain, which no signature covers",
        // In the place of a staged one it is no matter of taste.
        "k3s (sysext) is merged and was not staged, from /etc/extensions/k3s",
        "the directory /etc/extensions/k3s was merged under its name, which systemd prefers",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
    assert_eq!(outcome.report["merge"]["unexpected"], json!(["k3s", "plain"]));
    // One that systemd passes over is told, too.
    pretend_merged(&machine, "usr", ".systemd-sysext/extensions", "k3s\n");
    let outcome = run(&machine, "confirm");
    let said = "plain (sysext) in /var/lib/extensions/plain is not merged: systemd skips a directory";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

#[test]
fn confirming_without_a_state_is_a_failure() {
    let outcome = run(&Machine::new(), "confirm");
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("/run/sextant/state.json does not exist"), "{}", outcome.stderr);
}

#[test]
fn a_killed_agent_leaves_a_report_that_says_so_and_what_it_had_staged_is_merged() {
    let machine = good_machine();
    machine.stage();
    for file in ["run/sextant/report.json", "run/sextant/state.json"] {
        let mut interrupted: Value = serde_json::from_slice(&fs::read(machine.path(file)).unwrap()).unwrap();
        interrupted["error"] = json!("the agent was stopped before all files were processed");
        fs::write(machine.path(file), interrupted.to_string()).unwrap();
    }
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(gate(&machine));
}

#[test]
fn what_does_not_fit_beside_the_hosts_own_extensions_is_taken_back_last_ones_first() {
    let names = ["a", "b", "c"];
    let machine = names.iter().fold(Machine::trusting(&[vendor()]), |machine, name| {
        machine.sysext(&format!("{name}.sysext.raw"), &good_image(name, vendor()))
    });
    machine.stage();
    assert_eq!(machine.staged_names(), names);
    // Only now the host is mounted: 329 bytes, layers of 52 bytes and their names, and 4095 in all.
    for number in 0..59 {
        fs::create_dir_all(machine.path(format!("sysroot/var/lib/extensions/own-{number:06}"))).unwrap();
    }
    let outcome = run(&machine, "merge");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let left = machine.staged_names();
    assert_eq!(left, ["a", "b"], "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("c.raw (sysext) will not be merged: too many extensions for one overlay mount"),
        "{}",
        outcome.stderr
    );
    assert!(gate(&machine));
    let again = run(&machine, "merge");
    assert_eq!((again.status, machine.staged_names()), (Some(0), left), "{}", again.stderr);
}
