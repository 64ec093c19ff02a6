//! The protocol of the device mapper: requests on `/dev/mapper/control`.
//!
//! A message is a header, `struct dm_ioctl`, and data (Linux 6.12, `linux/dm-ioctl.h`, `drivers/md/dm-ioctl.c`). Requests
//! carry no udev cookie, so that nothing ever waits for udev.

use crate::sys::device_mapper::{HEADER, send};
use ddi::bytes::array;
use nix::errno::Errno;
use std::fs::File;
use std::io;

/// Control node of the device mapper.
const CONTROL: &str = "/dev/mapper/control";
/// Version of the protocol: what is used here is in all kernels with this major number.
const VERSION: [u32; 3] = [4, 0, 0];
/// Size in bytes of the first buffer for an answer, and of the last one that is tried.
const BUFFER: usize = 16 << 10;
const MAX_BUFFER: usize = 4 << 20;

// Commands.
const LIST_DEVICES: u8 = 2;
const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const DEV_STATUS: u8 = 7;
const TABLE_LOAD: u8 = 9;
const TABLE_STATUS: u8 = 12;
const LIST_VERSIONS: u8 = 13;

// Flags.
const READ_ONLY: u32 = 1;
const STATUS_TABLE: u32 = 1 << 4;
const BUFFER_FULL: u32 = 1 << 8;
const DEFERRED_REMOVE: u32 = 1 << 17;

// Offsets and sizes in bytes of members of the header.
const DATA_START_AT: usize = 16;
const TARGET_COUNT_AT: usize = 20;
const FLAGS_AT: usize = 28;
const DEV_AT: usize = 40;
const NAME_LEN: usize = 128;
const UUID_AT: usize = 176;
const UUID_LEN: usize = 129;

/// Size in bytes of `struct dm_target_spec`, before the parameters.
const TARGET_SPEC: usize = 40;
/// Offset and size in bytes of `target_type` in it.
const TARGET_TYPE_AT: usize = 24;
const TARGET_TYPE_LEN: usize = 16;

/// A target of a device's table: how the kernel computes a range of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its type, such as `verity`.
    pub kind: String,
    /// Its parameters.
    pub parameters: String,
}

/// An open device mapper.
#[derive(Debug)]
pub(super) struct DeviceMapper(File);

impl DeviceMapper {
    /// Opens the control node.
    pub(super) fn open() -> io::Result<Self> {
        File::open(CONTROL).map(Self)
    }

    /// Creates a device without a table. Returns its minor number.
    pub(super) fn create(&self, name: &str, uuid: &str) -> Result<u64, Errno> {
        let answer = self.exchange(DEV_CREATE, &Request { name, uuid, flags: READ_ONLY, ..Request::default() })?;
        Ok(minor(answer.number(DEV_AT)?))
    }

    /// Loads a table with one target of `sectors` units of 512 bytes, read-only.
    pub(super) fn load(&self, name: &str, sectors: u64, target: &Target) -> Result<(), Errno> {
        let data = specification(sectors, target)?;
        self.exchange(TABLE_LOAD, &Request { name, flags: READ_ONLY, targets: 1, data, ..Request::default() }).map(drop)
    }

    /// Puts the loaded table into effect.
    pub(super) fn resume(&self, name: &str) -> Result<(), Errno> {
        self.exchange(DEV_SUSPEND, &Request { name, flags: READ_ONLY, ..Request::default() }).map(drop)
    }

    /// Removes a device as soon as nobody has it open.
    pub(super) fn remove_when_closed(&self, name: &str) -> Result<(), Errno> {
        self.exchange(DEV_REMOVE, &Request { name, flags: DEFERRED_REMOVE, ..Request::default() }).map(drop)
    }

    /// Returns the names of all devices. This needs `CAP_SYS_ADMIN`, as does everything here but opening.
    pub(super) fn names(&self) -> Result<Vec<String>, Errno> {
        self.exchange(LIST_DEVICES, &Request::default())?.names()
    }

    /// Returns the UUID of a device, which is empty if it has none.
    pub(super) fn uuid(&self, name: &str) -> Result<String, Errno> {
        self.exchange(DEV_STATUS, &Request { name, ..Request::default() })?.uuid()
    }

