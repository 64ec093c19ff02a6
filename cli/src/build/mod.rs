//! Builds extensions.
//!
//! ```text
//! source ─► tree ─► format ─► ddi::write ─► finish
//! ```
//!
//! [`source`] opens directories, archives and container images; [`tree`] merges the layers into one tree; [`mod@format`] writes
//! the tree as a file system. The image is verified as by a boot before it gets its name ([`Workshop`]).

mod error;
mod finish;
pub mod format;
mod key;
mod layered;
pub mod pkcs11;
mod recipe;
pub mod source;
mod spool;
mod store;
pub mod tree;
mod watch;

pub use error::SourceError;
pub use finish::{Draft, FinishError, Workshop};
pub use key::{Certificates, KeyError, MAX_PASSPHRASE, PrivateKeys, SigningKey};
pub use layered::LayeredImage;
pub use recipe::{Made, Recipe};
pub use spool::{Spool, SpoolReader};
pub use store::{Ask, KeyProvider, StoreError, Wanted};
pub use watch::Watch;
