//! What was measured of the extensions, as the report has it.

use super::{confext, pretend_merged, report, run, vendor};
use serde_json::{Value, json};
use sextant::measure::{Bank, Event, Member, OLD_PLACES, PLACES, Place, pcr_13};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::ddi::good_image;
use support::event_log::{EventLog, SHA256};
use support::machine::Machine;

const SYSEXT: &str = "System extension initrd";
const CONFEXT: &str = "Configuration extension initrd";
const LOG: &str = "sys/kernel/security/tpm0/binary_bios_measurements";
const PCR: &str = "sys/class/tpm/tpm0/pcr-sha256/13";

/// A good extension, one that is rejected, and a configuration extension.
fn files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("good.sysext.raw", good_image("good", vendor())),
        ("garbage.SYSEXT.raw", b"garbage".to_vec()),
        ("net.confext.raw", confext("net")),
    ]
}

fn machine(config: &str) -> Machine {
    let machine = files().iter().fold(Machine::trusting(&[vendor()]).config(config), |machine, (name, bytes)| {
        if name.contains("confext") { machine.confext(name, bytes) } else { machine.sysext(name, bytes) }
    });
    // What the stub never leaves there.
    machine.with(|root| std::os::unix::fs::symlink("good.sysext.raw", root.join(".extra/sysext/link.raw")).unwrap())
}

/// The events of these files, by the tool's way.
fn events(files: &[(&str, Vec<u8>)]) -> Vec<Event> {
    events_in(&PLACES, files)
}

