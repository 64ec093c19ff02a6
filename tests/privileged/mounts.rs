//! Staging without a copy. Mounts need a privilege that a build machine may not give; a machine that boots has it.

use super::vendor;
use crate::namespace::in_namespace;
use ddi::Class;
use nix::mount::{MsFlags, mount, umount};
use sextant::confine::Confinement;
use sextant::firmware::{DirectoryVariables, Firmware};
use sextant::kernel::DetachedMount;
use sextant::policy::Policy;
use sextant::reason::Reason;
use sextant::root::Root;
use sextant::stage::{self, Backing, CopyCustody, MountCustody};
use sextant::trust::{TrustStore, export};
use sextant::verify::Candidate;
use sextant::verify::{Accepted, Custody, Findings, HeldImage, Shortage, VerifiedImage, Verifier};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::SystemTime;
use support::ddi::{good_image, native};
use support::machine::Machine;

fn verify<C: Custody>(machine: &Machine, file: &Path, custody: &C) -> Result<VerifiedImage<C::Backing>, Reason> {
    let policy = Policy::default();
    let variables = DirectoryVariables::new(machine.path("sys/firmware/efi/efivars"));
    let firmware = Firmware::read(&variables).unwrap();
    let verifier = Verifier {
        policy: &policy,
        trust: &TrustStore::of_machine(&firmware, &[], &policy.sources),
        architecture: native(),
        host: None,
        activation: None,
        confinement: Confinement::InProcess,
        threads: 2,
        now: SystemTime::now(),
    };
    let candidate = Candidate::open(file, Class::Sysext).unwrap();
    verifier
        .verify(candidate, &Accepted::default(), custody, &mut Findings::default())
        .map_err(|refusal| refusal.reason())
}

struct Case {
    machine: Machine,
    root: Root,
    custody: MountCustody,
    image: Vec<u8>,
}

impl Case {
    fn new() -> Self {
        let image = good_image("k3s", vendor());
        let machine = Machine::trusting(&[vendor()]).sysext("k3s.sysext.raw", &image);
        let root = Root::open(machine.root()).unwrap();
        let custody = MountCustody::new(CopyCustody::new(&root, Policy::default().limits).unwrap());
        Self { machine, root, custody, image }
    }

    fn source(&self) -> std::path::PathBuf {
        self.machine.path(".extra/sysext/k3s.sysext.raw")
    }

    fn staged(&self) -> std::path::PathBuf {
        self.machine.path("run/extensions/k3s.raw")
    }

    fn stage(&self) -> stage::StagedImage {
        stage::stage(&self.root, verify(&self.machine, &self.source(), &self.custody).unwrap()).unwrap()
    }
}

/// The directory in which systemd looks for certificates can be a mount, of a disk.
pub(crate) fn certificates_of_others_are_deleted_from_memory_alone() {
    in_namespace(|| {
        let machine = Machine::new();
        let place = machine.path("run/verity.d");
        fs::create_dir_all(&place).unwrap();
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let file = place.join("stranger.crt");
        fs::write(&file, vendor().pem()).unwrap();
        let root = Root::open(machine.root()).unwrap();
        let error = format!("{:#}", export(&root, &[]).unwrap_err());
        let expected = "removing /run/verity.d/stranger.crt: /run/verity.d is on another file system than /run";
        assert_eq!(error, expected);
        assert!(file.exists());
        umount(&place).unwrap();
        fs::write(&file, vendor().pem()).unwrap();
        assert_eq!(export(&root, &[]).unwrap().files.len(), 1);
        assert!(!file.exists());
    });
}

/// A rename changes the time of change, so it comes before the file is opened.
pub(crate) fn what_others_left_is_moved_aside_and_then_mounted_where_it_was() {
    in_namespace(|| {
        let case = Case::new();
        let directory = case.machine.path("run/extensions");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("k3s.raw"), &case.image).unwrap();
        let moved = stage::take_out(&case.root, Class::Sysext, "k3s.raw".as_ref()).unwrap();
        let moved = case.machine.path(moved).join("k3s.raw");
        let named = moved.with_file_name("k3s.sysext.raw");
        fs::rename(&moved, &named).unwrap();
        let staged = stage::stage(&case.root, verify(&case.machine, &named, &case.custody).unwrap()).unwrap();
        assert_eq!(staged.occupied(), 0);
        assert_eq!(fs::read(case.staged()).unwrap(), case.image);
        assert!(stage::foreign(&case.root, Class::Sysext, 9).unwrap().is_empty());
        // The other way round it is another file to whoever compares.
        let late = verify(&case.machine, &named, &case.custody).unwrap();
        fs::rename(&named, moved.with_file_name("later.raw")).unwrap();
        assert!(stage::stage(&case.root, late).is_err());
    });
}

