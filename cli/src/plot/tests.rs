#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

/// Of a report by itself.
static NONE: Neighbours =
    Neighbours { boot: Boot { initrd: None, host: None, finished: None }, units: Vec::new(), problems: Vec::new() };

fn report(images: &Value, runs: &Value) -> Report {
    let report = json!({
        "version": 1, "firmware": {"secure_boot": "enforcing", "entry": "active"}, "trust": [],
        "ignored_certificates": [], "images": images, "omitted": null, "merge": null, "runs": runs, "error": null,
    });
    serde_json::from_value(report).unwrap()
}

fn image(name: &str, reason: Option<&str>, phases: &[(&str, u64, u64)]) -> Value {
    let phase = |(phase, begin, end): &(&str, u64, u64)| json!({"phase": phase, "begin_usec": begin, "end_usec": end});
    json!({
        "file": format!("{name}.sysext.raw"), "directory": "/.extra/sysext", "name": name, "class": "sysext",
        "verdict": if reason.is_some() { "rejected" } else { "staged" }, "reason": reason, "detail": reason,
        "warnings": [], "root_hash": null, "signer": null, "size": 1, "verify_usec": 1, "stage_usec": 1,
        "phases": phases.iter().map(phase).collect::<Vec<_>>(),
    })
}

fn run(command: &str, begin: u64, end: Option<u64>) -> Value {
    json!({"command": command, "begin_usec": begin, "end_usec": end})
}

/// What `systemctl show` of systemd 252 printed, and a unit that was never started.
const SHOWN: &str = "\
Id=initrd.target
InactiveExitTimestampMonotonic=2500000
ActiveEnterTimestampMonotonic=2500000
ActiveExitTimestampMonotonic=2900000
InactiveEnterTimestampMonotonic=2900000

Id=sextant-stage.service
InactiveExitTimestampMonotonic=2000000
ActiveEnterTimestampMonotonic=2400000
ActiveExitTimestampMonotonic=0
InactiveEnterTimestampMonotonic=0

Id=dracut-mount.service
InactiveExitTimestampMonotonic=2410000
ActiveEnterTimestampMonotonic=0
ActiveExitTimestampMonotonic=0
InactiveEnterTimestampMonotonic=2450000

Id=immucore.service
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
ActiveExitTimestampMonotonic=0
InactiveEnterTimestampMonotonic=0
";

#[test]
fn units_are_read_as_systemctl_prints_them() {
    let units = Unit::parse_all(SHOWN);
    let rows: Vec<_> =
        units.iter().map(|unit| (unit.name.as_str(), unit.starting.begin, unit.starting.end, unit.until)).collect();
    assert_eq!(
        rows,
        [
            ("sextant-stage.service", 2_000_000, 2_400_000, None),
            ("dracut-mount.service", 2_410_000, 2_450_000, Some(2_450_000)),
            ("initrd.target", 2_500_000, 2_500_000, Some(2_900_000)),
        ]
    );
    // One that is being started again, and one whose start goes on.
    let again =
        "Id=a\nInactiveExitTimestampMonotonic=9\nActiveEnterTimestampMonotonic=5\nActiveExitTimestampMonotonic=7";
    let units = Unit::parse_all(again);
    assert_eq!((units[0].starting, units[0].until), (Span { begin: 9, end: 9 }, Some(9)));
    assert_eq!(
        Unit::parse_all("junk\n\nInactiveExitTimestampMonotonic=9\n\nId=x\nInactiveExitTimestampMonotonic=-1"),
        []
    );
    let boot = Boot::parse("InitRDTimestampMonotonic=1\nUserspaceTimestampMonotonic=2\nFinishTimestampMonotonic=0\n");
    assert_eq!(boot, Boot { initrd: Some(1), host: Some(2), finished: None });
}

