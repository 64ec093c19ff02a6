//! A machine with a TPM whose volume is bound to PCR 13 by systemd-pcrlock: it opens after an update that sextant made, and not with a
//! set that another person put beside the UKI.

use crate::brought;
use crate::cpio::Archive;
use crate::guest::Guest;
use crate::images::Offer;
use crate::initrd::TOOL;
use crate::keys;
use crate::life::esp;
use crate::machine::{Disk, Parts};
use crate::platform::PC;
use crate::run::{supervise, witnessed};
use crate::toolbox::{Tree, fresh, repository, succeed, work};
use crate::tpm;
use crate::uki;
use crate::variables::Firmware;
use crate::verdict;
use crate::witness::{Findings, Step};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use support::trees;

pub const NAME: &str = "policies";
pub const ABOUT: &str =
    "a volume that is bound to the extensions by systemd-pcrlock opens after an update, and not with other ones";

/// Where the extensions of the entry are on the partition.
const BESIDE: &str = "EFI/kairos/active.efi.extra.d";

/// Why it can't be run with this toolbox.
pub fn obstacle() -> Option<String> {
    let tree = Guest::Systemd257.tree().path();
    let needed = ["usr/bin/swtpm", "usr/bin/systemd-cryptenroll", "usr/bin/tpm2_pcrextend"];
    let missing = needed.into_iter().find(|file| !tree.join(file).exists())?;
    Some(format!("the toolbox has no {missing}: run tests/toolbox/prepare"))
}

/// # Errors
/// What is wrong, and where to look.
pub fn test() -> Result<(), String> {
    let start = Instant::now();
    let directory = work().join("boots").join(NAME);
    fresh(&directory)?;
    let machine = Machine::make(&directory)?;
    let made = start.elapsed();
    supervise((NAME, ABOUT), &directory, made, || machine.live())
}

fn extension(name: &str) -> Offer {
    Offer::with_tree(name, &trees::Tree::sysext(name), keys::db(), "db")
}

/// What stays when the machine is off.
struct Machine {
    directory: PathBuf,
    esp: PathBuf,
    variables: PathBuf,
    root: PathBuf,
    tpm: PathBuf,
}

impl Machine {
    fn make(directory: &Path) -> Result<Self, String> {
        let guest = Guest::Systemd257;
        let (variables, tpm, root) =
            (directory.join("variables.fd"), directory.join("tpm"), directory.join("root.img"));
        Firmware::Enforcing.write(guest.platform(), &variables)?;
        tpm::make(&tpm)?;
        fs::copy(&guest.base()?.root, &root).map_err(|error| format!("copying the root file system: {error}"))?;
        enlarge(&root)?;
        let signed = uki::make(guest, &guest.base()?.initrd, &Archive::new(), "", keys::db(), directory)?;
        let offer = extension("k3s_1.30");
        let files = [(format!("{BESIDE}/{}", offer.file), Arc::clone(&offer.bytes))];
        let esp = esp::make(&signed, &["active", "passive"], &files, directory)?;
        Ok(Self { directory: directory.to_owned(), esp, variables, root, tpm })
    }

    fn live(&self) -> Result<(), String> {
        bound(&self.boot("1-bind", &[extension("k3s_1.30")])?);
        updated(&self.boot("2-updated", &[extension("k3s_1.31")])?);
        self.put_there(&extension("other"))?;
        foreign(&self.boot("3-foreign", &[extension("k3s_1.31"), extension("other")])?);
        Ok(())
    }

    /// Another person has the partition in their hands.
    fn put_there(&self, offer: &Offer) -> Result<(), String> {
        let file = self.directory.join(&offer.file);
        fs::write(&file, &**offer.bytes).unwrap();
        let image = format!("{}@@1M", self.esp.display());
        let target = format!("::/{BESIDE}/{}", offer.file);
        succeed(Tree::Trixie.command("mcopy").args(["-Q", "-i", &image]).arg(&file).arg(target)).map(drop)
    }

    fn boot(&self, name: &str, offers: &[Offer]) -> Result<Findings, String> {
        let start = Instant::now();
        let directory = self.directory.join(name);
        fs::create_dir(&directory).unwrap();
        let scripts = repository().join("qemu/policies/scripts");
        let (preamble, unit) = (scripts.join("preamble"), repository().join("systemd-units/sextant-pcrlock.service"));
        let copies = [(&*preamble, "preamble"), (&*unit, "sextant-pcrlock.service")];
        let offer = extension("k3s_1.31");
        let drop_in = ("50-pcrs.conf".to_owned(), documented().into_bytes());
        let files = [(offer.file.clone(), offer.bytes.to_vec()), drop_in];
        let brought = brought::make(&scripts.join(name), &copies, &files, &directory)?;
        let parts = Parts {
            platform: &PC,
            memory: 1024,
            variables: &self.variables,
            esp: Disk::Lasting(&self.esp),
            root: Disk::Lasting(&self.root),
            witness: None,
            more: vec![Disk::Forgetful(&brought)],
            tpm: Some(&self.tpm),
        };
        let findings = witnessed(parts, &directory).map_err(|error| format!("boot {name}: {error}"))?;
        findings.script()?;
        verdict::judge(&findings, offers);
        eprintln!("{NAME}: boot {name} took {:.0} s", start.elapsed().as_secs_f32());
        Ok(findings)
    }
}

