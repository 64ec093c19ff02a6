//! The messages of each kind of event, as the agent logs them.

use super::{check, normalized};
use clap::Parser;
use log::kv::Key;
use log::{LevelFilter, Log, Metadata, Record};
use sextant::agent::{Cli, run_here};
use sextant::report::Event;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use support::ddi::{Blueprint, good_image};
use support::efi::{self, Firmware, List};
use support::keys::{self, Authority};
use support::machine::Machine;
use support::trees::Tree;

/// `MESSAGE_ID`, level and message.
type Entry = (String, String, String);

/// Keeps entries instead of the journal.
struct Journal(Mutex<Vec<Entry>>);

static JOURNAL: Journal = Journal(Mutex::new(Vec::new()));

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let id = record.key_values().get(Key::from("MESSAGE_ID")).map(|id| id.to_string()).unwrap_or_default();
        self.0.lock().unwrap().push((id, record.level().to_string(), record.args().to_string()));
    }

    fn flush(&self) {}
}

fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

fn machine() -> Machine {
    Machine::trusting(&[vendor()])
}

fn with_image() -> Machine {
    machine().sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
}

/// Notes as systemd leaves them in a hierarchy that it has merged.
fn merged(machine: &Machine, names: &str) {
    let path = machine.path("usr/.systemd-sysext/extensions");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, names).unwrap();
}

/// Runs verbs of the agent, and returns what they logged of this event.
fn entries(event: Event, machine: &Machine, verbs: &[&str]) -> Vec<Entry> {
    let root = machine.root().to_str().unwrap();
    for verb in verbs {
        let _ = run_here(Cli::parse_from(["sextant-agent", verb, "--root", root]));
    }
    let all = std::mem::take(&mut *JOURNAL.0.lock().unwrap());
    let is_it = |entry: &Entry| entry.0 == event.message_id();
    let found: Vec<Entry> = all.iter().filter(|entry| is_it(entry)).cloned().collect();
    assert!(!found.is_empty(), "no entry of {event:?} in {all:#?}");
    found
}

