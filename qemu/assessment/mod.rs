//! A machine with boot counting whose newer system lacks a required extension: it falls back to the older one by itself, and
//! goes back to the newer one once that is repaired.
//!
//! systemd-boot counts, systemd-bless-boot of the same version removes the counter. Both are as Debian has them; the drop-in that
//! reboots is the one of `docs/operations.md`.

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::images::Offer;
use crate::life::esp;
use crate::machine::{Disk, End, Machine, Parts};
use crate::platform::PC;
use crate::run::{TIMEOUT, supervise, witnessed};
use crate::toolbox::{Tree, fresh, repository, succeed, work};
use crate::variables::Firmware;
use crate::witness::Findings;
use crate::{accel, brought, keys, uki, verdict};
use serde_json::json;
use sextant::clock::Span;
use sextant_cli::bundle;
use sextant_cli::plot::{Neighbours, Unit};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use support::trees;

pub const NAME: &str = "assessment";
pub const ABOUT: &str =
    "a machine that falls back to the boot entry before for want of a required extension, and goes back";

/// What both systems have sealed.
const CONFIG: &str = "required: [k3s]\n";
/// The same in a drop-in.
const DROP_IN: &str = "minimum: {k3s: 1.30}\n";
/// Copies what the host needs for boot counting, in the initrd; and where no witness looks, what makes it reboot.
const HOST: &str = "\
[Unit]
DefaultDependencies=no
After=sysroot.mount
Before=initrd-cleanup.service
[Service]
Type=oneshot
ExecStart=cp -a /usr/lib/host/. /sysroot/
";
const REBOOTING: &str = "\
[Unit]
DefaultDependencies=no
After=sysroot.mount
Before=initrd-cleanup.service
ConditionPathExists=!/dev/vdc
[Service]
Type=oneshot
ExecStart=cp -a /usr/lib/rebooting/. /sysroot/
";
const GENERATOR: &str = "usr/lib/systemd/system-generators/systemd-bless-boot-generator";

/// Why the machine can't be made here.
pub fn obstacle() -> Option<String> {
    let is_there = Tree::Trixie.path().join(GENERATOR).is_file();
    (!is_there).then(|| "the toolbox has no systemd-bless-boot: run tests/toolbox/prepare".to_owned())
}

/// Boots the machine four times.
///
/// # Errors
/// What is wrong, and where to look.
pub fn test() -> Result<(), String> {
    let start = Instant::now();
    let directory = work().join("boots").join(NAME);
    fresh(&directory)?;
    let machine = Counting::make(&directory)?;
    let made = start.elapsed();
    supervise((NAME, ABOUT), &directory, made, || machine.fall_back_and_return())
}

/// The extension in one version.
fn k3s(version: &str) -> Offer {
    let name = format!("k3s_{version}");
    Offer::with_tree(&name, &trees::Tree::sysext(&name), keys::db(), "db")
}

/// The same with a flipped byte. The data partition is the first, and begins at 1 MiB.
fn corrupt(offer: Offer) -> Offer {
    let mut bytes = offer.bytes.to_vec();
    bytes[(1 << 20) + 100] ^= 0xff;
    Offer { bytes: Arc::new(bytes), ..offer }.rejected("corrupt")
}

/// What stays when the machine is off.
struct Counting {
    directory: PathBuf,
    esp: PathBuf,
    variables: PathBuf,
    root: PathBuf,
}

