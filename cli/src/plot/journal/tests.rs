#![allow(clippy::unwrap_used)]

use super::*;
use crate::plot::units::{Boot, MILESTONES};
use serde_json::json;
use sextant::merge;

/// Lines of a virtual machine's boot with systemd 257 in initrd and host, in the order of journalctl, without cursors.
const LINES: &str = include_str!("boot.json");
const BOOT: &str = "ea06c616421e4a858d563f2cde4f6625";

fn names() -> Vec<&'static str> {
    [merge::UNITS.as_slice(), &MILESTONES].concat()
}

fn rows(units: &[Unit]) -> Vec<(&str, u64, u64, Option<u64>)> {
    units.iter().map(|unit| (unit.name.as_str(), unit.starting.begin, unit.starting.end, unit.until)).collect()
}

/// An entry of PID 1 in journald.
fn entry(time: u64, unit: &str, id: usize, message: &str) -> Value {
    json!({
        "__MONOTONIC_TIMESTAMP": time.to_string(), "_BOOT_ID": "b", "_TRANSPORT": "journal", "_PID": "1",
        "MESSAGE_ID": MESSAGES[id].0, "MESSAGE": message, "UNIT": unit,
    })
}

fn lines(entries: &[Value]) -> Vec<u8> {
    entries.iter().flat_map(|entry| format!("{entry}\n").into_bytes()).collect()
}

fn units(entries: &[Value]) -> Vec<Unit> {
    parse(&lines(entries), &["a.service", "a.target"], "b")
}

const STARTING: usize = 0;
const STARTED: usize = 1;
const FAILED: usize = 2;
const STOPPED: usize = 4;
const DEACTIVATED: usize = 5;

#[test]
fn a_boot_is_read_on_both_sides_of_the_switch_of_the_root() {
    let units = parse(LINES.as_bytes(), &names(), BOOT);
    let rows = rows(&units);
    let of = |name: &str| rows.iter().filter(|row| row.0 == name).map(|row| (row.1, row.2, row.3)).collect::<Vec<_>>();
    // Before journald was there, and after it had gone with the initrd: from the kernel's log, with its time.
    assert_eq!(
        of("systemd-journald.service"),
        [(7_899_420, 10_310_969, Some(21_246_944)), (22_790_050, 23_725_620, None)]
    );
    assert_eq!(
        of("systemd-modules-load.service"),
        [(7_978_472, 10_737_375, Some(18_377_835)), (22_891_141, 23_353_146, None)]
    );
    // The report of this boot has the agent in it from 11682450 to 13130173.
    assert_eq!(of("sextant-stage.service"), [(10_777_522, 13_209_263, Some(18_363_926))]);
    assert_eq!(
        of("systemd-udevd.service"),
        [(11_334_870, 12_142_362, Some(18_409_590)), (24_791_683, 25_636_982, None)]
    );
    assert_eq!(of("basic.target"), [(13_701_208, 13_701_208, Some(18_342_997)), (29_798_637, 29_798_637, None)]);
    // Inactive before it is said to have finished.
    assert_eq!(of("initrd-parse-etc.service"), [(17_019_199, 17_438_317, Some(17_438_317))]);
    assert_eq!(of("initrd-switch-root.service"), [(18_851_479, 21_259_714, Some(21_259_714))]);
    // In the initrd its condition did not hold; on the host it did.
    assert_eq!(of("systemd-sysext.service"), [(24_765_461, 27_822_806, None)]);
    for skipped in ["dracut-mount.service", "dracut-initqueue.service", "systemd-confext.service"] {
        assert_eq!(of(skipped), [], "{skipped}");
    }
    assert!(parse(LINES.as_bytes(), &names(), "of another boot").is_empty());
}