    /// Returns the active table of a device.
    pub(super) fn table(&self, name: &str) -> Result<Vec<Target>, Errno> {
        self.exchange(TABLE_STATUS, &Request { name, flags: STATUS_TABLE, ..Request::default() })?.targets()
    }

    /// Returns the types of target that the kernel has loaded.
    pub(super) fn kinds(&self) -> Result<Vec<String>, Errno> {
        self.exchange(LIST_VERSIONS, &Request::default())?.kinds()
    }

    /// Sends a request, with more space for the answer until it fits.
    fn exchange(&self, command: u8, request: &Request<'_>) -> Result<Answer, Errno> {
        let mut space = BUFFER;
        loop {
            let mut message = request.encode(space)?;
            send(&self.0, command, &mut message)?;
            let answer = Answer(message);
            if answer.word(FLAGS_AT)? & BUFFER_FULL == 0 {
                return Ok(answer);
            }
            space = space.saturating_mul(2);
            if space > MAX_BUFFER {
                return Err(Errno::E2BIG);
            }
        }
    }
}

/// What a message is made of.
#[derive(Debug, Default)]
struct Request<'a> {
    name: &'a str,
    uuid: &'a str,
    flags: u32,
    targets: u32,
    data: Vec<u8>,
}

impl Request<'_> {
    /// Returns the message, at least `space` bytes long. Its size is put in where it is sent.
    fn encode(&self, space: usize) -> Result<Vec<u8>, Errno> {
        let mut message = Vec::with_capacity(space);
        for word in VERSION {
            message.extend(word.to_ne_bytes());
        }
        let data_size = 0_u32;
        let data_start = u32::try_from(HEADER).map_err(|_| Errno::EMSGSIZE)?;
        let (open_count, event, padding, device) = (0_u32, 0_u32, 0_u32, 0_u64);
        for word in [data_size, data_start, self.targets, open_count, self.flags, event, padding] {
            message.extend(word.to_ne_bytes());
        }
        message.extend(device.to_ne_bytes());
        message.extend(text(self.name, NAME_LEN)?);
        message.extend(text(self.uuid, UUID_LEN)?);
        message.resize(HEADER, 0);
        message.extend(&self.data);
        message.resize(message.len().max(space), 0);
        Ok(message)
    }
}

/// Returns `text` with zeros up to `len` bytes, of which one at least.
fn text(text: &str, len: usize) -> Result<Vec<u8>, Errno> {
    if text.len() >= len {
        return Err(Errno::ENAMETOOLONG);
    }
    if text.contains('\0') {
        return Err(Errno::EINVAL);
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(len, 0);
    Ok(bytes)
}

/// Returns a `struct dm_target_spec` with its parameters, for a table that begins with it and ends there.
fn specification(sectors: u64, target: &Target) -> Result<Vec<u8>, Errno> {
    let (start, status, next) = (0_u64, 0_i32, 0_u32);
    let mut data = Vec::new();
    data.extend(start.to_ne_bytes());
    data.extend(sectors.to_ne_bytes());
    data.extend(status.to_ne_bytes());
    data.extend(next.to_ne_bytes());
    data.extend(text(&target.kind, TARGET_TYPE_LEN)?);
    data.extend(text(&target.parameters, target.parameters.len().saturating_add(1))?);
    Ok(data)
}

/// Returns the minor number of a device as the kernel encodes it (`linux/kdev_t.h`, `huge_encode_dev`).
fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xf_ff00)
}

/// A message that the kernel has answered. Its text may be cut short, but is never read beyond its end: an answer that
/// does not fit its own numbers is `EPROTO`.
struct Answer(Vec<u8>);

impl Answer {
    fn word(&self, at: usize) -> Result<u32, Errno> {
        array(&self.0, at).map(u32::from_ne_bytes).ok_or(Errno::EPROTO)
    }

    fn number(&self, at: usize) -> Result<u64, Errno> {
        array(&self.0, at).map(u64::from_ne_bytes).ok_or(Errno::EPROTO)
    }

