//! A whole image, as it is and with the checksums of its partition table made to fit.
#![no_main]

use ddi::io::{ReadAt, Window};
use ddi::verity::{self, Superblock};
use ddi::{Architecture, Ddi};
use libfuzzer_sys::fuzz_target;
use sextant::verify::SignedDdi;

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Some(mended) = sextant_fuzz::mend(data) {
        check(&mended);
    }
});

fn check(image: &[u8]) {
    let architecture = Architecture::native().unwrap_or(Architecture::X86_64);
    let Ok(ddi) = Ddi::read(&image, architecture) else { return };
    let signed = SignedDdi::verify(ddi.clone(), sextant_fuzz::impostors());
    assert!(signed.is_err(), "a signature out of nothing: {signed:?}");
    // Nothing further is done without a signature; the tree is the next that would have to stand an attack.
    let window = |partition: &ddi::gpt::Partition| Window::new(&image, partition.start, partition.len);
    let (Some(data), Some(hash)) = (window(ddi.root()), window(ddi.verity())) else {
        panic!("partitions outside of the image: {ddi:?}");
    };
    let mut bytes = [0; verity::SUPERBLOCK_SIZE];
    if hash.read_exact_at(&mut bytes, 0).is_err() {
        return;
    }
    let Ok(superblock) = Superblock::parse(&bytes) else { return };
    let verify = |data: &dyn ReadAt| verity::verify(data, &hash, &superblock, &ddi.claim().root_hash, 1);
    if let Ok(tree) = verify(&data) {
        assert!(tree.data_len() <= data.len() && tree.hash_area_len() <= hash.len());
        let mut changed = image[ddi.root().start as usize..][..ddi.root().len as usize].to_vec();
        changed[tree.data_len() as usize - 1] ^= 1;
        assert!(verify(&changed).is_err(), "another byte, the same root hash");
    }
}
