//! Images that are two things at once: to sextant a partition table, to libblkid perhaps something else.
//!
//! Nothing signs the partition table and what lies around it. If libblkid finds the magic number of a file
//! system there, systemd takes the whole disk for that, refuses the image, and with it the merge of all others.

use crate::{reason, verify};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::write::gpt::{FLAG_READ_ONLY, fix_header_crc};
use ddi::write::signature_partition;
use ddi::{Guid, PartitionKind};
use openssl::pkcs7::{Pkcs7, Pkcs7Flags};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use std::fs;
use std::path::Path;
use support::ddi::{Crc, RawImage, Which, entry, good, header};
use support::der::{oid, tlv};
use support::keys::{self, Authority};
use support::pkcs7::{Digest, MESSAGE_DIGEST, SignedData, SignerInfo, usual_attributes};
use support::toolbox::{Toolbox, directory};

const NAME: &str = "polyglot";

/// What libblkid (util-linux 2.41) looks for in the first 128 KiB, and the least around it that it insists on.
fn magics() -> Vec<(&'static str, usize, Vec<u8>)> {
    let journal_at_block_64 = [64, 0, 0, 0];
    let blocks_of_4096 = [0, 16];
    let reiserfs = [journal_at_block_64.as_slice(), &[0; 28], &blocks_of_4096, &[0; 6], b"ReIsEr2Fs"].concat();
    let floppy = [
        b"\xeb\x3c\x90mkfs.fat\x00\x02\x04\x01\x00\x02\x00\x02\x00\x08\xf8\x02\x00\x20\x00\x02\0".as_slice(),
        b"\0\0\0\0\0\0\0\0\x80\0)abcdNO NAME    FAT12   ",
    ];
    vec![
        ("iso9660", 32 * 1024, b"\x01CD001\x01".to_vec()),
        ("reiserfs", 64 * 1024 + 12, reiserfs),
        ("reiser4", 64 * 1024, b"ReIsEr4".to_vec()),
        ("vfat", 0, floppy.concat()),
    ]
}

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

fn image() -> RawImage {
    good(NAME, vendor()).render()
}

/// What to do to a good image, and what comes out.
struct Shape {
    what: String,
    image: Vec<u8>,
}

impl Shape {
    fn new(what: impl Into<String>, image: RawImage) -> Self {
        Self { what: what.into(), image: image.bytes }
    }
}

/// What two judges say about an image.
#[derive(Debug)]
struct Judgement {
    what: String,
    /// sextant's token; empty if it accepts.
    reason: String,
    /// What `blkid -p` sees, by `TYPE=`; `ambivalent` if several things; empty if nothing but partitions.
    seen: String,
    /// Whether `systemd-dissect` finds its way into it; `None` without loop devices.
    dissected: Option<bool>,
}

const QUESTIONS: &str = r#"
cd "$1"
for directory in */; do
  image=$directory/polyglot.sysext.raw
  status=0
  blkid -p -o value -s TYPE "$image" >"$directory/seen" || status=$?
  # 8: ambivalent; 2: nothing at all
  if [[ $status -eq 8 ]]; then
    echo ambivalent >"$directory/seen"
  fi
  if [[ $2 == loop ]]; then
    status=0
    systemd-dissect --json=short --image-policy=root=signed "$image" >"$directory/dissected" 2>&1 || status=$?
    echo "$status" >"$directory/status"
  fi
done
"#;

fn judge(toolbox: &Toolbox, shapes: &[Shape]) -> Vec<Judgement> {
    let scratch = directory();
    let certificate = scratch.path().join("vendor.crt");
    fs::write(&certificate, vendor().pem()).unwrap();
    let place = |number: usize| scratch.path().join(number.to_string());
    for (number, shape) in shapes.iter().enumerate() {
        fs::create_dir(place(number)).unwrap();
        fs::write(place(number).join("polyglot.sysext.raw"), &shape.image).unwrap();
    }
    let with_loop = toolbox.has_loop_devices();
    toolbox.succeed(QUESTIONS, &[scratch.path().as_os_str(), if with_loop { "loop" } else { "" }.as_ref()]);
    let one = |(number, shape): (usize, &Shape)| {
        let place = place(number);
        let text = |path: &Path| fs::read_to_string(path).unwrap().trim().to_owned();
        let image = place.join("polyglot.sysext.raw");
        let (_, rows) = verify(["--certificate".as_ref(), certificate.as_os_str(), image.as_os_str()]);
        Judgement {
            what: shape.what.clone(),
            reason: reason(rows.values().next().unwrap()).to_owned(),
            seen: text(&place.join("seen")),
            dissected: with_loop.then(|| text(&place.join("status")) == "0"),
        }
    };
    shapes.iter().enumerate().map(one).collect()
}