#[test]
fn a_start_is_what_systemd_says_of_it_in_any_order() {
    let oneshot = [
        entry(10, "a.service", STARTING, "Starting a.service - A..."),
        entry(20, "a.service", DEACTIVATED, "a.service: Deactivated successfully."),
        entry(30, "a.service", STARTED, "Finished a.service - A."),
    ];
    assert_eq!(rows(&units(&oneshot)), [("a.service", 10, 20, Some(20))]);
    let shuffled = [2, 0, 1].map(|place| oneshot[place].clone());
    assert_eq!(units(&shuffled), units(&oneshot));

    let stays = [
        entry(10, "a.service", STARTING, "Starting a.service..."),
        entry(30, "a.service", STARTED, "Finished a.service."),
        entry(70, "a.service", STOPPED, "Stopped a.service."),
        entry(80, "a.service", STARTED, "Started a.service."),
        entry(90, "a.target", STARTED, "Reached target a.target - A."),
    ];
    assert_eq!(
        rows(&units(&stays)),
        [("a.service", 10, 30, Some(70)), ("a.service", 80, 80, None), ("a.target", 90, 90, None)]
    );

    // Of a start that failed, one that a dependency kept from being tried, and one that is going on.
    let failed = [
        entry(10, "a.service", STARTING, "Starting a.service..."),
        entry(20, "a.service", FAILED, "Failed to start a.service."),
        entry(30, "a.target", FAILED, "Dependency failed for a.target."),
        entry(40, "a.service", STARTING, "Starting a.service..."),
    ];
    assert_eq!(rows(&units(&failed)), [("a.service", 10, 20, Some(20)), ("a.service", 40, 40, Some(40))]);

    // One that starts again and again has a few rows, and ends.
    let again: Vec<Value> = (0..1000).map(|time| entry(time, "a.service", STARTED, "Started a.service.")).collect();
    let rows_of_it = units(&again);
    assert_eq!(rows(&rows_of_it).last(), Some(&("a.service", 3, 3, Some(4))));
    assert_eq!(rows_of_it.len(), STARTS);
}

#[test]
fn only_what_pid_1_says_of_these_units_in_this_boot_counts() {
    let good = entry(10, "a.service", STARTED, "Started a.service.");
    assert_eq!(units(std::slice::from_ref(&good)).len(), 1);
    let with = |key: &str, value: Value| {
        let mut entry = good.clone();
        entry[key] = value;
        entry
    };
    let odd = [
        with("_BOOT_ID", json!("c")),
        with("_PID", json!("2")),
        with("_PID", json!(["1", "2"])),
        with("UNIT", json!("b.service")),
        with("UNIT", json!([97, 46, 115])),
        with("MESSAGE_ID", json!(null)),
        with("MESSAGE_ID", json!("39f53479d3a045ac8e11786248231fb0")),
        with("MESSAGE", json!("a.service - Started A skipped, unmet condition check ConditionPathExists=/x")),
        with("MESSAGE", json!("a.service was skipped because of an unmet condition check (ConditionPathExists=/x).")),
        with("MESSAGE", json!(null)),
        with("_TRANSPORT", json!("kernel")),
        with("__MONOTONIC_TIMESTAMP", json!(10)),
        with("__MONOTONIC_TIMESTAMP", json!("-10")),
        with("__MONOTONIC_TIMESTAMP", json!("99999999999999999999999999")),
        json!(null),
        json!([]),
        json!({}),
    ];
    for entry in odd {
        assert_eq!(units(std::slice::from_ref(&entry)), [], "{entry}");
    }
    // Lines that are cut off, no JSON, or too deep leave the others alone.
    let text = [b"{\"a\":\n\xff\xfe\n".as_slice(), &b"[".repeat(100_000), b"\n", &lines(&[good])].concat();
    assert_eq!(parse(&text, &["a.service"], "b").len(), 1);
}

