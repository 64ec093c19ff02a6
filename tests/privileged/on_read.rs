//! Images whose data is left to dm-verity: what is staged of them, whatever is done to the disk meanwhile.
//!
//! The trial activation is a double that meddles: no device mapper is needed here. What the real one does with such an image
//! is seen in virtual machines.

use super::vendor;
use crate::mounts::let_a_tick_pass;
use crate::namespace::in_namespace;
use ddi::Class;
use ddi::PartitionKind::{Root as Data, RootVerity, RootVeritySig};
use ddi::filesystem::{Filesystem, Kind};
use ddi::io::{FileSource, Window};
use sextant::confine::Confinement;
use sextant::extension::Compatible;
use sextant::firmware::{DirectoryVariables, Firmware};
use sextant::kernel::DetachedMount;
use sextant::policy::{Policy, Verify};
use sextant::reason::{Reason, Refusal};
use sextant::root::Root;
use sextant::stage::{self, Backing, CopyCustody, MountCustody, Stageable, StagingCustody};
use sextant::trust::TrustStore;
use sextant::verify::Candidate;
use sextant::verify::{
    Accepted, Activate, ActivationError, Custody, Findings, HeldImage, Judge, Rooted, Shortage, Verified, Verifier,
};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;
use support::ddi::{RawImage, native, with_tree};
use support::keys;
use support::machine::Machine;
use support::trees::{Tree, noise};

/// Where no decision looks, as the file was when it was made.
const UNREAD: usize = 6 << 20;

fn image() -> &'static RawImage {
    static IMAGE: OnceLock<RawImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let tree = Tree::sysext("app").file("usr/share/app/noise", &noise(12 << 20));
        with_tree("app", &tree, vendor()).render()
    })
}

/// Something that is done to the machine while the agent is at work.
type Meddle = fn(&Disk);

fn nothing(_: &Disk) {}

/// A machine with one image on a disk, which the attacker writes.
struct Disk {
    machine: Machine,
    root: Root,
}

impl Disk {
    fn new(bytes: &[u8]) -> Self {
        let machine = Machine::trusting(&[vendor()]).file("data/app.sysext.raw", bytes);
        fs::create_dir_all(machine.path("links")).unwrap();
        symlink("/data/app.sysext.raw", machine.path("links/app.sysext.raw")).unwrap();
        let root = Root::open(machine.root()).unwrap();
        Self { machine, root }
    }

    fn file(&self) -> PathBuf {
        self.machine.path("data/app.sysext.raw")
    }

    fn staged(&self) -> PathBuf {
        self.machine.path("run/extensions/app.raw")
    }

    fn open(&self) -> File {
        OpenOptions::new().write(true).open(self.file()).unwrap()
    }

    /// Puts other bytes in the place of the good ones, by a file of its own.
    fn put(&self, bytes: &[u8]) {
        let other = self.machine.path("data/other");
        fs::write(&other, bytes).unwrap();
        fs::rename(other, self.file()).unwrap();
    }

    fn copies(&self) -> CopyCustody {
        CopyCustody::new(&self.root, Policy::default().limits).unwrap()
    }

    fn custody(&self) -> MountCustody {
        MountCustody::new(self.copies())
    }

    /// Verifies what the link leads to, with something done before the contents are read, and in the trial activation.
    fn verify(&self, before: Meddle, after: Meddle, findings: &mut Findings) -> Result<Stageable, Refusal> {
        let custody = Meddling(self.custody(), before, self);
        self.verify_with(&custody, Some(&Kernel(after, self)), findings)
    }

    fn verify_with(
        &self,
        custody: &dyn StagingCustody,
        activation: Option<&dyn Activate>,
        findings: &mut Findings,
    ) -> Result<Stageable, Refusal> {
        let policy = Policy::default();
        let variables = DirectoryVariables::new(self.machine.path("sys/firmware/efi/efivars"));
        let firmware = Firmware::read(&variables).unwrap();
        let verifier = Verifier {
            policy: &policy,
            trust: &TrustStore::of_machine(&firmware, &[], &policy.sources),
            architecture: native(),
            host: None,
            activation,
            confinement: Confinement::Worker { until: None },
            threads: 2,
            now: SystemTime::now(),
        };
        let file = self.root.open_file("/links/app.sysext.raw").unwrap();
        let candidate = Candidate::from_file(file, OsStr::new("app.sysext.raw"), Class::Sysext)?;
        verifier.session().verify_on_read(candidate, &Accepted::default(), custody, findings)
    }

    /// Verifies without being disturbed. The coverage, or the reason.
    fn outcome(&self) -> Result<Verify, Reason> {
        let mut findings = Findings::default();
        let verified = self.verify(nothing, nothing, &mut findings);
        verified.map(|_| findings.coverage.unwrap().verify()).map_err(|refusal| refusal.reason())
    }
}

struct Meddling<'d>(MountCustody, Meddle, &'d Disk);