/// Makes room for the tool and the volume.
fn enlarge(root: &Path) -> Result<(), String> {
    let file = OpenOptions::new().write(true).open(root).unwrap();
    let more = fs::metadata(TOOL).unwrap().len() + (64 << 20);
    file.set_len(file.metadata().unwrap().len() + more).unwrap();
    succeed(Tree::Trixie.command("resize2fs").arg("-f").arg(root)).map(drop)
}

/// The drop-in that the documentation has, as it has it.
fn documented() -> String {
    let page = fs::read_to_string(repository().join("docs/measured-boot.md")).unwrap();
    let (_, text) = page.split_once("```ini\n# /etc/systemd/system/systemd-pcrlock-make-policy").expect("no drop-in");
    format!("# {}", text.split_once("```").unwrap().0)
}

/// The values that a policy admits for PCR 13.
fn admitted(policy: &Step) -> Vec<String> {
    let policy = policy.json(0);
    let values = policy["pcrValues"].as_array().unwrap();
    let pcr = values.iter().find(|values| values["pcr"] == 13).unwrap_or_else(|| panic!("no PCR 13: {policy}"));
    pcr["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// The value of PCR 13 in this boot.
fn measured(findings: &Findings) -> String {
    findings.text("pcr13").trim().to_ascii_lowercase()
}

fn lines(step: &Step) -> Vec<String> {
    step.ended(0).lines().map(str::to_owned).collect()
}

fn bound(findings: &Findings) {
    let step = |name| findings.step(name);
    // What systemd-pcrlock does without us.
    let said = step("unrecognized");
    assert!(said.err.contains("unrecognized measurements. Removing from set of PCRs"), "{said:#?}");
    step("record").ended(0);
    let said = step("recognized");
    assert!(said.err.contains("PCRs in protection mask: 13 (sysexts)"), "{said:#?}");
    let log = step("log").json(0);
    let is_ours = |row: &&serde_json::Value| row["component"] == "670-sextant" && row["pcr"] == 13;
    let events = log["log"].as_array().unwrap().iter().filter(is_ours).count();
    assert_eq!(events, 1, "{log}");
    step("make").ended(0);
    let zero = "0".repeat(64);
    assert_eq!(admitted(&step("policy")), [measured(findings), zero.clone()], "active, and passive without any");
    for name in ["reload", "format", "enroll", "open", "install", "remove", "open-still", "package", "enable"] {
        step(name).ended(0);
    }
    // This boot, the one between the two commands, and the next one.
    let variants = lines(&step("variants"));
    let former = variants.iter().filter(|file| file.starts_with("active@")).count();
    assert!(variants.len() == 4 && former == 2 && variants.contains(&"active.pcrlock".to_owned()), "{variants:?}");
    let both = admitted(&step("policy-both"));
    assert!(both.len() == 4 && both.contains(&measured(findings)) && both.contains(&zero), "{both:?}");
}

fn updated(findings: &Findings) {
    let step = |name| findings.step(name);
    step("open").ended(0);
    let shown = step("units");
    for unit in ["sextant-pcrlock.service", "systemd-pcrlock-make-policy.service"] {
        let block = shown.ended(0).split("\n\n").find(|block| block.contains(&format!("Id={unit}\n"))).unwrap();
        for line in ["ActiveState=active", "Result=success", "ConditionResult=yes"] {
            assert!(block.contains(line), "{block}");
        }
    }
    assert_eq!(lines(&step("variants")), ["active.pcrlock", "passive.pcrlock"]);
    assert_eq!(admitted(&step("policy")), [measured(findings), "0".repeat(64)]);
    step("check").ended(0);
}

fn foreign(findings: &Findings) {
    let step = |name| findings.step(name);
    assert_ne!(step("open").status, 0);
    let said = step("remove");
    let refused = "nothing removed: the extensions of boot entry active are not those that were recorded";
    assert!(said.status == 1 && said.err.contains(refused), "{said:#?}");
    let said = step("booted");
    assert_eq!((said.status, said.out.as_str()), (0, "nothing to remove\n"), "{said:#?}");
    assert_eq!(lines(&step("variants")), ["active.pcrlock", "passive.pcrlock"]);
    // Nor does systemd put up with the set.
    step("make").ended(0);
    assert!(!admitted(&step("policy")).contains(&measured(findings)));
}