#[test]
fn the_time_is_that_of_the_message() {
    let time = |change: Value| {
        let mut entry = entry(5_000_000, "a.service", STARTED, "Started a.service.");
        entry.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        units(&[entry])[0].starting.begin
    };
    assert_eq!(time(json!({})), 5_000_000);
    // It waited for journald.
    let waited = |from: &str| time(json!({"__REALTIME_TIMESTAMP": "1000000000", "_SOURCE_REALTIME_TIMESTAMP": from}));
    assert_eq!(waited("999900000"), 4_900_000);
    assert_eq!(waited("990000000"), 0, "not before the kernel");
    // The clock was set meanwhile, there and back.
    assert_eq!((waited("1"), waited("1000000001"), waited("odd")), (5_000_000, 5_000_000, 5_000_000));
    let kernel = |source: Value| {
        let change =
            json!({"_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "systemd", "_SOURCE_MONOTONIC_TIMESTAMP": source});
        time(change)
    };
    assert_eq!(kernel(json!("1234")), 1234);
    assert_eq!(kernel(json!(null)), 5_000_000);
    assert_eq!(kernel(json!(u64::MAX.to_string())), u64::MAX);
}

#[test]
fn lines_of_the_kernels_log_are_told_by_their_text() {
    let told = |message: &str| told(message, |name| ["a.service", "a.target"].into_iter().find(|known| *known == name));
    for (message, step) in [
        ("Starting a.service - A...", Step::Starting),
        ("Starting a.service...", Step::Starting),
        ("Started a.service.", Step::Started),
        ("Finished a.service - A.", Step::Started),
        ("Failed to start a.service - A.", Step::Failed),
        ("Stopping a.service - A...", Step::Ended),
        ("Stopped a.service - A.", Step::Ended),
        ("a.service: Deactivated successfully.", Step::Ended),
        ("a.service: Failed with result 'exit-code'.", Step::Ended),
    ] {
        assert_eq!(told(message), Some(("a.service", step)), "{message}");
    }
    assert_eq!(told("Reached target a.target - A."), Some(("a.target", Step::Started)));
    assert_eq!(told("Stopped target a.target - A."), Some(("a.target", Step::Ended)));
    for message in [
        "",
        "Starting ",
        "Starting a.servicex...",
        "Starting b.service - a.service...",
        "Starting A Service...",
        "a.service - A skipped, unmet condition check ConditionPathExists=/x",
        "a.service: Failed to open /usr/lib/systemd/system/a.service: No such file or directory",
        "a.service: Scheduled restart job, restart counter is at 1.",
        "Starting\u{2003}a.service...",
    ] {
        assert_eq!(told(message), None, "{message}");
    }
}

#[test]
fn what_systemd_still_knows_is_exact_and_the_rest_is_added() {
    let unit = |name: &str, begin: u64, end: u64, until: Option<u64>| Unit::new(name, begin, Some(end), until);
    let boot = Boot { initrd: Some(1), host: Some(2_000_000), finished: Some(9_000_000) };
    let shown = vec![
        unit("udevd", 3_000_000, 3_100_000, None),
        unit("exact", 500_000, 600_000, Some(700_000)),
        unit("again", 4_250_000, 4_260_000, None),
    ];
    let told = vec![
        unit("udevd", 1_000_000, 1_100_000, None),
        unit("udevd", 2_990_000, 3_101_000, None),
        unit("exact", 446_000, 547_000, None),
        unit("again", 4_000_000, 4_000_000, Some(4_100_000)),
        unit("again", 4_200_000, 4_200_000, None),
        unit("forgotten", 1_500_000, 1_600_000, None),
        unit("ended", 1_500_000, 1_600_000, Some(1_700_000)),
        unit("unknown", 2_500_000, 2_600_000, None),
    ];
    assert_eq!(
        rows(&Unit::complete(shown, told.clone(), boot)),
        [
            ("exact", 500_000, 600_000, Some(700_000)),
            ("udevd", 1_000_000, 1_100_000, Some(3_000_000)),
            ("ended", 1_500_000, 1_600_000, Some(1_700_000)),
            ("forgotten", 1_500_000, 1_600_000, Some(2_000_000)),
            ("unknown", 2_500_000, 2_600_000, Some(2_600_000)),
            ("udevd", 3_000_000, 3_100_000, None),
            ("again", 4_000_000, 4_000_000, Some(4_100_000)),
            ("again", 4_250_000, 4_260_000, None),
        ]
    );
    // Where systemd says nothing at all, the journal is all there is.
    assert_eq!(Unit::complete(Vec::new(), told.clone(), Boot::default()), Unit::sorted(told));
}