impl Custody for Meddling<'_> {
    type Backing = Backing;
    type Mount = DetachedMount;

    fn take(&self, candidate: Candidate) -> Result<HeldImage<Backing>, Box<Shortage>> {
        let taken = self.0.take(candidate);
        let_a_tick_pass();
        self.1(self.2);
        taken
    }

    fn only_mount(&self, backing: Backing) -> Result<DetachedMount, Backing> {
        self.0.only_mount(backing)
    }
}

impl StagingCustody for Meddling<'_> {
    fn account(&self, _: u64) {}
}

struct Kernel<'d>(Meddle, &'d Disk);

impl Activate for Kernel<'_> {
    fn activate(&self, image: Rooted<'_>, _: Kind, judge: Judge<'_>) -> Result<Compatible, ActivationError> {
        let file = File::from(image.descriptor().unwrap().try_clone_to_owned().unwrap());
        let source = FileSource::new(file).unwrap();
        let data = Window::new(&source, image.root().start, image.data_len()).unwrap();
        let compatible = judge(&Filesystem::open(&data).unwrap())?;
        let_a_tick_pass();
        self.0(self.1);
        Ok(compatible)
    }
}

pub(crate) fn what_is_left_to_dm_verity_is_staged_as_the_file_itself() {
    in_namespace(|| {
        for bytes in [image().bytes.clone(), image().clone().flip(Data, UNREAD).bytes] {
            let disk = Disk::new(&bytes);
            let mut findings = Findings::default();
            let verified = disk.verify(nothing, nothing, &mut findings).unwrap();
            assert!(matches!(verified, Verified::OnRead(_)));
            let coverage = findings.coverage.unwrap();
            assert_eq!((coverage.verify(), coverage.len()), (Verify::OnRead, bytes.len() as u64));
            assert!(coverage.checked() < coverage.len() * 2 / 3, "{coverage:?}");
            let staged = stage::stage(&disk.root, verified).unwrap();
            assert_eq!(staged.occupied(), 0, "no copy");
            let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).unwrap();
            assert_eq!(identity(&disk.staged()), identity(&disk.file()));
            assert!(OpenOptions::new().write(true).open(disk.staged()).is_err());
        }
    });
}

/// A copy isn't the file on the disk, and without a trial activation it isn't known whether the kernel checks anything.
pub(crate) fn without_a_mount_or_the_kernel_everything_is_verified() {
    in_namespace(|| {
        for (is_mounted, has_kernel) in [(false, true), (true, false)] {
            let custody = |disk: &Disk| -> Box<dyn StagingCustody> {
                if is_mounted { Box::new(disk.custody()) } else { Box::new(disk.copies()) }
            };
            let verify = |disk: &Disk, findings: &mut Findings| {
                let kernel = Kernel(nothing, disk);
                let kernel = has_kernel.then_some(&kernel as &dyn Activate);
                disk.verify_with(custody(disk).as_ref(), kernel, findings)
            };
            let disk = Disk::new(&image().bytes);
            let mut findings = Findings::default();
            assert!(matches!(verify(&disk, &mut findings), Ok(Verified::Full(_))));
            let coverage = findings.coverage.unwrap();
            assert_eq!((coverage.verify(), coverage.checked()), (Verify::Full, coverage.len()));
            let disk = Disk::new(&image().clone().flip(Data, UNREAD).bytes);
            let refused = verify(&disk, &mut Findings::default()).unwrap_err();
            assert_eq!(refused.reason(), Reason::Corrupt);
        }
    });
}

pub(crate) fn what_can_be_known_without_the_data_is_refused() {
    in_namespace(|| {
        let plain = Tree::sysext("app").file("usr/share/app/noise", &noise(12 << 20));
        let made = |tree: &Tree| with_tree("app", tree, vendor()).render().bytes;
        let good = with_tree("app", &plain, vendor());
        let tree = image().place(RootVerity).len();
        let other = with_tree("app", &Tree::sysext("app").file("usr/x", &noise(12 << 20)), vendor()).render();
        let other = other.bytes[other.place(RootVerity)].to_vec();
        let cases: [(Vec<u8>, Reason); 12] = [
            (b"garbage".to_vec(), Reason::BadGpt),
            (with_tree("app", &plain, keys::rsa("Mallory")).render().bytes, Reason::UnknownSigner),
            (good.clone().remove(RootVeritySig).render().bytes, Reason::NoSignature),
            (good.patch_superblock(0, b"junk").render().bytes, Reason::BadSuperblock),
            (image().clone().patch_partition(RootVerity, 0, &other[..tree.min(other.len())]).bytes, Reason::Corrupt),
            (image().clone().flip(RootVerity, tree - 5000).bytes, Reason::Corrupt),
            // Where the file system is described, and in the gap that nothing hashes.
            (image().clone().flip(Data, 30).bytes, Reason::Corrupt),
            (image().clone().flip_from_end(Data, 5000).bytes, Reason::Corrupt),
            (image().clone().flip(RootVerity, 600).bytes, Reason::Corrupt),
            (
                made(&plain.clone().without("usr/lib/extension-release.d/extension-release.app")),
                Reason::WrongExtensionRelease,
            ),
            (made(&plain.clone().file("usr/lib/os-release", b"ID=x\n")), Reason::ContainsOsRelease),
            (made(&Tree::sysext("app").file("opt", b"")), Reason::BadHierarchy),
        ];
        for (number, (bytes, reason)) in cases.into_iter().enumerate() {
            assert_eq!(Disk::new(&bytes).outcome(), Err(reason), "case {number}");
        }
        assert_eq!(Disk::new(&image().bytes).outcome(), Ok(Verify::OnRead));
    });
}

