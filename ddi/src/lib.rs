//! The disk image of an extension (DDI): partition table, file system, hash tree, signature partition, names and
//! release files, read and written.
//!
//! Nothing in here trusts anything: these are the shapes of bytes that an attacker may have chosen.

// This package says nothing: its users do, by ways that make text from outside harmless.
#![deny(unsafe_code)]
// Bytes that an attacker chose, in all of it: no conversion that loses bits, no index, no sum that could panic. Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod architecture;
pub mod bytes;
mod class;
mod ddi;
pub mod filesystem;
pub mod gpt;
mod guid;
pub mod io;
mod name;
pub mod octets;
mod partition_types;
mod release;
pub mod signature_partition;
pub mod text;
pub mod verity;
mod version;
pub mod write;

pub use architecture::Architecture;
pub use class::Class;
pub use ddi::{Ddi, DdiError};
pub use guid::Guid;
pub use name::{ExtensionName, NameError, image_name_is_valid};
pub use partition_types::{PartitionKind, classify, partition_uuids};
pub use release::{ReleaseError, ReleaseFile};
pub use version::compare_versions;
