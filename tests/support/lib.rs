//! What the integration tests share: throw-away keys, hand-made signatures, firmware variables, file
//! systems, images good and bad, and a machine to run the agent on.
//!
//! Everything is made by code when a test runs; nothing here is read from the repository.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, clippy::must_use_candidate)]
#![allow(
    clippy::return_self_not_must_use,
    clippy::should_implement_trait,
    reason = "what is built is used in the same line"
)]
#![allow(clippy::struct_field_names)] // They are named as in the UEFI specification.

pub mod compact;
pub mod ddi;
pub mod der;
pub mod efi;
pub mod event_log;
#[cfg(feature = "harness")]
pub mod harness;
pub mod hostile;
pub mod images;
pub mod keys;
pub mod machine;
pub mod package;
pub mod pkcs7;
#[cfg(feature = "harness")]
pub mod podman;
#[cfg(feature = "harness")]
pub mod toolbox;
pub mod trees;
pub mod uki;

use std::path::Path;

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}