pub(crate) fn what_libblkid_would_take_for_something_else_is_refused() {
    let Some(toolbox) = Toolbox::find() else { return };
    let planted = |(what, offset, bytes): (&str, usize, Vec<u8>)| Shape::new(what, image().patch(offset, &bytes));
    let mut shapes: Vec<_> = magics().into_iter().map(planted).collect();
    shapes.push(Shape::new("reiser4", reiser4_in_base64()));
    shapes.push(Shape::new("nothing", image()));
    let judgements = judge(&toolbox, &shapes);
    let [planted @ .., spelled, nothing] = judgements.as_slice() else { panic!("{judgements:?}") };
    assert_eq!((nothing.reason.as_str(), nothing.seen.as_str()), ("", ""), "the image itself is good");
    assert_ne!(nothing.dissected, Some(false));
    for found in planted {
        assert_eq!(found.reason, "bad-gpt", "{found:?}");
    }
    assert_eq!(spelled.reason, "bad-signature", "{spelled:?}");
    for found in planted.iter().chain([spelled]) {
        // Otherwise the row would prove nothing.
        assert!(found.seen == found.what || found.seen == "ambivalent", "{found:?}");
        assert_ne!(found.dissected, Some(true), "{found:?}");
    }
}

/// libblkid 2.41 also wants a byte in front of this magic number that JSON can't have; 2.38 doesn't.
pub(crate) fn an_older_libblkid_is_not_misled_by_signed_attributes_in_another_form() {
    let Some(toolbox) = Toolbox::older() else { return };
    let shapes = [Shape::new("iso9660", iso9660_in_attributes()), Shape::new("nothing", image())];
    let judgements = judge(&toolbox, &shapes);
    let [spelled, nothing] = judgements.as_slice() else { panic!("{judgements:?}") };
    assert_eq!((nothing.reason.as_str(), nothing.seen.as_str()), ("", ""), "the image itself is good");
    assert_eq!((spelled.reason.as_str(), spelled.seen.as_str()), ("bad-signature", "iso9660"), "{spelled:?}");
}

/// Bytes that no rule wants to have a certain value, and that someone else may read.
fn odd_shapes() -> Vec<Shape> {
    let uuid = |at: usize, bytes: &[u8]| image().patch_entry(Which::Both, 0, entry::UUID + at, bytes, Crc::Fix);
    let disk = |sector_size: u32| {
        let mut blueprint = good(NAME, vendor());
        blueprint.sector_size = sector_size;
        blueprint.disk_guid = Guid::from_bytes(*b"\x53\xefAAAAAAAAAAAAAA");
        blueprint.render()
    };
    let flags = |flags: u64| good(NAME, vendor()).flags(PartitionKind::Root, FLAG_READ_ONLY | flags).render();
    let mut shapes = vec![
        Shape::new("minix v1 in a UUID", uuid(0, &[0x7f, 0x13])),
        Shape::new("minix v2 in a UUID", uuid(0, &[0x68, 0x24])),
        Shape::new("minix v3 in a UUID", uuid(8, &[0x5a, 0x4d])),
        Shape::new("LVM2 in a UUID", uuid(8, b"LVM2 001")),
        Shape::new("no UUID", uuid(0, &[0; 16])),
        Shape::new(
            "LVM2 in the UUID of entry 5",
            moved([4, 5, 6]).patch_entry(Which::Both, 4, entry::UUID + 8, b"LVM2 001", Crc::Fix),
        ),
        Shape::new(
            "reiserfs in the UUID of entry 57",
            moved([56, 57, 58]).patch_entry(Which::Both, 56, entry::UUID + 4, b"ReIsErFs", Crc::Fix),
        ),
        Shape::new("the last entries", moved([125, 126, 127])),
        Shape::new("entries in reverse", moved([2, 1, 0])),
        Shape::new("partitions in reverse", good(NAME, vendor()).reverse().render()),
        Shape::new("partition 256 of 1024", thousand_entries([0, 1, 255])),
        Shape::new("partition 301 of 1024", thousand_entries([300, 1, 2])),
        Shape::new("1024 entries", thousand_entries([0, 1, 2])),
        Shape::new("no disk GUID", image().patch_header(Which::Both, header::DISK_GUID, &[0; 16], Crc::Fix)),
        Shape::new("a disk signature", image().patch(440, &[0xff; 6])),
        Shape::new("a bootable protective partition", image().patch(446, &[0x80])),
        Shape::new("a protective partition of 5 sectors", image().patch(458, &5_u32.to_le_bytes())),
        Shape::new(
            "a name that systemd-sysupdate knows",
            good(NAME, vendor()).change(PartitionKind::Root, |part| "_empty".clone_into(&mut part.name)).render(),
        ),
    ];
    shapes.extend(
        [512, 1024, 2048, 4096].map(|size| Shape::new(format!("ext2 in the disk GUID, sectors of {size}"), disk(size))),
    );
    shapes.extend([0, 1, 2, 48, 59, 62].map(|bit| Shape::new(format!("flag {bit}"), flags(1 << bit))));
    shapes
}