/// What an attacker who writes the disk can do with the file, and with the names that lead to it.
const ATTACKS: [(&str, Meddle); 9] = [
    ("a block of the data is written", |disk| disk.open().write_all_at(b"evil", UNREAD as u64).unwrap()),
    ("a block that was read is written", |disk| disk.open().write_all_at(b"evil", 1 << 20).unwrap()),
    ("a block of the tree is written", |disk| {
        let offset = image().place(RootVerity).start + 4096;
        disk.open().write_all_at(b"evil", offset as u64).unwrap();
    }),
    ("it is truncated", |disk| disk.open().set_len(UNREAD as u64).unwrap()),
    ("it grows", |disk| disk.open().set_len(image().bytes.len() as u64 + 4096).unwrap()),
    ("it is another file by now", |disk| disk.put(&evil())),
    ("it is a garbage file by now", |disk| disk.put(b"garbage")),
    ("it is gone", |disk| fs::remove_file(disk.file()).unwrap()),
    ("the link leads elsewhere by now", |disk| {
        fs::write(disk.machine.path("data/evil"), evil()).unwrap();
        fs::remove_file(disk.machine.path("links/app.sysext.raw")).unwrap();
        symlink("/data/evil", disk.machine.path("links/app.sysext.raw")).unwrap();
    }),
];

/// An image of the attacker's, of the same name and sound in itself.
fn evil() -> Vec<u8> {
    let tree = Tree::sysext("app").file("usr/bin/evil", &noise(12 << 20));
    with_tree("app", &tree, keys::rsa("Mallory")).render().bytes
}

/// What is staged, if anything, is the file that was opened first: none of the attacker's bytes has come in by a name.
fn check(what: &str, when: &str, disk: &Disk, inode: u64) {
    let context = format!("{what} {when}");
    match fs::metadata(disk.staged()) {
        Ok(found) => {
            assert_eq!(found.ino(), inode, "{context}");
            assert!(fs::read(disk.staged()).unwrap() == image().bytes, "{context}");
            // Before the merge, a file that was written to is taken back.
            stage::recheck(&disk.root, &|_, name| name == "app").unwrap();
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{context}"),
    }
}

pub(crate) fn whatever_happens_to_the_disk_while_it_is_verified_no_other_file_is_staged() {
    in_namespace(|| {
        for (what, attack) in ATTACKS {
            for (when, before, after) in
                [("before the contents are read", attack, nothing as Meddle), ("after that", nothing, attack)]
            {
                let disk = Disk::new(&image().bytes);
                let inode = fs::metadata(disk.file()).unwrap().ino();
                if let Ok(verified) = disk.verify(before, after, &mut Findings::default()) {
                    // The file is what it was, whatever its name leads to.
                    let _ = stage::stage(&disk.root, verified);
                    assert!(what.contains("by now") || what.contains("gone"), "{what} {when}");
                }
                check(what, when, &disk, inode);
            }
        }
    });
}

pub(crate) fn whatever_happens_to_the_disk_before_staging_no_other_file_is_staged() {
    in_namespace(|| {
        for (what, attack) in ATTACKS {
            let disk = Disk::new(&image().bytes);
            let inode = fs::metadata(disk.file()).unwrap().ino();
            let verified = disk.verify(nothing, nothing, &mut Findings::default()).unwrap();
            let_a_tick_pass();
            attack(&disk);
            let _ = stage::stage(&disk.root, verified);
            check(what, "before it is staged", &disk, inode);
        }
    });
}

/// From then on dm-verity checks what is read; what a stamp notices before the merge is taken back.
pub(crate) fn a_file_that_is_written_to_after_staging_is_taken_back_before_the_merge() {
    in_namespace(|| {
        for (what, attack) in ATTACKS {
            let disk = Disk::new(&image().bytes);
            let inode = fs::metadata(disk.file()).unwrap().ino();
            let verified = disk.verify(nothing, nothing, &mut Findings::default()).unwrap();
            stage::stage(&disk.root, verified).unwrap();
            let_a_tick_pass();
            attack(&disk);
            let withdrawn = stage::recheck(&disk.root, &|_, name| name == "app").unwrap();
            let is_written = !what.contains("by now") && !what.contains("gone");
            assert!(!is_written || !withdrawn.is_empty(), "{what}");
            check(what, "after it was staged", &disk, inode);
        }
    });
}
