//! The disk image of an extension: its name, its partitions, its signature partition.
//!
//! Nothing in here trusts anything: these are the shapes of bytes that an attacker may have chosen.

mod architecture;
mod candidate;
mod class;
mod ddi;
pub mod gpt;
mod guid;
mod partition_types;
pub mod signature_partition;

pub use architecture::Architecture;
pub use candidate::{Candidate, extension_name};
pub use class::Class;
pub use ddi::{Ddi, DdiError};
pub use guid::Guid;
pub use partition_types::{PartitionKind, classify};
