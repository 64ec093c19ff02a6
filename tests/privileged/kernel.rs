//! The kernel's say, with whatever kernel runs here. What it says where it has everything is seen in virtual machines.

use super::vendor;
use crate::namespace::with_empty_run;
use ddi::Class;
use loopdev::LoopControl;
use sextant::confine::Confinement;
use sextant::firmware::{DirectoryVariables, Firmware};
use sextant::kernel::{Activation, Leftovers, sweep};
use sextant::policy::Policy;
use sextant::reason::Reason;
use sextant::trust::TrustStore;
use sextant::verify::Candidate;
use sextant::verify::{Accepted, Findings, InPlaceCustody, Verifier};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use support::ddi::{good_image, native};
use support::harness::ignore;
use support::machine::Machine;

/// Loop devices that show something of `directory`.
fn attached(directory: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    backing.filter(|file| Path::new(file.trim()).starts_with(directory)).collect()
}

/// Loop devices clear themselves once the last process that looks at them has closed them: udev looks, too.
fn assert_all_cleared(directory: &Path) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !attached(directory).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(attached(directory), Vec::<String>::new());
}

/// Runs `test` where devices can be made; they are the machine's, what else it makes isn't.
fn with_devices(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        ignore("no loop devices, or not root");
    }
    with_empty_run(test);
}

pub(crate) fn a_kernel_without_the_means_is_named_and_nothing_stays_attached() {
    with_devices(activate);
}

fn activate() {
    let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &good_image("k3s", vendor()));
    let policy = Policy::default();
    let variables = DirectoryVariables::new(machine.path("sys/firmware/efi/efivars"));
    let activation = Activation::new();
    let verifier = Verifier {
        policy: &policy,
        trust: &TrustStore::of_machine(&Firmware::read(&variables).unwrap(), &[], &policy.sources),
        architecture: native(),
        host: None,
        activation: Some(&activation),
        confinement: Confinement::Worker { until: None },
        threads: 1,
        now: SystemTime::now(),
    };
    let candidate = Candidate::open(&machine.path(".extra/sysext/k3s.sysext.raw"), Class::Sysext).unwrap();
    let outcome = verifier.verify(candidate, &Accepted::default(), &InPlaceCustody, &mut Findings::default());
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
    assert_all_cleared(machine.root());
    assert_eq!(
        fs::read_dir("/run/sextant").map_or(0, |left| left.flatten().filter(|it| it.file_name() == "look").count()),
        0
    );
}

/// Two checkouts can be tested at once, and a machine may have an agent of its own.
pub(crate) fn a_sweep_takes_what_it_is_told_to_and_nothing_else() {
    with_devices(|| {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let attach = |directory: &Path| {
            let file = directory.join("image");
            fs::write(&file, vec![0; 4096]).unwrap();
            let device = LoopControl::open().unwrap().next_free().unwrap();
            let file = fs::File::open(&file).unwrap();
            device.with().read_only(true).attach_fd(file.as_raw_fd()).unwrap();
            device
        };
        let [ours, other] = directories.each_ref().map(|directory| attach(directory.path()));
        let prefix = format!("{}/", directories[0].path().display());
        let nothing = "a name that no device has".to_owned();
        let count = sweep(&Leftovers { images: vec![prefix], name: nothing.clone(), uuid: nothing });
        let others = attached(directories[1].path()).len();
        other.detach().unwrap();
        drop(ours);
        assert_eq!((count.unwrap(), others), (1, 1));
        assert_all_cleared(directories[0].path());
    });
}
