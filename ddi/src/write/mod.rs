//! Writer of disk images of extensions, reproducible byte for byte.
//!
//! Each step can be used alone:
//!
//! 1. [`DdiBuilder::protect`] computes the hash tree of a file system: [`Parts`] with a root hash.
//! 2. [`Parts::sign`] adds a signature partition. It can be omitted, made elsewhere or replaced, because all fields of
//!    [`Parts`] are public.
//! 3. [`Parts::table`] lays out the partitions, and [`gpt::Table::write_to`] writes them with their partition table. It
//!    streams the file system.
//!
//! No step uses random numbers or a clock. Two builds of one tree with one RSA key are identical, so a rebuild can be
//! compared with the original. (An ECDSA signature contains a random number, so it differs each time. Everything else
//! is the same.)
//!
//! The layout is that of `systemd-repart --make-ddi=sysext` (systemd 257, `src/repart/repart.c`): partitions from 1 MiB
//! on, aligned to 4 KiB, named after their types, with the UUIDs of data and hash tree from the root hash.

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
