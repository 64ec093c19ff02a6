//! Handing over to the host.

use super::{gate, good_machine, pretend_merged, report, run, vendor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use support::ddi::good_image;
use support::machine::Machine;

fn has_policy(machine: &Machine, class: &str) -> bool {
    let path = machine.path(format!("run/systemd/system/systemd-{class}.service.d/zz-sextant.conf"));
    fs::read_to_string(path).is_ok_and(|text| text.contains("--image-policy=root=signed+absent:usr=signed+absent"))
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