pub(crate) fn the_verified_file_is_seen_under_its_second_name_and_nobody_can_write_through_it() {
    in_namespace(|| {
        let case = Case::new();
        let staged = case.stage();
        assert_eq!((staged.path(), staged.occupied()), ("/run/extensions/k3s.raw", 0));
        assert_eq!(fs::read(case.staged()).unwrap(), case.image);
        let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).unwrap();
        assert_eq!(identity(&case.staged()), identity(&case.source()), "no copy");
        let written = fs::OpenOptions::new().write(true).open(case.staged()).unwrap_err();
        assert_eq!(written.kind(), io::ErrorKind::ReadOnlyFilesystem);
        let options = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = options.lines().find(|line| line.contains("run/extensions/k3s.raw")).unwrap();
        let flags: Vec<_> = line.split(' ').nth(5).unwrap().split(',').collect();
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(flags.contains(&flag), "{line}");
        }
        // What deleting the initrd does to it: nothing.
        fs::remove_file(case.source()).unwrap();
        assert_eq!(fs::read(case.staged()).unwrap(), case.image);
        assert_eq!(fs::metadata(case.staged()).unwrap().nlink(), 0);
    });
}

pub(crate) fn another_file_in_its_place_is_never_staged() {
    in_namespace(|| {
        let case = Case::new();
        let verified = verify(&case.machine, &case.source(), &case.custody).unwrap();
        let aside = case.machine.path("aside");
        fs::write(&aside, "something else").unwrap();
        fs::rename(&aside, case.source()).unwrap();
        assert_eq!(fs::read(case.source()).unwrap(), b"something else");
        // Not every kernel mounts a file that has lost its name. None mounts the other one.
        match stage::stage(&case.root, verified) {
            Ok(_) => assert_eq!(fs::read(case.staged()).unwrap(), case.image),
            Err(_) => assert!(case.staged().symlink_metadata().is_err()),
        }
    });
}

pub(crate) fn a_write_after_verifying_is_noticed_before_the_merge() {
    in_namespace(|| {
        let case = Case::new();
        case.stage();
        assert!(stage::recheck(&case.root, &|_, name| name == "k3s").unwrap().is_empty(), "nothing has changed yet");
        assert!(case.staged().exists());
        fs::set_permissions(case.source(), fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(case.source(), b"x").unwrap();
        let withdrawn = stage::recheck(&case.root, &|_, name| name == "k3s").unwrap();
        assert_eq!(withdrawn.len(), 1);
        assert_eq!(withdrawn[0].file, "k3s.raw");
        assert_eq!(withdrawn[0].cause, "it was changed after it had been verified");
        assert!(case.staged().symlink_metadata().is_err());
        assert!(stage::recheck(&case.root, &|_, name| name == "k3s").unwrap().is_empty(), "it is said once");
    });
}

/// The kernel's clock may stand still for a tick.
pub(crate) fn let_a_tick_pass() {
    thread::sleep(std::time::Duration::from_millis(20));
}

pub(crate) fn a_write_between_verifying_and_staging_is_noticed() {
    in_namespace(|| {
        let case = Case::new();
        let verified = verify(&case.machine, &case.source(), &case.custody).unwrap();
        let_a_tick_pass();
        fs::write(case.source(), &case.image).unwrap();
        let error = format!("{:#}", stage::stage(&case.root, verified).unwrap_err());
        assert!(error.contains("changed since"), "{error}");
        assert!(case.staged().symlink_metadata().is_err());
        assert!(stage::recheck(&case.root, &|_, name| name == "k3s").unwrap().len() == 1, "nothing vouches for it");
    });
}

pub(crate) fn a_copy_that_was_written_to_is_not_staged() {
    let case = Case::new();
    let custody = CopyCustody::new(&case.root, Policy::default().limits).unwrap();
    let copy = case.machine.path("run/sextant/staging/image");
    let verified = verify(&case.machine, &case.source(), &custody).unwrap();
    let_a_tick_pass();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&copy, &case.image).unwrap();
    let error = format!("{:#}", stage::stage(&case.root, verified).unwrap_err());
    assert!(error.contains("changed since"), "{error}");
    assert!(case.staged().symlink_metadata().is_err());

    let verified = verify(&case.machine, &case.source(), &custody).unwrap();
    stage::stage(&case.root, verified).unwrap();
    assert_eq!(fs::metadata(case.staged()).unwrap().permissions().mode() & 0o7777, 0o444);
    assert!(stage::recheck(&case.root, &|_, name| name == "k3s").unwrap().is_empty(), "a rename is no change");
    let_a_tick_pass();
    fs::set_permissions(case.staged(), fs::Permissions::from_mode(0o644)).unwrap();
    let withdrawn = stage::recheck(&case.root, &|_, name| name == "k3s").unwrap();
    assert_eq!(withdrawn.len(), 1);
    assert_eq!(withdrawn[0].cause, "it was changed after it had been verified");
}

