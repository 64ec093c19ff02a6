//! The kernel's say, with whatever kernel runs here. What it says where it has everything is seen in virtual machines.

use super::vendor;
use crate::support::ddi::{good_image, native};
use crate::support::machine::Machine;
use sextant::firmware::{DirectoryVariables, Firmware};
use sextant::image::{Candidate, Class};
use sextant::kernel::{Activation, sweep};
use sextant::policy::Policy;
use sextant::reason::Reason;
use sextant::stage::InPlaceCustody;
use sextant::trust::TrustStore;
use sextant::verify::{Findings, Verifier};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Loop devices that show something of `directory`.
fn attached(directory: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(directory)).collect()
}

#[test]
fn a_kernel_without_the_means_is_named_and_nothing_stays_attached() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        println!("ignored: no loop devices, or not root");
        assert_ne!(std::env::var("SEXTANT_REQUIRE_TOOLBOX").as_deref(), Ok("1"));
        return;
    }
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    let policy = Policy::default();
    let variables = DirectoryVariables::new(machine.path("sys/firmware/efi/efivars"));
    let activation = Activation::new();
    let verifier = Verifier {
        policy: &policy,
        trust: &TrustStore::of_machine(&Firmware::read(&variables).unwrap(), &[], &policy.sources),
        architecture: native(),
        host: None,
        activation: &activation,
        threads: 1,
        now: SystemTime::now(),
    };
    let candidate = Candidate::open(&machine.path(".extra/sysext/k3s.sysext.raw"), Class::Sysext).unwrap();
    let outcome = verifier.verify(candidate, false, &InPlaceCustody, &mut Findings::default());
    let has_verity = fs::read_to_string("/proc/devices").unwrap().contains("device-mapper");
    match outcome {
        Ok(_) => assert!(has_verity),
        Err(refusal) => {
            assert_eq!(refusal.reason(), Reason::NotMountable);
            let detail = refusal.detail();
            assert!(detail.contains("the kernel has no "), "{detail}");
            assert!(has_verity || detail.contains("device mapper"), "{detail}");
        }
    }
    // They clear themselves once the last who looked at them has closed them: udev looks, too.
    let patience = Instant::now() + Duration::from_secs(10);
    while !attached(machine.root()).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(attached(machine.root()), Vec::<String>::new());
    assert_eq!(
        fs::read_dir("/run/sextant").map_or(0, |left| left.flatten().filter(|it| it.file_name() == "look").count()),
        0
    );
    sweep().unwrap();
}
