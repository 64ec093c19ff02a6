//! System calls that neither `std` nor nix nor rustix provides as safe functions. This module has all unsafe code of
//! the agent, and alone uses the C library.
//!
//! Each function documents why it is safe, or what its caller must ensure. System calls that nix or rustix provides are
//! called directly.
#![allow(unsafe_code)]

pub(crate) mod filter;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod openssl;
pub(crate) mod process;