pub(crate) fn a_write_to_a_copy_while_it_is_verified_is_noticed() {
    struct Meddler<'c>(&'c Case, CopyCustody);
    impl Custody for Meddler<'_> {
        type Backing = Backing;
        type Mount = DetachedMount;

        fn take(&self, candidate: Candidate) -> Result<HeldImage<Backing>, Box<Shortage>> {
            let taken = self.1.take(candidate);
            let_a_tick_pass();
            let copy = self.0.machine.path("run/sextant/staging/image");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
            fs::write(copy, &self.0.image).unwrap();
            taken
        }

        fn only_mount(&self, backing: Backing) -> Result<DetachedMount, Backing> {
            Err(backing)
        }
    }
    let case = Case::new();
    let custody = CopyCustody::new(&case.root, Policy::default().limits).unwrap();
    let meddler = Meddler(&case, custody);
    assert_eq!(verify(&case.machine, &case.source(), &meddler).err(), Some(Reason::Unreadable));
}

pub(crate) fn a_write_while_verifying_is_noticed() {
    struct Meddler<'c>(&'c Case);
    impl Custody for Meddler<'_> {
        type Backing = Backing;
        type Mount = DetachedMount;

        fn take(&self, candidate: Candidate) -> Result<HeldImage<Backing>, Box<Shortage>> {
            let taken = self.0.custody.take(candidate);
            // The same bytes, so that only the time tells.
            fs::write(self.0.source(), &self.0.image).unwrap();
            taken
        }

        fn only_mount(&self, backing: Backing) -> Result<DetachedMount, Backing> {
            Err(backing)
        }
    }
    in_namespace(|| {
        let case = Case::new();
        assert_eq!(verify(&case.machine, &case.source(), &Meddler(&case)).err(), Some(Reason::Unreadable));
        assert!(verify(&case.machine, &case.source(), &case.custody).is_ok());
    });
}

pub(crate) fn what_no_report_names_is_taken_back() {
    in_namespace(|| {
        let case = Case::new();
        case.stage();
        let withdrawn = stage::recheck(&case.root, &|class, name| (class, name) == (Class::Confext, "k3s")).unwrap();
        assert_eq!(withdrawn.len(), 1);
        assert_eq!(withdrawn[0].cause, "it is not recorded as staged");
        assert!(case.staged().symlink_metadata().is_err());
    });
}

pub(crate) fn taking_back_leaves_neither_mount_nor_file() {
    in_namespace(|| {
        let case = Case::new();
        case.stage();
        let verified = verify(&case.machine, &case.source(), &case.custody).unwrap();
        assert!(stage::stage(&case.root, verified).is_err(), "nothing is put over what is staged");
        stage::withdraw(&case.root).unwrap();
        assert!(case.staged().symlink_metadata().is_err());
        case.stage();
        stage::withdraw(&case.root).unwrap();
        assert!(case.staged().symlink_metadata().is_err());
        assert!(case.source().exists());
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains("run/extensions/k3s.raw"), "{mounts}");
    });
}

pub(crate) fn what_a_killed_agent_leaves_in_the_instant_before_mounting_is_no_image() {
    in_namespace(|| {
        let case = Case::new();
        case.stage();
        let staged = case.staged();
        nix::mount::umount2(&staged, nix::mount::MntFlags::MNT_DETACH).unwrap();
        assert!(fs::symlink_metadata(&staged).unwrap().file_type().is_socket());
        assert!(fs::File::open(&staged).is_err(), "nobody can open it, so nobody hangs on it");
        let withdrawn = stage::recheck(&case.root, &|_, name| name == "k3s").unwrap();
        assert_eq!(withdrawn.len(), 1);
        assert!(staged.symlink_metadata().is_err());
    });
}
