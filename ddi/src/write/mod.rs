//! Writing disk images of extensions, byte for byte the same for the same input.
//!
//! The steps are apart, so that each can be had alone:
//!
//! 1. [`DdiBuilder::protect`] computes the hash tree of a file system: [`Parts`] with a root hash.
//! 2. [`Parts::sign`] adds a signature partition. It may be left out, made elsewhere, or replaced:
//!    [`Parts`] is plain data.
//! 3. [`Parts::table`] lays the partitions out, [`gpt::Table::write_to`] writes them with their
//!    partition table, streaming the file system.
//!
//! Nothing is drawn from a random source or a clock. So two builds of one tree with one RSA key give the
//! same bytes, and whoever rebuilds an extension can compare. (An ECDSA signature holds a random number
//! and differs each time; all else stays the same.)
//!
//! The shape is that of `systemd-repart --make-ddi=sysext` (systemd 257, `src/repart/repart.c`):
//! partitions from 1 MiB on, aligned to 4 KiB, names after their types, the UUIDs of data and hash tree
//! from the root hash.

mod ddi;
pub mod gpt;
mod header;
mod padded;
mod signature;
mod unsigned;

pub use ddi::{BuildError, DdiBuilder, Parts, VerityParams, derive_uuid};
pub use padded::Padded;
pub use signature::{SIGNATURE_PARTITION_SIZE, SignError, Signer, fingerprint, signature_json, signature_partition};
pub use unsigned::{UnsignedError, take_apart};