impl Counting {
    fn make(directory: &Path) -> Result<Self, String> {
        let guest = Guest::Systemd257;
        let variables = directory.join("variables.fd");
        Firmware::Enforcing.write(guest.platform(), &variables)?;
        let generator =
            fs::read(guest.tree().path().join(GENERATOR)).map_err(|error| format!("{GENERATOR}: {error}"))?;
        let sealed = Archive::new()
            .file("etc/sextant.yaml", CONFIG)
            .file("usr/lib/sextant.yaml.d/10-minimum.yaml", DROP_IN)
            .unit("host.service", HOST)
            .unit("rebooting.service", REBOOTING)
            .program(&format!("usr/lib/host/{GENERATOR}"), generator)
            .file("usr/lib/rebooting/etc/systemd/system/boot-complete.target.d/50-reboot.conf", documented())
            .directory_at("usr/lib/host", &repository().join("qemu/assessment/host"));
        let signed = uki::make(guest, &guest.base()?.initrd, &sealed, "", keys::db(), directory)?;
        let beside = |entry: &str, offer: &Offer| {
            (format!("EFI/Linux/{entry}.efi.extra.d/{}", offer.file), Arc::clone(&offer.bytes))
        };
        let files = [
            beside("system_1", &k3s("1.30")),
            beside("system_1", &k3s("1.29")),
            beside("system_2", &corrupt(k3s("1.31"))),
        ];
        let esp = esp::of_kernels(&signed, &["system_1.efi", "system_2+2.efi"], &files, directory)?;
        Ok(Self { directory: directory.to_owned(), esp, variables, root: guest.base()?.root.clone() })
    }

    fn fall_back_and_return(&self) -> Result<(), String> {
        assert_eq!(self.entries()?, ["system_1.efi", "system_2+2.efi"]);
        let findings = self.boot("1-missing", "look", "system_2")?;
        missing(&findings);
        assert_eq!(self.entries()?, ["system_1.efi", "system_2+1-1.efi"], "a try is used up");

        self.reboots("2-reboots")?;
        assert_eq!(self.entries()?, ["system_1.efi", "system_2+0-2.efi"], "the last one too");

        let findings = self.boot("3-falls-back", "repair", "system_1")?;
        verdict::judge(&findings, &[k3s("1.30"), k3s("1.29").rejected("too-old")]);
        // Without a counter nothing is asked, and nothing has to be marked.
        states(&findings, [("sextant-required.target", "inactive"), ("systemd-bless-boot.service", "inactive")]);
        assert_eq!(findings.report().unwrap()["merge"]["required_missing"], json!([]));
        findings.step("install").ended(0);
        findings.step("reset").ended(0);
        assert_eq!(self.entries()?, ["system_1.efi", "system_2+2.efi"]);

        let findings = self.boot("4-good", "look", "system_2")?;
        verdict::judge(&findings, &[k3s("1.31")]);
        states(&findings, [("sextant-required.target", "active"), ("systemd-bless-boot.service", "active")]);
        assert_eq!(findings.step("state").ended(0), "good\n");
        findings.step("bundle").ended(0);
        pictured(&findings, &bundle::neighbours(&bundle_of(&findings)).unwrap());
        bundled(&findings);
        assert_eq!(self.entries()?, ["system_1.efi", "system_2.efi"], "it is good");
        Ok(())
    }