    /// Returns the text that ends with a zero, and begins at `at`.
    fn text(&self, at: usize) -> Result<String, Errno> {
        let rest = self.0.get(at..).ok_or(Errno::EPROTO)?;
        let len = rest.iter().position(|byte| *byte == 0).ok_or(Errno::EPROTO)?;
        let text = rest.get(..len).ok_or(Errno::EPROTO)?;
        String::from_utf8(text.to_vec()).map_err(|_| Errno::EILSEQ)
    }

    fn uuid(&self) -> Result<String, Errno> {
        self.text(UUID_AT)
    }

    fn data_start(&self) -> Result<usize, Errno> {
        usize::try_from(self.word(DATA_START_AT)?).map_err(|_| Errno::EPROTO)
    }

    /// Returns the offset of the first member of a list, and of each further one, `offset_at` bytes into which is the
    /// distance to the next, or 0 in the last.
    fn list(&self, offset_at: usize) -> Result<Vec<usize>, Errno> {
        let mut members = Vec::new();
        let mut at = self.data_start()?;
        loop {
            let distance = self.word(at.checked_add(offset_at).ok_or(Errno::EPROTO)?)?;
            members.push(at);
            if distance == 0 {
                return Ok(members);
            }
            at = usize::try_from(distance).ok().and_then(|it| at.checked_add(it)).ok_or(Errno::EPROTO)?;
        }
    }

    /// Reads a list of `struct dm_name_list`: device, distance, name. Without any device, the first has the number 0.
    fn names(&self) -> Result<Vec<String>, Errno> {
        if self.number(self.data_start()?)? == 0 {
            return Ok(Vec::new());
        }
        self.list(8)?.into_iter().map(|at| self.text(at.saturating_add(12))).collect()
    }

    /// Reads a list of `struct dm_target_versions`: distance, version of three numbers, name.
    fn kinds(&self) -> Result<Vec<String>, Errno> {
        self.list(0)?.into_iter().map(|at| self.text(at.saturating_add(16))).collect()
    }