fn events_in(places: &'static [Place], files: &[(&str, Vec<u8>)]) -> Vec<Event> {
    let members: Vec<_> = files.iter().map(|(name, bytes)| Member { name, content: bytes }).collect();
    places.iter().filter(|place| place.global.is_none()).filter_map(|it| Event::of(it, &members).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    ddi::bytes::hex(bytes)
}

fn value(events: &[Event]) -> String {
    hex(pcr_13(events).unwrap().of(Bank::Sha256))
}

/// A TPM and a log in which these events were measured.
fn measured(machine: Machine, events: &[Event]) -> Machine {
    let log = events.iter().fold(EventLog::new(&[SHA256]), |log, event| {
        let description = if event.pcr == 13 { SYSEXT } else { CONFEXT };
        log.stub(event.pcr, description, event.digests.of(Bank::Sha256))
    });
    machine.file(LOG, &log.bytes).file(PCR, format!("{}\n", value(events).to_uppercase()).as_bytes())
}

/// The measurement after a whole boot, and what `status` shows of it.
fn boot(machine: &Machine) -> (Value, String) {
    machine.stage();
    run(machine, "merge");
    pretend_merged(machine, "usr", ".systemd-sysext/extensions", "good\n");
    pretend_merged(machine, "etc", ".systemd-confext/confexts", "net\n");
    let outcome = run(machine, "confirm");
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    (outcome.report["measurement"].clone(), status(&machine.path("run/sextant/report.json"), &[]))
}

fn status(report: &Path, more: &[&str]) -> String {
    let agent = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("agent-under-test");
    let output = Command::new(agent).arg("status").arg("--report").arg(report).args(more).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_tpm_with_the_predicted_value_is_as_predicted() {
    let events = events(&files());
    let machine = measured(machine("measurement: true\n"), &events);
    let (measurement, shown) = boot(&machine);
    let value = json!({ "sha256": value(&events), "sha384": null });
    assert_eq!(measurement["state"], "as-predicted", "{measurement:#}");
    assert_eq!(measurement["detail"], Value::Null, "{measurement:#}");
    for field in ["predicted", "logged", "tpm"] {
        assert_eq!(measurement[field], value, "{field}");
    }
    let digest = |event: &Event| json!({ "sha256": hex(event.digests.of(Bank::Sha256)), "sha384": null });
    let row = |event: &Event, directory: &str| json!({ "pcr": event.pcr, "directory": directory, "predicted": digest(event), "logged": digest(event) });
    let rows = [row(&events[0], "/.extra/sysext"), row(&events[1], "/.extra/confext")];
    assert_eq!(measurement["events"], json!(rows));
    assert!(shown.contains("\n  Measured: as predicted\n"), "{shown}");
    let metrics = status(&machine.path("run/sextant/report.json"), &["--prometheus"]);
    assert!(metrics.contains("sextant_measurement_info{state=\"as-predicted\"} 1\n"), "{metrics}");
}

/// systemd-stub before 256 makes one archive of both classes.
#[test]
fn a_confext_among_the_sysexts_is_predicted_as_it_was_measured() {
    let trusting = Machine::trusting(&[vendor()]).config("measurement: true\n");
    let machine = files().iter().fold(trusting, |machine, (name, bytes)| machine.sysext(name, bytes));
    let events = events_in(&OLD_PLACES, &files());
    assert_eq!(events.iter().map(|event| (event.pcr, event.files.len())).collect::<Vec<_>>(), [(13, 3)]);
    let (measurement, _) = boot(&measured(machine, &events));
    assert_eq!(measurement["state"], "as-predicted", "{measurement:#}");
    assert_eq!(measurement["predicted"]["sha256"], value(&events));
}

#[test]
fn another_value_differs_and_the_event_is_named() {
    let others = |index: usize| {
        let mut files = files();
        files[index].1.push(0);
        events(&files)
    };
    for (index, directory) in [(0, "/.extra/sysext"), (1, "/.extra/sysext"), (2, "/.extra/confext")] {
        let (measurement, shown) = boot(&measured(machine("measurement: true\n"), &others(index)));
        assert_eq!(measurement["state"], "differs", "{measurement:#}");
        assert_eq!(measurement["detail"], json!(format!("{directory} was measured with other files")));
        assert!(
            shown.contains(&format!("\n  Measured: differs: {directory} was measured with other files\n")),
            "{shown}"
        );
    }
    // A log that doesn't give the TPM's value explains nothing, in either direction.
    let lies = |machine: Machine| machine.file(PCR, "5".repeat(64).as_bytes());
    let (measurement, _) = boot(&lies(measured(machine("measurement: true\n"), &events(&files()))));
    assert_eq!(measurement["state"], "differs", "{measurement:#}");
    let detail = "the event log does not give the TPM's value of PCR 13; PCR 13 has another value than predicted";
    assert_eq!(measurement["detail"], detail);
}

#[test]
fn without_the_configuration_log_and_tpm_are_reported_alone() {
    let events = events(&files());
    let (measurement, shown) = boot(&measured(machine(""), &events));
    assert_eq!(measurement["state"], "not-predicted", "{measurement:#}");
    let value = json!({ "sha256": value(&events), "sha384": null });
    assert_eq!(
        [&measurement["predicted"], &measurement["logged"], &measurement["tpm"]],
        [&Value::Null, &value, &value]
    );
    assert_eq!(measurement["events"][0]["predicted"], Value::Null);
    assert!(shown.contains("\n  Measured: not predicted\n"), "{shown}");
}

#[test]
fn a_machine_without_tpm_says_so() {
    let (measurement, shown) = boot(&machine("measurement: true\n"));
    assert_eq!(measurement["state"], "no-tpm", "{measurement:#}");
    assert_eq!(measurement["predicted"], json!({ "sha256": value(&events(&files())), "sha384": null }));
    assert!(shown.contains("\n  Measured: no TPM\n"), "{shown}");
    let (measurement, _) = boot(&machine("").file(PCR, b"\x1b[2J"));
    assert_eq!(measurement["state"], "no-tpm", "{measurement:#}");
    assert!(measurement["detail"].as_str().unwrap().ends_with("pcr-sha256/13 is not a PCR value"), "{measurement:#}");
    let (measurement, _) = boot(&machine("").file(LOG, b"garbage"));
    let detail = measurement["detail"].as_str().unwrap();
    assert!(detail.ends_with("not a crypto-agile event log: no header \"Spec ID Event03\""), "{detail}");
}

#[test]
fn the_first_prediction_of_a_boot_is_kept() {
    let machine = machine("measurement: true\n");
    let first = machine.stage().report["measurement"]["predicted"].clone();
    assert!(!machine.path(".extra/sysext/garbage.SYSEXT.raw").exists(), "the rejected file was moved");
    let again = run(&machine, "stage").report["measurement"]["predicted"].clone();
    assert_eq!((&first["sha256"], &again), (&json!(value(&events(&files()))), &first));
    // Nothing was predicted in a run of another configuration.
    let plain = super::measurement::machine("");
    assert_eq!(plain.stage().report["measurement"], Value::Null);
}

#[test]
fn too_much_to_measure_is_no_prediction() {
    let (measurement, shown) = boot(&machine("measurement: true\nlimits: { total_size: 100M }\n").with(|root| {
        fs::File::create(root.join(".extra/sysext/large.raw")).unwrap().set_len(200 << 20).unwrap();
    }));
    let error = measurement["prediction_error"].as_str().unwrap();
    assert!(error.starts_with("files are 2"), "{error}");
    assert!(error.ends_with("; limits.total_size is 104857600"), "{error}");
    assert_eq!((&measurement["predicted"], &measurement["state"]), (&Value::Null, &json!("no-tpm")));
    assert!(shown.contains("\n  Measured: no TPM: files are 2"), "{shown}");
    let many = machine("measurement: true\n").with(|root| {
        (0..600).for_each(|number| fs::write(root.join(format!(".extra/sysext/{number}.raw")), "").unwrap());
    });
    let error = many.stage().report["measurement"]["prediction_error"].clone();
    assert_eq!(error, "more than 512 files in /.extra/sysext");
    assert_eq!(report(&many)["measurement"]["predicted"], Value::Null);
}

#[test]
fn what_was_read_once_is_kept_and_the_tpm_is_asked_again() {
    let machine = measured(machine("measurement: true\n"), &events(&files()));
    let (first, _) = boot(&machine);
    fs::remove_file(machine.path(LOG)).unwrap();
    assert_eq!(run(&machine, "confirm").report["measurement"], first);
    fs::write(machine.path(PCR), "5".repeat(64)).unwrap();
    let second = run(&machine, "confirm").report["measurement"].clone();
    assert_eq!((&second["state"], &second["logged"]), (&json!("differs"), &first["logged"]));
    assert_eq!((&second["tpm"]["sha256"], &second["events"]), (&json!("5".repeat(64)), &first["events"]));
    // Without a TPM the last values stay.
    fs::remove_dir_all(machine.path("sys/class/tpm")).unwrap();
    assert_eq!(run(&machine, "confirm").report["measurement"], second);
}