    fn parts(&self) -> Parts<'_> {
        let (esp, root) = (Disk::Lasting(&self.esp), Disk::Forgetful(&self.root));
        Parts {
            platform: &PC,
            memory: 1024,
            variables: &self.variables,
            esp,
            root,
            witness: None,
            more: Vec::new(),
            tpm: None,
        }
    }

    /// A boot in which the witness runs a script.
    fn boot(&self, name: &str, script: &str, entry: &str) -> Result<Findings, String> {
        let start = Instant::now();
        let directory = self.directory.join(name);
        fs::create_dir(&directory).unwrap();
        let scripts = repository().join("qemu/assessment/scripts");
        let preamble = scripts.join("preamble");
        let offer = k3s("1.31");
        let files = [(offer.file.clone(), offer.bytes.to_vec())];
        let brought = brought::make(&scripts.join(script), &[(&preamble, "preamble")], &files, &directory)?;
        let parts = Parts { more: vec![Disk::Forgetful(&brought)], ..self.parts() };
        let findings = witnessed(parts, &directory).map_err(|error| format!("boot {name}: {error}"))?;
        findings.script()?;
        let report = findings.report().ok_or("there is no report")?;
        assert_eq!(report["firmware"]["entry"], entry, "{}", report["firmware"]);
        eprintln!("{NAME}: boot {name} took {:.0} s", start.elapsed().as_secs_f32());
        Ok(findings)
    }

    /// A boot without a witness, which ends by itself in a reboot, and in nothing else.
    fn reboots(&self, name: &str) -> Result<(), String> {
        const REBOOT: &str = "reboot: Restarting system";
        let start = Instant::now();
        let log = File::create(self.directory.join(format!("{name}.log"))).unwrap();
        let mut machine = Machine::start(accel::of(&PC), &self.parts(), log);
        let (end, lines) = machine.wait(&[REBOOT], TIMEOUT);
        let last = || lines[lines.len().saturating_sub(25)..].join("\n");
        if !matches!(end, End::Said) {
            return Err(format!("boot {name} ended with {end:?} instead of a reboot; last lines:\n{}", last()));
        }
        match machine.wait(&[], TIMEOUT).0 {
            End::Off(status) if status.success() => {}
            end => return Err(format!("boot {name} ended with {end:?} after the reboot")),
        }
        eprintln!("{NAME}: boot {name} took {:.0} s", start.elapsed().as_secs_f32());
        Ok(())
    }

    /// The UKIs on the ESP.
    fn entries(&self) -> Result<Vec<String>, String> {
        let image = format!("{}@@1M", self.esp.display());
        let listed = succeed(Tree::Trixie.command("mdir").args(["-b", "-i", &image, "::/EFI/Linux"]))?;
        let name = |line: &str| line.rsplit('/').next().unwrap_or_default().to_owned();
        // A directory ends in a slash.
        let mut names: Vec<String> = listed.lines().filter(|line| !line.ends_with('/')).map(name).collect();
        names.sort();
        Ok(names)
    }
}

/// The drop-in that the documentation has, as it has it.
fn documented() -> String {
    let page = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let (_, text) = page.split_once("```ini\n# /usr/lib/systemd/system/boot-complete.target.d/").expect("no drop-in");
    format!("# {}", text.split_once("```").unwrap().0)
}

/// States of units, as the script saw them.
fn states<const N: usize>(findings: &Findings, expected: [(&str, &str); N]) {
    let shown = findings.step("units");
    for (unit, state) in expected {
        let block = format!("Id={unit}\nActiveState={state}\n");
        assert!(format!("{}\n", shown.ended(0)).contains(&block), "{unit} isn't {state}: {shown:#?}");
    }
}

/// The boot that isn't good for want of the extension: everything says so, and the machine is up.
fn missing(findings: &Findings) {
    let report = findings.report().unwrap();
    assert_eq!(report["images"][0]["reason"], "corrupt", "{report}");
    assert_eq!(report["merge"]["required_missing"], json!(["k3s"]), "{report}");
    assert_eq!(findings.merged("sysext"), Vec::<String>::new());
    states(
        findings,
        [
            ("sextant-confirm.service", "failed"),
            ("sextant-required.target", "inactive"),
            ("boot-complete.target", "inactive"),
            ("systemd-bless-boot.service", "inactive"),
        ],
    );
    assert_eq!(findings.step("state").ended(0), "indeterminate\n");
    let status = findings.step("status");
    assert!(status.ended(4).contains("Required: k3s: NOT merged"), "{status:#?}");
    let told = |entry: &&serde_json::Value| {
        let message = entry["MESSAGE"].as_str().unwrap_or_default();
        message == "required extension k3s is not merged: k3s_1.31.sysext.raw was rejected (corrupt)"
    };
    assert_eq!(findings.said().iter().filter(told).count(), 1, "{:?}", findings.said());
    let failed = |entry: &serde_json::Value| {
        entry["MESSAGE"].as_str().unwrap_or_default().starts_with("Dependency failed for boot-complete.target")
    };
    assert_eq!(findings.places(failed).len(), 1, "nothing kept the boot from being complete");
}

