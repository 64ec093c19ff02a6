//! Reader and writer of the disk images of extensions (DDIs): partition table, file system, hash tree, signature
//! partition, names and release files.
//!
//! Every input may have been chosen by an attacker. This package makes no decision about trust.

// This package prints nothing. Its callers print, through types that escape and bound text from outside.
#![deny(unsafe_code)]
// An attacker may choose every byte that this package reads. So it has no conversion that can lose bits, no indexing
// and no arithmetic that can panic, except in tests.
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