pub(crate) fn whatever_is_accepted_is_to_libblkid_and_systemd_the_same_three_partitions() {
    // What systemd sees in a table depends on its version.
    for toolbox in [Toolbox::find(), Toolbox::newer()].into_iter().flatten() {
        nobody_misunderstands(&judge(&toolbox, &odd_shapes()));
    }
}

fn nobody_misunderstands(judgements: &[Judgement]) {
    let misunderstood: Vec<_> = judgements
        .iter()
        .filter(|found| found.reason.is_empty() && (!found.seen.is_empty() || found.dissected == Some(false)))
        .collect();
    assert!(misunderstood.is_empty(), "accepted by sextant alone: {misunderstood:#?}");
    // The other way round, too: some of these are really misunderstood, and some are really accepted.
    assert!(judgements.iter().any(|found| !found.seen.is_empty()));
    assert!(judgements.iter().filter(|found| found.reason.is_empty()).count() >= 3);
}

/// The good image with its entries elsewhere in the table.
fn moved(places: [usize; 3]) -> RawImage {
    let original = image();
    let table = original.bytes[1024..][..128 * 128].to_vec();
    let mut moved = vec![0; table.len()];
    for (from, to) in places.into_iter().enumerate() {
        moved[to * 128..][..128].copy_from_slice(&table[from * 128..][..128]);
    }
    original.patch_entry(Which::Both, 0, 0, &moved, Crc::Fix)
}

/// The good image with a table of 1024 entries, and its own at these places.
fn thousand_entries(places: [usize; 3]) -> RawImage {
    const COUNT: usize = 1024;
    let RawImage { bytes, places: partitions, sector_size } = image();
    let backup_header = bytes.len() - 512;
    let mut entries = vec![0; COUNT * 128];
    for (from, to) in places.into_iter().enumerate() {
        entries[to * 128..][..128].copy_from_slice(&bytes[1024 + from * 128..][..128]);
    }
    let backup_entries = backup_header - 128 * 128;
    let mut image = bytes[..backup_entries].to_vec();
    image[1024..][..entries.len()].copy_from_slice(&entries);
    image.extend(&entries);
    image.extend(&bytes[backup_header..]);

    let lba = |offset: usize| u64::try_from(offset / 512).unwrap().to_le_bytes();
    let last = image.len() - 512;
    for (start, own, other, table) in [(512, 512, last, 1024), (last, last, 512, backup_entries)] {
        let mut set = |field: usize, value: &[u8]| image[start + field..][..value.len()].copy_from_slice(value);
        set(header::MY_LBA, &lba(own));
        set(header::ALTERNATE_LBA, &lba(other));
        set(header::ENTRIES_LBA, &lba(table));
        set(header::ENTRY_COUNT, &u32::try_from(COUNT).unwrap().to_le_bytes());
        set(header::ENTRIES_CRC, &crc32fast::hash(&entries).to_le_bytes());
        fix_header_crc(&mut image[start..start + 92]);
    }
    RawImage { bytes: image, places: partitions, sector_size }
}

/// The good image with a signature that is good in itself. It carries content along that every verifier passes over, and
/// that spells the magic number of reiser4 in base64 where libblkid looks for it.
fn reiser4_in_base64() -> RawImage {
    let blueprint = good(NAME, vendor());
    let magic = STANDARD.decode("ReIsEr4A").unwrap();
    // Where in the structure the content begins decides how base64 groups its bytes.
    let spelled = (0..3).map(|shift| {
        let content = [&vec![0; 3 + shift], magic.as_slice(), &[0; 3]].concat();
        let info = SignerInfo::new(vendor());
        let der = SignedData::new(blueprint.root_hash.to_string()).attaching(&content).signer(info).build();
        blueprint.clone().with_pkcs7(&der).signature_text()
    });
    let text = spelled.into_iter().find(|text| text.contains("ReIsEr4")).unwrap();
    with_signature_in_front(&text, "ReIsEr4", 64 * 1024)
}

