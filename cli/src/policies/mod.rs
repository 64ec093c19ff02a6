//! Policies of a TPM about PCR 13, to which secrets can be bound although extensions are updated.
//!
//! | policy | made by | read by |
//! |---|---|---|
//! | variants of a component, as `.pcrlock` files | [`Component`] | systemd-pcrlock, which makes a policy of them (systemd.pcrlock(5)) |
//! | signatures of values, as JSON | [`Signatures`] | systemd-cryptsetup, systemd-cryptenroll, systemd-creds |

mod component;
mod names;
mod signature;
mod variant;

pub use component::{COMPONENT, Component, ComponentError, Recorded, Row, Sort};
pub use signature::{SignatureError, Signatures, policy_digest, uncommon_size};
pub use variant::{Variant, VariantError, unhex};

/// The directory of the machine's own components (systemd.pcrlock(5)).
pub const DIRECTORY: &str = "/var/lib/pcrlock.d";
/// The policy that systemd-pcrlock made last (systemd-pcrlock(8)).
pub const POLICY: &str = "/var/lib/systemd/pcrlock.json";