    /// Reads `struct dm_target_spec` with their parameters. In an answer, `next` counts from the first of them.
    fn targets(&self) -> Result<Vec<Target>, Errno> {
        let start = self.data_start()?;
        let mut at = start;
        let mut targets = Vec::new();
        for _ in 0..self.word(TARGET_COUNT_AT)? {
            let member = |offset: usize| at.checked_add(offset).ok_or(Errno::EPROTO);
            let kind = self.text(member(TARGET_TYPE_AT)?)?;
            if kind.len() >= TARGET_TYPE_LEN {
                return Err(Errno::EPROTO);
            }
            targets.push(Target { kind, parameters: self.text(member(TARGET_SPEC)?)? });
            let next = usize::try_from(self.word(member(20)?)?).map_err(|_| Errno::EPROTO)?;
            let next = start.checked_add(next).ok_or(Errno::EPROTO)?;
            // Only the last one may lead nowhere: what does not go on is read once, and the next round fails.
            at = if next > at { next } else { self.0.len() };
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    use super::*;

    /// An answer with this data, from the end of the header on.
    fn answer(targets: u32, data: &[u8]) -> Answer {
        Answer(Request { name: "name", uuid: "UUID-1", targets, data: data.to_vec(), flags: 0 }.encode(0).unwrap())
    }

    /// Padded to a multiple of eight bytes, as the kernel aligns its structures.
    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn device(number: u64, next: u32, name: &str) -> Vec<u8> {
        padded([&number.to_ne_bytes()[..], &next.to_ne_bytes(), name.as_bytes(), b"\0"].concat())
    }

    fn target(next: u32, kind: &str, parameters: &str) -> Vec<u8> {
        let target = Target { kind: kind.to_owned(), parameters: parameters.to_owned() };
        let mut bytes = specification(8, &target).unwrap();
        bytes[20..24].copy_from_slice(&next.to_ne_bytes());
        padded(bytes)
    }

    /// Offsets as the C compiler lays the structures out.
    #[test]
    fn a_table_is_sent_as_the_kernel_reads_it() {
        let data = specification(8, &Target { kind: "verity".into(), parameters: "1 /dev/a".into() }).unwrap();
        let message = Request { name: "n", uuid: "u", flags: READ_ONLY, targets: 1, data }.encode(0).unwrap();
        let mut expected = vec![0; HEADER + TARGET_SPEC];
        expected[0] = 4;
        expected[16..18].copy_from_slice(&312_u16.to_ne_bytes());
        expected[20] = 1;
        expected[28] = 1;
        expected[48] = b'n';
        expected[176] = b'u';
        expected[312 + 8] = 8;
        expected[312 + 24..312 + 30].copy_from_slice(b"verity");
        expected.extend(b"1 /dev/a\0");
        if cfg!(target_endian = "little") {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn what_does_not_fit_a_name_is_not_cut_short() {
        let encode = |name: &str, uuid: &str| Request { name, uuid, ..Request::default() }.encode(0).map(drop);
        assert_eq!(encode(&"n".repeat(127), &"u".repeat(128)), Ok(()));
        assert_eq!(encode(&"n".repeat(128), ""), Err(Errno::ENAMETOOLONG));
        assert_eq!(encode("", &"u".repeat(129)), Err(Errno::ENAMETOOLONG));
        assert_eq!(encode("a\0b", ""), Err(Errno::EINVAL));
        let target = |kind: &str| specification(1, &Target { kind: kind.into(), parameters: String::new() }).map(drop);
        assert_eq!(target(&"k".repeat(15)), Ok(()));
        assert_eq!(target(&"k".repeat(16)), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn an_answer_is_read_member_by_member() {
        let list = [device(0xfd00, 24, "first"), device(0xfd01, 0, "second")].concat();
        assert_eq!(answer(0, &list).names().unwrap(), ["first", "second"]);
        assert_eq!(answer(0, &[0; 8]).names().unwrap(), Vec::<String>::new());
        assert_eq!(answer(0, &[]).uuid().unwrap(), "UUID-1");
        let kinds = [[24_u32, 1, 0, 0].map(u32::to_ne_bytes).concat(), b"linear\0\0".to_vec()].concat();
        let kinds = [kinds, [0_u32, 1, 9, 0].map(u32::to_ne_bytes).concat(), b"verity\0".to_vec()].concat();
        assert_eq!(answer(0, &kinds).kinds().unwrap(), ["linear", "verity"]);
        let first = target(56, "verity", "1 /dev/loop0");
        assert_eq!(first.len(), 56);
        let table = [first, target(104, "zero", "")].concat();
        let expected = [("verity", "1 /dev/loop0"), ("zero", "")]
            .map(|(kind, parameters)| Target { kind: kind.into(), parameters: parameters.into() });
        assert_eq!(answer(2, &table).targets().unwrap(), expected);
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_an_error() {
        let broken = |result: Result<usize, Errno>| assert_eq!(result, Err(Errno::EPROTO));
        let names = |data: &[u8]| answer(0, data).names().map(|names| names.len());
        let targets = |count, data: &[u8]| answer(count, data).targets().map(|targets| targets.len());
        broken(names(&[]));
        broken(names(&device(1, u32::MAX, "beyond")));
        broken(names(&device(1, 1, "into itself")));
        broken(names(&device(1, 0, "")[..12]));
        broken(targets(1, &[]));
        // As many targets as the header can name, in a table of one that leads to itself, back, or nowhere.
        for next in [0, 56, u32::MAX] {
            broken(targets(u32::MAX, &target(next, "verity", "1 /dev/loop0")));
        }
        broken(targets(1, &target(0, "verity", "")[..TARGET_SPEC]));
        let mut unended = target(0, "verity", "");
        unended[TARGET_TYPE_AT..TARGET_SPEC].fill(b'k');
        broken(targets(1, &unended));
    }

    #[test]
    fn a_device_is_known_by_its_minor_number() {
        assert_eq!(minor(0xfd00), 0);
        assert_eq!(minor(0xfd05), 5);
        assert_eq!(minor(0x0010_fd05), 0x105);
        assert_eq!(minor(0xfff0_fdff), 0xf_ffff);
    }
}