/// The picture of the boot has the units on both sides of the switch of the root, in the order of a boot, whether the journal has
/// their times from PID 1, from the kernel's log, or systemd itself has.
fn pictured(findings: &Findings, neighbours: &Neighbours) {
    let Neighbours { boot, units, problems } = neighbours;
    assert!(problems.is_empty(), "{problems:?}: {units:#?}");
    let host = boot.host.unwrap();
    assert!(boot.initrd.unwrap() < host, "{boot:?}");
    let of = |name: &str, is_of_the_initrd: bool| {
        let mut found =
            units.iter().filter(|unit| unit.name == *name && (unit.starting.begin < host) == is_of_the_initrd);
        found.next().unwrap_or_else(|| panic!("no {name}: {units:#?}"))
    };
    let passed = [
        // Before journald was there.
        ("dracut-cmdline.service", true),
        ("sextant-stage.service", true),
        ("systemd-udevd.service", true),
        ("initrd-root-fs.target", true),
        ("sextant-merge.service", true),
        ("initrd-switch-root.service", true),
        ("systemd-modules-load.service", false),
        ("systemd-sysext.service", false),
        ("sextant-confirm.service", false),
        ("boot-complete.target", false),
    ];
    let times: Vec<u64> = passed.iter().map(|(name, is_early)| of(name, *is_early).starting.begin).collect();
    assert!(times.is_sorted(), "{passed:?}: {times:?}");
    // A service whose condition did not hold was not started.
    let merges_in_initrd = |unit: &Unit| unit.name == *"systemd-sysext.service" && unit.starting.begin < host;
    assert!(!units.iter().any(|unit| merges_in_initrd(unit) || unit.name == *"dracut-mount.service"), "{units:#?}");
    // None is there twice, by the clock of the journal and by that of systemd.
    let side = |unit: &Unit| (unit.name.clone(), unit.starting.begin < host);
    let sides: BTreeSet<_> = units.iter().map(side).collect();
    assert_eq!(sides.len(), units.len(), "{units:#?}");
    assert!(of("systemd-udevd.service", true).until.is_some_and(|until| until < host), "it goes with the initrd");

    // Both clocks are one: what ran in a unit ran while it was started, and systemd said the same before it forgot.
    let report = bundle::report(&bundle_of(findings)).unwrap();
    for (name, command) in [("sextant-stage.service", "stage"), ("sextant-merge.service", "merge")] {
        let run = report.runs.iter().find(|run| run.command.as_str() == command).unwrap();
        let starting = of(name, true).starting;
        assert!(starting.begin <= run.begin_usec && run.end_usec.unwrap() <= starting.end, "{starting:?} {run:?}");
    }
    let shown = fs::read_to_string(findings.directory.join("initrd/times")).unwrap();
    let shown = Unit::parse_all(&shown);
    assert_eq!(shown.len(), 2, "{shown:#?}");
    for unit in &shown {
        let Span { begin, end } = of(unit.name.as_str(), true).starting;
        let distance = begin.abs_diff(unit.starting.begin).max(end.abs_diff(unit.starting.end));
        assert!(distance < 500_000, "{begin} to {end}, and systemd said {unit:?}");
    }

    let svg = findings.step("plot").ended(0).to_owned();
    for text in [
        "<title>dracut-cmdline.service: ",
        "<title>initrd-root-fs.target: ",
        "<title>sextant-stage.service: ",
        "<title>systemd-udevd.service (initrd): ",
        "<title>systemd-udevd.service: ",
        "<title>boot-complete.target: ",
        "<title>sextant-agent stage: ",
        "<title>k3s_1.31: ",
        "Boot entry system_2, Secure Boot enforcing",
    ] {
        assert!(svg.contains(text), "no {text} in {svg}");
    }
}

fn bundle_of(findings: &Findings) -> PathBuf {
    findings.directory.join("steps/bundle.tar")
}

/// What a bundle of this machine has: its report, and all files of the sealed configuration.
fn bundled(findings: &Findings) {
    let file = bundle_of(findings);
    let report = bundle::report(&file).unwrap();
    assert!(report.merge.is_some_and(|merge| merge.required_missing.is_empty()));
    let list = succeed(Command::new("tar").arg("-xOf").arg(&file).arg("sextant-bundle/sextant.yaml")).unwrap();
    for part in [CONFIG, DROP_IN.trim_end(), " bytes of /usr/lib/sextant.yaml.d/10-minimum.yaml\n"] {
        assert!(list.contains(part), "{list}");
    }
}
