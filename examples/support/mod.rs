//! The fixtures of the tests, for examples: all but what needs the path of a program, which only tests are told.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, clippy::must_use_candidate)]
#![allow(clippy::struct_field_names)] // They are named as in the UEFI specification.

#[path = "../../tests/support/compact.rs"]
pub mod compact;
#[path = "../../tests/support/ddi.rs"]
pub mod ddi;
#[path = "../../tests/support/der.rs"]
pub mod der;
#[path = "../../tests/support/efi.rs"]
pub mod efi;
#[path = "../../tests/support/keys.rs"]
pub mod keys;
#[path = "../../tests/support/pkcs7.rs"]
pub mod pkcs7;
#[path = "../../tests/support/trees.rs"]
pub mod trees;
