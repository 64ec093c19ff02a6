//! What the fuzz targets share.

pub mod signatures;

use ddi::Class;
use ddi::ExtensionName;
use ddi::filesystem::{Filesystem, Kind};
use ddi::write::gpt::{HEADER_SIZE, fix_header_crc};
use sextant::extension::{
    find_release, refuse_odd_hierarchies, refuse_odd_metadata, refuse_os_release, refuse_possible_hierarchies,
};
use sextant::trust::{SealedFile, Source, TrustStore};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::keys;

/// Most bytes that a target may hold at once.
const MEMORY: usize = 64 << 20;

/// Aborts where an input takes more than [`MEMORY`], which libFuzzer notes as it does a crash.
struct Bounded {
    held: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded { held: AtomicUsize::new(0) };

impl Bounded {
    fn take(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        if held.saturating_add(bytes) > MEMORY {
            // Neither allocates.
            #[expect(clippy::disallowed_methods, reason = "the text is our own")]
            let _ = std::io::stderr().write_all(b"fuzz: an input takes more memory than fuzz/src/lib.rs allows\n");
            std::process::abort();
        }
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; counting doesn't allocate.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.take(size);
        self.give_back(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.give_back(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Name of the signer in the seeds (`xtask/src/fuzz_seeds.rs`).
const SIGNER: &str = "Vendor";
/// Name of the extension in the seeds.
const EXTENSION: &str = "seed";

/// Trusts certificates with the name and number of the one that signed the seeds, but other keys. So whatever a
/// fuzzer makes of a seed, signatures are verified down to the last step, and never hold.
pub fn impostors() -> &'static TrustStore {
    static STORE: OnceLock<TrustStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let offer = |authority: &keys::Authority| {
            SealedFile { path: SIGNER.to_owned(), content: Ok(authority.pem()) }.offer(Source::File)
        };
        let store = TrustStore::decide(vec![offer(keys::rsa(SIGNER)), offer(keys::ec(SIGNER))], &Default::default());
        assert_eq!(store.anchors().len(), 2);
        store
    })
}

/// Sectors of the protective MBR, a header and 128 entries.
const TABLE: usize = 34;
const SECTOR: usize = 512;

/// Makes the redundant parts of a partition table agree: what is in the primary one becomes the backup, checksums
/// are computed. Otherwise nearly everything that a fuzzer does would end at a checksum.
pub fn mend(image: &[u8]) -> Option<Vec<u8>> {
    let sectors = image.len() / SECTOR;
    if sectors < 2 * TABLE {
        return None;
    }
    let mut image = image[..sectors * SECTOR].to_vec();
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let entries = image[2 * SECTOR..TABLE * SECTOR].to_vec();
    let sum = crc32fast::hash(&entries).to_le_bytes();
    let last = sectors - 1;
    let backup_entries = (last - (TABLE - 2)) * SECTOR;
    image[backup_entries..][..entries.len()].copy_from_slice(&entries);
    image[SECTOR + 80..][..4].copy_from_slice(&128_u32.to_le_bytes());
    image[SECTOR + 88..][..4].copy_from_slice(&sum);
    let mut primary = image[SECTOR..][..HEADER_SIZE].to_vec();
    let mut backup = primary.clone();
    let number = |value: usize| u64::try_from(value).unwrap_or_default().to_le_bytes();
    for (header, this, other, entries) in [(&mut primary, 1, last, 2 * SECTOR), (&mut backup, last, 1, backup_entries)]
    {
        header[24..32].copy_from_slice(&number(this));
        header[32..40].copy_from_slice(&number(other));
        header[72..80].copy_from_slice(&number(entries / SECTOR));
        fix_header_crc(header);
    }
    image[SECTOR..][..HEADER_SIZE].copy_from_slice(&primary);
    image[last * SECTOR..][..HEADER_SIZE].copy_from_slice(&backup);
    Some(image)
}

/// Everything that is asked of the file system of an extension, once.
pub fn explore(data: &[u8], kind: Kind) {
    const RELEASE: &str = "usr/lib/extension-release.d/extension-release.seed";
    const LIMIT: usize = 64 * 1024;
    let data = data.to_vec();
    let Ok(filesystem) = Filesystem::open(&data) else { return };
    if filesystem.kind() != kind {
        return;
    }
    // A link to a file of several blocks.
    if let Ok(Some(content)) = filesystem.read_file("link", LIMIT) {
        assert!(content.len() <= LIMIT);
    }
    for directory in ["/", "many"] {
        if let Ok(Some(entries)) = filesystem.list(directory) {
            assert!(entries.windows(2).all(|pair| pair[0].name < pair[1].name), "{entries:?}");
        }
    }
    let _ = filesystem.entry_nofollow("/", "loop");
    assert!(filesystem.owners(&(1024..2048)).named.len() <= 3);
    let _ = filesystem.xattr(RELEASE, "user.extension-release.strict");
    if let Ok(name) = ExtensionName::new(EXTENSION) {
        let _ = find_release(&filesystem, Class::Sysext, &name);
        let _ = refuse_os_release(&filesystem, Class::Sysext);
        let _ = refuse_odd_metadata(&filesystem, Class::Sysext, &name);
        let _ = refuse_odd_hierarchies(&filesystem, ["/usr", "/opt"].into_iter());
        let _ = refuse_possible_hierarchies(&filesystem, ["/usr/bin", "/many"].into_iter(), 20);
    }
}