/// The good image with a signature that OpenSSL finds good. The message digest in its signed attributes is in pieces,
/// which OpenSSL puts together before it verifies. Their lengths spell a magic number in base64 where libblkid looks for
/// it: that of High Sierra, which it calls ISO 9660 as well.
fn iso9660_in_attributes() -> RawImage {
    // `82 0d 13` is this length, and `8c` begins a piece of a kind that doesn't matter to OpenSSL.
    const LENGTH: usize = 0x0d13;
    const PIECE: u8 = 0x8c;
    let blueprint = good(NAME, vendor());
    let root_hash = blueprint.root_hash.to_string();
    let [kind, time, digest] = usual_attributes(Digest::Sha256, root_hash.as_bytes());
    let digest = tlv(PIECE, &digest[digest.len() - 32..]);
    // Empty pieces, the first of which has a length in two bytes, for an odd number is to be filled.
    let filling = [&[4, 0x81, 0], [4, 0].repeat((LENGTH - digest.len() - 3) / 2).as_slice()].concat();
    let pieces = [digest, filling].concat();
    assert_eq!(pieces.len(), LENGTH);
    let value = tlv(0x24, &pieces);
    let spelled = (0..3).map(|shift| {
        // A length with zeros in front moves what follows it.
        let fields = [oid(MESSAGE_DIGEST), tlv(0x31, &value)].concat();
        let length = u32::try_from(fields.len()).unwrap().to_be_bytes();
        let length = &length[2 - shift.min(2)..];
        let header = [&[0x30, 0x80 | u8::try_from(length.len()).unwrap()], length].concat();
        let stored = [kind.clone(), time.clone(), header, fields].concat();
        let der = SignedData::new(&root_hash).signer(SignerInfo::new(vendor()).storing_attributes(stored)).build();
        assert!(openssl_accepts(&der, &root_hash), "no signature at all");
        blueprint.clone().with_pkcs7(&der).signature_text()
    });
    let text = spelled.into_iter().find(|text| text.contains("CDROM")).unwrap();
    with_signature_in_front(&text, "CDROM", 32 * 1024 + 9)
}

/// As systemd asks it (257, `validate_signature_userspace`).
fn openssl_accepts(der: &[u8], content: &str) -> bool {
    let mut certificates = Stack::new().unwrap();
    certificates.push(vendor().certificate.clone()).unwrap();
    let store = X509StoreBuilder::new().unwrap().build();
    let flags = Pkcs7Flags::NOINTERN | Pkcs7Flags::NOVERIFY;
    let signature = Pkcs7::from_der(der).unwrap();
    signature.verify(&certificates, &store, Some(content.as_bytes()), None, flags).is_ok()
}

/// The good image with another text of its signature partition, which is in front of all others so that `magic` is
/// where it is looked for.
fn with_signature_in_front(text: &str, magic: &str, place: usize) -> RawImage {
    const START: usize = 20480;
    let blueprint = good(NAME, vendor());
    let (before, after) = text.split_at(1);
    let padding = " ".repeat(place - START - text.find(magic).unwrap());
    let content = signature_partition(format!("{before}{padding}{after}").as_bytes());

    let position = blueprint.position(PartitionKind::RootVeritySig);
    let sectors = |bytes: usize| u64::try_from(bytes / 512).unwrap();
    let last = sectors(START) + sectors(content.len()) - 1;
    let image = blueprint.render();
    let old = image.place(PartitionKind::RootVeritySig);
    let zeros = vec![0; old.len()];
    // In front of all others there is room for it, once the range for partitions begins there.
    image
        .patch(old.start, &zeros)
        .patch(START, &content)
        .patch_entry(Which::Both, position, entry::FIRST_LBA, &sectors(START).to_le_bytes(), Crc::Fix)
        .patch_entry(Which::Both, position, entry::LAST_LBA, &last.to_le_bytes(), Crc::Fix)
        .patch_header(Which::Both, header::FIRST_USABLE, &34_u64.to_le_bytes(), Crc::Fix)
}