#[test]
fn images_stand_below_the_run_that_processed_them() {
    let images = json!([
        image("k3s", None, &[("read", 2_100_000, 2_110_000), ("hash", 2_110_000, 2_300_000)]),
        image("bad", Some("corrupt"), &[("read", 2_300_000, 2_310_000)]),
        image("late", None, &[("read", 6_000_000, 6_001_000)]),
        image("never", Some("bad-name"), &[]),
    ]);
    let runs = json!([
        run("confirm", 9_000_000, None),
        run("stage", 2_000_000, Some(2_400_000)),
        run("adopt", 5_900_000, Some(6_100_000))
    ]);
    let report = report(&images, &runs);
    let timeline = Timeline::of(&report, &NONE).unwrap();
    let rows: Vec<_> = timeline
        .runs
        .iter()
        .map(|run| (run.command, run.images.iter().map(|image| name(image).as_str()).collect::<Vec<_>>()))
        .collect();
    assert_eq!(rows, [("stage", vec!["k3s", "bad"]), ("adopt", vec!["late"]), ("confirm", vec![])]);
    assert_eq!(timeline.span, Span { begin: 0, end: 9_000_000 });
    let text = timeline.description();
    for part in [
        "Boot entry active, Secure Boot enforcing.",
        "sextant-agent stage ran from 2.00 s to 2.40 s",
        "k3s: reading and signature 10 ms, hashing 190 ms.",
        "sextant-agent confirm began at 9.00 s and was stopped.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let svg = timeline.svg();
    assert!(svg.contains("Images of stage, from 2.00 s on") && svg.contains("10 ms, rejected: corrupt"), "{svg}");
    assert!(!svg.contains(">initrd<"), "nothing is known about it");

    // A boot begins with the kernel, if systemd has the times of its phases.
    let boot = Boot { initrd: Some(1_000_000), host: Some(3_000_000), finished: Some(12_000_000) };
    let neighbours = Neighbours { boot, units: Unit::parse_all(SHOWN), ..Neighbours::default() };
    let timeline = Timeline::of(&report, &neighbours).unwrap();
    assert_eq!(timeline.span, Span { begin: 0, end: 12_000_000 });
    let svg = timeline.svg();
    for part in [">kernel<", ">initrd<", ">host<", ">dracut-mount.service<", "40 ms, at 2.41 s"] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    assert!(svg.find(">sextant-stage.service<") < svg.find(">sextant-agent stage<"), "in the order of their begin");
}

#[test]
fn what_came_long_after_the_boot_leaves_it_its_room() {
    let days = 3 * 86_400_000_000;
    let runs = json!([run("stage", 2_000_000, Some(2_400_000)), run("confirm", days, Some(days + 1000))]);
    let report = report(&json!([]), &runs);
    let late = "Id=systemd-sysext.service\nInactiveExitTimestampMonotonic=259200000007\nActiveEnterTimestampMonotonic=259200000009";
    let neighbours = Neighbours { units: Unit::parse_all(late), ..Neighbours::default() };
    let timeline = Timeline::of(&report, &neighbours).unwrap();
    assert_eq!(timeline.span.end, 2_400_000);
    let svg = timeline.svg();
    assert!(
        svg.contains(">2 µs, at 259200 s, after the boot<") && svg.contains(">1.0 ms, at 259200 s, after the boot<"),
        "{svg}"
    );
    assert_eq!(svg.matches("class=\"run\"").count(), 2, "one in the legend, one for stage: {svg}");
}

#[test]
fn a_report_without_times_has_no_picture() {
    let report = report(&json!([image("k3s", None, &[("read", 1, 2)])]), &json!([]));
    let neighbours = Neighbours { units: Unit::parse_all(SHOWN), ..Neighbours::default() };
    assert!(Timeline::of(&report, &neighbours).is_none());
}

#[test]
fn many_rows_are_added_up_and_impossible_times_are_bounded() {
    let many: Vec<Value> = (0..5000).map(|number| image(&format!("n{number}"), None, &[("hash", 10, 1010)])).collect();
    let report_of_many = report(&json!(many), &json!([run("stage", 0, Some(2000))]));
    let svg = Timeline::of(&report_of_many, &NONE).unwrap().svg();
    assert!(svg.len() < 100_000, "{}", svg.len());
    assert!(svg.contains(">and 4940 more images<") && svg.contains(">hashing 4.94 s in total<"), "{svg}");

    let images = json!([
        image("a", None, &[("read", u64::MAX, 0), ("hash", 0, u64::MAX), ("later", 3, 4)]),
        image("b", None, &vec![("read", 1, 2); 5000]),
    ]);
    let runs = json!([run("stage", 0, Some(u64::MAX)), run("later", 7, Some(3)), run("merge", u64::MAX, Some(0))]);
    let svg = Timeline::of(&report(&images, &runs), &NONE).unwrap().svg();
    assert!(svg.len() < 30_000, "{}", svg.len());
}

#[test]
fn units_of_the_initrd_and_the_host_are_told_apart() {
    let unit = |name: &str, begin: u64| Unit::new(name, begin, Some(begin + 10_000), None);
    let units = vec![
        unit("systemd-udevd.service", 1_500_000),
        unit("dracut-cmdline.service", 1_600_000),
        unit("systemd-udevd.service", 4_000_000),
    ];
    let boot = Boot { initrd: Some(1_000_000), host: Some(3_000_000), finished: Some(12_000_000) };
    let neighbours = Neighbours { boot, units, problems: Vec::new() };
    let report = report(&json!([]), &json!([run("stage", 2_000_000, Some(2_400_000))]));
    let svg = Timeline::of(&report, &neighbours).unwrap().svg();
    for title in ["systemd-udevd.service (initrd)", "systemd-udevd.service", "dracut-cmdline.service"] {
        assert_eq!(svg.matches(&format!("<title>{title}: 10 ms")).count(), 1, "{title}: {svg}");
    }
}

#[test]
fn units_of_a_bundle_are_not_believed() {
    let row = |name: &str, begin: u64, end: u64, until: Option<u64>| json!({"name": name, "begin_usec": begin, "end_usec": end, "until_usec": until});
    let mut rows =
        vec![row("a", u64::MAX, 0, Some(0)), row("<b>\u{202e}", 5, 1, Some(2)), row(&"c".repeat(5000), 0, 7, None)];
    rows.extend((0..5000).map(|_| row("a", 7, u64::MAX, None)));
    let boot = json!({"initrd_usec": u64::MAX, "host_usec": 0, "finished_usec": u64::MAX});
    let text = json!({"boot": boot, "units": rows, "problems": ["\u{1b}[31m"]}).to_string();
    let neighbours: Neighbours = serde_json::from_str(&text).unwrap();
    assert_eq!(neighbours.units[1].starting, Span { begin: 5, end: 5 });
    assert_eq!((neighbours.units[0].until, neighbours.units[1].until), (Some(u64::MAX), Some(5)));
    assert_eq!(neighbours.problems[0].as_str(), "\\u{1b}[31m");
    let report = report(&json!([]), &json!([run("stage", 0, Some(2000))]));
    let svg = Timeline::of(&report, &neighbours).unwrap().svg();
    assert!(svg.len() < 100_000 && svg.contains("and 4943 more units") && !svg.contains("<b>"), "{svg}");

    // What was written is read back.
    let written = Neighbours {
        boot: Boot { initrd: Some(1), host: None, finished: Some(3) },
        units: vec![Unit::new("x.service", 1, Some(2), None), Unit::new("y.service", 3, None, Some(4))],
        problems: vec!["one".into()],
    };
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(serde_json::from_str::<Neighbours>(&text).unwrap(), written);
    for odd in ["", "[]", "{\"units\": 1}", "{\"boot\": {}, \"units\": [{\"name\": 1}], \"problems\": []}"] {
        assert!(serde_json::from_str::<Neighbours>(odd).is_err(), "{odd}");
    }
}