/// A machine that logs an event, and the verbs that make it do so. A new kind of event needs an arm here.
#[expect(clippy::too_many_lines, reason = "a table, one arm for each event")]
fn scenario(event: Event) -> Vec<Entry> {
    let all = ["stage", "merge", "confirm"];
    match event {
        Event::Staged => {
            let confext = Blueprint::new("net", &Tree::confext("net").squashfs(), vendor()).render().bytes;
            entries(event, &with_image().confext("net.confext.raw", &confext), &["stage"])
        }
        Event::Rejected => {
            let mut corrupt = good_image("corrupt", vendor());
            corrupt[1 << 20] ^= 1;
            let machine = with_image()
                .sysext("corrupt.sysext.raw", &corrupt)
                .sysext("junk.sysext.raw", b"junk")
                .sysext("readme.txt", b"text")
                .sysext("stranger.sysext.raw", &good_image("stranger", keys::ec("Stranger")));
            entries(event, &machine, &["stage"])
        }
        Event::Omitted => {
            let machine = machine().with(|root| {
                for number in 0..1100 {
                    fs::write(root.join(format!(".extra/sysext/{number}.txt")), b"").unwrap();
                }
            });
            entries(event, &machine, &["stage"])
        }
        Event::Summary => {
            let machine = with_image();
            let mut found = entries(event, &machine, &["stage"]);
            found.extend(entries(event, &machine.sysext("junk.sysext.raw", b"junk"), &["stage"]));
            found
        }
        Event::Failed => entries(event, &with_image().config("limitz: 3\n"), &["stage", "merge"]),
        Event::CertificateIgnored => {
            let revoked = keys::ec("Revoked");
            let firmware = Firmware::enforcing()
                .db(&efi::certificates(&[vendor(), revoked, vendor()]))
                .dbx(&efi::certificates(&[revoked]));
            let machine = Machine::new().firmware(&firmware).file("etc/verity.d/broken.crt", b"junk");
            entries(event, &machine, &["stage"])
        }
        Event::CertificateRemoved => {
            let machine = machine().file("run/verity.d/other.crt", &keys::ec("Stranger").pem());
            entries(event, &machine.file("run/verity.d/junk.crt", b"junk"), &["stage"])
        }
        Event::DbxUnreadable => {
            let dbx = List::new(efi::X509, [b"not a certificate".to_vec()]).encode();
            let firmware = Firmware::enforcing().db(&efi::certificates(&[vendor()])).dbx(&dbx);
            let machine = Machine::new().firmware(&firmware);
            let mut found = entries(event, &machine, &["stage"]);
            found.extend(entries(event, &machine.config("trust:\n  dbx: lenient\n"), &["stage"]));
            found
        }
        Event::NotQuarantined => {
            let machine = machine().sysext("junk.sysext.raw", b"junk").file(".extra/rejected", b"in the way");
            entries(event, &machine, &["stage"])
        }
        Event::Withdrawn => {
            let machine = with_image();
            let _ = run_here(Cli::parse_from(["sextant-agent", "stage", "--root", machine.root().to_str().unwrap()]));
            let path = machine.path("run/extensions/k3s.raw");
            let content = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
            entries(event, &machine, &["merge"])
        }
        Event::MergeRequested => {
            let mut found = entries(event, &with_image(), &["stage", "merge"]);
            found.extend(entries(event, &machine(), &["stage", "merge"]));
            found
        }
        Event::ReportIncomplete => {
            let machine = with_image();
            let _ = run_here(Cli::parse_from(["sextant-agent", "stage", "--root", machine.root().to_str().unwrap()]));
            fs::remove_file(machine.path("run/sextant/report.json")).unwrap();
            entries(event, &machine, &["merge"])
        }
        Event::Merged => {
            let machine = with_image();
            merged(&machine, "k3s\n");
            let mut found = entries(event, &machine, &all);
            fs::create_dir_all(machine.path("etc/extensions/k3s")).unwrap();
            merged(&machine, "");
            found.extend(entries(event, &machine, &["confirm"]));
            found
        }
        Event::NotMerged => entries(event, &with_image(), &all),
        Event::UnexpectedlyMerged => {
            let machine = with_image();
            merged(&machine, "k3s\nstranger\n");
            entries(event, &machine, &all)
        }
        Event::MergeRefused => {
            let unsigned = good_image("bad", keys::ec("Stranger"));
            let machine = with_image().file("var/lib/extensions/bad.raw", &unsigned);
            entries(event, &machine, &["stage", "adopt", "merge", "confirm"])
        }
        Event::LeftOut => {
            let machine = with_image();
            fs::create_dir_all(machine.path("etc/extensions/k3s")).unwrap();
            entries(event, &machine, &all)
        }
        Event::DirectoryMerged => {
            let machine = with_image();
            let release = "var/lib/extensions/plain/usr/lib/extension-release.d/extension-release.plain";
            let machine = machine.file(Path::new(release), b"ID=_any\n");
            merged(&machine, "k3s\nplain\n");
            entries(event, &machine, &all)
        }
        Event::RequiredMissing => {
            let machine = with_image()
                .config("required: [k3s, tools, net.confext]\n")
                .sysext("tools_1.0.sysext.raw", &good_image("tools_1.0", keys::ec("Stranger")));
            entries(event, &machine, &all)
        }
    }
}

#[test]
fn messages_of_events_are_as_recorded() {
    log::set_logger(&JOURNAL).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let mut text = String::new();
    for event in Event::ALL {
        let _ = writeln!(text, "{event:?} {}", event.message_id());
        for (_, level, message) in scenario(event) {
            let _ = writeln!(text, "  {level:<5} {}", normalized(&message, &[]).trim_end());
        }
        text.push('\n');
    }
    check("events", &[("events".to_owned(), text)]);
}
