//! Policies about PCR 13, in front of systemd and a TPM in software: what a boot measures is put into its PCRs and into an event log.

use openssl::hash::{MessageDigest, hash};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::harness::left_out;
use support::keys;
use support::toolbox::{self, Toolbox};
use support::uki::with_stub;
use tempfile::TempDir;

/// How long it may take until the TPM listens.
const PATIENCE: Duration = Duration::from_secs(30);
const BESIDE: &str = "esp/EFI/kairos/active.efi.extra.d";

/// A machine: its partition, its TPM, and what the firmware wrote down about the boot.
struct Machine {
    directory: TempDir,
    /// That with the programs of the TPM.
    toolbox: Toolbox,
}

/// A TPM that is switched on.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// `None`, and the test is ignored, where there are no tools for it.
    fn make() -> Option<Self> {
        let toolbox = with_tools(Toolbox::find()?)?;
        let machine = Self { directory: toolbox::directory(), toolbox };
        machine.write("esp/EFI/kairos/active.efi", &with_stub("257.13"));
        machine.write("esp/EFI/kairos/passive.efi", &with_stub("257.13"));
        fs::create_dir(machine.path().join("tpm")).unwrap();
        machine.inside("swtpm_setup --tpm2 --pcr-banks sha256,sha384 --overwrite --tpm-state tpm >&2");
        Some(machine)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn inside(&self, script: &str) -> String {
        self.toolbox.succeed(&format!("cd \"$1\"\n{script}"), &[self.path().as_os_str()])
    }

    /// Runs `sextant`, which has to succeed.
    fn sextant(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        let output = command.current_dir(self.path()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Switches the TPM on, and measures what the stub of `entry` would, and then `more` into PCR 13.
    fn boot(&self, entry: &str, more: &[&[u8]]) -> Running {
        let predicted = self.sextant(&["measure", "--esp", "esp", "--entry", entry, "--json"]);
        let predicted: Value = serde_json::from_str(&predicted).unwrap();
        let digest = |event: &Value, bank: &str| sextant_cli::policies::unhex(event[bank].as_str().unwrap()).unwrap();
        let events = predicted["entries"][0]["events"].as_array().unwrap().iter();
        let mut events: Vec<_> = events.map(|event| [digest(event, "sha256"), digest(event, "sha384")]).collect();
        let digests = |bytes: &&[u8]| {
            [MessageDigest::sha256(), MessageDigest::sha384()].map(|algorithm| hash(algorithm, bytes).unwrap().to_vec())
        };
        events.extend(more.iter().map(digests));
        fs::write(self.path().join("log"), event_log(&events)).unwrap();

        let socket = self.path().join("socket");
        let _ = fs::remove_file(&socket);
        let mut command = self.toolbox.run("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", self.path().join("tpm").display()));
        command.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}.ctrl", socket.display()));
        let tpm = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "swtpm doesn't listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let hex = |bytes: &[u8]| ddi::bytes::hex(bytes);
        for [sha256, sha384] in &events {
            let line = format!("13:sha256={},sha384={}", hex(sha256), hex(sha384));
            self.inside(&format!("TPM2TOOLS_TCTI=swtpm:path=$1/socket tpm2_pcrextend {line}"));
        }
        tpm
    }

    /// The value of PCR 13 that is predicted.
    fn value(&self, entry: &str, bank: &str) -> String {
        let predicted = self.sextant(&["measure", "--esp", "esp", "--entry", entry, "--json"]);
        let predicted: Value = serde_json::from_str(&predicted).unwrap();
        predicted["entries"][0]["pcr13"][bank].as_str().unwrap().to_owned()
    }

    /// Runs a command of one of the trees, on this machine.
    fn systemd(&self, toolbox: &Toolbox, command: &str) -> Output {
        let script = format!(
            "cd \"$1\"\n\
             export SYSTEMD_TPM2_DEVICE=swtpm:path=$1/socket SYSTEMD_MEASURE_LOG_FIRMWARE=$1/log\n\
             export SYSTEMD_MEASURE_LOG_USERSPACE=$1/none\n{command}"
        );
        toolbox.script(&script, &[self.path().as_os_str()])
    }

    fn pcrlock(&self, toolbox: &Toolbox, arguments: &str) -> (Option<i32>, String) {
        let output = self.systemd(
            toolbox,
            &format!(
                "/usr/lib/systemd/systemd-pcrlock --components=pcrlock.d --pcr=13 --policy=policy.json {arguments} 2>&1"
            ),
        );
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn with_tools(toolbox: Toolbox) -> Option<Toolbox> {
    let there =
        toolbox.script("test -x /usr/lib/systemd/systemd-pcrlock && ls /usr/lib/*/libtss2-tcti-swtpm.so.0", &[]);
    if there.status.success() {
        return Some(toolbox);
    }
    left_out("the toolbox has no tools for a TPM: run tests/toolbox/prepare");
    None
}

/// Both versions of systemd, and the name of each.
fn versions() -> Option<[(&'static str, Toolbox); 2]> {
    Some([("257", with_tools(Toolbox::find()?)?), ("262", with_tools(Toolbox::newer()?)?)])
}

/// An event log of the firmware with measurements into PCR 13 (TCG PC Client Platform Firmware Profile, "Event Logging").
fn event_log(events: &[[Vec<u8>; 2]]) -> Vec<u8> {
    let mut header = b"Spec ID Event03\0".to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 2, 2, 0, 0, 0, 0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0]);
    let mut log = [0_u32, 3].map(u32::to_le_bytes).concat();
    log.extend([0; 20]);
    log.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    log.extend(header);
    for [sha256, sha384] in events {
        // EV_IPL, two digests, and a text.
        log.extend([13_u32, 0x0d, 2].map(u32::to_le_bytes).concat());
        log.extend([&[0x0b, 0], &sha256[..], &[0x0c, 0], &sha384[..]].concat());
        let text: Vec<u8> = "System extension initrd\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        log.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        log.extend(text);
    }
    log
}

/// PCR 13 is in the prediction of systemd-pcrlock, with the value of each entry, and not if a set was booted that is not recorded.
pub(crate) fn pcrlock_recognizes_a_boot_by_our_variants() {
    let (Some(machine), Some(versions)) = (Machine::make(), versions()) else { return };
    machine.write(&format!("{BESIDE}/a.sysext.raw"), b"a");
    machine.write(&format!("{BESIDE}/b.sysext.raw"), b"b");
    machine.sextant(&["measure", "--esp", "esp", "--pcrlock", "pcrlock.d"]);
    for (version, toolbox) in &versions {
        let tpm = machine.boot("active", &[]);
        let (status, said) = machine.pcrlock(toolbox, "predict");
        assert_eq!(status, Some(0), "{version}: {said}");
        assert!(said.contains("PCRs in protection mask: 13 (sysexts)"), "{version}: {said}");
        let values: Vec<_> = said.lines().filter_map(|line| line.trim().strip_prefix("sha256: ")).collect();
        assert_eq!(values, [machine.value("active", "sha256"), "0".repeat(64)], "{version}: {said}");
        let (_, said) = machine.pcrlock(toolbox, "log --json=short");
        assert!(said.contains("670-sextant"), "{version}: {said}");
        drop(tpm);

        let _foreign = machine.boot("active", &[b"another archive"]);
        let (_, said) = machine.pcrlock(toolbox, "predict");
        assert!(said.contains("unrecognized measurements. Removing from set of PCRs"), "{version}: {said}");
    }
}

/// The separator that the initrd of systemd 262 measures into PCR 13 comes after our component.
pub(crate) fn the_separator_of_the_initrd_comes_after_our_component() {
    let (Some(machine), Some([_, (_, newer)])) = (Machine::make(), versions()) else { return };
    machine.write(&format!("{BESIDE}/a.sysext.raw"), b"a");
    machine.sextant(&["measure", "--esp", "esp", "--pcrlock", "pcrlock.d"]);
    let _tpm = machine.boot("active", &[b"os-separator"]);
    let separator = "mkdir pcrlock.d/750-os-separator.pcrlock.d\n\
                     grep -o '{\"pcr\":13,[^]]*]}' /usr/lib/pcrlock.d/750-os-separator.pcrlock >record\n\
                     printf '{\"records\":[%s]}' \"$(cat record)\" >pcrlock.d/750-os-separator.pcrlock.d/it.pcrlock";
    let output = machine.systemd(&newer, separator);
    assert!(output.status.success(), "{output:?}");
    let (status, said) = machine.pcrlock(&newer, "predict");
    assert_eq!(status, Some(0), "{said}");
    let variant = fs::read(machine.path().join("pcrlock.d/670-sextant.pcrlock.d/active.pcrlock")).unwrap();
    let variant = sextant_cli::policies::Variant::parse(&variant).unwrap();
    let [_, separated] = variant.values_in(sextant_cli::measure::Bank::Sha256).unwrap();
    assert!(said.contains(&format!("sha256: {}", ddi::bytes::hex(&separated))), "{said}");
    // What sextant takes for the booted set.
    machine.write("sysfs/pcr-sha256/13", ddi::bytes::hex(&separated).as_bytes());
    machine.sextant(&["measure", "--esp", "esp", "--entry", "active", "--add", "record", "--pcrlock", "pcrlock.d"]);
    machine.sextant(&["measure", "--pcrlock", "pcrlock.d", "--booted", "--tpm", "sysfs"]);
}

/// The PIN that systemd-pcrlock needs to change its policy is sealed by that policy: it opens after an update, and not with a set that is
/// not recorded.
pub(crate) fn the_policy_opens_for_recorded_sets_alone() {
    let (Some(machine), Some(versions)) = (Machine::make(), versions()) else { return };
    for (version, toolbox) in &versions {
        let made = |expected: bool, when: &str| {
            let (status, said) = machine.pcrlock(toolbox, "make-policy --force");
            assert_eq!(status == Some(0), expected, "{version}, {when}: {said}");
            said
        };
        for name in ["pcrlock.d", "policy.json", BESIDE] {
            let path = machine.path().join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        machine.write(&format!("{BESIDE}/k3s_1.sysext.raw"), b"one");
        machine.write("k3s_2.sysext.raw", b"two");
        machine.sextant(&["measure", "--esp", "esp", "--entry", "active", "--pcrlock", "pcrlock.d"]);
        let tpm = machine.boot("active", &[]);
        made(true, "the first boot");
        // An update is announced, and takes place.
        let update = ["--add", "k3s_2.sysext.raw", "--remove", "k3s_1.sysext.raw", "--pcrlock", "pcrlock.d"];
        machine.sextant(&[&["measure", "--esp", "esp", "--entry", "active"], &update[..]].concat());
        made(true, "the update");
        fs::remove_file(machine.path().join(BESIDE).join("k3s_1.sysext.raw")).unwrap();
        machine.write(&format!("{BESIDE}/k3s_2.sysext.raw"), b"two");
        drop(tpm);

        let tpm = machine.boot("active", &[]);
        machine.write("sysfs/pcr-sha256/13", machine.value("active", "sha256").as_bytes());
        let said = machine.sextant(&["measure", "--pcrlock", "pcrlock.d", "--booted", "--tpm", "sysfs"]);
        assert!(said.starts_with("active: active@"), "{said}");
        made(true, "the boot after the update");
        drop(tpm);

        machine.write(&format!("{BESIDE}/evil.sysext.raw"), b"evil");
        let tpm = machine.boot("active", &[]);
        let said = made(false, "a foreign set");
        assert!(said.contains("Failed to submit AuthorizeNV policy"), "{version}: {said}");
        drop(tpm);

        // The former set, which is not admitted any more.
        let _ = fs::remove_dir_all(machine.path().join(BESIDE));
        machine.write(&format!("{BESIDE}/k3s_1.sysext.raw"), b"one");
        let _tpm = machine.boot("active", &[]);
        made(false, "the former set");
    }
}

/// Our digests of policies are those of a TPM, in both banks.
pub(crate) fn a_tpm_computes_the_same_policy() {
    let Some(machine) = Machine::make() else { return };
    machine.write(&format!("{BESIDE}/a.sysext.raw"), b"a");
    let _tpm = machine.boot("active", &[]);
    for bank in sextant_cli::measure::Bank::ALL {
        let value = sextant_cli::policies::unhex(&machine.value("active", &bank.to_string())).unwrap();
        let ours = ddi::bytes::hex(&sextant_cli::policies::policy_digest(bank, 13, &value));
        let theirs = machine.inside(&format!(
            "TPM2TOOLS_TCTI=swtpm:path=$1/socket tpm2_createpolicy --policy-pcr --pcr-list {bank}:13 --policy policy"
        ));
        assert_eq!(theirs.trim(), ours);
    }
}

/// A secret that systemd-creds binds to our key and PCR 13 opens with signed sets, and no other.
pub(crate) fn secrets_open_by_our_signatures() {
    let (Some(machine), Some(versions)) = (Machine::make(), versions()) else { return };
    let signer = keys::rsa("PCR signer");
    machine.write("pcr.key", &signer.key.private_key_to_pem_pkcs8().unwrap());
    machine.write("pcr.crt", &signer.pem());
    machine.write("pcr.pub", &signer.key.public_key_to_pem().unwrap());
    machine.write("secret", b"secret\n");
    machine.write(&format!("{BESIDE}/k3s_1.sysext.raw"), b"one");
    machine.write("k3s_2.sysext.raw", b"two");
    let keys = ["--private-key", "pcr.key", "--certificate", "pcr.crt", "--sign", "signatures.json"];
    let sign = |more: &[&str]| {
        machine.sextant(&[&["measure", "--esp", "esp", "--entry", "active"], &keys[..], more].concat());
    };
    sign(&[]);
    // The update is signed before it takes place, and the set before it stays signed.
    sign(&["--add", "k3s_2.sysext.raw", "--remove", "k3s_1.sysext.raw", "--append", "signatures.json"]);
    for (version, toolbox) in &versions {
        let creds = |command: &str| {
            machine.systemd(toolbox, &format!("systemd-creds {command} --tpm2-device=swtpm:path=$1/socket"))
        };
        let opens = || {
            let output = creds("decrypt --name=test --tpm2-signature=$1/signatures.json sealed -");
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let tpm = machine.boot("active", &[]);
        let sealed = creds(
            "encrypt --name=test --with-key=tpm2-with-public-key --tpm2-pcrs= --tpm2-public-key=pcr.pub \
             --tpm2-public-key-pcrs=13 secret sealed",
        );
        assert!(sealed.status.success(), "{version}: {sealed:?}");
        assert_eq!(opens(), (true, "secret\n".to_owned()), "{version}, as it was sealed");
        drop(tpm);

        fs::rename(machine.path().join(BESIDE).join("k3s_1.sysext.raw"), machine.path().join("k3s_1")).unwrap();
        machine.write(&format!("{BESIDE}/k3s_2.sysext.raw"), b"two");
        let tpm = machine.boot("active", &[]);
        assert_eq!(opens(), (true, "secret\n".to_owned()), "{version}, after the update");
        drop(tpm);

        machine.write(&format!("{BESIDE}/evil.sysext.raw"), b"evil");
        let tpm = machine.boot("active", &[]);
        assert_eq!(opens(), (false, String::new()), "{version}, a set that is not signed");
        drop(tpm);
        let _ = fs::remove_dir_all(machine.path().join(BESIDE));
        machine.write(&format!("{BESIDE}/k3s_1.sysext.raw"), b"one");
    }
}
