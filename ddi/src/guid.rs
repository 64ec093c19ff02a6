//! GUIDs in the byte order of GPT and UEFI variables.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A GUID in the byte order of GPT: the first three fields are little-endian, the other bytes are in the order of the
/// text form (UEFI specification 2.10, appendix A, `EFI_GUID`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The GUID of zeros: in GPT the type of an unused entry.
    pub const ZERO: Self = Self([0; 16]);

    /// Makes a GUID from its 16 bytes on disk.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Makes a GUID from the numbers of its text form (`4f68bce3-e8cd-4db1-96e7-fbcaf984b709` is
    /// `0x4f68bce3, 0xe8cd, 0x4db1, 0x96e7, 0xfbca_f984_b709`).
    #[must_use]
    pub const fn from_fields(a: u32, b: u16, c: u16, d: u16, e: u64) -> Self {
        let [a0, a1, a2, a3] = a.to_le_bytes();
        let [b0, b1] = b.to_le_bytes();
        let [c0, c1] = c.to_le_bytes();
        let [d0, d1] = d.to_be_bytes();
        let [_, _, e0, e1, e2, e3, e4, e5] = e.to_be_bytes();
        Self([a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5])
    }

    /// Makes a GUID from a 128-bit ID of systemd (`sd_id128_t`, big-endian throughout). The text form of the GUID has
    /// `bytes` in order, as in the partition tables that systemd writes.
    #[must_use]
    pub const fn from_id128(bytes: [u8; 16]) -> Self {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e0, e1, e2, e3, e4, e5] = bytes;
        Self([a3, a2, a1, a0, b1, b0, c1, c0, d0, d1, e0, e1, e2, e3, e4, e5])
    }

    /// Returns the 16 bytes as they are on disk.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, e @ ..] = self.0;
        let a = u32::from_le_bytes([a0, a1, a2, a3]);
        let b = u16::from_le_bytes([b0, b1]);
        let c = u16::from_le_bytes([c0, c1]);
        let d = u16::from_be_bytes([d0, d1]);
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-")?;
        e.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order_differ_in_the_first_three_fields() {
        let root = Guid::from_fields(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7, 0xfbca_f984_b709);
        assert_eq!(root.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
        assert_eq!(root.to_bytes()[..6], [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8]);
        assert_eq!(
            Guid::from_id128([
                0x4f, 0x68, 0xbc, 0xe3, 0xe8, 0xcd, 0x4d, 0xb1, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09
            ]),
            root
        );
    }
}
