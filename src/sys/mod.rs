//! System calls that neither `std` nor nix nor rustix makes safely: all unsafe code of the agent, and all that names the C
//! library.
//!
//! Each function says what makes it safe, or what its caller has to see to. What nix and rustix do make safely is called where
//! it is needed, by its own name.
#![allow(unsafe_code)]

pub(crate) mod filter;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod process;
